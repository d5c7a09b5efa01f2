"""The demo's polygons: the perimeter of a synthetic fire, and synthetic rock.

Both are drawn by hand in columns and rows of the DEM. No such fire has burned, and the ground has
other rock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from affine import Affine

Ring = Sequence[tuple[int, int]]

FIRE = "Synthetic fire of the snakeshed demo"
# Corners of cells, column and row, counterclockwise on the map.
PERIMETER: Ring = (
    *((140, 62), (118, 58), (98, 66), (84, 82), (70, 96), (58, 108), (60, 126), (80, 146)),
    *((84, 162), (66, 178), (62, 200), (60, 222), (44, 240), (30, 262), (14, 288), (10, 306)),
    *((24, 322), (40, 330), (58, 326), (74, 308), (86, 326), (110, 341), (150, 340), (182, 342)),
    *((214, 340), (242, 324), (247, 300), (238, 276), (240, 248), (246, 222), (236, 206)),
    *((216, 190), (206, 180), (195, 160), (178, 134), (164, 108), (158, 84)),
)

# From west to east; each ends where the next one begins. The texts are of the kind that the State
# Geologic Map Compilation has in its attribute GENERALIZE.
ROCK = (
    "Sedimentary, clastic",
    "Igneous, volcanic",
    "Sedimentary and Metamorphic, undifferentiated",
    "Sedimentary, carbonate",
    "Unconsolidated, undifferentiated",
)
# The first and the last border lie beyond the DEM.
ROCK_BORDERS: tuple[Ring, ...] = (
    ((-10, -10), (-10, 354)),
    ((95, -10), (70, 80), (74, 170), (40, 260), (24, 354)),
    ((160, -10), (124, 90), (146, 180), (104, 270), (92, 354)),
    ((215, -10), (190, 90), (186, 180), (204, 270), (190, 354)),
    ((330, -10), (252, 100), (232, 200), (290, 280), (262, 354)),
    ((413, -10), (413, 354)),
)


def inside(ring: Ring, shape: tuple[int, int]) -> np.ndarray:
    """Find the cells whose centers lie in a polygon (even-odd rule).

    Parameters
    ----------
    ring : sequence of (column, row)
        Corners of cells.
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    ndarray of bool, shape (h, w)
    """
    row = np.arange(shape[0])[:, np.newaxis] + 0.5
    column = np.arange(shape[1]) + 0.5
    found = np.zeros(shape, dtype=bool)
    for (left, top), (right, bottom) in zip(ring, (*ring[1:], ring[0]), strict=True):
        if top != bottom:
            crossed_at = left + (row - top) * (right - left) / (bottom - top)
            found ^= ((top <= row) != (bottom <= row)) & (column < crossed_at)
    return found


def perimeter(transform: Affine) -> str:
    """Write the perimeter of the fire as GeoJSON.

    Parameters
    ----------
    transform : Affine
        From columns and rows of the DEM to longitude and latitude.
    """
    return _geojson(FIRE, [({"fire": FIRE}, PERIMETER)], transform)


def rock(transform: Affine) -> str:
    """Write the rock as GeoJSON, in the attribute ``GENERALIZE``.

    Parameters
    ----------
    transform : Affine
        From columns and rows of the DEM to longitude and latitude.
    """
    rings = [(*west, *reversed(east)) for west, east in pairwise(ROCK_BORDERS)]
    origin = "synthetic, drawn for the snakeshed demo"
    polygons = [
        ({"GENERALIZE": text, "origin": origin}, ring)
        for text, ring in zip(ROCK, rings, strict=True)
    ]
    return _geojson("Synthetic rock of the snakeshed demo", polygons, transform)


def _geojson(
    name: str, polygons: Iterable[tuple[Mapping[str, str], Ring]], transform: Affine
) -> str:
    """Polygons in degrees with six decimals, a tenth of a meter."""

    def position(corner: tuple[int, int]) -> list[float]:
        return [round(degrees, 6) for degrees in transform @ corner]

    features = [
        {
            "type": "Feature",
            "properties": dict(properties),
            "geometry": {
                "type": "Polygon",
                "coordinates": [[position(corner) for corner in (*ring, ring[0])]],
            },
        }
        for properties, ring in polygons
    ]
    collection = {"type": "FeatureCollection", "name": name, "features": features}
    return json.dumps(collection, indent=1) + "\n"
