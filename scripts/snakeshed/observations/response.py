"""The response of observations: whether there was a debris flow.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from snakeshed.sites.cells import is_missing, number_in

DEBRIS_FLOW = "debris_flow"
"""Name of the response in ``dataset.parquet``."""

_YES, _NO = ("true", "t", "yes", "y"), ("false", "f", "no", "n")
_WORDS = dict.fromkeys(_YES, 1.0) | dict.fromkeys(_NO, 0.0)


def _comparable(value: Any) -> float | str:
    """Return a number for a number, a truth value, or a word for one; else lower-case text."""
    if isinstance(value, bool):
        return float(value)
    if (number := number_in(value)) is not None:
        return number
    text = str(value).strip().casefold()
    return _WORDS.get(text, text)


@dataclass(frozen=True)
class Response:
    """A column that says whether there was a debris flow.

    Attributes
    ----------
    column : str
        As the site table calls it.
    events : tuple of (float, str, or bool)
        Values that mean a debris flow.
    """

    column: str
    events: tuple[float | str | bool, ...]

    @classmethod
    def of(cls, declared: Mapping) -> Response:
        """Make one of ``observations.response`` in the completed configuration."""
        return cls(declared["column"], tuple(declared["events"]))

    def are_events(self, cells: Iterable) -> list[bool | None]:
        """Tell which cells mean a debris flow.

        Parameters
        ----------
        cells : iterable of object
            Cells of the column: numbers, text, or truth values. Text counts as the number that it
            spells, and the words for true and false count as 1 and 0.

        Returns
        -------
        list of (bool or None)
            None for an empty cell.
        """
        from snakeshed.sites.observations import NULL_TEXTS

        events = frozenset(map(_comparable, self.events))

        def is_event(cell: Any) -> bool | None:
            # A column that is text in the whole has the usual spellings of nothing as text.
            if is_missing(cell) or (isinstance(cell, str) and cell.strip() in NULL_TEXTS):
                return None
            return _comparable(cell) in events

        return [is_event(cell) for cell in cells]
