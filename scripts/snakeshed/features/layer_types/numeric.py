"""Layers of type numeric: a quantity, in a raster or the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from snakeshed.features.columns import Column, number
from snakeshed.features.layer import Catchments, Summary
from snakeshed.features.missing import NOTHING_MISSING, Missing

if TYPE_CHECKING:
    import numpy as np

    from snakeshed.features.layer import LayerFile, Sampler
    from snakeshed.terrain.index import TerrainIndex

RASTERS = {"path": "a raster"}
TABLES: dict[str, str] = {}
INDEXED = ("scale", "nodata", "valid_range")
PREPARED: tuple[str, ...] = ()


class _Quantity:
    """What a quantity has, wherever its values come from: no classes and no codes."""

    name: str
    unit: str | None
    percentiles: tuple[float, ...]
    has_coverage: ClassVar[bool] = True

    def own_columns(self) -> list[Column]:
        """List the layer's columns but the coverage, in order."""
        return _columns(self.name, self.unit, self.percentiles)

    def codes_of(self, classes: Sequence[str]) -> Mapping[float, float]:
        """Return nothing: a quantity has no classes."""
        return {}

    def classes(self) -> Sequence[str]:
        """Return nothing: a quantity has no classes."""
        return ()

    def names(self) -> None:
        """Return None: its values are no codes."""

    def undeclared(self, features: Any) -> Mapping[int | str, int]:
        """Return nothing: a quantity has no codes."""
        return {}


@dataclass(frozen=True)
class NumericLayer(_Quantity):
    """A quantity. `scale` applies to every cell; `unit` ends the names of the columns."""

    name: str
    path: str
    percentiles: tuple[float, ...]
    scale: float = 1.0
    unit: str | None = None
    missing: Missing = NOTHING_MISSING

    def summarise(self, catchments: Catchments) -> Iterator[Summary]:
        """Summarize it over each catchment in turn."""
        from snakeshed.features.layer_cells import cells_of_layer
        from snakeshed.features.raster_layer import header_of, scale_of
        from snakeshed.features.zonal import is_enough
        from snakeshed.kernels.weighted import mean_and_deviation, percentiles

        header = header_of(self)
        factor, shift = scale_of(self, header)
        asked = (0.0, 100.0, *self.percentiles)
        for cells in cells_of_layer(self, header, catchments):
            if not is_enough(self, cells):
                yield Summary(None, cells.coverage)
                continue
            # With a negative factor the largest stored number is the smallest value.
            ranked = percentiles(cells.stored, cells.shares, asked, descending=factor < 0)
            mean, deviation = mean_and_deviation(cells.stored, cells.shares, factor, shift)
            values = [mean, deviation, *(value * factor + shift for value in ranked)]
            yield Summary(values, cells.coverage)

    def sampler(self, crs: str) -> Sampler:
        """Return what reads it at points."""
        from snakeshed.features.sampling import RasterSampler

        return RasterSampler(self, crs)


@dataclass(frozen=True)
class ConstantLayer(_Quantity):
    """A quantity with one value everywhere, in place of a raster."""

    name: str
    value: float
    percentiles: tuple[float, ...]
    unit: str | None = None
    missing: Missing = field(default=NOTHING_MISSING, init=False)

    def summarise(self, catchments: Catchments) -> Iterator[Summary]:
        """Give its value to each catchment in turn."""
        for _ in catchments.outlines:
            yield Summary([self.value, 0.0, *[self.value] * (2 + len(self.percentiles))], 1.0)

    def sampler(self, crs: str) -> Sampler:
        """Return what gives its value at points."""
        return _Everywhere(self.value)


@dataclass(frozen=True)
class _Everywhere:
    value: float

    def values(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.full(x.shape, self.value)

    def close(self) -> None:
        pass


def layer_of(declared: Mapping) -> NumericLayer | ConstantLayer:
    """Make a layer of its declaration."""
    name, path = declared["name"], declared["path"]
    percentiles, unit = tuple(declared["percentiles"]), declared["unit"]
    if path is None:
        return ConstantLayer(name, declared["value"], percentiles, unit)
    return NumericLayer(name, path, percentiles, declared["scale"], unit, Missing.of(declared))


def look(declared: Mapping, terrain: TerrainIndex) -> Iterator[LayerFile]:
    """Look at its raster, if it has one."""
    from snakeshed.features.raster_layer import look_at_raster

    if declared["path"] is not None:
        yield look_at_raster(declared, terrain, codes=False)


def contradictions(declared: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield nothing: its keys are independent of each other."""
    yield from ()


def completed(declared: Mapping, features: Mapping) -> dict:
    """Return it with the percentiles of the section ``features``, if it has none of its own."""
    if declared["percentiles"] is not None:
        return dict(declared)
    return {**declared, "percentiles": list(features["percentiles"])}


def _columns(name: str, unit: str | None, percentiles: Sequence[float]) -> list[Column]:
    def column(statistic: str, text: str) -> Column:
        return Column("_".join(filter(None, (name, statistic, unit))), text)

    ending = f", {unit}." if unit else "."
    inside = "of which at least a millionth is in the catchment"
    return [
        column("mean", f"Mean of {name}, weighted by coverage{ending}"),
        column("std", f"Standard deviation (population) of {name}, weighted by coverage{ending}"),
        column("min", f"Smallest cell of {name} {inside}{ending}"),
        column("max", f"Largest cell of {name} {inside}{ending}"),
        *(
            column(
                f"p{number(q)}",
                f"{q:g}th percentile of {name}: the smallest cell value up to which {q:g} % of the "
                f"covered area lies (weighted inverse CDF){ending}",
            )
            for q in percentiles
        ),
    ]
