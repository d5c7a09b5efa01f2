"""Rule site_features: the features of one site."""

from snakeshed.jobs.log import job_log
from snakeshed.tables.gather import one_site
from snakeshed.tables.geoparquet import write_table


def main(*, features: str, site_id: str, output: str, log: str) -> None:
    """Write one row of a shard's features."""
    with job_log(log, f"the features of {site_id}"):
        write_table(one_site(features, site_id), output)


if __name__ == "__main__":
    main(
        features=snakemake.input.features,
        site_id=snakemake.params.site_id,
        output=snakemake.output.features,
        log=snakemake.log[0],
    )
