"""What the inputs of a study were when it was last run, to find those that were replaced.

Snakemake compares the contents of an input that is newer than what was made of it. It does not
look at one that an older file has replaced (``cp -p``, ``rsync -t``, unpacking an archive), and a
result with a time in the future is newer than anything. So every input has a token, a parameter
of the rules that read it, which changes with its content.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from snakeshed.atomic import atomic
from snakeshed.errors import MachineError

# Smaller files are told apart by their content alone. Others are read only by Snakemake.
_READ_BYTES = 100_000
# Clocks of a file system and its machines differ by so much.
_AHEAD_NS = 2_000_000_000


class InputRecord:
    """Tokens of the inputs of a study, kept in a file from run to run.

    Parameters
    ----------
    path : str or Path
        The file, JSON. It need not be there; one that cannot be read counts as none.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._known: dict[str, list] = {}
        with suppress(OSError, ValueError, TypeError):
            read = dict(json.loads(self._path.read_text(encoding="utf-8")))
            self._known = {file: entry for file, entry in read.items() if len(entry) == 4}

    def update(self, files: Iterable[str], newest_result_ns: int) -> None:
        """Look at all inputs before a run, and keep their tokens.

        Parameters
        ----------
        files : iterable of str
        newest_result_ns : int
            Time of change of the newest result. A large file that is newer is left to Snakemake,
            which compares its content; one that differs from before in size or time, and is not,
            gets another token.
        """
        known: dict[str, list] = {}
        for file in files:
            with suppress(OSError):
                known[file] = self._entry(file, self._known.get(file), newest_result_ns)
        if known != self._known:
            self._known = known
            self._write()

    def token(self, files: Iterable[str], made: Collection[str] = ()) -> str:
        """Return what changes with the content of files.

        Parameters
        ----------
        files : iterable of str
        made : collection of str
            Files of which Snakemake knows by itself when they change, since a job makes them.
        """
        tokens = []
        for file in files:
            if file not in made:
                entry = self._known.get(file)
                with suppress(OSError):
                    tokens.append([file, (entry or self._entry(file, None, 0))[3]])
        return hashlib.sha256(json.dumps(sorted(tokens)).encode()).hexdigest()[:20]

    def bring_back(self, files: Iterable[str]) -> list[str]:
        """Give inputs from the future the time of now: no result could be newer.

        Returns
        -------
        list of str
            A warning for each.

        Raises
        ------
        MachineError
            They belong to others.
        """
        warnings = []
        now = time.time_ns()
        for file in files:
            with suppress(FileNotFoundError):
                changed = os.stat(file).st_mtime_ns
                if changed <= now + _AHEAD_NS:
                    continue
                when = datetime.fromtimestamp(changed / 1e9).isoformat(" ", "minutes")
                try:
                    os.utime(file, ns=(now, now))
                except OSError as error:
                    raise MachineError(
                        file,
                        f"a time of change in the future ({when}), which cannot be set "
                        f"({error.strerror})",
                        "an input that is older than its results, or one that is yours",
                        "Correct the clock of this machine, or have the owner run touch on it.",
                    ) from error
                warnings.append(f"{file}: its time of change was in the future ({when}); it is now")
                if file in self._known:
                    self._known[file][1] = os.stat(file).st_mtime_ns
        if warnings:
            self._write()
        return warnings

    @staticmethod
    def _entry(file: str, before: list | None, newest_result_ns: int) -> list:
        """Return size, times of change of content and of anything, and token."""
        stat = os.stat(file)
        seen = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        if before and before[:3] == seen:
            return before
        if stat.st_size <= _READ_BYTES:
            token = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:20]
        elif before and (
            stat.st_mtime_ns > newest_result_ns
            # Some file systems keep whole seconds only.
            or (before[0] == stat.st_size and before[1] // 10**9 == stat.st_mtime_ns // 10**9)
        ):
            token = before[3]
        else:
            token = f"{stat.st_size} bytes of {stat.st_mtime_ns}"
        return [*seen, token]

    def _write(self) -> None:
        with atomic(self._path, lasting=False) as part:
            part.write_text(json.dumps(self._known, indent=0), encoding="utf-8")


def times_of(results: str | Path) -> dict[str, int]:
    """Return the times of change of a study's results, in ns, logs left out."""
    times: dict[str, int] = {}
    for folder, folders, names in os.walk(results):
        if folder == str(results) and "logs" in folders:
            folders.remove("logs")
        for name in names:
            file = os.path.join(folder, name)
            with suppress(OSError):
                times[file] = os.stat(file).st_mtime_ns
    return times


def settle(times: Mapping[str, int]) -> int:
    """Give results from the future the time of now, in their order, so that inputs can be newer.

    Parameters
    ----------
    times : mapping of str to int
        From `times_of`.

    Returns
    -------
    int
        Time of change of the newest result, in ns; 0 where there is none.
    """
    now = time.time_ns()
    future = sorted({changed for changed in times.values() if changed > now})
    for file, changed in times.items():
        if changed > now:
            settled = now - 1000 * (len(future) - future.index(changed))
            with suppress(OSError):
                os.utime(file, ns=(settled, settled))
    return min(now, max(times.values(), default=0))
