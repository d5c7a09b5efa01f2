"""What a run of a study would fetch, before anything is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snakeshed.fetching.input_lock import NAME, read_lock
from snakeshed.fetching.terrain import is_settled, nothing_there, wanted_of
from snakeshed.fetching.terrain_tiles import terrain_tiles
from snakeshed.progress import counted_text, listed_text
from snakeshed.terrain.sources import terrain_source
from snakeshed.transfer.addresses import host
from snakeshed.transfer.batch import look
from snakeshed.transfer.file_cache import FileCache
from snakeshed.transfer.progress import size_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TerrainLook:
    """What there is of the DEM that a source has.

    Attributes
    ----------
    source : str
    host : str
        From which it is fetched.
    there : int
        Tiles that are in the folder of the study.
    cached : int
        Tiles that are in the cache.
    to_fetch : int
    bytes_to_fetch : int or None
        None if the server does not say how large they are.
    problem : str or None
        Why the server has not answered.
    absent : tuple of str
        Tiles that the source does not have.
    """

    source: str
    host: str
    there: int
    cached: int
    to_fetch: int
    bytes_to_fetch: int | None
    problem: str | None
    absent: tuple[str, ...]

    @property
    def is_there(self) -> bool:
        """Whether all tiles are in the folder of the study."""
        return not (self.cached or self.to_fetch)

    def lines(self) -> list[str]:
        """All of that in words."""
        if self.is_there:
            lines = [f"{self.source}: all of it is here ({counted_text(self.there, 'tile')})."]
        else:
            why = f" ({self.problem})" if self.problem else ""
            size = f"unknown{why}"
            if self.bytes_to_fetch is not None:
                size = size_text(self.bytes_to_fetch)
            there = [
                f"{counted_text(count, 'tile')} {where}"
                for count, where in ((self.cached, "in the cache"), (self.there, "here"))
                if count
            ]
            lines = [
                f"{self.source}: a run fetches {counted_text(self.to_fetch, 'tile')} from "
                f"{self.host}, size {size}{''.join(f'; {each}' for each in there)}."
            ]
            lines.append("Run snakeshed fetch to have the DEM and the layers checked, too.")
        if self.absent:
            lines.append(
                f"{self.source} has no file for {counted_text(len(self.absent), 'tile')} around "
                f"the sites, where the DEM ends: {listed_text(self.absent)}."
            )
        return lines


def look_at_terrain(study: Mapping, sites: pd.DataFrame) -> TerrainLook:
    """Find out how much of the DEM of a study has to be fetched.

    Parameters
    ----------
    study : mapping
        The completed configuration; its DEM has a source.
    sites : pandas.DataFrame
        ``sites.parquet``.

    Raises
    ------
    TerrainError
        The source has no tile here, or its tiles are not on one grid.
    """
    source = terrain_source(study["dem"]["source"])
    tiles = terrain_tiles(study["dem"], study["patches"], sites)
    locked = read_lock(Path("results", study["study"], NAME))
    folder = Path(study["dem"]["path"])
    cache = FileCache.of_environment()
    asked = [
        tile for tile in tiles if not is_settled(tile, locked.get(tile.address), folder, cache)
    ]
    wanted = [wanted_of(each, locked.get(each.address)) for each in asked]
    looks = look(wanted, cache)
    absent = [tile.name for tile, each in zip(asked, looks, strict=True) if each.is_absent]
    absent += [
        tile.name
        for tile in tiles
        if tile.address in locked and locked[tile.address].is_absent and tile.name not in absent
    ]
    if len(absent) == len(tiles):
        raise nothing_there(source, tiles)
    lengths = [each.length for each in looks if not (each.cached or each.is_absent)]
    cached = sum(each.cached is not None for each in looks)
    return TerrainLook(
        source.name,
        host(wanted_of(tiles[0], None).address),
        len(tiles) - len(absent) - cached - len(lengths),
        cached,
        len(lengths),
        None if None in lengths else sum(lengths),
        next((each.problem for each in looks if each.problem), None),
        tuple(sorted(absent)),
    )
