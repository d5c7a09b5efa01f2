"""Memory: what a shard's jobs will need, before they run, and what a job has.

The bytes per cell are what `benchmarks/memory.py` has measured, its table shows how near they are.
Every process of Snakemake imports this module: Arrow is imported where it is needed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.result_files import version_of
from snakeshed.tables.one_column import read_column
from snakeshed.terrain.index import TerrainIndex

BASE_BYTES = 320_000_000
"""Of a process with all libraries loaded, and GDAL's cache of blocks."""
PATCH_BYTES = 34
"""For each cell of a patch: its elevations, its routing, the areas that drain through its cells,
and what its sites need."""
TILE_BYTES = 40
"""For each cell of a tile of a patch, mapped files included."""
PYSHEDS_BASE_BYTES, PYSHEDS_CELL_BYTES = 450_000_000, 60
"""With `recipe`: of a process that has stock pysheds loaded, and for each cell that is read for the
largest window. Compiling pysheds takes more, for which `LEAST_MB` has room."""
CATCHMENT_BYTES = 160
"""For each cell of the largest catchment whose features are extracted: elevations, slopes and one
layer at a time, of the box around it, which has twice the cells or so."""
_PACKED = (".parquet", ".geoparquet", ".zip")
VECTOR_BYTES, PACKED_VECTOR_BYTES = 10, 30
"""For each byte of a file of polygons or points that is looked at; the second one where the file is
compressed, as GeoParquet and ZIP files are."""
PREPARED_BYTES = 6
"""For each byte of a file that was prepared of it, for a shard that reads it."""
LEAST_MB = 2000
"""What is asked for at least: room for patches of unusual size."""
LARGEST_TILE = 4096
"""Cells along a side of a tile, where there is more memory than that needs."""


@dataclass(frozen=True, slots=True)
class ShardMemory:
    """What delineating one shard is expected to need at most.

    Attributes
    ----------
    cells : int
        Of the largest patch at which a site starts, as far as the DEM has tiles there.
    larger : tuple of int
        Of the largest one at which a site can be after it went up by 1, 2, and so on.
    """

    cells: int
    larger: tuple[int, ...]

    @classmethod
    def of_patches(
        cls, patches: Iterable[Patch], pyramid: PatchPyramid, index: TerrainIndex
    ) -> ShardMemory:
        """Look at the patches at which the sites of a shard start.

        Parameters
        ----------
        patches : iterable of Patch
        pyramid : PatchPyramid
        index : TerrainIndex
            Of the shard.
        """
        most = []
        there = set(patches)
        while there:
            most.append(max(covered_cells(patch, pyramid, index) for patch in there))
            there = {pyramid.parent(each) for each in there if each.level + 1 < pyramid.levels}
        if not most:
            return cls(0, ())
        first, *larger = accumulate(most, max)
        return cls(first, tuple(larger))

    def delineation_bytes(self, levels_up: int = 0) -> int:
        """Estimate the peak of a job that delineates, in bytes.

        Parameters
        ----------
        levels_up : int
            How far sites go up at most: each level has patches up to four times as large.
        """
        cells = (self.cells, *self.larger)
        cells_there = cells[min(levels_up, len(cells) - 1)]
        return whole_patch_bytes(cells_there)


def covered_cells(patch: Patch, pyramid: PatchPyramid, index: TerrainIndex) -> int:
    """Count the cells of a patch, with its buffer, in the box around the tiles of a DEM."""
    _, _, height, width = index.part_with_tiles(*pyramid.window(patch))
    return height * width


def whole_patch_bytes(cells: int) -> int:
    """Estimate the peak of a process that routes a patch of so many cells as a whole."""
    return BASE_BYTES + cells * PATCH_BYTES


def window_bytes(cells: int) -> int:
    """Estimate the peak of a process that delineates with a recipe, whose largest window this is.

    Parameters
    ----------
    cells : int
        That are read for it.
    """
    return PYSHEDS_BASE_BYTES + cells * PYSHEDS_CELL_BYTES


@dataclass(frozen=True)
class CatchmentSizes:
    """How many catchments a table has, and how many cells: the largest, and all together."""

    sites: int
    largest: int
    total: int

    @classmethod
    def of(cls, catchments: str | Path) -> CatchmentSizes:
        """Read a table; again only when the file has changed.

        Parameters
        ----------
        catchments : str or Path
            ``shards/<shard>/catchments.parquet``.

        Raises
        ------
        ResultError, FileNotFoundError
            As for `check_result`.
        """
        return _sizes(str(catchments), version_of(catchments))

    def features_bytes(self) -> int:
        """Estimate the peak of a job that extracts their features, in bytes."""
        return BASE_BYTES + self.largest * CATCHMENT_BYTES


@cache
def _sizes(catchments: str, _version: tuple[int, ...]) -> CatchmentSizes:
    cells = read_column(catchments, "cells").to_pylist()
    known = [count for count in cells if count is not None]
    return CatchmentSizes(len(cells), max(known, default=0), sum(known))


def vector_bytes(files: Iterable[str]) -> int:
    """Estimate the peak of a job that looks at files of polygons and points, in bytes."""
    sizes = [
        os.path.getsize(file)
        * (PACKED_VECTOR_BYTES if file.lower().endswith(_PACKED) else VECTOR_BYTES)
        for file in files
    ]
    # One file after the other.
    return BASE_BYTES + max(sizes, default=0)


def prepared_bytes(files: Iterable[str]) -> int:
    """Estimate what a shard needs for files that were prepared, as far as these are here."""
    return PREPARED_BYTES * sum(os.path.getsize(file) for file in files if os.path.isfile(file))


def asked_mb(needed_bytes: int, attempt: int) -> int:
    """Memory to ask for, in MB: what is needed, and at least three times more on each attempt.

    Jobs of other rules get the same in ``profiles/nautilus/config.yaml``.
    """
    return max(LEAST_MB * 3 ** (attempt - 1), math.ceil(needed_bytes / 1e6))


def largest_patch(worker_bytes: int) -> int:
    """Cells of the largest patch that a worker can work on as a whole; 0 if there is none."""
    return max(0, worker_bytes - BASE_BYTES) // PATCH_BYTES


def tile_edge(worker_bytes: int) -> int:
    """Cells along the side of a tile that a worker has room for."""
    room = max(0, worker_bytes - BASE_BYTES) // TILE_BYTES
    return max(64, min(LARGEST_TILE, math.isqrt(room)))
