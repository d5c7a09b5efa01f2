"""Layers of type polygons: classes, a quantity, or presence, by exact areas on the ground."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from snakeshed.features.columns import Column
from snakeshed.features.label_rule import AS_IT_IS, LabelRule
from snakeshed.features.layer import Catchments, Summary, place_of
from snakeshed.features.missing import NOTHING_MISSING, Missing

if TYPE_CHECKING:
    from snakeshed.features.layer import LayerFile, Sampler
    from snakeshed.features.polygon_cover import Cover
    from snakeshed.features.prepared_polygons import PreparedPolygons
    from snakeshed.terrain.index import TerrainIndex

RASTERS: dict[str, str] = {}
TABLES = {"path": "a file of polygons"}
INDEXED = ("sheet", "attribute", "summary", "nodata", "valid_range")
PREPARED = ("path",)

_SHARE_DECIMALS = 9
_DIGITS = 12
_INSIDE = "inside"
_AREA = "by area on the ellipsoid"


@dataclass(frozen=True)
class PolygonLayer:
    """Polygons. Without an attribute, what counts is whether there is any.

    `labels` names some texts of the attribute, after the rule. `unit` ends the names of the columns
    of a quantity. `prepared` is the file that `prepare` wrote, which all but the columns needs.
    """

    name: str
    path: str
    attribute: str | None
    is_number: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    rule: LabelRule = AS_IT_IS
    at_site: bool = False
    unit: str | None = None
    missing: Missing = NOTHING_MISSING
    prepared: str | None = None

    @property
    def has_coverage(self) -> bool:
        """Whether a place beside all polygons is without data, and not just beside them."""
        return self.attribute is not None

    def own_columns(self) -> list[Column]:
        """List the layer's columns but the coverage, in order."""
        if self.attribute is None:
            return [
                Column(f"{self.name}_share", f"Share of the catchment in {self.name}, {_AREA}.")
            ]
        columns = self._number_columns() if self.is_number else self._class_columns()
        if self.at_site:
            columns.append(
                Column(
                    self._named("at_site"),
                    f"{self.attribute} of the polygon of {self.name} under the site as given, as "
                    "in the file; null beside all polygons, and where the layer has no values.",
                    is_text=not self.is_number,
                )
            )
        return columns

    def _class_columns(self) -> list[Column]:
        from snakeshed.features.class_columns import class_columns

        return class_columns(self.name, self.classes())

    def _number_columns(self) -> list[Column]:
        ending = f", {self.unit}." if self.unit else "."
        some = "of which at least a millionth, or of the catchment, is common to both"
        return [
            Column(self._named("mean"), f"Mean of {self.name}, weighted {_AREA}{ending}"),
            Column(self._named("min"), f"Smallest {self.name} of the polygons {some}{ending}"),
            Column(self._named("max"), f"Largest {self.name} of the polygons {some}{ending}"),
        ]

    def _named(self, statistic: str) -> str:
        return "_".join(filter(None, (self.name, statistic, self.unit)))

    def classes(self) -> Sequence[str]:
        """List the labels, each once, in the order of their texts; of presence, "inside"."""
        if self.attribute is None:
            return (_INSIDE,)
        return list(dict.fromkeys(self.labels[text] for text in sorted(self.labels)))

    def summarise(self, catchments: Catchments) -> Iterator[Summary]:
        """Summarize it over each catchment in turn."""
        from snakeshed.features.polygon_cover import cover_of

        polygons = self._polygons(catchments.crs)
        sites = catchments.sites or [None] * len(catchments.outlines)
        for outline, site in zip(catchments.outlines, sites, strict=True):
            cover = cover_of(outline, polygons, catchments.crs)
            if self.attribute is None:
                yield Summary([cover.share], None)
            elif not self._is_enough(cover):
                yield Summary(None, cover.share)
            else:
                values = self._values(cover, polygons)
                if self.at_site:
                    values.append(polygons.value_at(*site))
                yield Summary(values, cover.share, self._remark(cover))

    def _is_enough(self, cover: Cover) -> bool:
        return cover.share > 0 and self.missing.allows(cover.share)

    def _values(self, cover: Cover, polygons: PreparedPolygons) -> list[float | str | None]:
        whole = math.fsum(cover.areas_km2)
        if self.is_number:
            numbers = [polygons.value(row) for row in cover.rows]
            weighted = [area * x for area, x in zip(cover.areas_km2, numbers, strict=True)]
            mean = float(f"{math.fsum(weighted) / whole:.{_DIGITS}g}")
            return [mean, min(numbers), max(numbers)]
        from snakeshed.features.class_columns import class_values

        areas: dict[str, list[float]] = {}
        for row, area in zip(cover.rows, cover.areas_km2, strict=True):
            codes = self.rule.codes(polygons.value(row))
            for code in codes:
                areas.setdefault(code, []).append(area / len(codes))
        shares = {
            code: round(math.fsum(areas[code]) / whole, _SHARE_DECIMALS) for code in sorted(areas)
        }
        return class_values(shares, self.labels, self.classes())

    def _remark(self, cover: Cover) -> str | None:
        if not cover.overlap:
            return None
        return (
            f"polygons of layer {self.name} overlap in {cover.overlap:.3g} of the catchment, where "
            "the first in the file counts"
        )

    def sampler(self, crs: str) -> Sampler:
        """Return what reads it at points: 0 or 1 without an attribute."""
        from snakeshed.features.polygon_cover import PolygonSampler

        polygons = self._polygons(crs)
        if self.attribute is None:
            return PolygonSampler(polygons, lambda row: 1.0, 0.0)
        if self.is_number:
            return PolygonSampler(polygons, polygons.value, math.nan)
        numbers = {codes: float(k) for k, codes in enumerate(self._codes())}
        return PolygonSampler(
            polygons, lambda row: numbers[self.rule.codes(polygons.value(row))], math.nan
        )

    def codes_of(self, classes: Sequence[str]) -> Mapping[float, float]:
        """Return the codes of some classes; half of "A and B" is of A, where that is split."""
        if self.attribute is None:
            return {1.0: 1.0} if _INSIDE in classes else {}
        if self.is_number:
            return {}
        shares = {
            float(k): sum(self.labels.get(code) in classes for code in codes) / len(codes)
            for k, codes in enumerate(self._codes())
        }
        return {code: share for code, share in shares.items() if share}

    def names(self) -> Mapping[float, str] | None:
        """Return what its codes stand for: labels, or texts that have none.

        Before the file is prepared, that is not known, and there are none.
        """
        if self.attribute is None:
            return {0.0: "outside", 1.0: _INSIDE}
        if self.is_number:
            return None
        if self.prepared is None:
            return {}
        return {
            float(k): " and ".join(dict.fromkeys(self.labels.get(code, code) for code in codes))
            for k, codes in enumerate(self._codes())
        }

    def undeclared(self, features: Any) -> Mapping[int | str, int]:
        """Count in how many catchments each text without a label occurs, if any text has one."""
        from snakeshed.features.class_columns import count_codes

        if not self.labels:
            return {}
        return count_codes(features[f"{self.name}_codes"], str, self.labels)

    def _polygons(self, crs: str) -> PreparedPolygons:
        from snakeshed.features.prepared_polygons import PreparedPolygons

        return PreparedPolygons(self._file(), crs, place_of(self.name, self.path))

    def _codes(self) -> list[tuple[str, ...]]:
        """List what the polygons near the DEM are of, by the codes of the sampler."""
        from snakeshed.result_files import version_of

        return _distinct(self._file(), self.rule, version_of(self._file()))

    def _file(self) -> str:
        if self.prepared is None:
            raise ValueError(f"layer {self.name} is read from the file that index_layers prepares")
        return self.prepared


