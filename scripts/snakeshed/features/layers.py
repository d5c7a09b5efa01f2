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

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class NumericLayer:
    """A quantity. `scale` applies to every cell; `unit` ends the names of the columns."""

    name: str
    path: str
    percentiles: tuple[float, ...]
    scale: float = 1.0
    unit: str | None = None

    def columns(self) -> list[Column]:
        """List the layer's columns, in order."""
        name, unit = self.name, f", {self.unit}" if self.unit else ""
        told = {
            "mean": f"Mean of {name}, weighted by coverage{unit}.",
            "std": f"Standard deviation (population) of {name}, weighted by coverage{unit}.",
            "min": f"Smallest cell of {name} that is touched{unit}.",
            "max": f"Largest cell of {name} that is touched{unit}.",
        }
        columns = [Column(self._column(statistic), text) for statistic, text in told.items()]
        columns += [
            Column(
                self._column(f"p{number(q)}"),
                f"{q:g}th percentile of {name}, weighted by coverage{unit}.",
            )
            for q in self.percentiles
        ]
        return [*columns, coverage_column(name)]

    def _column(self, statistic: str) -> str:
        return "_".join(filter(None, (self.name, statistic, self.unit)))


@dataclass(frozen=True)
class ClassLayer:
    """Codes. `labels` names some of them; codes with the same label count together."""

    name: str
    path: str
    labels: Mapping[int, str] = field(default_factory=dict)

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


Layer = NumericLayer | ClassLayer | FuelLayer


def layer_of(declared: Mapping) -> Layer:
    """Make a layer of its declaration.

    Parameters
    ----------
    declared : mapping
        One entry of ``layers`` in the completed configuration.
    """
    name, path = declared["name"], declared["path"]
    if declared["type"] == "numeric":
        percentiles = tuple(declared["percentiles"])
        return NumericLayer(name, path, percentiles, declared["scale"], declared["unit"])
    if declared["type"] == "classes":
        return ClassLayer(name, path, {int(c): label for c, label in declared["classes"].items()})
    return FuelLayer(name, path, declared["table"])


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
