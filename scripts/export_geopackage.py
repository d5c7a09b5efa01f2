"""Rule export_geopackage: outlines for a GIS."""

from snakeshed.jobs.log import job_log
from snakeshed.tables.exports import write_geopackage


def main(*, catchments: str, geopackage: str, log: str) -> None:
    """Write the catchments as a GeoPackage."""
    with job_log(log, f"exporting {catchments}"):
        write_geopackage(catchments, geopackage)


if __name__ == "__main__":
    main(
        catchments=snakemake.input.catchments,
        geopackage=snakemake.output.geopackage,
        log=snakemake.log[0],
    )
