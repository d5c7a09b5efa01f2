"""How far long work is: what `snakeshed check` shows while it looks at a large table.

It is logged at level DEBUG, which the logs of jobs leave out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")

# Between two records (s), and how many items pass between two looks at the clock.
_EVERY_S = 0.5
_EVERY_ITEMS = 1000


def begin(doing: str) -> None:
    """Log what is done from now on, where there is nothing to be counted."""
    log.debug("%s", doing)


def counted(
    items: Iterable[Item], doing: str, total: int | None = None, what: str = "rows"
) -> Iterator[Item]:
    """Yield items, and log at times how many there have been.

    Parameters
    ----------
    items : iterable
    doing : str
        What is done with them, such as ``reading sites.csv``.
    total : int, optional
        Number of items, where it is known.
    what : str
        What they are.
    """
    if not log.isEnabledFor(logging.DEBUG):
        yield from items
        return
    log.debug("%s", doing)
    of_all = "" if total is None else f" of {total:,}"
    logged = time.monotonic()
    for number, item in enumerate(items):
        if number % _EVERY_ITEMS == 0 and time.monotonic() - logged >= _EVERY_S:
            logged = time.monotonic()
            log.debug("%s: %s%s %s", doing, f"{number:,}", of_all, what)
        yield item
    log.debug("%s: done", doing)


def listed_text(names: Sequence[str], most: int = 10) -> str:
    """Return names in words, of long lists only the first ones and how many more there are."""
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text}, and {len(names) - most:,} more"


def counted_text(number: int, what: str) -> str:
    """Return a number of things in words, such as ``1 file`` and ``1,200 files``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
