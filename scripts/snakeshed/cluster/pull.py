"""Results of a study from the volume to here: only what has changed, in pieces that are resumed."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from snakeshed.cluster.push import counted, megabytes
from snakeshed.cluster.volume import CutOff, Volume
from snakeshed.errors import KubernetesError
from snakeshed.result_files import record_of, sha256_of

RESULTS = "results"
PIECE_BYTES = 32_000_000
_SAY_EVERY_S = 5.0
# What jobs are writing, and copies that were not finished.
_UNFINISHED = re.compile(r"\.[0-9a-f]{12}\.(part(\.|$)|push$|pull$)")


@dataclass(frozen=True)
class There:
    """A file of the volume.

    Attributes
    ----------
    path : str
    size : int
        In bytes.
    mtime_ns : int
        Time of change.
    """

    path: str
    size: int
    mtime_ns: int

    @property
    def part(self) -> Path:
        """Where it is here until it is whole."""
        token = hashlib.sha256(f"{self.size} {self.mtime_ns}".encode()).hexdigest()[:12]
        path = Path(self.path)
        return path.with_name(f".{path.name}.{token}.pull")


def listed(volume: Volume, folder: str) -> list[There]:
    """List the files below a folder of the volume; for errors see `Volume.ask`.

    Raises
    ------
    KubernetesError
        A name leads out of the folder.
    """
    found = [There(*each) for each in volume.answer({"do": "list", "folder": folder})]
    for each in found:
        parts = PurePosixPath(each.path).parts
        if ".." in parts or not PurePosixPath(each.path).is_relative_to(folder):
            raise KubernetesError(
                "the volume", f"the name {each.path}", f"a file below {folder}", "Rename it there."
            )
    return [each for each in found if not _UNFINISHED.search(each.path)]


def pull(volume: Volume, folder: str, piece: int = PIECE_BYTES) -> int:
    """Fetch the files below a folder that are not here as they are there; none is deleted.

    Each gets its name here when it is whole, and the time of change that it has there. A result
    with a record of its SHA-256 is compared with that.

    Parameters
    ----------
    volume
        Where from.
    folder : str
        Such as ``results/mine``; at the same place here.
    piece : int
        Bytes that go through one call of kubectl, at most.

    Returns
    -------
    int
        Number of files fetched.

    Raises
    ------
    KubernetesError
        The copy fails, or the volume has a damaged file.
    """
    fetched: list[There] = []
    say = volume.kubectl.say

    def work() -> None:
        wanted = [each for each in listed(volume, folder) if not _is_here(each)]
        if not wanted:
            return
        total = sum(each.size - _size(each.part) for each in wanted)
        left.append(total + len(wanted))
        say(f"Fetching {counted(len(wanted))} of {folder} ({megabytes(total)}).")
        _fetch(volume, wanted, fetched, piece)

    left: list[int] = []
    volume.insist(work, lambda: left[-1] if left else 0)
    _check_records(fetched)
    say(f"{folder}: {counted(len(fetched))} fetched." if fetched else f"{folder} is up to date.")
    return len(fetched)


def _fetch(volume: Volume, wanted: list[There], fetched: list[There], piece: int) -> None:
    """Fetch pieces, as many at a time as go through one call."""
    done, total, said = 0, sum(each.size for each in wanted), time.monotonic()
    for batch in _batches(wanted, piece):
        by_path = {each.path: each for each, _, _ in batch}
        pieces = [
            [each.path, each.size, each.mtime_ns, offset, length] for each, offset, length in batch
        ]
        # A file that has changed or gone since it was listed is left out.
        for told in volume.ask({"do": "send", "pieces": pieces})[:-1]:
            file = by_path[told["path"]]
            content = base64.b64decode(told["base64"])
            if hashlib.sha256(content).hexdigest() != told["sha256"]:
                raise CutOff(f"{file.path} arrived with other bytes")
            _add(file, told["offset"], content)
            done += len(content)
            if _size(file.part) == file.size:
                os.utime(file.part, ns=(file.mtime_ns, file.mtime_ns))
                os.replace(file.part, file.path)
                fetched.append(file)
        if time.monotonic() - said >= _SAY_EVERY_S:
            said = time.monotonic()
            volume.kubectl.say(f"{megabytes(done)} of {megabytes(total)} fetched.")


def _batches(wanted: list[There], piece: int) -> Iterator[list[tuple[There, int, int]]]:
    """Yield file, offset, and length of pieces, those of one call at a time."""
    batch: list[tuple[There, int, int]] = []
    room = piece
    for each in wanted:
        offset = min(_size(each.part), each.size)
        while True:
            length = min(each.size - offset, room)
            batch.append((each, offset, length))
            offset, room = offset + length, room - length
            if room <= 0 or len(batch) >= 5000:
                yield batch
                batch, room = [], piece
            if offset >= each.size:
                break
    if batch:
        yield batch


def _add(file: There, offset: int, content: bytes) -> None:
    """Write a piece where it belongs."""
    file.part.parent.mkdir(parents=True, exist_ok=True)
    with open(file.part, "r+b" if file.part.exists() else "wb") as part:
        part.seek(offset)
        part.truncate()
        part.write(content)


def _check_records(fetched: list[There]) -> None:
    """Compare results with the records beside them."""
    for each in fetched:
        record = record_of(each.path)
        if record.is_file():
            recorded = record.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
            found = sha256_of(each.path)
            if found != recorded:
                raise KubernetesError(
                    each.path,
                    f"a file that does not agree with its record (SHA-256 {found[:12]}…, not "
                    f"{recorded[:12]}…)",
                    "the file as its job wrote it",
                    "If a run goes on, fetch again when it is done (snakeshed cluster pull). "
                    "Otherwise delete the file on the volume, and run again.",
                )


def _is_here(file: There) -> bool:
    try:
        state = os.stat(file.path)
    except FileNotFoundError:
        return False
    same = state.st_mtime_ns == file.mtime_ns
    # Some file systems keep whole seconds only.
    same |= state.st_mtime_ns == file.mtime_ns // 10**9 * 10**9
    return state.st_size == file.size and same


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
