"""Layers: the datasets that are summarised over catchments, and the columns that they give.

This is read at every start of Snakemake: it imports nothing heavy.
`snakeshed.features.zonal` computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from snakeshed.errors import ConfigurationError
from snakeshed.features.columns import (
    BEFORE_FEATURES,
    Column,
    ReliefRule,
    catchment_columns,
    coverage_column,
    number,
)
from snakeshed.features.fuel import FuelLayer
from snakeshed.features.missing import NOTHING_MISSING, Missing

if TYPE_CHECKING:
    import pandas as pd


def _columns_of_quantity(name: str, unit: str | None, percentiles: Sequence[float]) -> list[Column]:
    """List the columns of a quantity, in order."""

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
        coverage_column(name),
    ]


# The keys of a layer that its index depends on.
INDEXED = ("name", "path", "type", "scale", "nodata", "valid_range")


@dataclass(frozen=True)
class NumericLayer:
    """A quantity. `scale` applies to every cell; `unit` ends the names of the columns."""

    name: str
    path: str
    percentiles: tuple[float, ...]
    scale: float = 1.0
    unit: str | None = None
    missing: Missing = NOTHING_MISSING

    def columns(self) -> list[Column]:
        """List the layer's columns, in order."""
        return _columns_of_quantity(self.name, self.unit, self.percentiles)


@dataclass(frozen=True)
class ConstantLayer:
    """A quantity with one value everywhere, in place of a raster."""

    name: str
    value: float
    percentiles: tuple[float, ...]
    unit: str | None = None

    def columns(self) -> list[Column]:
        """List the layer's columns, in order."""
        return _columns_of_quantity(self.name, self.unit, self.percentiles)


@dataclass(frozen=True)
class ClassLayer:
    """Codes. `labels` names some of them; codes with the same label count together."""

    name: str
    path: str
    labels: Mapping[int, str] = field(default_factory=dict)
    missing: Missing = NOTHING_MISSING

    def columns(self) -> list[Column]:
        """List the layer's columns, in order."""
        name = self.name
        return [
            Column(
                f"{name}_dominant",
                f"Label (or code, where it has none) of the largest share of {name}; that of the "
                "smallest code among equals.",
                is_text=True,
            ),
            *(
                Column(f"{name}_share_{label}", f"Share of {label} in what {name} covers.")
                for label in self.distinct_labels()
            ),
            Column(f"{name}_share_unlabelled", f"Share of codes of {name} without a label."),
            Column(
                f"{name}_codes",
                f"Share of each code of {name}, labelled or not, as code=share;code=share.",
                is_text=True,
            ),
            coverage_column(name),
        ]

    def distinct_labels(self) -> list[str]:
        """List the labels, each once, in the order of their smallest codes."""
        return list(dict.fromkeys(self.labels[code] for code in sorted(self.labels)))


RasterLayer = NumericLayer | ClassLayer | FuelLayer
Layer = RasterLayer | ConstantLayer


def layer_of(declared: Mapping) -> Layer:
    """Make a layer of its declaration.

    Parameters
    ----------
    declared : mapping
        One entry of ``layers`` in the completed configuration.
    """
    name, path = declared["name"], declared["path"]
    if declared["type"] == "numeric":
        percentiles, unit = tuple(declared["percentiles"]), declared["unit"]
        if path is None:
            return ConstantLayer(name, declared["value"], percentiles, unit)
        missing = Missing.of(declared)
        return NumericLayer(name, path, percentiles, declared["scale"], unit, missing)
    missing = Missing.of(declared)
    if declared["type"] == "classes":
        labels = {int(code): label for code, label in declared["classes"].items()}
        return ClassLayer(name, path, labels, missing)
    return FuelLayer(name, path, declared["table"], missing)


def feature_columns(rule: ReliefRule, layers: Sequence[Layer]) -> dict[str, Column]:
    """All columns of features by their names, in order.

    Raises
    ------
    ConfigurationError
        Two columns have the same name.
    LayerError
        The table of a fuel layer cannot be used.
    """
    groups = [("features", catchment_columns(rule))]
    groups += [(f"layers[{layer.name}]", layer.columns()) for layer in layers]
    columns: dict[str, Column] = {}
    owners = dict.fromkeys(BEFORE_FEATURES, "features")
    for owner, own in groups:
        for column in own:
            if column.name in owners:
                raise _collision(owner, column.name, owners[column.name])
            columns[column.name] = column
            owners[column.name] = owner
    return columns


def declared_columns(features: Mapping, layers: Sequence[Mapping]) -> dict[str, Column]:
    """Columns of a study, by ``features`` and ``layers`` of its completed configuration.

    Raises
    ------
    ConfigurationError, LayerError
        See `feature_columns`.
    """
    rule = ReliefRule(tuple(features["steep_degrees"]), tuple(features["percentiles"]))
    return feature_columns(rule, [layer_of(layer) for layer in layers])


def unknown_codes(features: pd.DataFrame, layers: Sequence[Layer]) -> dict[str, dict[int, int]]:
    """Count in how many catchments each code occurs that its layer does not know.

    Parameters
    ----------
    features : pandas.DataFrame
        ``features.parquet``.
    layers : sequence of Layer

    Returns
    -------
    dict
        Of each layer with such codes, by its name, the number of sites by code, in ascending
        order of the codes. A layer that declares no labels at all knows every code.
    """
    unknown: dict[str, dict[int, int]] = {}
    for layer in layers:
        if isinstance(layer, ClassLayer) and layer.labels:
            column, known = f"{layer.name}_codes", layer.labels
        elif isinstance(layer, FuelLayer):
            column, known = f"{layer.name}_unmapped_codes", {}
        else:
            continue
        counts = Counter(
            code
            for listed in features[column].dropna()
            # "code=share;code=share", or "code;code".
            for code in (int(entry.partition("=")[0]) for entry in listed.split(";"))
            if code not in known
        )
        if counts:
            unknown[layer.name] = dict(sorted(counts.items()))
    return unknown


def _collision(owner: str, name: str, other: str) -> ConfigurationError:
    if owner == other == "features":
        step = "Remove one of two percentiles or slopes that differ by less than six digits."
    elif owner == other:
        step = "Change one of its labels, models or percentiles."
    else:
        step = "Rename the layer, or change its unit or its labels."
    found = f"the column {name} " + ("twice" if owner == other else f"that {other} has too")
    return ConfigurationError(owner, found, "every column once", step)
