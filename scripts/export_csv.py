"""Rule export_csv: a table for spreadsheets, without the outlines."""

from snakeshed.jobs.log import job_log
from snakeshed.tables.exports import write_csv
from snakeshed.tables.geoparquet import read_table


def main(*, table: str, csv: str, log: str) -> None:
    """Write a Parquet table as CSV."""
    with job_log(log, f"exporting {table}"):
        write_csv(read_table(table), csv)


if __name__ == "__main__":
    main(
        table=snakemake.input.table,
        csv=snakemake.output.csv,
        log=snakemake.log[0],
    )
