"""Results of a study from the volume to here: only what has changed, in pieces that are resumed."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from snakeshed.cluster.agent import REPLACED
from snakeshed.cluster.inputs import SCHEMA
from snakeshed.cluster.push import counted, megabytes
from snakeshed.cluster.volume import CutOff, Volume
from snakeshed.errors import KubernetesError, SnakeshedError
from snakeshed.jobs.fetched_results import FetchedResults, configuration_digest
from snakeshed.jobs.run_lock import RunLock
from snakeshed.result_files import record_of, sha256_of
from snakeshed.study.configuration import complete, without_publication
from snakeshed.study.left_out import as_run
from snakeshed.study.yaml_file import read_study

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


def pull(
    volume: Volume,
    folder: str,
    configurations: Sequence[str] = (),
    piece: int = PIECE_BYTES,
) -> int:
    """Fetch the files below a folder that are not here as they are there; none is deleted.

    Each gets its name here when it is whole, and the time of change that it has there. A file here
    that was not fetched and is another one is kept in ``.snakeshed/replaced``. A result with a
    record of its SHA-256 is compared with that. What was fetched is noted, with the configuration
    that the volume has of the study.

    Parameters
    ----------
    volume
        Where from.
    folder : str
        Such as ``results/mine``; at the same place here.
    configurations : sequence of str
        Files on the volume that may be those of the studies; all in ``config`` if none is given.
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
    RunningError
        A run of one of the studies goes on here.
    """
    there = volume.insist(lambda: listed(volume, folder))
    studies = sorted({parts[1] for each in there if len(parts := each.path.split("/")) > 2})
    locks = [RunLock(f".snakemake/snakeshed/{study}.lock", study) for study in studies]
    try:
        for lock in locks:
            lock.take()
        before = {study: FetchedResults.of(study) for study in studies}
        if any(not _is_here(each) for each in there):
            digests = _digests(volume, configurations)
            # Before anything is replaced: what is cut off is not taken for a result made here.
            for study in studies:
                now = FetchedResults(study, digests.get(study, ""), dict(before[study].files))
                now.files |= {
                    each.path: [each.size, each.mtime_ns]
                    for each in there
                    if each.path.startswith(f"{RESULTS}/{study}/")
                }
                now.write()
        return _pull(volume, folder, before, piece)
    finally:
        for lock in locks:
            lock.release()


def _pull(volume: Volume, folder: str, before: dict[str, FetchedResults], piece: int) -> int:
    fetched: list[There] = []
    say = volume.kubectl.say
    aside = _Aside(before, datetime.now().strftime("%Y-%m-%dT%H-%M-%S"))

    def work() -> None:
        wanted = [each for each in listed(volume, folder) if not _is_here(each)]
        if not wanted:
            return
        total = sum(each.size - _size(each.part) for each in wanted)
        left.append(total + len(wanted))
        say(f"Fetching {counted(len(wanted))} of {folder} ({megabytes(total)}).")
        _fetch(volume, wanted, fetched, piece, aside)

    left: list[int] = []
    try:
        volume.insist(work, lambda: left[-1] if left else 0)
    finally:
        damaged = _damaged(fetched)
        if aside.kept:
            say(f"{counted(aside.kept)} here had not been fetched, and went to {aside.folder}.")
    if damaged:
        raise damaged[0]
    say(f"{folder}: {counted(len(fetched))} fetched." if fetched else f"{folder} is up to date.")
    return len(fetched)


class _Aside:
    """Where files go that were made here and have the names of fetched ones."""

    def __init__(self, before: dict[str, FetchedResults], time: str) -> None:
        self._before = before
        self.folder = f"{REPLACED}/{time}"
        self.kept = 0

    def put(self, path: str) -> None:
        """Keep a file, unless it is none or was fetched."""
        study = self._before.get(path.split("/")[1])
        if not os.path.lexists(path) or (study and study.has(path)):
            return
        kept = Path(self.folder, path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, kept)
        self.kept += 1


def _digests(volume: Volume, configurations: Sequence[str]) -> dict[str, str]:
    """Return digests of the configurations that the volume has, by the names of their studies.

    Those of which there are several are left out.
    """
    names = list(configurations)
    if not names:
        found = volume.answer({"do": "list", "folder": "config"})
        names = [path for path, _, _ in found if re.fullmatch(r"config/[^/]+\.ya?ml", path)]
    digests: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            copy = Path(folder, "study.yaml")
            try:
                copy.write_text(volume.text(name), encoding="utf-8")
                study = complete(read_study(copy), SCHEMA, name)
                study = without_publication(as_run(study))
            except (SnakeshedError, OSError):
                continue  # Not there, or no configuration.
            digests.setdefault(study["study"], set()).add(configuration_digest(study))
    return {study: next(iter(ones)) for study, ones in digests.items() if len(ones) == 1}


def _fetch(
    volume: Volume, wanted: list[There], fetched: list[There], piece: int, aside: _Aside
) -> None:
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
                aside.put(file.path)
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


def _damaged(fetched: list[There]) -> list[KubernetesError]:
    """Compare results with the records beside them; those that are wrong are fetched again."""
    problems = []
    for each in fetched:
        record = record_of(each.path)
        if record.is_file():
            recorded = record.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
            found = sha256_of(each.path)
            if found != recorded:
                os.utime(each.path, ns=(0, 0))
                problem = KubernetesError(
                    each.path,
                    f"a file that does not agree with its record (SHA-256 {found[:12]}…, not "
                    f"{recorded[:12]}…)",
                    "the file as its job wrote it",
                    "If a run goes on, fetch again when it is done (snakeshed cluster pull). "
                    "Otherwise delete the file on the volume, and run again.",
                )
                problems.append(problem)
    return problems


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
