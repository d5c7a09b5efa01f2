"""Patches: the fixed global pyramid of squares in which terrain is conditioned.

The grid of patches is fixed per lattice. Which patch a site belongs to, and which piece of DEM
that patch is, depends on no other site.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass

from snakeshed.raster.lattice import Lattice

_ID = re.compile(r"L(\d+)_R(-?\d+)_C(-?\d+)")


@dataclass(frozen=True, order=True)
class Patch:
    """A square of the patch grid: its level and its row and column among the patches of it."""

    level: int
    row: int
    column: int

    @property
    def id(self) -> str:
        """The patch's name, such as ``L0_R-152_C87``."""
        return f"L{self.level}_R{self.row}_C{self.column}"

    @classmethod
    def from_id(cls, patch_id: str) -> Patch:
        """Return the patch of a name.

        Raises
        ------
        ValueError
            It is not the name of a patch.
        """
        match = _ID.fullmatch(patch_id)
        if match is None:
            raise ValueError(f"{patch_id!r} is not the name of a patch, such as 'L0_R-152_C87'")
        return cls(*map(int, match.groups()))


@dataclass(frozen=True)
class PatchPyramid:
    """The patch grid of a lattice: core squares with a buffer, both doubling from level to level.

    Attributes
    ----------
    lattice : Lattice
    core_m : float
        Side of a core square at level 0 in metres; rounded to whole cells.
    buffer_m : float
        Width of the buffer around it at level 0 in metres; rounded up to whole cells.
    levels : int
        Number of levels.
    radius_factor : float
        A site with a reported area of A km2 needs a buffer of ``radius_factor * sqrt(A)`` km.
    backwater_m : float
        A site goes one level up if water that is dammed beyond the rim of its patch would reach
        its catchment by rising at most this much; zero or more.
    """

    lattice: Lattice
    core_m: float
    buffer_m: float
    levels: int
    radius_factor: float
    backwater_m: float = 0.0

    def __post_init__(self) -> None:
        for name in ("core_m", "buffer_m", "radius_factor"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, not a positive number")
        if not (math.isfinite(self.backwater_m) and self.backwater_m >= 0):
            raise ValueError(f"backwater_m is {self.backwater_m}, not zero or a positive number")
        if self.levels < 1:
            raise ValueError(f"a pyramid of {self.levels} levels")

    def core_cells(self, level: int) -> int:
        """Return the side of a core square in cells, the same in both directions.

        On a geographic lattice metres are converted with a cell's height at latitude 45, so that
        the squares are the same number of cells everywhere.
        """
        self._check(level)
        return max(1, round(self.core_m / self.lattice.cell_height_m())) << level

    def patch_of(self, row: int, column: int, level: int) -> Patch:
        """Return the one patch of a level whose core contains a cell."""
        size = self.core_cells(level)
        return Patch(level, row // size, column // size)

    def parent(self, patch: Patch) -> Patch:
        """Return the patch one level up whose core contains this one's core.

        Raises
        ------
        ValueError
            There is no level above.
        """
        self._check(patch.level + 1)
        return Patch(patch.level + 1, patch.row // 2, patch.column // 2)

    def core(self, patch: Patch) -> tuple[int, int, int, int]:
        """Return (row, column, height, width) of the core in absolute cells."""
        size = self.core_cells(patch.level)
        return patch.row * size, patch.column * size, size, size

    def buffer_cells(self, patch: Patch) -> int:
        """Return the width of the buffer in cells, the same on all sides.

        Metres are converted with the narrower side of a cell in the core's row nearest to a pole.
        """
        row, _, size, _ = self.core(patch)
        narrower = min(
            min(sizes.width_m[0], sizes.height_m[0])
            for sizes in (self.lattice.rows(row, 1), self.lattice.rows(row + size - 1, 1))
        )
        return math.ceil(self.buffer_at(patch.level) / narrower)

    def window(self, patch: Patch) -> tuple[int, int, int, int]:
        """Return (row, column, height, width) of core and buffer in absolute cells."""
        row, column, height, width = self.core(patch)
        buffer = self.buffer_cells(patch)
        return row - buffer, column - buffer, height + 2 * buffer, width + 2 * buffer

    def buffer_at(self, level: int) -> float:
        """Return the width of the buffer at a level in metres."""
        self._check(level)
        return self.buffer_m * (1 << level)

    def start_level(self, reported_area_km2: float | None) -> tuple[int, bool]:
        """Return the level at which a site starts, and whether it asks for more than the top one.

        An area that asks for more is not obeyed, for it may be in a wrong unit: the site starts at
        level 0, and rises as far as its catchment and candidates need.

        Parameters
        ----------
        reported_area_km2 : float or None
            None or NaN without a reported area.

        Raises
        ------
        ValueError
            The area is negative.
        """
        if reported_area_km2 is None or math.isnan(reported_area_km2):
            return 0, False
        need_m = 1000 * self.radius_factor * math.sqrt(reported_area_km2)
        for level in range(self.levels):
            if self.buffer_at(level) >= need_m:
                return level, False
        return 0, True

    def _check(self, level: int) -> None:
        if not 0 <= level < self.levels:
            raise ValueError(f"level {level} of a pyramid of {self.levels} levels")


def shard_of(patch_id: str, shards: int) -> int:
    """Return which of a number of shards a patch belongs to: a stable hash of its name.

    Parameters
    ----------
    patch_id : str
        `Patch.id`.
    shards : int
        Number of shards.
    """
    digest = hashlib.blake2b(patch_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


def shard_name(shard: int, shards: int) -> str:
    """Return the folder name of a shard: its number, padded so that names sort as numbers do."""
    return str(shard).zfill(max(2, len(str(shards - 1))))
