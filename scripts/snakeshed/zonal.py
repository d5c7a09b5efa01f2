"""Zonal statistics: declared layers summarised over catchments, weighted by exact coverage.

A layer stays in its own CRS and resolution: the outlines are brought to it. What a layer does not
cover is null, and `<layer>_coverage` says which share of a catchment it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import geopandas
import pandas as pd
import shapely
from exactextract import exact_extract

from snakeshed.dem import transformer
from snakeshed.errors import LayerError
from snakeshed.features import number

# Outlines in a layer's CRS are rounded to this many decimals, so that every CPU agrees.
_PROJECTED_DECIMALS = 4
_GEOGRAPHIC_DECIMALS = 9

_NOT_PARAMETERS = ("code", "model", "group", "name", "burnable", "dynamic")


@dataclass(frozen=True)
class NumericLayer:
    """A quantity. `scale` applies to every cell; `unit` ends the names of the columns."""

    name: str
    path: str
    percentiles: tuple[float, ...]
    scale: float = 1.0
    unit: str | None = None

    def columns(self) -> dict[str, str]:
        """Names and descriptions of the layer's columns, in order."""
        unit = f", {self.unit}" if self.unit else ""
        columns = {
            self._column("mean"): f"Mean of {self.name}, weighted by coverage{unit}.",
            self._column("std"): f"Standard deviation (population) of {self.name}{unit}.",
            self._column("min"): f"Smallest cell of {self.name} that is touched{unit}.",
            self._column("max"): f"Largest cell of {self.name} that is touched{unit}.",
        }
        for q in self.percentiles:
            columns[self._column(f"p{number(q)}")] = (
                f"{q:g}th percentile of {self.name}, weighted by coverage{unit}."
            )
        return columns | _coverage_column(self.name)

    def summarise(self, outlines: Sequence[shapely.Geometry], crs: str) -> Iterator[dict]:
        """Statistics of each outline.

        Parameters
        ----------
        outlines : sequence of shapely.Geometry
        crs : str
            Of the outlines.

        Raises
        ------
        LayerError
            The layer cannot be read, or has no CRS or several bands.
        """
        # A negative scale turns the order of the cells round.
        flip = self.scale < 0
        asked = [100 - q if flip else q for q in self.percentiles]
        quantiles = [f"p{k}=quantile(q={q / 100!r})" for k, q in enumerate(asked)]
        table = _extract(self, ["mean", "stdev", "min", "max", "count", *quantiles], outlines, crs)
        for row in table:
            low, high = (row["max"], row["min"]) if flip else (row["min"], row["max"])
            values = [row["mean"], math.copysign(1, self.scale) * row["stdev"], low, high]
            # exactextract ends the name that it was given with the rounded percentile.
            values += [
                next(value for name, value in row.items() if name.startswith(f"p{k}_"))
                for k in range(len(asked))
            ]
            scaled = [None if math.isnan(value) else value * self.scale for value in values]
            yield dict(zip(self.columns(), [*scaled, row["coverage"]], strict=True))

    def _column(self, statistic: str) -> str:
        return "_".join(filter(None, (self.name, statistic, self.unit)))


@dataclass(frozen=True)
class ClassLayer:
    """Codes. `labels` names some of them; codes with the same label count together."""

    name: str
    path: str
    labels: Mapping[int, str] = field(default_factory=dict)

    def columns(self) -> dict[str, str]:
        """Names and descriptions of the layer's columns, in order."""
        name = self.name
        columns = {
            f"{name}_dominant": f"Label (or code) of the largest share of {name}; the smallest "
            "code among equals.",
        }
        for label in self._distinct_labels():
            columns[f"{name}_share_{label}"] = f"Share of {label} in what {name} covers."
        columns[f"{name}_share_unlabelled"] = f"Share of codes of {name} without a label."
        columns[f"{name}_codes"] = f"Share of each code of {name}, as code=share;code=share."
        return columns | _coverage_column(name)

    def summarise(self, outlines: Sequence[shapely.Geometry], crs: str) -> Iterator[dict]:
        """Shares of each outline; see `NumericLayer.summarise`."""
        for shares, coverage in _class_shares(self, outlines, crs):
            if not shares:
                yield dict.fromkeys(self.columns()) | {f"{self.name}_coverage": coverage}
                continue
            by_label = dict.fromkeys(self._distinct_labels(), 0.0)
            unlabelled = 0.0
            for code, share in shares.items():
                if code in self.labels:
                    by_label[self.labels[code]] += share
                else:
                    unlabelled += share
            candidates = {
                self.labels.get(code, str(code)): by_label.get(self.labels.get(code), share)
                for code, share in shares.items()
            }
            values = [max(candidates, key=candidates.get), *by_label.values(), unlabelled]
            values += [_code_text(shares), coverage]
            yield dict(zip(self.columns(), values, strict=True))

    def _distinct_labels(self) -> list[str]:
        return list(dict.fromkeys(self.labels[code] for code in sorted(self.labels)))


