"""Single cells of a user's table: numbers, gaps, and how they are shown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def number_in(cell: Any) -> float | None:
    """Return a cell as a finite number, or None.

    Parameters
    ----------
    cell : object
        A number, or text such as `12.5` or `1e3`; anything else is no number.

    Returns
    -------
    float or None
        The nearest double: the same for a number and for its text.
    """
    if isinstance(cell, bool) or cell is None:
        return None
    # Python's float() would also take 1_000 and digits of other scripts.
    if isinstance(cell, str) and not _NUMBER.fullmatch(cell.strip()):
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def is_missing(cell: Any) -> bool:
    """Tell whether a cell is empty.

    Parameters
    ----------
    cell : object
        None, NaN and blank text are empty.

    Returns
    -------
    bool
        True if it is.
    """
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def most_frequent(values: Iterable[float]) -> float | None:
    """Return the number that the rows of a site agree on most.

    Parameters
    ----------
    values : iterable of float
        Of the rows of one site.

    Returns
    -------
    float or None
        The most frequent one, the smallest of several such; None without any.
    """
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value), default=None)


def shown(cell: Any) -> str:
    """Return a cell as it is quoted in a reason.

    Parameters
    ----------
    cell : object
        Any value.

    Returns
    -------
    str
        Its value, text in quotes.
    """
    return "an empty cell" if is_missing(cell) else repr(cell)
