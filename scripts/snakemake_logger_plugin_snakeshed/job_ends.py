"""How a job ended, by its log (`snakeshed.jobs.log`) and by what Snakemake says of its process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from textwrap import dedent

_STAMP = re.compile(r"^\d\d:\d\d:\d\d ")
_TOOK = re.compile(r"^done in ([\d.]+ s)$")
_CRASH = re.compile(r"^failed after [\d.]+ s")
_SIGNAL = re.compile(r"died with <Signals\.(SIG\w+): \d+>|exit status (137)\b")
_STATUS = re.compile(r"non-zero (exit status \d+)")
# What an executor says of a job: the reason, the cluster's name for the job, and the last that its
# container said.
_EXTERNAL_NAME = re.compile(r" \(Job [\w.-]+\)$")
_EXIT_CODE = re.compile(r"\bexit code \d+")
_SAID_BY_SNAKEMAKE = "For further error details see the cluster/cloud log"
_WARNING = "warning: "
_ERROR = "error: "
# Lines of a traceback's end that are worth a screen.
_LAST_LINES = 6


def outcome(logs: Iterable[str]) -> str:
    """What a finished job said first, and how long it took: "716 sites, 0.2 s"; or nothing."""
    # The first record is what the job was to do.
    _, *told = [*_records(logs)] or [""]
    told = [record for record in told if not record.startswith(_WARNING)]
    took = _TOOK.match(told[-1]) if len(told) > 1 else None
    return f"{told[0]}, {took[1]}" if took else ""


def warnings_in(logs: Iterable[str]) -> list[str]:
    """What a job warned of."""
    return [r.removeprefix(_WARNING) for r in _records(logs) if r.startswith(_WARNING)]


def reason_of(logs: Iterable[str], exception: str, told: str = "") -> str:
    """Why a job failed.

    Parameters
    ----------
    logs : iterable of str
        Its log files, without those that an earlier attempt has left.
    exception : str
        What Snakemake says of its process.
    told : str
        What the executor of a cluster says of the job.

    Returns
    -------
    str
        What the executor says, unless that is no more than an exit code; the message for the user
        that the job's log ends with; the end of a traceback; that the job was killed; that its log
        says nothing, as when it could not be written; or what Snakemake says.
    """
    killed = _SIGNAL.search(exception)
    if killed:
        name = killed[1] or "SIGKILL"
        advice = (
            ", most likely for want of memory: run with fewer --cores, or where there is more."
            if name == "SIGKILL"
            else "."
        )
        return f"its process was ended from outside ({name}){advice}"
    by_executor, last_lines = _executors_words(told)
    own = _own_words(logs)
    if by_executor and not (own and _EXIT_CODE.search(by_executor)):
        if _EXIT_CODE.search(by_executor) and last_lines:
            return "\n".join([f"{by_executor}; the last that it said:", *last_lines])
        return by_executor
    if own:
        return own
    if status := _STATUS.search(exception):
        return f"it ended with {status[1]} and without a word in its log; what it said is above."
    return exception or "no reason is known."


def in_short(reason: str) -> str:
    """Line of a reason that says most."""
    first, *more = reason.splitlines() or [""]
    in_traceback = any(line.lstrip().startswith('File "') for line in (first, *more))
    return more[-1].strip() if more and in_traceback else first


def state_of(path: str) -> tuple[int, ...] | None:
    """What changes whenever a file is written, by no clock; None if there is no such file."""
    try:
        # Opening it asks a server for what another machine may have written.
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _executors_words(told: str) -> tuple[str, list[str]]:
    """Reason that an executor gives, and the last lines of the container."""
    first, _, more = told.partition(_SAID_BY_SNAKEMAKE)[0].strip().partition("\n")
    reason = _EXTERNAL_NAME.sub("", first.strip())
    said = dedent(more.partition("\n")[2]).splitlines()
    return reason, [line for line in said if line.strip()][-_LAST_LINES:]


def _own_words(logs: Iterable[str]) -> str:
    """What a job says of its failure; empty if it says nothing."""
    records = list(_records(logs))
    last = records[-1] if records else ""
    if _CRASH.match(last):
        return "\n".join(last.splitlines()[-_LAST_LINES:])
    return last.removeprefix(_ERROR) if last.startswith(_ERROR) else ""


def _records(logs: Iterable[str]) -> Iterator[str]:
    """Records of log files without their times; a record may have several lines."""
    for path in logs:
        record: list[str] = []
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    if _STAMP.match(line):
                        if record:
                            yield "".join(record).rstrip()
                        record = [_STAMP.sub("", line)]
                    else:
                        record.append(line)
        except OSError:
            continue
        if record:
            yield "".join(record).rstrip()
