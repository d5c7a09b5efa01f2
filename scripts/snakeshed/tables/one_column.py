"""One column of a table, for Snakemake while it plans: without pandas, which takes 70 MB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snakeshed.result_files import check_result

if TYPE_CHECKING:
    import pyarrow as pa


def read_column(path: str | Path, name: str) -> pa.ChunkedArray:
    """Read a column of a table of results.

    Parameters
    ----------
    path : str or Path
        The file, with the record of its bytes.
    name : str
        The column, which the table has.

    Raises
    ------
    ResultError, FileNotFoundError
        As for `check_result`.
    """
    import pyarrow.parquet as pq

    check_result(path)
    # pyarrow.parquet.read_table imports pandas.
    with pq.ParquetFile(path) as table:
        return table.read(columns=[name])[name]
