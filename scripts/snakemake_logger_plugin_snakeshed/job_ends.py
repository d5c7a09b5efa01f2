"""How a job ended, by its log (`snakeshed.jobs.log`) and by what Snakemake says of its process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_STAMP = re.compile(r"^\d\d:\d\d:\d\d ")
_TOOK = re.compile(r"^done in ([\d.]+ s)$")
_CRASH = re.compile(r"^failed after [\d.]+ s")
_SIGNAL = re.compile(r"died with <Signals\.(SIG\w+): \d+>|exit status (137)\b")
_STATUS = re.compile(r"non-zero (exit status \d+)")
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


def reason_of(logs: Iterable[str], exception: str) -> str:
    """Why a job failed.

    Parameters
    ----------
    logs : iterable of str
        Its log files.
    exception : str
        What Snakemake says of its process.

    Returns
    -------
    str
        The message for the user that the job's log ends with; the end of a traceback; that the
        job was killed; that its log says nothing, as when it could not be written; or what
        Snakemake says.
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
    records = list(_records(logs))
    last = records[-1] if records else ""
    if _CRASH.match(last):
        return "\n".join(last.splitlines()[-_LAST_LINES:])
    if last.startswith(_ERROR):
        return last.removeprefix(_ERROR)
    if status := _STATUS.search(exception):
        return f"it ended with {status[1]} and without a word in its log; what it said is above."
    return exception or "no reason is known."


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
