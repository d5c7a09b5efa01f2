"""The index of all shards: what planning needs to know of each of them, in one file.

Snakemake asks for the tiles, the memory and the time of every shard, several times. With ten
thousand shards, a table and a terrain index of each could not be read for that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from snakeshed.delineation.memory_request import ShardMemory, covered_cells
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.result_files import read_if_there
from snakeshed.terrain.index import TerrainIndex


@dataclass(frozen=True)
class ShardFacts:
    """What is known of a shard before its sites are delineated.

    Attributes
    ----------
    sites : int
        Number of its sites.
    patch_cells : int
        Cells of all patches at which they start, as far as the DEM has tiles there.
    memory : ShardMemory
        What delineating it is expected to need.
    tiles : tuple of str
        Paths of the DEM's tiles under its patches at every level, sorted.
    """

    sites: int
    patch_cells: int
    memory: ShardMemory
    tiles: tuple[str, ...]

    @classmethod
    def of(
        cls, sites: int, patches: Iterable[Patch], pyramid: PatchPyramid, index: TerrainIndex
    ) -> ShardFacts:
        """Look at the patches at which the sites of a shard start; the DEM is not read.

        Parameters
        ----------
        sites : int
            Number of sites.
        patches : iterable of Patch
        pyramid : PatchPyramid
        index : TerrainIndex
            Of the shard.
        """
        starts = set(patches)
        return cls(
            sites=sites,
            patch_cells=sum(covered_cells(patch, pyramid, index) for patch in starts),
            memory=ShardMemory.of_patches(starts, pyramid, index),
            tiles=tuple(sorted(tile.path for tile in index.tiles)),
        )


def shard_index_text(shards: Mapping[str, ShardFacts]) -> str:
    """Return the index of shards, by their names, as JSON.

    `read_shard_index` reads it.
    """
    paths = sorted({path for facts in shards.values() for path in facts.tiles})
    numbers = {path: number for number, path in enumerate(paths)}
    lines = [
        f"{json.dumps(name)}: "
        + json.dumps(
            {
                "sites": facts.sites,
                "patch_cells": facts.patch_cells,
                "cells": facts.memory.cells,
                "larger": facts.memory.larger,
                "tiles": [numbers[path] for path in facts.tiles],
            }
        )
        for name, facts in shards.items()
    ]
    return f'{{"tiles": {json.dumps(paths)},\n"shards": {{\n' + ",\n".join(lines) + "\n}}\n"


class ShardIndex:
    """The facts of all shards of a study.

    Parameters
    ----------
    text : str
        From `shard_index_text`.
    """

    def __init__(self, text: str) -> None:
        read = json.loads(text)
        self._paths: list[str] = read["tiles"]
        self._shards: dict[str, dict] = read["shards"]

    def __contains__(self, shard: str) -> bool:
        """Tell whether there is a shard of this name."""
        return shard in self._shards

    def __getitem__(self, shard: str) -> ShardFacts:
        """Return the facts of a shard by its name."""
        facts = self._shards[shard]
        return ShardFacts(
            facts["sites"],
            facts["patch_cells"],
            ShardMemory(facts["cells"], tuple(facts["larger"])),
            self.tiles_of(shard),
        )

    def tiles_of(self, shard: str) -> tuple[str, ...]:
        """Return the tiles of a shard alone."""
        return tuple(self._paths[number] for number in self._shards[shard]["tiles"])

    @property
    def tiles(self) -> tuple[str, ...]:
        """The tiles of all shards, each once, sorted."""
        return tuple(self._paths)


def read_shard_index(path: str | Path) -> ShardIndex:
    """Read the index of all shards; again only when the file has changed.

    Parameters
    ----------
    path : str or Path
        ``shards/index.json``.

    Raises
    ------
    ResultError, FileNotFoundError
        As `read_if_there`.
    """
    stat = os.stat(path)
    return _read(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=1)
def _read(path: str, *_: int) -> ShardIndex:
    return ShardIndex(read_if_there(path))
