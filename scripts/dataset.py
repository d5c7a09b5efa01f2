"""Rule dataset: one row per observation, with the features of its site."""

from snakeshed.jobs.log import job_log
from snakeshed.observations.dataset import dataset, measured
from snakeshed.observations.rainfall import Rainfall
from snakeshed.observations.response import Response
from snakeshed.tables.geoparquet import read_arrow, write_table


def main(*, declared: dict, observations: str, features: str, table: str, log: str) -> None:
    """Write dataset.parquet."""
    with job_log(log, f"joining {observations} with {features}") as logger:
        rainfall = [Rainfall.of(each) for each in declared["rainfall"]]
        response = None if declared["response"] is None else Response.of(declared["response"])
        rows = read_arrow(observations)
        of_table = measured(rows, rainfall, response)
        for remark in of_table.remarks:
            logger.warning("warning: %s", remark)
        joined = dataset(rows, read_arrow(features), of_table.table)
        logger.info("%d observations, %d columns", joined.num_rows, joined.num_columns)
        write_table(joined, table)


if __name__ == "__main__":
    main(
        declared=snakemake.params.declared,
        observations=snakemake.input.observations,
        features=snakemake.input.features,
        table=snakemake.output.table,
        log=snakemake.log[0],
    )
