"""Files of results: written whole, with a record of their bytes, and compared with it when read.

A job writes ``catchments.parquet`` and, hidden beside it, ``.catchments.parquet.sha256``, in the
format of ``sha256sum``. Whatever reads the table later reads the record, too: a damaged file stops
a job with a message and never gives wrong numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from snakeshed.atomic import atomic
from snakeshed.errors import ResultError

Made = TypeVar("Made")

_AGAIN = "run the same command again: only what is missing is made."


def record_of(path: str | Path) -> Path:
    """Return where the record of a result file is."""
    path = Path(path)
    return path.with_name(f".{path.name}.sha256")


@contextmanager
def result_file(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to, as `atomic` does, and record the bytes that were written.

    The record gets its place first: a job that is killed in between leaves no file without one.

    Parameters
    ----------
    path : str or Path
        The file to appear.
    """
    with atomic(path) as part:
        yield part
        digest = sha256_of(part)
        with atomic(record_of(path)) as record:
            record.write_text(f"{digest}  {Path(path).name}\n", encoding="utf-8")


def write_json(value: object, path: str | Path) -> None:
    """Write plain values as JSON that a person can read.

    Parameters
    ----------
    value : object
        Of dicts, lists, and plain values.
    path : str or Path
        The file; it appears atomically, with a record of its bytes.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False)
    with result_file(path) as part:
        part.write_text(f"{text}\n", encoding="utf-8")


def read_json(path: str | Path, made_of: Callable[[Any], Made]) -> Made:
    """Read what `write_json` wrote.

    Parameters
    ----------
    path : str or Path
    made_of : callable
        Makes of the values what is returned.

    Raises
    ------
    ResultError
        The file, or the record of its bytes, is missing, or it is damaged, or of another form.
    """
    text = read_result(path)
    try:
        return made_of(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(path, f"a file of another form ({error})") from error


def check_result(path: str | Path) -> None:
    """Compare a result file with its record.

    Parameters
    ----------
    path : str or Path
        A file that `result_file` wrote.

    Raises
    ------
    ResultError
        The record is missing, or the file has other bytes.
    FileNotFoundError
        There is no such file.
    """
    _compare(path, sha256_of(path))


def read_result(path: str | Path) -> str:
    """Return the text of a result file, in UTF-8, after comparing it with its record.

    Parameters
    ----------
    path : str or Path
        A file that `result_file` wrote.

    Raises
    ------
    ResultError
        The file or its record is missing, or the file has other bytes.
    """
    try:
        return read_if_there(path)
    except FileNotFoundError:
        raise missing(path) from None


def read_if_there(path: str | Path) -> str:
    """Return the text of a result file as `read_result` does, for Snakemake while it plans.

    Raises
    ------
    ResultError, FileNotFoundError
        As for `check_result`.
    """
    with named_in_errors(path):
        content = Path(path).read_bytes()
    _compare(path, hashlib.sha256(content).hexdigest())
    return content.decode()


@contextmanager
def named_in_errors(path: str | Path) -> Iterator[None]:
    """Give errors of the operating system the name of a file: a read that fails has none."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def damaged(path: str | Path, found: str) -> ResultError:
    """Return the error of a result file that cannot be read."""
    return ResultError(str(path), found, "the file as its job wrote it", f"Delete it and {_AGAIN}")


def missing(path: str | Path) -> ResultError:
    """Return the error of a result file that is not there."""
    return ResultError(
        str(path),
        "no such file",
        "the file that a job wrote",
        "Do not change results during a run, and run the same command again.",
    )


def version_of(path: str | Path) -> tuple[int, int, int]:
    """Return size, time of change (ns), and inode of a file: whether it is read again.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with named_in_errors(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compare(path: str | Path, found: str) -> None:
    record = record_of(path)
    try:
        # Damaged records are compared as they are.
        recorded = record.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
    except FileNotFoundError:
        raise ResultError(
            str(path),
            f"no checksum file ({record.name})",
            "the hidden file that the job wrote beside it",
            f"Copy that file as well, or delete this result and {_AGAIN}",
        ) from None
    if found != recorded:
        raise damaged(
            path,
            f"a damaged or modified file (SHA-256 {found[:12]}…, not {recorded[:12]}…)",
        )
