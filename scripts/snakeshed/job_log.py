"""The log of one rule's job: what it did, with times, and its error in one sentence."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from snakeshed.errors import SnakeshedError

log = logging.getLogger("snakeshed")


@contextmanager
def job_log(path: str, title: str) -> Iterator[logging.Logger]:
    """Send the library's log to a file while a job runs.

    An error ends the process with status 1 and nothing on the screen: Snakemake shows what the
    log says. That is the message alone of an error that the user can mend, the traceback of any
    other.

    Parameters
    ----------
    path : str
        The rule's log file; its folder exists.
    title : str
        What the job does, for the first line.
    """
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    started = time.perf_counter()
    try:
        log.info("%s", title)
        yield log
        log.info("done in %.2f s", time.perf_counter() - started)
    except SnakeshedError as error:
        log.error("%s", error)
        sys.exit(1)
    except Exception:
        log.exception("failed after %.2f s", time.perf_counter() - started)
        sys.exit(1)
    finally:
        log.removeHandler(handler)
        handler.close()