@dataclass(frozen=True)
class FuelLayer:
    """Fuel models of Scott and Burgan (2005), by the table in ``config/fbfm40.csv``."""

    name: str
    path: str
    table: str

    def columns(self) -> dict[str, str]:
        """Names and descriptions of the layer's columns, in order."""
        name, models = self.name, self._models()
        columns = {f"{name}_dominant_model": f"Fuel model of the largest share of {name}."}
        for group in dict.fromkeys(models["group"]):
            columns[f"{name}_share_{group.lower()}"] = f"Share of fuel models {group}."
        for model in models["model"]:
            columns[f"{name}_share_{model.lower()}"] = f"Share of fuel model {model}."
        columns[f"{name}_share_burnable"] = "Share of burnable fuel models."
        for parameter in self._parameters(models):
            columns[f"{name}_{parameter}"] = (
                f"Mean {parameter} of the burnable fuel models that define it, by share."
            )
        columns[f"{name}_share_unmapped"] = f"Share of codes that are not in {self.table}."
        columns[f"{name}_unmapped_codes"] = "These codes, separated by semicolons; null if none."
        return columns | _coverage_column(name)

    def summarise(self, outlines: Sequence[shapely.Geometry], crs: str) -> Iterator[dict]:
        """Shares and mean parameters of each outline; see `NumericLayer.summarise`."""
        models = self._models()
        by_code = models.set_index("code")
        parameters = self._parameters(models)
        groups = list(dict.fromkeys(models["group"]))
        for shares, coverage in _class_shares(self, outlines, crs):
            if not shares:
                yield dict.fromkeys(self.columns()) | {f"{self.name}_coverage": coverage}
                continue
            known = {code: share for code, share in shares.items() if code in by_code.index}
            unmapped = {code: share for code, share in shares.items() if code not in known}
            burnable = {
                c: share for c, share in known.items() if by_code.at[c, "burnable"] == "yes"
            }
            dominant = max(shares, key=shares.get)
            values = [by_code.at[dominant, "model"] if dominant in known else str(dominant)]
            values += [
                sum(s for code, s in known.items() if by_code.at[code, "group"] == group)
                for group in groups
            ]
            values += [known.get(code, 0.0) for code in models["code"]]
            values.append(sum(burnable.values()))
            values += [_weighted_mean(burnable, by_code[parameter]) for parameter in parameters]
            values += [sum(unmapped.values()), ";".join(map(str, unmapped)) or None, coverage]
            yield dict(zip(self.columns(), map(_as_plain, values), strict=True))

    def _models(self) -> pd.DataFrame:
        try:
            return pd.read_csv(self.table, keep_default_na=False, na_values=[""])
        except FileNotFoundError:
            raise LayerError(
                f"layer {self.name}",
                f"no file {self.table}",
                "the table of fuel models",
                "Set the layer's table, or restore config/fbfm40.csv.",
            ) from None

    @staticmethod
    def _parameters(models: pd.DataFrame) -> list[str]:
        return [column for column in models.columns if column not in _NOT_PARAMETERS]


Layer = NumericLayer | ClassLayer | FuelLayer


