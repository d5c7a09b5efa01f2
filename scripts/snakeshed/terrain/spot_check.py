"""A look at a few cells of a DEM, so that one that cannot be used is known before any shard starts.

What this does not meet is found when it is read, and fails the shards that read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from snakeshed.errors import SeveralProblems, SnakeshedError, TerrainError
from snakeshed.raster.input_files import is_fetched
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import DemTile, TerrainIndex, overlap
from snakeshed.terrain.suspects import coarse_cells, few, gaps_between_tiles, suspect_cells

Share = tuple[int, int, int, int]
"""First row, end row, first and end column, absolute; as of `snakeshed.terrain.index.overlap`."""

# Side of the squares of cells that are looked at.
_SIDE = 32

# Cells that are compared of what two tiles share, in bands.
_MOST_COMPARED = 1 << 16
_BANDS = 8

# Files kept open at a time, fewer than any system allows.
_MOST_OPEN = 64

# The search for a cell with data ends here; a minute or so of reading.
_MOST_CELLS = 1 << 32
_CELLS_AT_A_TIME = 1 << 22


def check_cells(index: TerrainIndex) -> TerrainIndex:
    """Look at cells of every tile, and of what two tiles share.

    Of each tile squares in the corners, where undeclared nodata usually lie, and in the middle
    are read, and rows as `snakeshed.terrain.suspects` says; of what it shares with another one all
    or parts. Tiles at a web address are only looked at until one has data.

    Parameters
    ----------
    index : TerrainIndex
        The whole DEM.

    Returns
    -------
    TerrainIndex
        The same, with what was found in its `assumptions` and `warnings`.

    Raises
    ------
    TerrainError, SeveralProblems
        Cells that cannot be read, hold no elevation or contradict another tile, with one error
        for each tile; or no cell of the whole DEM has data.
    """
    problems: list[SnakeshedError] = []
    suspects: list[str] = []
    steps: dict[tuple[str, str], np.ndarray] = {}
    has_data = False
    with Terrain(index, 0) as terrain:
        for k, tile in enumerate(index.tiles):
            if k % _MOST_OPEN == _MOST_OPEN - 1:
                terrain.close()
            try:
                if not is_fetched(tile.path):
                    has_data |= _any_data(terrain, tile, [_middle(tile), *_corners(tile)])
                    steps |= _compare(terrain, tile, index.tiles[:k])
                    suspects += _suspects(terrain, tile)
                elif not has_data:
                    has_data = _any_data(terrain, tile, [_middle(tile)])
            except TerrainError as problem:
                problems.append(problem)
        if len(problems) > 1:
            raise SeveralProblems(problems)
        if problems:
            raise problems[0]
        if not has_data:
            _search(terrain)
    coarse = coarse_cells(index)
    return replace(
        index,
        assumptions=(*index.assumptions, *_steps_in_words(steps)),
        warnings=(
            *index.warnings,
            *few(suspects, "such cells, rows or columns"),
            *gaps_between_tiles(index),
            *([coarse] if coarse else []),
        ),
    )


def _suspects(terrain: Terrain, tile: DemTile) -> list[str]:
    """Tell of suspect cells; of those that cannot be used too, which only some shards may read."""
    try:
        return suspect_cells(terrain, tile, len(terrain.index.tiles))
    except TerrainError as problem:
        return [f"{problem} Shards that read these cells will fail."]


def _steps_in_words(steps: dict[tuple[str, str], np.ndarray]) -> list[str]:
    """Tell by how much tiles differ where they overlap, those that differ most first."""
    differ = [pair for pair in steps if steps[pair].size and steps[pair].max() > 0]
    differ.sort(key=lambda pair: (-steps[pair].max(), pair))
    told = [
        f"{one} and {other} overlap, and the first of them counts: they differ by "
        f"{np.median(steps[one, other]):.3g} m (median) and {steps[one, other].max():.3g} m at "
        f"most, in {steps[one, other].size:,} cells compared."
        for one, other in differ
    ]
    return few(told, "pairs of tiles that differ less")


def _any_data(terrain: Terrain, tile: DemTile, shares: Sequence[Share]) -> bool:
    """Read all of these pieces; whether any cell of them has data."""
    found = False
    for share in shares:
        found |= not np.isnan(terrain.read_tile(tile, *share)).all()
    return bool(found)


def _compare(
    terrain: Terrain, tile: DemTile, others: Sequence[DemTile]
) -> dict[tuple[str, str], np.ndarray]:
    """Read what a tile shares with each other one: their differences, by both paths."""
    steps = {}
    for other in others:
        share = overlap(other, tile.row, tile.column, tile.height, tile.width)
        if share is None or is_fetched(other.path):
            continue
        parts = [terrain.compare(other, tile, part) for part in _parts(share)]
        steps[other.path, tile.path] = np.concatenate(parts)
    return steps


def _parts(share: Share) -> Iterator[Share]:
    """Cut bands out of what two tiles share, along its longer side; all of it if it is small."""
    first_row, end_row, first_column, end_column = share
    height, width = end_row - first_row, end_column - first_column
    if height * width <= _MOST_COMPARED:
        yield share
        return
    long, short = max(height, width), min(height, width)
    band = max(1, _MOST_COMPARED // (_BANDS * short))
    for k in range(_BANDS):
        first = (long - band) * k // (_BANDS - 1)
        if height >= width:
            yield first_row + first, first_row + first + band, first_column, end_column
        else:
            yield first_row, end_row, first_column + first, first_column + first + band


def _middle(tile: DemTile) -> Share:
    row, column = tile.row + tile.height // 2, tile.column + tile.width // 2
    return overlap(tile, row - _SIDE // 2, column - _SIDE // 2, _SIDE, _SIDE)


def _corners(tile: DemTile) -> list[Share]:
    rows = (tile.row, tile.row + tile.height - _SIDE)
    columns = (tile.column, tile.column + tile.width - _SIDE)
    return [overlap(tile, row, column, _SIDE, _SIDE) for row in rows for column in columns]


def _search(terrain: Terrain) -> None:
    """Read the local tiles until a cell has data; raise an error if none has."""
    tiles = terrain.index.tiles
    left = _MOST_CELLS
    for tile in tiles:
        terrain.close()
        # What a web address holds is not fetched for this.
        if is_fetched(tile.path):
            return
        for share in _pieces(tile):
            if _any_data(terrain, tile, [share]):
                return
            left -= (share[1] - share[0]) * (share[3] - share[2])
            if left < 0:
                return
    more = f" and {len(tiles) - 1} more" if len(tiles) > 1 else ""
    raise TerrainError(
        f"{tiles[0].path}{more}",
        "no cell with data",
        "elevations",
        "Compare the nodata value and the mask that gdalinfo tells with the cells.",
    )


def _pieces(tile: DemTile) -> Iterator[Share]:
    """Cut a tile into whole rows, or parts of rows, of as many cells as are read at a time."""
    width = min(tile.width, _CELLS_AT_A_TIME)
    height = max(1, _CELLS_AT_A_TIME // width)
    for row in range(tile.row, tile.row + tile.height, height):
        for column in range(tile.column, tile.column + tile.width, width):
            yield overlap(tile, row, column, height, width)
