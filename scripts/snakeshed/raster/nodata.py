"""Numbers for missing cells that a configuration names; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence


def nodata_numbers(nodata: float | Sequence[float] | None) -> tuple[float, ...]:
    """Return the numbers that a key ``nodata`` of a configuration names: none, one, or several."""
    if nodata is None:
        return ()
    return tuple(map(float, nodata if isinstance(nodata, Sequence) else (nodata,)))