@lru_cache(maxsize=8)
def _distinct(prepared: str, rule: LabelRule, _version: tuple[int, ...]) -> list[tuple[str, ...]]:
    from snakeshed.features.prepared_polygons import distinct_texts

    return sorted({rule.codes(text) for text in distinct_texts(prepared)})


def layer_of(declared: Mapping) -> PolygonLayer:
    """Make a layer of its declaration."""
    return PolygonLayer(
        name=declared["name"],
        path=declared["path"],
        attribute=declared["attribute"],
        is_number=declared["summary"] == "number",
        labels=dict(declared["classes"]),
        rule=LabelRule(declared["text_up_to"], declared["text_split"]),
        at_site=declared["at_site"],
        unit=declared["unit"],
        missing=Missing.of(declared),
    )


def look(declared: Mapping, terrain: TerrainIndex) -> Iterator[LayerFile]:
    """Look at its file."""
    yield from prepare(declared, terrain, None)


def prepare(declared: Mapping, terrain: TerrainIndex, path: str | None) -> Iterator[LayerFile]:
    """Look at its file, and write what the shards need of it."""
    from snakeshed.features.vector_preparation import prepare_polygons

    yield prepare_polygons(declared, terrain, path)


def contradictions(declared: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is wrong with its keys."""
    from snakeshed.features.vector_keys import source_contradictions

    yield from source_contradictions(declared)
    attribute, summary = declared.get("attribute"), declared.get("summary", "classes")
    if attribute is None:
        needless = ("summary", "classes", "text_up_to", "text_split", "at_site", "unit")
        needless += ("nodata", "valid_range", "max_missing")
        why, step = "no attribute", "Name the attribute"
    elif summary == "classes":
        needless = ("unit", "nodata", "valid_range")
        why, step = "summary: classes", "Set summary: number"
    else:
        needless = ("classes", "text_up_to", "text_split")
        why, step = "summary: number", "Set summary: classes"
    for key in needless:
        if declared.get(key):
            yield (
                key,
                f"this key on polygons with {why}",
                "only keys that change something",
                f"Remove it. {step} if it is meant.",
            )
    if attribute is not None and summary == "classes":
        rule = LabelRule(declared.get("text_up_to"), declared.get("text_split"))
        yield from _wrong_texts([str(text) for text in declared.get("classes", {})], rule)


def _wrong_texts(texts: Sequence[str], rule: LabelRule) -> Iterator[tuple[str, str, str, str]]:
    for text in dict.fromkeys(texts):
        if texts.count(text) > 1:
            yield "classes", f"the text {text!r} twice", "every text once", "Remove one of them."
        elif rule.codes(text) != (text,):
            parts = " and ".join(map(repr, rule.codes(text))) or "nothing"
            yield (
                "classes",
                f"the text {text!r}, of which text_up_to and text_split make {parts}",
                "texts as they are after these rules",
                "Give labels to these.",
            )


def completed(declared: Mapping, features: Mapping) -> dict:
    """Return it with the texts of its classes as texts."""
    classes = {str(text): label for text, label in declared["classes"].items()}
    return {**declared, "classes": classes}
