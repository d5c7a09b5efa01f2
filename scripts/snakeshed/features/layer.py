"""What a layer is: what it is summarized over, what a summary is, and what each type provides.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from snakeshed.features.columns import Column, coverage_column
from snakeshed.features.missing import Missing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import shapely

    from snakeshed.terrain.index import TerrainIndex


@dataclass(frozen=True, eq=False)
class Catchments:
    """Catchments that layers are summarized over.

    Attributes
    ----------
    outlines : sequence of shapely.Geometry
    crs : str
        Of the outlines and of the sites.
    areas_km2 : sequence of float
    sites : sequence of (float, float)
        x and y of each site.
    kept : dict
        What layers find out of them and the next ones use again.
    """

    outlines: Sequence[shapely.Geometry]
    crs: str
    areas_km2: Sequence[float] = ()
    sites: Sequence[tuple[float, float]] = ()
    kept: dict = field(default_factory=dict, repr=False)


class Summary(NamedTuple):
    """What a layer says of one catchment.

    Attributes
    ----------
    values : list, or None
        Of all columns of the layer but the coverage; None without data, or with too little.
    coverage : float, or None
        Share of the catchment where the layer has data, 0 to 1; None if it has no coverage.
    remark : str or None
        What a person should know of these values.
    """

    values: list[float | str | None] | None
    coverage: float | None
    remark: str | None = None


class Layer(Protocol):
    """A declared layer."""

    @property
    def name(self) -> str:
        """Its name, with which the names of its columns begin."""
        ...

    @property
    def missing(self) -> Missing:
        """Which cells count as missing."""
        ...

    @property
    def has_coverage(self) -> bool:
        """Whether there are places without data; else no value is ever missing."""
        ...

    def own_columns(self) -> list[Column]:
        """List its columns but the coverage, in order."""
        ...

    def summarise(self, catchments: Catchments) -> Iterator[Summary]:
        """Summarize it over each catchment in turn; of `own_columns`.

        Raises
        ------
        LayerError
            The layer cannot be read or summarized.
        """
        ...

    def sampler(self, crs: str) -> Sampler:
        """Return what reads its values at points in a CRS.

        Raises
        ------
        LayerError
            As for `summarise`.
        """
        ...

    def codes_of(self, classes: Sequence[str]) -> Mapping[float, float]:
        """Return the codes of `sampler` that belong to some classes, each with its share of them.

        A share is above 0 and at most 1.
        """
        ...

    def classes(self) -> Sequence[str]:
        """List the labels of its classes; empty for a quantity."""
        ...

    def names(self) -> Mapping[float, str] | None:
        """Return what the codes of `sampler` stand for, as a legend has it; None for a quantity."""
        ...

    def undeclared(self, features: pd.DataFrame) -> Mapping[int | str, int]:
        """Count in how many catchments of ``features.parquet`` each undeclared code occurs."""
        ...


class Sampler(Protocol):
    """A layer that is open, to be read at points."""

    def values(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return its value at each point, or the code of a class; NaN without data.

        Parameters
        ----------
        x, y : ndarray of float64, shape (n,)

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        ...

    def close(self) -> None:
        """Close its files."""
        ...


class LayerFile(Protocol):
    """What is known of a layer's file before any shard starts; a dataclass, for ``layers.json``."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What looks wrong but may be right."""
        ...

    def described(self) -> str:
        """Return it in a few words."""
        ...


class LayerType(Protocol):
    """What a module of `snakeshed.features.layer_types` has."""

    RASTERS: Mapping[str, str]
    """Keys that name rasters, and what is expected there."""
    TABLES: Mapping[str, str]
    """Keys that name other files, such as tables or polygons, and what is expected there."""
    INDEXED: tuple[str, ...]
    """Keys that the look at its files depends on, beside name, type, and paths."""
    PREPARED: tuple[str, ...]
    """Keys of TABLES in place of which shards read a file that is written once for all of them.

    A function ``prepare(declared, terrain, path)`` does what `look` does, and writes that file. The
    layers have a field ``prepared`` for its path.
    """

    def layer_of(self, declared: Mapping) -> Layer:
        """Make a layer of one entry of ``layers`` in the completed configuration."""
        ...

    def look(self, declared: Mapping, terrain: TerrainIndex) -> Iterator[LayerFile]:
        """Look at its files; `declared` has a name, a type, paths, and perhaps keys of INDEXED.

        Raises
        ------
        LayerError, SeveralProblems
            A file cannot be used.
        """
        ...

    def contradictions(self, declared: Mapping) -> Iterator[tuple[str, str, str, str]]:
        """Yield what is contradictory in it as the user declared it.

        Key within the layer, found, expected, next step.
        """
        ...

    def completed(self, declared: Mapping, features: Mapping) -> dict:
        """Return it with what follows from the section ``features``, and codes as numbers."""
        ...


def columns_of(layer: Layer) -> list[Column]:
    """List all columns of a layer, in order."""
    own = layer.own_columns()
    return [*own, coverage_column(layer.name)] if layer.has_coverage else own


def place_of(name: str, path: str) -> str:
    """How errors name a layer."""
    return f"layer {name} ({path})"
