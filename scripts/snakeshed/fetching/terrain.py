"""The tiles of a study's DEM: fetched, compared with the lock, and put in the study's folder."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from snakeshed.atomic import atomic
from snakeshed.errors import TerrainError, TransferError
from snakeshed.fetching.input_lock import LockedFile, read_lock, write_lock
from snakeshed.progress import counted_text, listed_text
from snakeshed.raster.tiff import bytes_needed
from snakeshed.result_files import read_json, sha256_of, write_json
from snakeshed.terrain.dem import RASTER_SUFFIXES
from snakeshed.terrain.sources import SourceTile, TerrainSource, is_fetched, terrain_source
from snakeshed.transfer.batch import Fetched, Wanted, fetch
from snakeshed.transfer.file_cache import FileCache

log = logging.getLogger(__name__)

KEY = "dem"
LIST = "terrain_files.json"
_OF_RASTERS = {*RASTER_SUFFIXES, ".zip", ".xml", ".msk", ".ovr"}
MIRROR = "SNAKESHED_MIRROR"
"""Environment variable with the address of a mirror: below it, hosts are folders."""


@dataclass(frozen=True)
class TerrainFiles:
    """The files of a study's DEM.

    Attributes
    ----------
    sha256 : mapping of str to str
        By path, sorted.
    absent : tuple of str
        Names of tiles that the source does not have.
    """

    sha256: Mapping[str, str]
    absent: tuple[str, ...] = ()

    def write(self, path: str | Path) -> None:
        """Write what `read` reads."""
        write_json({"files": dict(self.sha256), "absent": list(self.absent)}, path)

    @classmethod
    def read(cls, path: str | Path) -> TerrainFiles:
        """Read what `write` wrote.

        Raises
        ------
        ResultError
            The file is missing or damaged.
        """
        return read_json(path, lambda values: cls(values["files"], tuple(values["absent"])))

    def lines(self) -> list[str]:
        """What there is, in words."""
        folder = os.path.dirname(next(iter(self.sha256)))
        size = sum(os.path.getsize(path) for path in self.sha256)
        lines = [f"{counted_text(len(self.sha256), 'tile')} ({size / 1e6:,.1f} MB) in {folder}."]
        if self.absent:
            lines.append(
                f"The source has no file for {counted_text(len(self.absent), 'other tile')} around "
                f"the sites: {listed_text(self.absent)}. The DEM ends there."
            )
        return lines

    def check(self) -> None:
        """Compare the files with what they were when they were fetched.

        Raises
        ------
        TerrainError
            One has other content.
        """
        for path, expected in self.sha256.items():
            if (found := sha256_of(path)) != expected:
                raise TerrainError(
                    path,
                    f"a file with the SHA-256 {found}",
                    f"{expected}, as when it was fetched",
                    "Remove it and run the same command again: it is fetched again.",
                )


def fetch_terrain(
    source: TerrainSource,
    tiles: Sequence[SourceTile],
    folder: str | Path,
    *,
    study: str,
    lock: str | Path,
    refresh: bool = False,
    cache: FileCache | None = None,
) -> TerrainFiles:
    """Have the tiles of a source in a folder, with the content that the lock names.

    Parameters
    ----------
    source : TerrainSource
    tiles : sequence of SourceTile
        Those needed, from `snakeshed.fetching.terrain_tiles.terrain_tiles`.
    folder : str or Path
        It has these tiles in the end, and no others.
    study : str
        Name of the study, for the lock.
    lock : str or Path
        ``inputs.lock.json``; it need not be there. It is written again.
    refresh : bool
        Take the files as the server has them now, whatever the lock says.
    cache : FileCache, optional
        Default: the one that the environment names.

    Raises
    ------
    TransferError, SeveralProblems
        A file cannot be fetched, or is not the one that the lock names.
    TerrainError
        The source has no tile here.
    """
    cache = cache or FileCache.of_environment()
    folder = Path(folder)
    locked = {} if refresh else read_lock(lock)
    known = {tile.address: locked[tile.address] for tile in tiles if tile.address in locked}
    asked = [tile for tile in tiles if not is_settled(tile, known.get(tile.address), folder, cache)]
    answers = fetch(
        [wanted_of(tile, known.get(tile.address)) for tile in asked],
        cache,
        refresh=refresh,
        verify=check_raster,
        advice=_advice(source),
    )
    for tile, answer in zip(asked, answers, strict=True):
        known[tile.address] = _locked(tile, answer, known.get(tile.address))
        if answer is not None:
            place(answer.file, folder / tile.name)
        elif was := locked.get(tile.address):
            raise _gone(tile, was, source)
    absent = [tile.name for tile in tiles if known[tile.address].is_absent]
    if len(absent) == len(tiles):
        raise nothing_there(source, tiles)
    write_lock(lock, study, [*_of_others(read_lock(lock)), *known.values()])
    _remove_others(folder, {tile.name for tile in tiles} - set(absent))
    there = sorted(set(tiles) - {tile for tile in tiles if tile.name in absent})
    return TerrainFiles(
        {str(folder / tile.name): known[tile.address].sha256 for tile in there}, tuple(absent)
    )


def files_unlike_lock(sha256: Mapping[str, str], lock: str | Path) -> list[str]:
    """Return the files of which a lock names other content than a list does.

    Parameters
    ----------
    sha256 : mapping of str to str
        By path, from `TerrainFiles`.
    lock : str or Path
        ``inputs.lock.json``.
    """
    locked = {each.file: each.sha256 for each in read_lock(lock).values() if each.key == KEY}
    return [path for path, known in sha256.items() if locked.get(os.path.basename(path)) != known]


def require_fetched(study: Mapping) -> None:
    """See that the tiles of a study's source are there, where a run cannot fetch them itself.

    Raises
    ------
    TerrainError
        None is.
    """
    folder = study["dem"]["path"]
    if is_fetched(study) and not (os.path.isdir(folder) and os.listdir(folder)):
        raise TerrainError(
            f"dem.source: {terrain_source(study['dem']['source']).name}",
            f"no tiles in {folder}",
            "tiles that are there before a run that keeps the study in a bucket",
            "Run `snakeshed fetch` with the study's configuration first.",
        )


def mirrored(address: str) -> str:
    """Return where a file is fetched from: its address, or its place on a mirror."""
    mirror = os.environ.get(MIRROR, "").strip()
    if not mirror:
        return address
    parts = urlsplit(address)
    return f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}"


def check_raster(path: Path, address: str) -> None:
    """See that a file that was fetched is a TIFF, and whole.

    Raises
    ------
    TransferError
        It is not.
    """
    needed, size = bytes_needed(str(path)), path.stat().st_size
    if needed is None:
        with path.open("rb") as file:
            begin = file.read(60)
        raise TransferError(
            address,
            f"a file that begins with {begin!r}",
            "a GeoTIFF",
            "Open the address in a browser: a network may ask you to log in first, or the source "
            "may have moved.",
        )
    if needed > size:
        raise TransferError(
            address,
            f"a file of {size:,} bytes",
            f"at least {needed:,}, as its header says",
            "The file on the server seems to be incomplete: try again later.",
        )


def place(file: Path, path: Path) -> None:
    """Have a file of the cache at a path, without a second copy where the disk allows it."""
    with atomic(path) as part:
        try:
            os.link(file, part)
        except OSError:
            # Another disk, or one without hard links.
            shutil.copy2(file, part)


def wanted_of(tile: SourceTile, locked: LockedFile | None) -> Wanted:
    """Return what is asked for: a tile as it is now, or as the lock has it."""
    address = mirrored(tile.address)
    if locked is None:
        return Wanted(address)
    return Wanted(address, locked.sha256, locked.length, locked.fetched)


def is_settled(tile: SourceTile, locked: LockedFile | None, folder: Path, cache: FileCache) -> bool:
    """Whether nothing has to be done for a tile: it is in the folder as the lock has it.

    A link to the file in the cache, which nobody can write to, is not read.
    """
    if locked is None:
        return False
    if locked.is_absent:
        return True
    path, cached = folder / tile.name, cache.place_of(locked.sha256)
    if not path.is_file():
        return False
    if cached.is_file() and os.path.samefile(path, cached):
        return path.stat().st_size == locked.length
    return sha256_of(path) == locked.sha256


def _locked(tile: SourceTile, answer: Fetched | None, before: LockedFile | None) -> LockedFile:
    """Return what a lock says of a tile: what it said before of the same content."""
    if answer is None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return LockedFile(KEY, tile.address, tile.name, now)
    of = answer.record
    if before is not None and before.sha256 == of.sha256:
        return before
    return LockedFile(
        KEY,
        tile.address,
        tile.name,
        of.fetched,
        of.length,
        of.sha256,
        of.etag,
        of.last_modified,
    )


def _of_others(locked: Mapping[str, LockedFile]) -> list[LockedFile]:
    """Return what a lock says of files that are none of the DEM's."""
    return [each for each in locked.values() if each.key != KEY]


