"""The lattice: the infinite grid of DEM cells on which rows and columns are counted.

It is fixed by a CRS, a cell size and the sub-cell phase of the DEM's cells. It never depends on
the sites, on which tiles are listed, or on where a tile begins, so that the same piece of ground
has the same row and column in every run.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from affine import Affine

from snakeshed.ellipsoid import ellipsoid_cell
from snakeshed.raster.crs import CrsFacts
from snakeshed.raster.ground_scale import ground_scale, stretches_rows

if TYPE_CHECKING:
    from snakeshed.kernels.cell_sizes import CellSizes

# Cell sizes in degrees are stated in files with 8 to 17 digits, and tiles of one survey differ in
# the last ones; lengths are short numbers, which only arithmetic in the software blurs.
_DEGREE_TOLERANCE = 1e-8
_LENGTH_TOLERANCE = 1e-11
_LARGEST_DENOMINATOR = 100
_ARC_SECONDS_PER_DEGREE = 3600

# The phase of the cells is counted in millionths of a cell.
_MICRO = 1_000_000
_PHASE_SNAP_MICRO = 100

# The scale of a projection is known at nodes this far apart, at most, and linear in between: the
# scale of Mercator's, at latitude 45, strays by less than a millionth from that.
_NODE_DISTANCE_M = 8192


class RowGeometry(NamedTuple):
    """Sizes of the cells in consecutive rows, each a float64 array with one value per row.

    Attributes
    ----------
    width_m, height_m : numpy.ndarray
        Length of a cell along its row and across it, at the row's centre, in metres.
    area_m2 : numpy.ndarray
        Area of a cell in square metres.
    """

    width_m: np.ndarray
    height_m: np.ndarray
    area_m2: np.ndarray


class CellSize(NamedTuple):
    """Sizes of one cell on the ground, as in `snakeshed.kernels.cell_sizes.CellSizes`."""

    width_m: float
    height_m: float
    area_m2: float
    skew: float


@dataclass(frozen=True)
class Lattice:
    """The infinite grid of DEM cells; rows count southwards, columns eastwards.

    Attributes
    ----------
    crs : str
        Authority code or WKT.
    dx, dy : float
        Size of a cell in units of the CRS, both positive.
    x0, y0 : float
        The north-western corner of cell (0, 0): the node nearest to the origin of the CRS, so
        ``-dx/2 <= x0 < dx/2``.
    geographic : bool
        Coordinates are degrees.
    unit_m : float
        Metres per unit of a projected CRS; 1.0 for a geographic one.
    semi_major_m, inverse_flattening : float
        The ellipsoid of the CRS; an inverse flattening of 0 is a sphere.
    """

    crs: str
    dx: float
    dy: float
    x0: float
    y0: float
    geographic: bool
    unit_m: float
    semi_major_m: float
    inverse_flattening: float

    @classmethod
    def through(cls, facts: CrsFacts, x: float, y: float, dx: float, dy: float) -> Lattice:
        """Build the lattice of cells of a given size that has a node at (x, y).

        Cell size and phase are made canonical: tiles of one raster, whose stated origins and cell
        sizes differ in their last digits, give the same lattice bit for bit.

        Parameters
        ----------
        facts : CrsFacts
            From :func:`crs_facts`.
        x, y : float
            Any corner of any cell.
        dx, dy : float
            Cell size, positive.

        Raises
        ------
        ValueError
            A value is not finite, or a size is not positive.
        """
        if not all(map(math.isfinite, (x, y, dx, dy))) or dx <= 0 or dy <= 0:
            raise ValueError(f"no cells of size {dx} x {dy} can lie at ({x}, {y})")
        dx = _canonical_spacing(dx, facts.geographic)
        dy = _canonical_spacing(dy, facts.geographic)
        return cls(
            crs=facts.crs,
            dx=dx,
            dy=dy,
            x0=_canonical_phase(x, dx),
            y0=_canonical_phase(y, dy),
            geographic=facts.geographic,
            unit_m=facts.unit_m,
            semi_major_m=facts.semi_major_m,
            inverse_flattening=facts.inverse_flattening,
        )

    def cell_of(self, x: float, y: float) -> tuple[int, int]:
        """Return the (row, column) of the cell that contains a point.

        A point on an edge belongs to the cell east or south of it.

        Raises
        ------
        ValueError
            A coordinate is not finite.
        """
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"({x}, {y}) is not a point")
        return math.floor((self.y0 - y) / self.dy), math.floor((x - self.x0) / self.dx)

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """Return x and y of the north-western corner of a cell, in units of the CRS."""
        return self.x0 + column * self.dx, self.y0 - row * self.dy

    def centre(self, row: int, column: int) -> tuple[float, float]:
        """Return x and y of the centre of a cell, in units of the CRS."""
        return self.x0 + (column + 0.5) * self.dx, self.y0 - (row + 0.5) * self.dy

    def affine(self, row: int, column: int) -> Affine:
        """Return the transform of a raster whose first cell is (row, column)."""
        x, y = self.corner(row, column)
        return Affine(self.dx, 0.0, x, 0.0, -self.dy, y)

    def rows(self, first: int, n: int) -> RowGeometry:
        """Measure the cells of rows ``first`` to ``first + n - 1``.

        On a projected lattice they have the size that the CRS gives them; `cells` has their size
        on the ground. On a geographic one a cell's height is that of the meridian arc at its
        centre's latitude, its width that of the parallel, and its area that of its piece of the
        ellipsoid's zone, exactly. They depend on the absolute row alone, and are rounded to 1e-6 m
        and 1e-6 m2, so that the last bits in which the C libraries of two CPUs differ vanish. A
        row beyond a pole has the sizes of the row at the pole.

        Parameters
        ----------
        first : int
            Absolute row; may be negative.
        n : int
            Number of rows.
        """
        if not self.geographic:
            width, height = self.dx * self.unit_m, self.dy * self.unit_m
            return RowGeometry(*(np.full(n, size) for size in (width, height, width * height)))
        sizes = np.array([self._geographic_cell(row) for row in range(first, first + n)])
        sizes = sizes.reshape(n, 3)  # also when there is no row
        return RowGeometry(*(np.ascontiguousarray(size) for size in sizes.T))

    def routing_rows(self, first: int, n: int) -> RowGeometry:
        """Measure the cells of rows ``first`` to ``first + n - 1`` for water to find its way.

        Its directions depend on the shape of the cells alone. These are `rows`, but for a
        cylindrical projection that stretches the rows of one latitude more than those of another:
        there cells have their size on the ground. Other projections that are not conformal, such
        as Albers', stretch by 1 or 2 % what is far from their middle; that is neglected.

        Parameters
        ----------
        first : int
            Absolute row; may be negative.
        n : int
            Number of rows.
        """
        if self.geographic or not stretches_rows(self.crs):
            return self.rows(first, n)
        sizes = self.cells(first, 0, n, 1)
        return RowGeometry(*(np.ascontiguousarray(size[:, 0]) for size in sizes[:3]))

    def cells(self, row: int, column: int, height: int, width: int) -> CellSizes:
        """Measure the cells of a window on the ground.

        On a geographic lattice they are those of `rows`. On a projected one they are what the
        projection makes of the ellipsoid (`snakeshed.raster.ground_scale`), at each cell: they
        depend on the absolute cell alone, not on the window. Where the projection has no ground,
        cells have the size that the CRS gives them.

        Parameters
        ----------
        row, column : int
            Absolute cell of the north-western corner; may be negative.
        height, width : int
            Cells.
        """
        # Every start of Snakemake imports this module, and none needs Numba.
        from snakeshed.kernels.cell_sizes import CellSizes, even_rows, sizes_from_nodes

        if self.geographic:
            return even_rows(*self.rows(row, height))
        scale, bits, down, right = self._nodes_around(row, column, height, width)
        sizes = sizes_from_nodes(scale, self._nominal_sizes(), bits, down, height)
        return CellSizes(*sizes, bits, right)

    def cell_at(self, row: int, column: int) -> CellSize:
        """Measure one absolute cell on the ground, as `cells` does."""
        if self.geographic:
            return CellSize(*self._geographic_cell(row), 0.0)
        scale, bits, down, right = self._nodes_around(row, column, 1, 1)
        south, east = (down + 0.5) / (1 << bits), (right + 0.5) / (1 << bits)
        sizes = []
        for (above, below), nominal in zip(scale.tolist(), self._nominal_sizes(), strict=True):
            west_side, east_side = (
                (upper + south * (lower - upper)) * nominal
                for upper, lower in zip(above, below, strict=True)
            )
            sizes.append(west_side + east * (east_side - west_side))
        return CellSize(*sizes)

    def _nodes_around(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[np.ndarray, int, int, int]:
        """Return the scale of a projected lattice at the nodes around a window of cells.

        And the binary logarithm of the cells from node to node, and the rows and columns from the
        first node to the window.
        """
        bits = self._node_bits()
        top, left = row >> bits, column >> bits
        bottom, right = (row + max(height, 1) - 1) >> bits, (column + max(width, 1) - 1) >> bits
        scale = _scale_at_nodes(self, bits, top, left, bottom + 2 - top, right + 2 - left)
        return scale, bits, row - (top << bits), column - (left << bits)

    def _nominal_sizes(self) -> tuple[float, float, float, float]:
        """Return width, height, area, and skew of a cell where the scale is 1."""
        width_m, height_m = self.dx * self.unit_m, self.dy * self.unit_m
        return width_m, height_m, width_m * height_m, 1.0

    def cell_height_m(self) -> float:
        """Return the height of a cell in metres; at latitude 45 on a geographic lattice."""
        if not self.geographic:
            return self.dy * self.unit_m
        return self._cell_at(45.0)[1]

    def to_json(self) -> str:
        """Return a JSON object from which :meth:`from_json` makes an equal lattice."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Lattice:
        """Make the lattice that :meth:`to_json` wrote."""
        return cls(**json.loads(text))

    def _node_bits(self) -> int:
        """Return the binary logarithm of the cells from node to node."""
        size = max(self.dx, self.dy) * self.unit_m
        bits = 0
        while size * (2 << bits) <= _NODE_DISTANCE_M:
            bits += 1
        return bits

    def _geographic_cell(self, row: int) -> tuple[float, float, float]:
        """Return width, height (m) and area (m2) of the cells of one row."""
        return self._cell_at(self.y0 - (row + 0.5) * self.dy)

    def _cell_at(self, latitude: float) -> tuple[float, float, float]:
        return ellipsoid_cell(
            latitude, self.dx, self.dy, self.semi_major_m, self.inverse_flattening
        )


