"""Rule prepare_sites: a table of observations becomes unique sites."""

from collections.abc import Sequence

from snakeshed.jobs.input_record import UnchangedInputs
from snakeshed.jobs.log import job_log
from snakeshed.sites.prepare import prepare_sites


def main(
    *,
    settings: dict,
    also: dict[str, str],
    inputs: Sequence[str],
    inputs_of_run: str,
    sites: str,
    observations: str,
    rejected: str,
    warnings: str,
    log: str,
) -> None:
    """Write sites.parquet, observations.parquet, rejected.csv and site_warnings.json."""
    with job_log(log, f"preparing the sites of {settings['path']}") as logger:
        unchanged = UnchangedInputs(inputs, inputs_of_run)
        prepared = prepare_sites(settings, also=also)
        for warning in prepared.warnings:
            logger.warning("warning: %s", warning)
        logger.info("%d sites, %d remarks on rows", len(prepared.sites), len(prepared.rejected))
        unchanged.check()
        prepared.write(sites, observations, rejected, warnings)


if __name__ == "__main__":
    main(
        settings=snakemake.params.settings,
        also=snakemake.params.also,
        inputs=snakemake.input.table,
        inputs_of_run=snakemake.params.inputs_of_run,
        sites=snakemake.output.sites,
        observations=snakemake.output.observations,
        rejected=snakemake.output.rejected,
        warnings=snakemake.output.warnings,
        log=snakemake.log[0],
    )
