"""The log of one rule's job: what it did, with times, and its error in one sentence."""

from __future__ import annotations

import copy
import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from snakeshed.errors import SnakeshedError, printable
from snakeshed.jobs.checkout import check_job
from snakeshed.jobs.endings import Terminated, in_good_order
from snakeshed.jobs.machine import machine_error

log = logging.getLogger("snakeshed")

_DONE = re.compile(r" done in ([0-9.]+) s$")


@contextmanager
def job_log(path: str, title: str) -> Iterator[logging.Logger]:
    """Send the library's log to a file while a job runs.

    An error ends the process with status 1 and nothing on the screen: Snakemake shows what the
    log says. That is the message alone of an error that the user can mend or that the machine
    caused, the traceback of any other. Where the log cannot be written, standard error is. The
    job does not outlive a Snakemake that was killed.

    Parameters
    ----------
    path : str
        The rule's log file; its folder exists.
    title : str
        What the job does, for the first line.
    """
    handler = _handler(path, title)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    started = time.perf_counter()
    try:
        log.info("%s", title)
        check_job()
        with in_good_order():
            yield log
        log.info("done in %.2f s", time.perf_counter() - started)
    except SnakeshedError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except Exception as error:
        if told := machine_error(error, title):
            log.error("error: %s", told)
        else:
            log.exception("failed after %.2f s", time.perf_counter() - started)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("error: interrupted (Ctrl-C).")
        sys.exit(130)
    except Terminated:
        log.error("error: the process was terminated (SIGTERM).")
        sys.exit(143)
    finally:
        log.removeHandler(handler)
        # What could not be written was told when it was logged.
        with suppress(OSError):
            handler.close()


def seconds_in(path: str | Path) -> float | None:
    """Return how long a job took, from its log; None if it did not end well, or has no log."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    done = _DONE.search(lines[-1]) if lines else None
    return float(done[1]) if done else None


def _handler(path: str, title: str) -> logging.Handler:
    try:
        handler = _LogFile(path, title)
    except OSError as error:
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.ERROR)
        handler.setFormatter(_Printable(f"{_as_format(title)}: %(message)s"))
        handler.handle(_complaint(error, path))
    else:
        handler.setFormatter(_Printable("%(asctime)s %(message)s", "%H:%M:%S"))
    return handler


def _as_format(title: str) -> str:
    """Return a title as a part of a log format."""
    return printable(title).replace("%", "%%")


class _Printable(logging.Formatter):
    """Writes names from tables and files so that they are one line and change no terminal."""

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.args, tuple):
            record = copy.copy(record)
            record.args = tuple(
                printable(value) if isinstance(value, str) else value for value in record.args
            )
        return printable(super().format(record), keep="\n")


class _LogFile(logging.FileHandler):
    """A log file; errors that it cannot take go to standard error."""

    def __init__(self, path: str, title: str) -> None:
        super().__init__(path, mode="w", encoding="utf-8")
        self._bare = _Printable(f"{_as_format(title)}: %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; show an error also where somebody has removed the log meanwhile."""
        super().emit(record)
        if record.levelno >= logging.ERROR and not Path(self.baseFilename).exists():
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of logging
        """Show an error where the log has no room for it; progress may be lost."""
        if record.levelno >= logging.ERROR:
            sys.stderr.write(f"{self._bare.format(record)}\n")


def _complaint(error: OSError, path: str) -> logging.LogRecord:
    told = machine_error(error, path) or f"{path}: {error}"
    return logging.makeLogRecord(
        {"levelno": logging.ERROR, "levelname": "ERROR", "msg": f"error: {told}"}
    )