@lru_cache(maxsize=1024)
def _scale_at_nodes(
    lattice: Lattice, bits: int, top: int, left: int, height: int, width: int
) -> np.ndarray:
    """Return the scale of a projection at a window of nodes, (4, h, w)."""
    xs = [lattice.corner(0, (left + j) << bits)[0] for j in range(width)]
    ys = [lattice.corner((top + i) << bits, 0)[1] for i in range(height)]
    x, y = np.tile(xs, height), np.repeat(ys, width)
    scale = ground_scale(lattice.crs, lattice.unit_m, x, y).reshape(4, height, width)
    scale.flags.writeable = False
    return scale


def _canonical_spacing(size: float, geographic: bool) -> float:
    """Return the simple fraction (of an arc-second or unit) that a cell size stands for, or it.

    1/3 arc-second tiles state 9.25925926e-05 to 17 digits; 1.3 million columns from the meridian
    even the twelfth digit matters.
    """
    scale = _ARC_SECONDS_PER_DEGREE if geographic else 1
    tolerance = _DEGREE_TOLERANCE if geographic else _LENGTH_TOLERANCE
    simple = Fraction(size * scale).limit_denominator(_LARGEST_DENOMINATOR)
    if simple and abs(size / float(simple / scale) - 1) <= tolerance:
        return float(simple / scale)
    return float(f"{size:.15g}")


def _canonical_phase(position: float, size: float) -> float:
    """Return the node nearest to 0 of the nodes ``position + k * size``.

    The phase is rounded to a millionth of a cell; within a ten-thousandth of a node or of a
    cell's centre it is taken for exactly that, because there rounding in the files is most
    common and would otherwise fall on either side.
    """
    cells = position / size
    micro = round((cells - round(cells)) * _MICRO)
    half = _MICRO // 2
    nearest_half = round(micro / half) * half
    if abs(micro - nearest_half) <= _PHASE_SNAP_MICRO:
        micro = nearest_half
    micro = (micro + half) % _MICRO - half
    return micro * size / _MICRO
