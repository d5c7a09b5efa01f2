"""Fuel models and the layer that names them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from snakeshed.errors import LayerError
from snakeshed.features.columns import Column, coverage_column
from snakeshed.features.missing import NOTHING_MISSING, Missing
from snakeshed.result_files import version_of

# Columns of the table of fuel models that are no parameters; all but the last two are needed.
_FUEL_KEYS = ("code", "model", "group", "burnable", "name", "dynamic")
_FUEL_NEEDED = _FUEL_KEYS[:4]


@dataclass(frozen=True)
class FuelModel:
    """One row of the table of fuel models; `parameters` are None where they are not defined."""

    code: int
    model: str
    group: str
    burnable: bool
    parameters: Mapping[str, float | None]


@dataclass(frozen=True)
class FuelLayer:
    """Fuel models of Scott and Burgan (2005), by a table such as ``config/fbfm40.csv``."""

    name: str
    path: str
    table: str
    missing: Missing = NOTHING_MISSING

    def models(self) -> tuple[FuelModel, ...]:
        """Read the table of fuel models.

        Raises
        ------
        LayerError
            There is no such table, or it cannot be understood.
        """
        try:
            version = version_of(self.table)
        except OSError:  # reading it says why
            version = ()
        return _read_models(self.table, f"layer {self.name} ({self.table})", version)

    def columns(self) -> list[Column]:
        """List the layer's columns, in order."""
        name, models = self.name, self.models()
        return [
            Column(
                f"{name}_dominant_model",
                f"Fuel model (or code, where it is not in the table) of the largest share of "
                f"{name}; that of the smallest code among equals.",
                is_text=True,
            ),
            *(
                Column(f"{name}_share_{group.lower()}", f"Share of fuel models {group}.")
                for group in self.groups()
            ),
            *(
                Column(f"{name}_share_{model.model.lower()}", f"Share of fuel model {model.model}.")
                for model in models
            ),
            Column(f"{name}_share_burnable", "Share of burnable fuel models."),
            *(
                Column(
                    f"{name}_{parameter}",
                    f"Mean {parameter} of the burnable fuel models that define it, by share.",
                )
                for parameter in self.parameters()
            ),
            Column(f"{name}_share_unmapped", "Share of codes that the table of models lacks."),
            Column(
                f"{name}_unmapped_codes",
                "These codes, separated by semicolons; null if none.",
                is_text=True,
            ),
            coverage_column(name),
        ]

    def groups(self) -> list[str]:
        """List the groups of fuel models, in the order of the table."""
        return list(dict.fromkeys(model.group for model in self.models()))

    def parameters(self) -> list[str]:
        """List the parameters of fuel models, in the order of the table."""
        return list(self.models()[0].parameters)


@lru_cache(maxsize=8)
def _read_models(table: str, where: str, _version: tuple[int, ...]) -> tuple[FuelModel, ...]:
    """Read a table of fuel models, once in a process as long as the file is the same."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise LayerError(
            where,
            "no such file",
            "the table of fuel models",
            "Set the layer's table, or restore config/fbfm40.csv.",
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LayerError(
            where, str(error), "a CSV table in UTF-8", "Write it as config/fbfm40.csv is written."
        ) from error
    missing = [key for key in _FUEL_NEEDED if not rows or rows[0].get(key) is None]
    if missing:
        raise LayerError(
            where,
            f"no {', '.join(missing)}" if rows else "no rows",
            f"one fuel model a row, with at least {', '.join(_FUEL_NEEDED)}",
            "Write it as config/fbfm40.csv is written.",
        )
    models = tuple(_model(row, line, where) for line, row in enumerate(rows, start=2))
    for what, values in (
        ("code", [model.code for model in models]),
        ("model", [model.model for model in models]),
    ):
        twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
        if twice:
            raise LayerError(
                where, f"the {what} {twice[0]} twice", f"every {what} once", "Remove one row."
            )
    return models


def _model(row: Mapping[str, str], line: int, where: str) -> FuelModel:
    def problem(key: str, expected: str) -> LayerError:
        return LayerError(
            f"{where}, line {line}", f"{key} {row[key]!r}", expected, "Correct the table."
        )

    try:
        code = int(row["code"])
    except ValueError:
        raise problem("code", "a whole number") from None
    if row["burnable"] not in ("yes", "no"):
        raise problem("burnable", "yes or no")
    for key in ("model", "group"):
        if not row[key]:
            raise problem(key, "a name")
    parameters: dict[str, float | None] = {}
    for key in row:
        if key in _FUEL_KEYS:
            continue
        try:
            parameters[key] = float(row[key]) if row[key] else None
        except (TypeError, ValueError):
            raise problem(key, "a number, or nothing") from None
        if parameters[key] is not None and not math.isfinite(parameters[key]):
            raise problem(key, "a number, or nothing")
    return FuelModel(code, row["model"], row["group"], row["burnable"] == "yes", parameters)