def _remove_others(folder: Path, names: Iterable[str]) -> None:
    """Remove rasters that no site needs any more: the folder is the DEM."""
    keep = tuple(names)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix.lower() in _OF_RASTERS and not path.name.startswith(keep):
            log.info("removed %s, which no site needs any more", path)
            path.unlink()


def _advice(source: TerrainSource) -> str:
    dated = f" Older copies are in {source.dated}." if source.dated else ""
    return (
        f"The results were made with the file of that date.{dated} To work with the new one, run "
        "`snakeshed fetch --refresh` with the study's configuration; the results will change."
    )


def _gone(tile: SourceTile, was: LockedFile, source: TerrainSource) -> TransferError:
    return TransferError(
        mirrored(tile.address),
        "no such file any more",
        f"the one with the SHA-256 {was.sha256}, as on {was.fetched}",
        _advice(source),
    )


def nothing_there(source: TerrainSource, tiles: Sequence[SourceTile]) -> TerrainError:
    """Return the error of a source without any tile around the sites."""
    count = "the tile" if len(tiles) == 1 else f"any of the {len(tiles)} tiles"
    return TerrainError(
        f"dem.source: {source.name}",
        f"no file for {count} around the sites, such as {mirrored(tiles[0].address)}",
        "a source that covers the sites",
        "Check the coordinates of the sites with `snakeshed check`. If they are right, choose a "
        "source that covers them; if it should, its files may have moved.",
    )
