"""Rule prepare_sites: a table of observations becomes unique sites."""

from snakeshed.jobs.log import job_log
from snakeshed.sites.prepare import prepare_sites


def main(
    *,
    settings: dict,
    compared: list[str],
    sites: str,
    observations: str,
    rejected: str,
    warnings: str,
    log: str,
) -> None:
    """Write sites.parquet, observations.parquet, rejected.csv and site_warnings.json."""
    with job_log(log, f"preparing the sites of {settings['path']}") as logger:
        prepared = prepare_sites(settings, compared=compared)
        for warning in prepared.warnings:
            logger.warning("warning: %s", warning)
        logger.info("%d sites, %d remarks on rows", len(prepared.sites), len(prepared.rejected))
        prepared.write(sites, observations, rejected, warnings)


if __name__ == "__main__":
    main(
        settings=snakemake.params.settings,
        compared=snakemake.params.compared,
        sites=snakemake.output.sites,
        observations=snakemake.output.observations,
        rejected=snakemake.output.rejected,
        warnings=snakemake.output.warnings,
        log=snakemake.log[0],
    )
