"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snakeshed.errors import SnakeshedError

_PART = re.compile(r"\.[0-9a-f]{12}\.part(\.|$)")
# A disk with less room than this takes no table.
_FULL_BYTES = 65536


@contextmanager
def atomic(path: str | Path, lasting: bool = True, make_parents: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` at the end.

    Whoever looks at `path` sees the old content or the complete new one. After an error the
    half-written file (or folder) is removed and `path` is as it was.

    Parameters
    ----------
    path : str or Path
        The file to appear.
    lasting : bool
        Whether it has to be on the disk before it appears, to outlast a loss of power.
    make_parents : bool
        Whether missing parent folders are made.

    Yields
    ------
    Path
        A hidden, unused name in the same folder, with the same suffix: writers that choose the
        format by suffix work.
    """
    path = Path(path)
    if make_parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.part{path.suffix}")
    try:
        try:
            yield part
            if lasting:
                _onto_disk(part)
            os.replace(part, path)
        except Exception as error:
            # GDAL and SQLite say that a write has failed, not that there was no room for it.
            known = isinstance(error, SnakeshedError | MemoryError) or getattr(error, "errno", None)
            if not known and _is_full(path.parent):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise
        finally:
            _remove(part)
    except OSError as error:
        if error.filename in {None, str(part), part}:
            error.filename = str(path)
        raise


def remove_parts(folder: str | Path) -> int:
    """Remove what `atomic` left half-written in a folder, and below it, when it was killed.

    Parameters
    ----------
    folder : str or Path
        Nobody else writes in it.

    Returns
    -------
    int
        Number of files and folders removed.
    """
    parts = [part for part in Path(folder).rglob(".*.part*") if _PART.search(part.name)]
    for part in parts:
        _remove(part)
    return len(parts)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)


def _onto_disk(part: Path) -> None:
    """Have the disk hold a file before it gets its name, so that a power cut leaves no torn one.

    Network file systems tell only here that a disk is full.
    """
    if part.is_file():
        with part.open("rb") as file:
            os.fsync(file)


def _is_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _FULL_BYTES or 0 == disk.f_favail < disk.f_files
