"""Rule dataset: one row per observation, with the features of its site and what models give."""

from collections.abc import Mapping

from snakeshed.jobs.log import job_log
from snakeshed.models.configured import StudyModels
from snakeshed.observations.columns import model_runs, rainfall_columns
from snakeshed.observations.dataset import dataset, measured
from snakeshed.observations.model_results import model_results
from snakeshed.observations.response import Response
from snakeshed.tables.geoparquet import read_arrow, write_table


def main(
    *, declared: dict, settings: Mapping, observations: str, features: str, table: str, log: str
) -> None:
    """Write dataset.parquet."""
    with job_log(log, f"joining {observations} with {features}") as logger:
        rainfall = rainfall_columns(declared)
        response = None if declared["response"] is None else Response.of(declared["response"])
        rows, sites = read_arrow(observations), read_arrow(features)
        own = measured(rows, rainfall, response)
        for remark in own.remarks:
            logger.warning("warning: %s", remark)
        models = StudyModels.of(settings, sites.column_names)
        runs = model_runs(models, rainfall)
        for each in rainfall:
            if models.models and each not in (taken for _, taken in runs):
                logger.warning("warning: no model takes %s", each.name)
        results = [model_results(rows, sites, own.table, rainfall, models)] if runs else []
        joined = dataset(rows, sites, own.table, *results)
        logger.info("%d observations, %d columns", joined.num_rows, joined.num_columns)
        write_table(joined, table)


if __name__ == "__main__":
    main(
        declared=snakemake.params.declared,
        settings=snakemake.params.settings,
        observations=snakemake.input.observations,
        features=snakemake.input.features,
        table=snakemake.output.table,
        log=snakemake.log[0],
    )
