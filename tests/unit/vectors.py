"""Small files of polygons and points, and what a study declares of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas
import shapely

from snakeshed.features.layer import Layer, LayerFile
from snakeshed.features.layer_index import index_layers
from snakeshed.features.layers import layer_of
from snakeshed.terrain.index import TerrainIndex

CRS = "EPSG:32611"
WEST, NORTH = 500_000, 4_000_000

_DEFAULTS = {
    "polygons": {
        "sheet": None,
        "attribute": None,
        "summary": "classes",
        "classes": {},
        "text_up_to": None,
        "text_split": None,
        "at_site": False,
        "unit": None,
        "nodata": None,
        "valid_range": None,
        "max_missing": None,
    },
    "points": {"sheet": None},
}


def box(west: float, south: float, east: float, north: float) -> shapely.Polygon:
    """A box in units of 100 m from the corner of the DEM, to the east and to the south."""
    return shapely.box(
        WEST + 100 * west, NORTH - 100 * south, WEST + 100 * east, NORTH - 100 * north
    )


def write_vector(
    path: Path,
    shapes: Sequence[shapely.Geometry | None],
    *,
    crs: str | None = CRS,
    sheet: str | None = None,
    **columns: Sequence,
) -> str:
    """Write shapes, given in `CRS`, in a CRS; return the path."""
    frame = geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=CRS)
    frame = frame.set_crs(None, allow_override=True) if crs is None else frame.to_crs(crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        options = {} if sheet is None else {"layer": sheet}
        if path.suffix == ".fgb":
            # With an index, the file would have an order of its own.
            options["SPATIAL_INDEX"] = "NO"
        frame.to_file(path, **options)
    return str(path)


def declared(path: object, kind: str = "polygons", name: str = "rock", **keys: object) -> dict:
    """Return a layer as the completed configuration has it."""
    return {"name": name, "type": kind, "path": str(path), **_DEFAULTS[kind], **keys}


def prepared(entry: dict, terrain: TerrainIndex, folder: Path) -> tuple[Layer, LayerFile]:
    """Prepare a layer's file for the shards, as rule index_layers does."""
    (file,) = index_layers([entry], terrain, str(folder / "layers"))
    return layer_of(entry, str(folder / "layers")), file
