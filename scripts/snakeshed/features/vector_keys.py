"""Keys of layers of polygons and points that contradict each other.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath

from snakeshed.raster.vrt_sources import is_remote

# Formats that hold several layers in one file.
_WITH_SHEETS = (".gpkg", ".zip")


def source_contradictions(declared: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is contradictory in where the features of a layer come from.

    Key within the layer, found, expected, next step.
    """
    path, sheet = declared.get("path"), declared.get("sheet")
    if path is None:
        return
    suffix = PurePath(path).suffix.lower()
    if is_remote(path):
        yield (
            "path",
            f"the address {path}",
            "a file on this machine",
            "Fetch it, and name the file.",
        )
    elif sheet is not None and suffix not in _WITH_SHEETS:
        yield (
            "sheet",
            f"{sheet!r} for a file in {suffix or 'an unknown format'}",
            "no sheet: only GeoPackages and ZIP files with shapefiles have them",
            "Remove this key.",
        )
