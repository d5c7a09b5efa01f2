"""Layers of type fbfm40: a raster of fuel models, and the table of these."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from snakeshed.errors import LayerError
from snakeshed.features.columns import Column
from snakeshed.features.layer import Catchments, Summary
from snakeshed.features.missing import NOTHING_MISSING, Missing
from snakeshed.result_files import version_of

if TYPE_CHECKING:
    from snakeshed.features.layer import LayerFile, Sampler
    from snakeshed.terrain.index import TerrainIndex

RASTERS = {"path": "a raster"}
TABLES = {"table": "the table of fuel models"}
INDEXED = ("nodata", "valid_range")
PREPARED: tuple[str, ...] = ()

# Columns of the table of fuel models that are no parameters; all but the last two are needed.
_FUEL_KEYS = ("code", "model", "group", "burnable", "name", "dynamic")
_FUEL_NEEDED = _FUEL_KEYS[:4]

_LOADS = ("1h", "10h", "100h", "live_herb", "live_woody")
_FINE = ("1h", "live_herb", "live_woody")
# Surface-area-to-volume ratios that all fuel models of Scott and Burgan (2005) share, per ft.
_COMMON_SAV = {"10h": 109.0, "100h": 30.0}
# Rothermel (1972): of all fuel particles.
_PARTICLE_DENSITY_LB_PER_FT3 = 32.0
_LB_PER_TON, _FT2_PER_ACRE = 2000.0, 43_560.0
_DERIVED = {
    "fine_fuel_load_ton_per_acre": "sum of the 1-h, live herbaceous, and live woody loads",
    "packing_ratio": "total load / (depth x 32 lb/ft3)",
    "characteristic_sav_per_ft": (
        "surface-area-to-volume ratios of all fuel classes, weighted by their surfaces "
        "(Rothermel 1972)"
    ),
}


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
    scale: ClassVar[float] = 1.0
    has_coverage: ClassVar[bool] = True

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

    def own_columns(self) -> list[Column]:
        """List the layer's columns but the coverage, in order."""
        name, models = self.name, self.models()
        return [
            Column(
                f"{name}_dominant_model",
                f"Fuel model (or code, where it is not in the table) of the largest share of "
                f"{name}; that of the smallest code among equals.",
                is_text=True,
            ),
            Column(
                f"{name}_dominant_group",
                "Group of fuel models with the largest share; the first of the table among equals.",
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
                    f"Mean {parameter} of the burnable fuel models that define it, by share"
                    + (f"; {_DERIVED[parameter]}." if parameter in _DERIVED else "."),
                )
                for parameter in self.parameters()
            ),
            Column(f"{name}_share_unmapped", "Share of codes that the table of models lacks."),
            Column(
                f"{name}_unmapped_codes",
                "These codes, separated by semicolons; null if none.",
                is_text=True,
            ),
        ]

    def summarise(self, catchments: Catchments) -> Iterator[Summary]:
        """Summarize it over each catchment in turn."""
        from snakeshed.features.zonal import class_shares

        for shares, coverage in class_shares(self, catchments):
            yield Summary(self._values(shares) if shares else None, coverage)

    def _values(self, shares: Mapping[int, float]) -> list[float | str | None]:
        models = {model.code: model for model in self.models()}
        known = {code: share for code, share in shares.items() if code in models}
        unmapped = {code: share for code, share in shares.items() if code not in models}
        burnable = {code: share for code, share in known.items() if models[code].burnable}
        dominant = max(shares, key=shares.get)
        of_group = {
            group: math.fsum(share for code, share in known.items() if models[code].group == group)
            for group in self.groups()
        }
        return [
            models[dominant].model if dominant in models else str(dominant),
            max(of_group, key=of_group.get) if known else None,
            *of_group.values(),
            *(shares.get(code, 0.0) for code in models),
            math.fsum(burnable.values()),
            *(
                _weighted_mean(burnable, {c: models[c].parameters[name] for c in burnable})
                for name in self.parameters()
            ),
            math.fsum(unmapped.values()),
            ";".join(map(str, unmapped)) or None,
        ]

    def sampler(self, crs: str) -> Sampler:
        """Return what reads it at points."""
        from snakeshed.features.sampling import RasterSampler

        return RasterSampler(self, crs)

    def classes(self) -> Sequence[str]:
        """List the groups and the models."""
        return [*self.groups(), *(model.model for model in self.models())]

    def codes_of(self, classes: Sequence[str]) -> Mapping[float, float]:
        """Return the codes of some models, or of all models of a group, each with a share of 1."""
        return {
            float(model.code): 1.0
            for model in self.models()
            if model.model in classes or model.group in classes
        }

    def names(self) -> Mapping[float, str]:
        """Return the fuel models of its codes."""
        return {float(model.code): model.model for model in self.models()}

    def undeclared(self, features: Any) -> Mapping[int | str, int]:
        """Count in how many catchments each code occurs that the table lacks."""
        from snakeshed.features.class_columns import count_codes

        return count_codes(features[f"{self.name}_unmapped_codes"], int, ())

    def groups(self) -> list[str]:
        """List the groups of fuel models, in the order of the table."""
        return list(dict.fromkeys(model.group for model in self.models()))

    def parameters(self) -> list[str]:
        """List the parameters of fuel models: those of the table, then those that follow."""
        return list(self.models()[0].parameters)