def layer_of(declared: Mapping, percentiles: Sequence[float]) -> Layer:
    """Make a layer of its declaration in the completed configuration.

    Parameters
    ----------
    declared : mapping
        One entry of ``layers``.
    percentiles : sequence of float
        ``features.percentiles``, for numeric layers without their own.
    """
    name, path = declared["name"], declared["path"]
    if declared["type"] == "numeric":
        own = declared["percentiles"]
        chosen = percentiles if own is None else own
        return NumericLayer(name, path, tuple(chosen), declared["scale"], declared["unit"])
    if declared["type"] == "classes":
        return ClassLayer(name, path, {int(c): label for c, label in declared["classes"].items()})
    return FuelLayer(name, path, declared["table"])


def _extract(
    layer: Layer, operations: list[str], outlines: Sequence[shapely.Geometry], crs: str
) -> list[dict]:
    """Run exactextract; each row gets the share of its outline that the layer covers."""
    if not len(outlines):
        return []
    raster = _open(layer)
    to = raster.rio.crs
    transform = transformer(crs, to.to_wkt())
    decimals = _GEOGRAPHIC_DECIMALS if to.is_geographic else _PROJECTED_DECIMALS

    def to_layer(points):
        x, y = transform.transform(*points.T)
        return pd.DataFrame({"x": x, "y": y}).round(decimals).to_numpy()

    moved = shapely.transform(list(outlines), to_layer)
    frame = geopandas.GeoDataFrame(geometry=moved, crs=to)
    table = exact_extract(raster, frame, operations, output="pandas")
    width, height = (abs(size) for size in raster.rio.resolution())
    rows = table.to_dict("records")
    for row, geometry in zip(rows, moved, strict=True):
        row["coverage"] = min(1.0, round(row["count"] * width * height / geometry.area, 9))
    raster.close()
    return rows


def _open(layer: Layer):
    import rioxarray

    where = f"layer {layer.name} ({layer.path})"
    if not Path(layer.path).is_file() and "://" not in layer.path:
        raise LayerError(where, "no such file", "a raster", "Correct the layer's path.")
    try:
        raster = rioxarray.open_rasterio(
            layer.path, cache=False, mask_and_scale=isinstance(layer, NumericLayer)
        )
    except Exception as error:  # rasterio's own errors are many and not all of one class
        raise LayerError(
            where, str(error), "a raster that GDAL reads", "Check the file with gdalinfo."
        ) from error
    if raster.rio.crs is None:
        raise LayerError(
            where, "no CRS", "a georeferenced raster", "Assign one, e.g. gdal_edit.py."
        )
    if raster.sizes.get("band", 1) != 1:
        raise LayerError(
            where,
            f"{raster.sizes['band']} bands",
            "one band",
            "Extract the band, e.g. gdal_translate -b 1.",
        )
    return raster


def _class_shares(
    layer: Layer, outlines: Sequence[shapely.Geometry], crs: str
) -> Iterator[tuple[dict[int, float], float]]:
    """Share of each code, by ascending code, in what the layer covers; and that coverage."""
    for row in _extract(layer, ["unique", "frac", "count"], outlines, crs):
        shares: dict[int, float] = {}
        for code, share in sorted(zip(row["unique"], row["frac"], strict=True)):
            if not float(code).is_integer():
                raise LayerError(
                    f"layer {layer.name} ({layer.path})",
                    f"the cell value {code}",
                    "whole numbers, the codes of classes",
                    "Declare the layer as numeric, or round its cells.",
                )
            if share > 0:
                shares[int(code)] = float(share)
        yield shares, row["coverage"]


def _coverage_column(name: str) -> dict[str, str]:
    return {f"{name}_coverage": f"Share of the catchment where {name} has data, 0 to 1."}


def _code_text(shares: Mapping[int, float]) -> str:
    return ";".join(f"{code}={share:.6g}" for code, share in shares.items())


def _weighted_mean(shares: Mapping[int, float], values: pd.Series) -> float | None:
    defined = {code: share for code, share in shares.items() if not pd.isna(values[code])}
    weight = sum(defined.values())
    if weight == 0:
        return None
    return sum(share * float(values[code]) for code, share in defined.items()) / weight


def _as_plain(value: object) -> object:
    return float(value) if isinstance(value, int) else value
