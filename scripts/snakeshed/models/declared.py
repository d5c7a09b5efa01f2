"""The models that a configuration declares, with the columns that their inputs come from.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snakeshed.models.combined import CombinedModel
from snakeshed.models.logistic import LogisticModel
from snakeshed.models.model import Input, Model
from snakeshed.models.registry import published_models
from snakeshed.models.volume import VolumeModel

_SEVERITY = "{severity}"


@dataclass(frozen=True)
class DeclaredInput:
    """Where a study has an input of a model from.

    Attributes
    ----------
    input : Input
    column : str or None
        Of ``features.parquet``; None for a setting, or where no severity layer names it.
    scale : float
        Factor on the column.
    value : float or None
        A setting of the model.
    """

    input: Input
    column: str | None
    scale: float
    value: float | None = None

    def source(self) -> str:
        """Return the key, with the column if there is one, for messages."""
        return self.input.key if self.column is None else f"{self.input.key} ({self.column})"


@dataclass(frozen=True)
class DeclaredModel:
    """A model of a study.

    Attributes
    ----------
    model : Model
    inputs : tuple of DeclaredInput
        In the order of ``model.inputs``.
    likelihood, volume : str or None
        The models of the study that a combined one combines; None where that is not clear.
    bins : str or None
        Of the likelihoods, for a combined model.
    """

    model: Model
    inputs: tuple[DeclaredInput, ...]
    likelihood: str | None = None
    volume: str | None = None
    bins: str | None = None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name


def severity_layers(configuration: Mapping) -> list[str]:
    """Return the names of the severity layers of a completed configuration."""
    return [layer["name"] for layer in configuration["layers"] if layer["type"] == "severity"]


def declared_models(configuration: Mapping) -> list[DeclaredModel]:
    """Return the models of a completed configuration, in its order, whether or not it makes sense.

    Parameters
    ----------
    configuration : mapping
        See `snakeshed.models.configured.hazard_settings`.
    """
    layers = severity_layers(configuration)
    severity = layers[0] if len(layers) == 1 else None
    entries = configuration["models"]
    return [_declared(entry, entries, severity) for entry in entries]


def models_of(kind: type[Model], entries: list[Mapping]) -> list[str]:
    """Return the names of the declared models of a kind, each once."""
    names = dict.fromkeys(entry["name"] for entry in entries)
    return [name for name in names if isinstance(published_models()[name], kind)]


def _declared(entry: Mapping, entries: list[Mapping], severity: str | None) -> DeclaredModel:
    model = published_models()[entry["name"]]
    inputs = tuple(_input(each, entry, severity) for each in model.inputs)
    if not isinstance(model, CombinedModel):
        return DeclaredModel(model, inputs)
    chosen = {}
    for key, kind in (("likelihood", LogisticModel), ("volume", VolumeModel)):
        there = models_of(kind, entries)
        named = entry[key] or (there[0] if len(there) == 1 else None)
        chosen[key] = named if named in there else None
    return DeclaredModel(model, inputs, **chosen, bins=entry["bins"])


def _input(each: Input, entry: Mapping, severity: str | None) -> DeclaredInput:
    if each.setting is not None:
        return DeclaredInput(each, None, 1.0, entry[each.setting])
    own = entry["inputs"].get(each.key, {})
    if isinstance(own, str):
        own = {"column": own}
    scale = own.get("scale")
    column = own.get("column", each.column)
    if _SEVERITY in column:
        column = None if severity is None else column.replace(_SEVERITY, severity)
    return DeclaredInput(each, column, each.scale if scale is None else scale)
