"""The rainfall of observations, from a column of the site table to millimeters.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snakeshed.models.storms import rainfall_mm
from snakeshed.sites.cells import number_in


@dataclass(frozen=True)
class RainfallColumn:
    """A column with the rainfall of observations.

    Attributes
    ----------
    duration_min : int
        Duration over which it was measured, minutes.
    column : str
        As the site table calls it.
    unit : str
        One of `snakeshed.models.storms.UNITS`.
    """

    duration_min: int
    column: str
    unit: str

    @classmethod
    def of(cls, declared: Mapping) -> RainfallColumn:
        """Make one of an entry of ``observations.rainfall`` in the completed configuration."""
        return cls(declared["duration_min"], declared["column"], declared["unit"])

    @property
    def name(self) -> str:
        """Name of its column in ``dataset.parquet``."""
        return f"rainfall_{self.duration_min}min_mm"

    def accumulation_mm(self, cell: Any) -> float | None:
        """Return the rain that fell over the duration.

        Parameters
        ----------
        cell : object
            A cell of the column. Text counts as the number that it spells.

        Returns
        -------
        float or None
            mm; None for a cell that is no finite number or is negative.
        """
        value = number_in(cell)
        if value is None or value < 0:
            return None
        return rainfall_mm(value, self.unit, self.duration_min)
