"""The map of a study: hillshade where sites are, outlines and points, in one plane of drawing.

One unit of the plane is the height of a cell; x runs eastwards, y southwards from a corner that
the study chooses. On a geographic lattice columns are drawn as wide as they are in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import geopandas
import numpy as np
import pandas as pd
import shapely

from snakeshed.raster.lattice import Lattice
from snakeshed.report.hillshade import hillshade, picture, thinned
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex, tiles_under

# Side of a picture in pixels; most pixels and characters of all pictures, and characters of all
# outlines: they decide how large the page becomes.
_SIDE = 384
_MOST_PIXELS = 12_000_000
_MOST_PICTURES = 3_500_000
_MOST_OUTLINES = 1_500_000
# Around a catchment, as a part of its size, and at least so many cells.
_MARGIN, _MARGIN_CELLS = 0.25, 12
# An outline may stray so many cells, or so small a part of its catchment's size; more, if all
# together would be too large.
_STRAY_CELLS, _STRAY = 0.3, 1 / 500

Box = tuple[float, float, float, float]
"""West, north, east and south, in columns and rows of a lattice."""


@dataclass(frozen=True)
class Picture:
    """A hillshade and its place in the plane."""

    x: float
    y: float
    width: float
    height: float
    source: str


@dataclass(frozen=True)
class MapSite:
    """What is drawn of one site; None where there is nothing.

    Attributes
    ----------
    outline : str or None
        The catchment as the data of an SVG path, in cells: x is in columns.
    box : tuple of 4 float or None
        x, y, width and height that show the site with its surroundings.
    point, outlet, runner_up : tuple of 2 float or None
        x and y.
    """

    outline: str | None
    box: tuple[float, float, float, float] | None
    point: tuple[float, float] | None
    outlet: tuple[float, float] | None
    runner_up: tuple[float, float] | None


@dataclass(frozen=True)
class SiteMap:
    """The map of a study.

    Attributes
    ----------
    unit_m : float
        Length of a unit of the plane, m.
    aspect : float
        Width of a column in units.
    view : tuple of 4 float
        x, y, width and height that show all catchments, or all sites if there is none.
    everything : tuple of 4 float
        The same of all sites that have a place.
    pictures : tuple of Picture
    sites : tuple of MapSite
        In the order of the table.
    """

    unit_m: float
    aspect: float
    view: Box
    everything: Box
    pictures: tuple[Picture, ...]
    sites: tuple[MapSite, ...]


def site_map(catchments: geopandas.GeoDataFrame, terrain: Terrain) -> SiteMap:
    """Draw the map of a study.

    Parameters
    ----------
    catchments : geopandas.GeoDataFrame
        ``catchments.parquet``.
    terrain : Terrain
        Of the tiles that the sites' results may depend on; no other tile is drawn.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    index = terrain.index
    lattice = index.lattice
    points = {
        name: _cells_of(lattice, catchments[f"{name}_x"], catchments[f"{name}_y"])
        for name in ("site", "outlet", "runner_up")
    }
    shapes = _in_cells(catchments.geometry.to_numpy(), lattice)
    boxes = [_box(shape, [points[name][k] for name in points]) for k, shape in enumerate(shapes)]
    placed = [box for box in boxes if box is not None]
    drawn = [box for box, shape in zip(boxes, shapes, strict=True) if shape is not None and box]
    all_of_it = _around(placed) or (0.0, 0.0, 1.0, 1.0)
    west, north = math.floor(all_of_it[0]), math.floor(all_of_it[1])
    middle_row, middle_column = (round((all_of_it[k] + all_of_it[k + 2]) / 2) for k in (1, 0))
    middle = lattice.cell_at(middle_row, middle_column)
    unit_m, aspect = middle.height_m, middle.width_m / middle.height_m

    outlines = _outlines(shapes, west, north)

    def place(point: tuple[float, float] | None) -> tuple[float, float] | None:
        return point and (round((point[0] - west) * aspect, 2), round(point[1] - north, 2))

    def frame(box: Box) -> tuple[float, float, float, float]:
        (x, y), (x_end, y_end) = place(box[:2]), place(box[2:])
        return x, y, round(x_end - x, 2), round(y_end - y, 2)

    return SiteMap(
        unit_m=unit_m,
        aspect=aspect,
        view=frame(_around(drawn) or all_of_it),
        everything=frame(all_of_it),
        pictures=tuple(Picture(*frame(box), source) for box, source in _pictures(placed, terrain)),
        sites=tuple(
            MapSite(
                outline=outlines[k],
                box=box and frame(box),
                point=place(points["site"][k]),
                outlet=place(points["outlet"][k]),
                runner_up=place(points["runner_up"][k]),
            )
            for k, box in enumerate(boxes)
        ),
    )


