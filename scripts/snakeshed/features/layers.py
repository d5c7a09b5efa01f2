"""Layers: the datasets that are summarized over catchments, and the columns that they give.

This is read at every start of Snakemake: it imports nothing heavy. Each type of layer is a module
of `snakeshed.features.layer_types`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from snakeshed.errors import ConfigurationError
from snakeshed.features import layer_types
from snakeshed.features.columns import BEFORE_FEATURES, Column, ReliefRule, catchment_columns
from snakeshed.features.joint import JointRule, joint_rules
from snakeshed.features.layer import Layer, LayerType, columns_of

if TYPE_CHECKING:
    import pandas as pd


# Where a type has no keys of its own, its files are looked at by these.
_ALWAYS_INDEXED = ("name", "type")


def type_of(declared: Mapping) -> LayerType:
    """Return the module of a layer's type, which is named as the type is.

    Parameters
    ----------
    declared : mapping
        One entry of ``layers``.
    """
    return import_module(f"{layer_types.__name__}.{declared['type']}")


def layer_of(declared: Mapping, folder: str | None = None) -> Layer:
    """Make a layer of its declaration.

    Parameters
    ----------
    declared : mapping
        One entry of ``layers`` in the completed configuration.
    folder : str, optional
        Where `prepared_of` finds what was prepared. Without it, layers of polygons and points have
        columns, but no values.
    """
    layer = type_of(declared).layer_of(declared)
    prepared = None if folder is None else prepared_of(declared, folder)
    return layer if prepared is None else replace(layer, prepared=prepared)


def prepared_of(declared: Mapping, folder: str) -> str | None:
    """Return the file that is written of a layer once for all shards; None if there is none."""
    keys = type_of(declared).PREPARED
    is_prepared = any(declared.get(key) for key in keys)
    return f"{folder}/{declared['name']}.parquet" if is_prepared else None


def indexed(declared: Mapping) -> dict:
    """Return those keys of a layer that its index depends on."""
    kind = type_of(declared)
    keys = (*_ALWAYS_INDEXED, *kind.RASTERS, *kind.TABLES, *kind.INDEXED)
    return {key: declared[key] for key in declared if key in keys}


def rasters_of(declared: Mapping) -> dict[str, str]:
    """Return the rasters that a layer names, by key."""
    return {key: path for key in type_of(declared).RASTERS if (path := declared.get(key))}


def tables_of(declared: Mapping) -> dict[str, str]:
    """Return the other files that a layer names, such as tables and polygons, by key."""
    return {key: path for key in type_of(declared).TABLES if (path := declared.get(key))}


def folder_of(prepared: Sequence[str]) -> str | None:
    """Return the folder of the files that `prepared_of` names; None if there are none."""
    return os.path.dirname(prepared[0]) if prepared else None


def tables_for_shards(declared: Mapping) -> dict[str, str]:
    """Return those of `tables_of` that shards read themselves, by key."""
    prepared = type_of(declared).PREPARED
    return {key: path for key, path in tables_of(declared).items() if key not in prepared}


def feature_columns(
    rule: ReliefRule, layers: Sequence[Layer], joint: Sequence[JointRule] = ()
) -> dict[str, Column]:
    """All columns of features by their names, in order.

    Raises
    ------
    ConfigurationError
        Two columns have the same name.
    LayerError
        The table of a fuel layer cannot be used.
    """
    groups = [("features", catchment_columns(rule))]
    groups += [(f"layers[{layer.name}]", columns_of(layer)) for layer in layers]
    groups += [(f"features.joint[{each.name}]", [each.column()]) for each in joint]
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
    SeveralProblems
        See `snakeshed.features.joint.joint_rules`.
    """
    rule = ReliefRule(tuple(features["steep_degrees"]), tuple(features["percentiles"]))
    declared = [layer_of(layer) for layer in layers]
    return feature_columns(rule, declared, joint_rules(features["joint"], declared))


def unknown_codes(
    features: pd.DataFrame, layers: Sequence[Layer]
) -> dict[str, dict[int | str, int]]:
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
    counts = {layer.name: dict(layer.undeclared(features)) for layer in layers}
    return {name: codes for name, codes in counts.items() if codes}


def _collision(owner: str, name: str, other: str) -> ConfigurationError:
    if owner == other == "features":
        step = "Remove one of two percentiles or slopes that differ by less than six digits."
    elif owner == other:
        step = "Change one of its labels, models or percentiles."
    else:
        step = "Rename the layer, or change its unit or its labels."
    found = f"the column {name} " + ("twice" if owner == other else f"that {other} has too")
    return ConfigurationError(owner, found, "every column once", step)
