"""Rule hazard: what the models of a study give at every site."""

from collections.abc import Mapping

from snakeshed.jobs.log import job_log
from snakeshed.models.configured import StudyModels
from snakeshed.models.hazard import hazard_table
from snakeshed.models.thresholds import threshold_table
from snakeshed.tables.geoparquet import read_arrow, read_descriptions, write_table


def main(
    *,
    settings: Mapping,
    features: str,
    observations: str | None,
    hazard: str,
    thresholds: str,
    log: str,
) -> None:
    """Write the tables of hazards and thresholds."""
    with job_log(log, "computing hazards") as logger:
        models = StudyModels.of(settings, read_descriptions(features))
        columns = ["site_id", "status", "reason", *models.needed_columns()]
        sites = read_arrow(features, list(dict.fromkeys(columns)))
        rain = read_arrow(observations) if observations else None
        table = hazard_table(sites, models, rain)
        write_table(table, hazard)
        logger.info("hazards of %d sites in %d rows", sites.num_rows, table.num_rows)
        write_table(threshold_table(sites, models), thresholds)


if __name__ == "__main__":
    main(
        settings=snakemake.params.settings,
        features=snakemake.input.features,
        observations=snakemake.input.get("observations") or None,
        hazard=snakemake.output.hazard,
        thresholds=snakemake.output.thresholds,
        log=snakemake.log[0],
    )
