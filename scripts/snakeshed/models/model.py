"""What a model declares, and what it gives for one site and one rainfall.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

Domain = Literal["any", "not negative", "positive"]


@dataclass(frozen=True)
class Paper:
    """Where a model was published.

    Attributes
    ----------
    citation : str
        Authors, year, title, and journal.
    short : str
        Authors and year.
    doi : str
    """

    citation: str
    short: str
    doi: str

    def __str__(self) -> str:
        return f"{self.short}, doi:{self.doi}"


@dataclass(frozen=True)
class Input:
    """A quantity that a model takes.

    Attributes
    ----------
    key : str
        Its name in the configuration, and its column in ``hazard.parquet``.
    unit : str
        Of the value as the model takes it; empty for a ratio.
    description : str
    plausible : (float, float)
        Smallest and largest value that a catchment can be expected to have. A value outside is
        reported and used.
    column : str or None
        The column of ``features.parquet`` that holds it; ``{severity}`` stands for the name of
        the study's severity layer.
    scale : float
        Factor on that column.
    setting : str or None
        In place of a column, the key of the model in the configuration.
    domain : {"any", "not negative", "positive"}
        Where the formula has a value.
    tiny : float
        A value closer to 0 than this, but not 0, is reported: a scale is likely to be wrong.
    """

    key: str
    unit: str
    description: str
    plausible: tuple[float, float]
    column: str | None = None
    scale: float = 1.0
    setting: str | None = None
    domain: Domain = "any"
    tiny: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a model gives for one site and one rainfall; None where it gives nothing.

    Attributes
    ----------
    likelihood : float or None
        0 to 1.
    volume_m3, volume_low_m3, volume_high_m3 : float or None
        Volume, and its 95 % prediction interval, m3.
    likelihood_class, volume_class, hazard_class : int or None
    reason : str or None
        Why a value is missing.
    remark : str or None
        What is implausible about the inputs.
    inputs : Mapping of str to float or None
        The inputs as the model takes them, by their keys.
    """

    likelihood: float | None = None
    volume_m3: float | None = None
    volume_low_m3: float | None = None
    volume_high_m3: float | None = None
    likelihood_class: int | None = None
    volume_class: int | None = None
    hazard_class: int | None = None
    reason: str | None = None
    remark: str | None = None
    inputs: Mapping[str, float | None] | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A published model.

    Attributes
    ----------
    name : str
        As in the configuration.
    title : str
    paper : Paper
    formula : str
        In the symbols of the paper, with the coefficients.
    inputs : tuple of Input
    durations_min : tuple of int
        Durations of rainfall that the model takes, minutes; empty if it takes none of its own.
    """

    gives: ClassVar[tuple[str, ...]]
    """The values of `Outcome` that the model sets."""

    name: str
    title: str
    paper: Paper
    formula: str
    inputs: tuple[Input, ...]
    durations_min: tuple[int, ...]

    def input(self, key: str) -> Input:
        """Return an input by its key, which the model has."""
        return next(each for each in self.inputs if each.key == key)


class RainModel(Model, ABC):
    """A model of a catchment's inputs and a rainfall."""

    @abstractmethod
    def values(
        self, inputs: Mapping[str, float], duration_min: int, rainfall_mm: float
    ) -> dict[str, float | str]:
        """Return what the formula gives, as values of `Outcome`, or a ``reason`` why nothing.

        Parameters
        ----------
        inputs : mapping of str to float
            By key, in the units of `inputs` and inside their domains.
        duration_min : int
            One of `durations_min`.
        rainfall_mm : float
            Accumulation within this duration, at least 0, mm.
        """


def intensity_mm_per_h(rainfall_mm: float, duration_min: int) -> float:
    """Return the mean intensity (mm/h) of a rainfall (mm) within a duration (minutes)."""
    return rainfall_mm * 60.0 / duration_min
