"""Put the tables of shards together, and take one site out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from snakeshed.errors import TableError
from snakeshed.tables.geoparquet import (
    GEOMETRY,
    from_wkb,
    geo_metadata,
    geometry_metadata,
    read_arrow,
)


def concatenate(paths: Iterable[str | Path]) -> pa.Table:
    """Put the tables of all shards together, sorted by `site_id`.

    Parameters
    ----------
    paths : iterable of str or Path
        Files with the same columns, types, descriptions and CRS. Empty tables are welcome.

    Returns
    -------
    pyarrow.Table
        Every row once, sorted by the code points of `site_id`, with the schema and metadata of
        the files, ready for `write_table`. The result does not depend on how the rows were
        spread over the files, nor on their order.

    Raises
    ------
    TableError
        If two files differ in their schema, or one `site_id` is there twice.
    """
    paths = [Path(path) for path in paths]
    if not paths:
        raise ValueError("concatenate: no files")
    tables = [read_arrow(path) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        _check_same_schema(paths[0], tables[0], path, table)
    joined = pa.concat_tables(tables)
    _check_unique(paths, tables)
    import pyarrow.compute as pc

    joined = joined.take(pc.sort_indices(joined["site_id"])).combine_chunks()
    if GEOMETRY not in joined.column_names:
        return joined
    crs = geometry_metadata(joined)["crs"]
    return joined.replace_schema_metadata(geo_metadata(from_wkb(joined), crs))


def one_site(path: str | Path, site_id: str) -> pa.Table:
    """Return the row of one site, with the schema and metadata of the file, for `write_table`.

    Parameters
    ----------
    path : str or Path
        A table of sites, without geometry.
    site_id : str

    Raises
    ------
    TableError
        The file has no such site.
    """
    table = read_arrow(path)
    ids = table["site_id"].to_pylist()
    if site_id not in ids:
        raise TableError(
            str(path),
            f"no site {site_id!r}",
            "a row for it",
            "It was written for another site table: delete it and run the workflow again.",
        )
    return table.slice(ids.index(site_id), 1).combine_chunks()


def _check_same_schema(first: Path, one: pa.Table, path: Path, other: pa.Table) -> None:
    """Refuse to join tables whose columns, descriptions or CRS differ."""
    differences = [
        name
        for name in dict.fromkeys(one.column_names + other.column_names)
        if name not in one.column_names
        or name not in other.column_names
        or not one.schema.field(name).equals(other.schema.field(name), check_metadata=True)
    ]
    if not differences and one.column_names != other.column_names:
        differences = ["their order"]
    if (
        not differences
        and GEOMETRY in one.column_names
        and geometry_metadata(one)["crs"] != geometry_metadata(other)["crs"]
    ):
        differences = ["the CRS"]
    if differences:
        raise TableError(
            str(path),
            f"other columns than in {first}: {', '.join(differences)}",
            "the same columns, descriptions and CRS in every shard",
            "The shards come from different configurations: delete them and run again.",
        )


def _check_unique(paths: list[Path], tables: list[pa.Table]) -> None:
    """Refuse a `site_id` that is missing, or that is there twice."""
    ids = [table["site_id"].to_pylist() for table in tables]
    counts = Counter(site for of_table in ids for site in of_table)
    twice = sorted(str(site) for site, count in counts.items() if count > 1 or site is None)
    if twice:
        first = next(site for site, count in counts.items() if str(site) == twice[0])
        holders = [str(path) for path, of in zip(paths, ids, strict=True) if first in of]
        raise TableError(
            ", ".join(holders),
            f"site_id {twice[0]} more than once or empty"
            + (f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""),
            "every site exactly once",
            "The shards come from different site tables: delete them and run again.",
        )