def layer_of(declared: Mapping) -> FuelLayer:
    """Make a layer of its declaration."""
    return FuelLayer(declared["name"], declared["path"], declared["table"], Missing.of(declared))


def look(declared: Mapping, terrain: TerrainIndex) -> Iterator[LayerFile]:
    """Look at its raster."""
    from snakeshed.features.raster_layer import look_at_raster

    yield look_at_raster(declared, terrain, codes=True)


def contradictions(declared: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield nothing: its keys are independent of each other."""
    yield from ()


def completed(declared: Mapping, features: Mapping) -> dict:
    """Return it as it is."""
    return dict(declared)


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
    return FuelModel(
        code,
        row["model"],
        row["group"],
        row["burnable"] == "yes",
        parameters | _derived(parameters),
    )


def _derived(parameters: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return what follows from the parameters of a fuel model; nothing if some have no column."""
    loads = {fuel: f"load_{fuel}_ton_per_acre" for fuel in _LOADS}
    ratios = {fuel: f"sav_{fuel}_per_ft" for fuel in _FINE}
    if not {*loads.values(), *ratios.values(), "depth_ft"} <= set(parameters):
        return {}
    load = {fuel: parameters[key] for fuel, key in loads.items()}
    depth = parameters["depth_ft"]
    if None in load.values() or depth is None:
        return dict.fromkeys(_DERIVED)
    sav = {**_COMMON_SAV, **{fuel: parameters[key] or 0.0 for fuel, key in ratios.items()}}
    surface = math.fsum(load[fuel] * sav[fuel] for fuel in _LOADS)
    weighted = math.fsum(load[fuel] * sav[fuel] * sav[fuel] for fuel in _LOADS)
    lb_per_ft2 = math.fsum(load.values()) * _LB_PER_TON / _FT2_PER_ACRE
    values = (
        math.fsum(load[fuel] for fuel in _FINE),
        lb_per_ft2 / (depth * _PARTICLE_DENSITY_LB_PER_FT3) if depth > 0 else None,
        weighted / surface if surface > 0 else None,
    )
    return dict(zip(_DERIVED, values, strict=True))


def _weighted_mean(shares: Mapping[int, float], values: Mapping[int, float | None]) -> float | None:
    """Mean of what is defined; None where nothing is."""
    defined = {code: share for code, share in shares.items() if values[code] is not None}
    if not defined:
        return None
    weighted = math.fsum(share * values[code] for code, share in defined.items())
    return weighted / math.fsum(defined.values())
