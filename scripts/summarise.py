"""Rule summarise: what a person wants to know first."""

import pandas as pd

from snakeshed.job_log import job_log
from snakeshed.results import CATCHMENTS, summarise, write_summary
from snakeshed.tables import read_table


def main(study: str, catchments: str, rejected: str, summary: str, log: str) -> None:
    """Write the summary of a study."""
    with job_log(log, f"summarising {study}"):
        table = read_table(catchments, columns=list(CATCHMENTS))
        write_summary(summarise(study, table, pd.read_csv(rejected)), summary)


if __name__ == "__main__":
    main(
        snakemake.params.study,
        snakemake.input.catchments,
        snakemake.input.rejected,
        snakemake.output.summary,
        snakemake.log[0],
    )
