"""Rule gather: the tables of all shards become one."""

from collections.abc import Sequence
from pathlib import Path

from snakeshed.delineation.nesting import with_nesting
from snakeshed.delineation.shard_index import read_shard_index
from snakeshed.jobs.log import job_log
from snakeshed.tables.gather import concatenate
from snakeshed.tables.geoparquet import write_table


def main(*, shards: Sequence[str], index: str, table: str, log: str) -> None:
    """Write all rows of the shards' tables, sorted by site; catchments with their nesting.

    Their sites have to be those of the index of all shards.
    """
    with job_log(log, f"gathering {table}") as logger:
        gathered = concatenate(shards)
        read_shard_index(index).check_sites(gathered["site_id"].to_pylist(), table)
        name = Path(table).stem
        if name == "catchments":
            gathered = with_nesting(gathered)
        logger.info("%s of %d sites from %d shards", name, gathered.num_rows, len(shards))
        write_table(gathered, table)


if __name__ == "__main__":
    main(
        shards=snakemake.input.shards,
        index=snakemake.params.index,
        table=snakemake.output.table,
        log=snakemake.log[0],
    )