def _cells_of(lattice: Lattice, x: pd.Series, y: pd.Series) -> list[tuple[float, float] | None]:
    """Columns and rows, with their fractions, of points in the terrain's CRS."""
    return [
        ((px - lattice.x0) / lattice.dx, (lattice.y0 - py) / lattice.dy)
        if not (pd.isna(px) or pd.isna(py))
        else None
        for px, py in zip(x, y, strict=True)
    ]


def _in_cells(outlines: Iterable, lattice: Lattice) -> list[shapely.Geometry | None]:
    """Outlines in columns and rows; None where there is none."""

    def to_nodes(vertices: np.ndarray) -> np.ndarray:
        x, y = vertices.T
        return np.column_stack(
            [np.rint((x - lattice.x0) / lattice.dx), np.rint((lattice.y0 - y) / lattice.dy)]
        )

    return [None if each is None else shapely.transform(each, to_nodes) for each in outlines]


def _box(
    shape: shapely.Geometry | None, points: Sequence[tuple[float, float] | None]
) -> Box | None:
    """Box around a site, with a margin; None if it has no place."""
    known = [point for point in points if point is not None]
    boxes = [(*point, *point) for point in known]
    if shape is not None:
        boxes.append(shape.bounds)
    around = _around(boxes)
    if around is None:
        return None
    west, north, east, south = around
    margin = max(_MARGIN_CELLS, _MARGIN * (east - west), _MARGIN * (south - north))
    return west - margin, north - margin, east + margin, south + margin


def _around(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    west, north, east, south = zip(*boxes, strict=True)
    return min(west), min(north), max(east), max(south)


def _outlines(shapes: Sequence[shapely.Geometry | None], west: int, north: int) -> list[str | None]:
    """Catchments as data of SVG paths in whole cells, simplified as far as nobody sees it."""
    stray = _STRAY
    while True:
        paths = [None if each is None else _path(each, west, north, stray) for each in shapes]
        if stray > 0.1 or sum(map(len, filter(None, paths))) <= _MOST_OUTLINES:
            return paths
        stray *= 2


def _path(shape: shapely.Geometry, west: int, north: int, stray: float) -> str:
    left, top, right, bottom = shape.bounds
    cells = max(_STRAY_CELLS, stray * max(right - left, bottom - top))
    simple = shapely.simplify(shape, cells, preserve_topology=True)
    rings = [
        ring
        for part in shapely.get_parts(simple)
        for ring in (part.exterior, *part.interiors)
        if shapely.area(shapely.polygons(ring)) >= cells * cells
    ]
    data = []
    for ring in rings:
        nodes = shapely.get_coordinates(ring)[:-1].round().astype(int) - (west, north)
        steps = " ".join(f"{dx},{dy}" for dx, dy in np.diff(nodes, axis=0).tolist())
        data.append(f"M{nodes[0, 0]},{nodes[0, 1]}l{steps}z")
    return "".join(data)


def _pictures(boxes: Sequence[Box], terrain: Terrain) -> list[tuple[Box, str]]:
    """Hillshades of all blocks of ground that the boxes touch and the DEM has data in."""
    step = 1
    while True:
        blocks = _blocks(boxes, _SIDE * step, terrain.index)
        if len(blocks) * _SIDE**2 <= _MOST_PIXELS:
            pictures = [_picture(row, column, step, terrain) for row, column in sorted(blocks)]
            if step > 1024 or sum(len(source) for _, source in pictures) <= _MOST_PICTURES:
                return [(box, source) for box, source in pictures if source]
        step *= 2


def _picture(row: int, column: int, step: int, terrain: Terrain) -> tuple[Box, str]:
    """Hillshade of a block, `step` x `step` cells to a pixel; no picture without data."""
    side = _SIDE * step
    top, left = row * side, column * side
    # One pixel more on each side is known to the shade, and one to the picture, since pictures
    # that only touch leave a line between them.
    box = (left, top, left + side + step, top + side + step)
    z = thinned(terrain, top - step, left - step, _SIDE + 3, _SIDE + 3, step)
    if np.isnan(z).all():
        return box, ""
    sizes = terrain.index.lattice.cells(top - step, left + side // 2, (_SIDE + 3) * step, 1)
    rows = slice(step // 2, None, step)
    shade = hillshade(z, sizes.width_m[rows, 0] * step, sizes.height_m[rows, 0] * step)
    return box, picture(shade[1:-1, 1:-1])


def _blocks(boxes: Sequence[Box], side: int, index: TerrainIndex) -> set[tuple[int, int]]:
    """Rows and columns of the blocks of `side` cells that boxes touch and tiles lie in."""
    touched = {
        (row, column)
        for west, north, east, south in boxes
        for row in range(math.floor(north / side), math.floor(south / side) + 1)
        for column in range(math.floor(west / side), math.floor(east / side) + 1)
    }
    return {
        (row, column)
        for row, column in touched
        if tiles_under(index, row * side, column * side, side, side)
    }
