"""What the inputs of a study were when it was last run, to find those that were replaced.

Snakemake compares the contents of an input that is newer than what was made of it. It does not
look at one that an older file has replaced (``cp -p``, ``rsync -t``, unpacking an archive), and a
result with a time in the future is newer than anything. So every input has a token, a parameter
of the rules that read it, which changes with its content.

Nor does Snakemake notice an input that changes while jobs read it: one shard could have the old
terrain and another the new. So a run keeps what its inputs were when it began, and each job
compares those that it reads with that, before its output gets its name.
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
from snakeshed.errors import InputChangedError, MachineError

# Smaller files are compared by content. Others are read only by Snakemake.
_READ_BYTES = 100_000
# Clocks of a file system and its machines differ by so much.
_AHEAD_NS = 2_000_000_000


class InputRecord:
    """Tokens of the inputs of a study, kept in a file from run to run.

    Parameters
    ----------
    path : str or Path
        The file, JSON. It need not be there; one that cannot be read counts as none.

    Attributes
    ----------
    of_run : str
        The file that has the inputs of a run while it goes on, and after it was killed.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.of_run = f"{path}.run"
        self._known = _read(self._path)

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
        in_run = _read(self.of_run)
        for file in files:
            before = self._known.get(file)
            try:
                known[file] = self._entry(file, before, newest_result_ns, in_run.get(file))
            except FileNotFoundError:
                continue
            except OSError:
                # The job that reads it says so. Until then it is what it was.
                if before:
                    known[file] = before
        if known != self._known:
            self._known = known
            self._write(self._path)

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

    def begin_run(self) -> None:
        """Keep what the inputs are now, for the jobs of a run; see `UnchangedInputs`."""
        self._write(self.of_run)

    def end_run(self) -> None:
        """Give inputs that changed while the run went on another token: jobs have read the old."""
        self.update(self._known, time.time_ns())
        Path(self.of_run).unlink(missing_ok=True)

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
            self._write(self._path)
        return warnings

    @staticmethod
    def _entry(
        file: str, before: list | None, newest_result_ns: int, in_run: list | None = None
    ) -> list:
        """Return size, times of change of content and of anything, token, and inode.

        Snakemake compares an input with what it was at the end of a job, so one that has changed
        since a run began, with the entry `in_run`, is not left to it.
        """
        stat = os.stat(file)
        if before and before[:3] == _entry_of(stat)[:3]:
            return before
        changed_in_run = in_run is not None and not _same(in_run, stat)
        if (
            before
            and stat.st_size > _READ_BYTES
            and not changed_in_run
            and (
                stat.st_mtime_ns > newest_result_ns
                # Some file systems keep whole seconds only.
                or (before[0] == stat.st_size and before[1] // 10**9 == stat.st_mtime_ns // 10**9)
            )
        ):
            return _entry_of(stat, before[3])
        token = _token(file, stat)
        if changed_in_run and token == in_run[3] and stat.st_size > _READ_BYTES:
            token = f"{token}, another file since {stat.st_ctime_ns}"
        return _entry_of(stat, token)

    def _write(self, path: str | Path) -> None:
        with atomic(path, lasting=False) as part:
            part.write_text(json.dumps(self._known, indent=0), encoding="utf-8")


class UnchangedInputs:
    """The inputs that a job reads, to be compared with what they were.

    Parameters
    ----------
    files : iterable of str
        Those that are no files of this machine are left out.
    of_run : str or Path
        `InputRecord.of_run`. It need not be there: a job may run by itself.

    Raises
    ------
    InputChangedError
        One has changed since the run began.
    """

    def __init__(self, files: Iterable[str], of_run: str | Path) -> None:
        if isinstance(files, str):
            raise TypeError(f"files is the text {files!r}: expected a sequence of names")
        began = _read(of_run)
        self._files: dict[str, list] = {}
        for file in files:
            with suppress(FileNotFoundError):
                stat = os.stat(file)
                self._files[file] = _entry_of(stat)
                entry = began.get(file)
                if entry is None or _same(entry, stat):
                    continue
                if stat.st_size <= _READ_BYTES and _token(file, stat) == entry[3]:
                    continue
                raise _changed(file, entry, stat)

    def check(self) -> None:
        """Compare the inputs, after the last was read and before an output gets its name.

        Raises
        ------
        InputChangedError
            One has changed since the job began, or is gone.
        """
        for file, before in self._files.items():
            try:
                now = os.stat(file)
            except FileNotFoundError:
                now = None
            if now is None or not _same(before, now):
                raise _changed(file, before, now)


def _read(path: str | Path) -> dict[str, list]:
    with suppress(OSError, ValueError, TypeError):
        read = dict(json.loads(Path(path).read_text(encoding="utf-8")))
        return {file: entry for file, entry in read.items() if len(entry) == 5}
    return {}


def _same(entry: list, stat: os.stat_result) -> bool:
    """Whether a file is that of an entry, by size and times; another machine may see whole seconds.

    A file that took the place of another with both alike has another inode and another time of
    change of anything. Some network file systems change the one, and ``chmod`` the other.
    """
    times = (entry[1], stat.st_mtime_ns)
    whole = any(time_ns % 10**9 == 0 for time_ns in times)
    replaced = entry[4] != stat.st_ino and entry[2] != stat.st_ctime_ns
    return (
        entry[0] == stat.st_size
        and (times[0] == times[1] or (whole and times[0] // 10**9 == times[1] // 10**9))
        and not replaced
    )


def _entry_of(stat: os.stat_result, token: str = "") -> list:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, token, stat.st_ino]


def _token(file: str, stat: os.stat_result) -> str:
    if stat.st_size <= _READ_BYTES:
        try:
            return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:20]
        except OSError as error:
            # An error of reading, unlike one of opening, names no file.
            raise OSError(error.errno, error.strerror, file) from error
    return f"{stat.st_size} bytes of {stat.st_mtime_ns}"


def _changed(file: str, before: list, now: os.stat_result | None) -> InputChangedError:
    if now is None:
        found = "no such file"
    elif before[:2] == _entry_of(now)[:2]:
        found = "another file of the same size and time"
    else:
        found = _shown(_entry_of(now))
    return InputChangedError(
        file,
        f"{found}: the file changed during the run",
        f"the file as it was when the run began ({_shown(before)})",
        "Do not change inputs during a run. Run the same command again: it redoes everything that "
        "read the old file.",
    )


def _shown(entry: list) -> str:
    size, changed_ns = entry[:2]
    when = datetime.fromtimestamp(changed_ns / 1e9).isoformat(" ", "milliseconds")
    return f"{size:,} bytes of {when}"


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
    places = {changed: place for place, changed in enumerate(future)}
    for file, changed in times.items():
        if changed > now:
            settled = now - 1000 * (len(future) - places[changed])
            with suppress(OSError):
                os.utime(file, ns=(settled, settled))
    return min(now, max(times.values(), default=0))
