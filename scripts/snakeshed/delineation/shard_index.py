"""The index of all shards: what planning needs to know of each of them, in one file.

Snakemake asks for the tiles, the memory and the time of every shard, several times. With ten
thousand shards, a table and a terrain index of each could not be read for that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from snakeshed.delineation.memory_request import ShardMemory, covered_cells
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.errors import ResultError
from snakeshed.result_files import read_if_there, record_of, version_of
from snakeshed.terrain.index import TerrainIndex

# What the split writes for every shard.
FILES = ("sites.parquet", "terrain.json")


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What is known of a shard before its sites are delineated.

    Attributes
    ----------
    sites : int
        Number of its sites.
    patch_cells : int
        Cells of all patches at which they start, as far as the DEM has tiles there; with a recipe,
        cells of their windows.
    memory : ShardMemory
        What delineating it is expected to need; with a recipe, the cells of the largest window.
    tiles : tuple of str
        Paths of the DEM's tiles under its patches at every level, sorted.
    files : tuple of str
        SHA-256 of each of `FILES` of the shard, as recorded; empty if not known.
    """

    sites: int
    patch_cells: int
    memory: ShardMemory
    tiles: tuple[str, ...]
    files: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        sites: int,
        patches: Iterable[Patch],
        pyramid: PatchPyramid,
        index: TerrainIndex,
        files: Iterable[str] = (),
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
        files : iterable of str
            From `recorded_files`.
        """
        starts = set(patches)
        return cls(
            sites=sites,
            patch_cells=sum(covered_cells(patch, pyramid, index) for patch in starts),
            memory=ShardMemory.of_patches(starts, pyramid, index),
            tiles=tuple(sorted(tile.path for tile in index.tiles)),
            files=tuple(files),
        )

    @classmethod
    def of_windows(
        cls, sites: int, cells: Sequence[int], index: TerrainIndex, files: Iterable[str] = ()
    ) -> ShardFacts:
        """Put together what is known of a shard whose sites a recipe delineates.

        Parameters
        ----------
        sites : int
            Number of sites.
        cells : sequence of int
            Of the window of each site that has one.
        index : TerrainIndex
            Of the shard.
        files : iterable of str
            From `recorded_files`.
        """
        return cls(
            sites=sites,
            patch_cells=sum(cells),
            memory=ShardMemory(max(cells, default=0), ()),
            tiles=tuple(sorted(tile.path for tile in index.tiles)),
            files=tuple(files),
        )


def recorded_files(folder: str | Path) -> tuple[str, ...]:
    """Return the SHA-256 of each of `FILES` in the folder of a shard, as their records have it.

    Parameters
    ----------
    folder : str or Path

    Raises
    ------
    FileNotFoundError
        A record is missing.
    """
    records = (record_of(Path(folder, name)) for name in FILES)
    texts = [record.read_text(encoding="utf-8", errors="replace") for record in records]
    return tuple(text.partition(" ")[0] for text in texts)


def digest_of_sites(site_ids: Iterable[str]) -> str:
    """Return the SHA-256 of the identifiers of sites; their order does not matter."""
    return hashlib.sha256(json.dumps(sorted(site_ids)).encode()).hexdigest()


def shard_index_text(shards: Mapping[str, ShardFacts], site_ids: Iterable[str] = ()) -> str:
    """Return the index of shards, by their names, as JSON, with the digest of all their sites.

    `read_shard_index` reads it.
    """
    digest = digest_of_sites(site_ids)
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
                "files": facts.files,
            }
        )
        for name, facts in shards.items()
    ]
    head = f'{{"tiles": {json.dumps(paths)},\n"site_ids": "{digest}",\n"shards": {{\n'
    return head + ",\n".join(lines) + "\n}}\n"


class ShardIndex:
    """The facts of all shards of a study.

    Parameters
    ----------
    text : str
        From `shard_index_text`.

    Attributes
    ----------
    tiles : tuple of str
        The tiles of all shards, each once, sorted.
    """

    def __init__(self, text: str) -> None:
        read = json.loads(text)
        self.tiles: tuple[str, ...] = tuple(read["tiles"])
        # Smaller than what was read, which counts with ten thousand shards.
        self._shards = {
            name: ShardFacts(
                facts["sites"],
                facts["patch_cells"],
                ShardMemory(facts["cells"], tuple(facts["larger"])),
                tuple(self.tiles[number] for number in facts["tiles"]),
                # An index of an earlier version has none.
                tuple(facts.get("files", ())),
            )
            for name, facts in read["shards"].items()
        }
        # An index of an earlier version has none.
        self._site_ids: str = read.get("site_ids", "")

    def __contains__(self, shard: str) -> bool:
        """Tell whether there is a shard of this name."""
        return shard in self._shards

    def __getitem__(self, shard: str) -> ShardFacts:
        """Return the facts of a shard by its name."""
        return self._shards[shard]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all shards, in their order."""
        return tuple(self._shards)

    @property
    def with_sites(self) -> tuple[str, ...]:
        """The names of those shards that have sites, in their order: the others have no jobs."""
        return tuple(name for name, facts in self._shards.items() if facts.sites)

    @property
    def sites(self) -> int:
        """Number of the sites of all shards."""
        return sum(facts.sites for facts in self._shards.values())

    def check_sites(self, site_ids: Iterable[str], where: str | Path) -> None:
        """Compare the sites of a table that was gathered from all shards with those of the split.

        Parameters
        ----------
        site_ids : iterable of str
            One of each row.
        where : str or Path
            The table.

        Raises
        ------
        ResultError
            They are not exactly the same.
        """
        found = list(site_ids)
        if len(found) != self.sites:
            raise _other_sites(where, f"{len(found)} sites", f"{self.sites}, as in its index.json")
        if digest_of_sites(found) != self._site_ids:
            raise _other_sites(where, "other sites", f"the {self.sites} of its index.json")


def _other_sites(where: str | Path, found: str, expected: str) -> ResultError:
    return ResultError(
        str(where),
        f"{found} in the tables of all shards",
        expected,
        "The shards come from different splits: delete the folder shards beside it, "
        "and run the same command again.",
    )


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
    return _read(str(path), version_of(path))


@lru_cache(maxsize=1)
def _read(path: str, _version: tuple[int, ...]) -> ShardIndex:
    return ShardIndex(read_if_there(path))
