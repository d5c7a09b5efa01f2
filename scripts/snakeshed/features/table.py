"""The table of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from snakeshed.delineation.table import CATCHMENTS
from snakeshed.features.columns import BEFORE_FEATURES, Column
from snakeshed.tables.geoparquet import write_table
from snakeshed.tables.schema import REAL, TEXT, table_of

LAYER_GAP = (
    TEXT,
    "Names of the layers without values for the catchment, separated by semicolons: without any "
    "data there, or missing in more of it than max_missing allows; null if none.",
)


def write_features(
    rows: Sequence[Mapping], columns: Mapping[str, Column], path: str | Path
) -> None:
    """Write ``features.parquet``: one row per site; every feature is null where status is not ok.

    Parameters
    ----------
    rows : sequence of mapping
        From `snakeshed.features.extract.extract_features`, sorted by ``site_id``; missing
        keys are null.
    columns : mapping of str to Column
        From `snakeshed.features.layers.feature_columns`.
    path : str or Path
    """
    described = {
        name: (TEXT if column.is_text else REAL, column.description)
        for name, column in columns.items()
    }
    before = CATCHMENTS | {"layer_gap": LAYER_GAP}
    write_table(table_of(rows, {name: before[name] for name in BEFORE_FEATURES} | described), path)
