"""Layers of type classes: a raster of codes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from snakeshed.errors import shown
from snakeshed.features.columns import Column
from snakeshed.features.layer import Catchments, Summary
from snakeshed.features.missing import NOTHING_MISSING, Missing

if TYPE_CHECKING:
    from snakeshed.features.layer import LayerFile, Sampler
    from snakeshed.terrain.index import TerrainIndex

RASTERS = {"path": "a raster"}
TABLES: dict[str, str] = {}
INDEXED = ("nodata", "valid_range")
PREPARED: tuple[str, ...] = ()

# Codes of classes, as rasters can hold them.
_CODE = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True)
class ClassLayer:
    """Codes. `labels` names some of them; codes with the same label count together."""

    name: str
    path: str
    labels: Mapping[int, str] = field(default_factory=dict)
    missing: Missing = NOTHING_MISSING
    scale: ClassVar[float] = 1.0
    has_coverage: ClassVar[bool] = True

    def own_columns(self) -> list[Column]:
        """List the layer's columns but the coverage, in order."""
        from snakeshed.features.class_columns import class_columns

        return class_columns(self.name, self.classes())

    def classes(self) -> Sequence[str]:
        """List the labels, each once, in the order of their smallest codes."""
        return list(dict.fromkeys(self.labels[code] for code in sorted(self.labels)))

    def summarise(self, catchments: Catchments) -> Iterator[Summary]:
        """Summarize it over each catchment in turn."""
        from snakeshed.features.class_columns import class_values
        from snakeshed.features.zonal import class_shares

        for shares, coverage in class_shares(self, catchments):
            values = class_values(shares, self.labels, self.classes()) if shares else None
            yield Summary(values, coverage)

    def sampler(self, crs: str) -> Sampler:
        """Return what reads it at points."""
        from snakeshed.features.sampling import RasterSampler

        return RasterSampler(self, crs)

    def codes_of(self, classes: Sequence[str]) -> Mapping[float, float]:
        """Return the codes of some classes, each with a share of 1."""
        return {float(code): 1.0 for code, label in self.labels.items() if label in classes}

    def names(self) -> Mapping[float, str]:
        """Return the labels of its codes."""
        return {float(code): label for code, label in self.labels.items()}

    def undeclared(self, features: Any) -> Mapping[int | str, int]:
        """Count in how many catchments each code without a label occurs, if any code has one."""
        from snakeshed.features.class_columns import count_codes

        if not self.labels:
            return {}
        return count_codes(features[f"{self.name}_codes"], int, self.labels)


def layer_of(declared: Mapping) -> ClassLayer:
    """Make a layer of its declaration."""
    labels = {int(code): label for code, label in declared["classes"].items()}
    return ClassLayer(declared["name"], declared["path"], labels, Missing.of(declared))


def look(declared: Mapping, terrain: TerrainIndex) -> Iterator[LayerFile]:
    """Look at its raster."""
    from snakeshed.features.raster_layer import look_at_raster

    yield look_at_raster(declared, terrain, codes=True)


def contradictions(declared: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is wrong with its codes."""
    seen: set[int] = set()
    for code in declared.get("classes", {}):
        whole = isinstance(code, int) and not isinstance(code, bool)
        if not (whole or isinstance(code, str)) or not _CODE.fullmatch(str(code)):
            yield (
                "classes",
                f"the code {shown(code)}",
                "whole numbers of at most 18 digits as codes",
                "Write the classes as code: label, such as 3: high.",
            )
        elif int(code) in seen:
            yield (
                "classes",
                f"the code {int(code)} twice",
                "every code once",
                "Remove one of them.",
            )
        else:
            seen.add(int(code))


def completed(declared: Mapping, features: Mapping) -> dict:
    """Return it with its codes as whole numbers."""
    classes = {int(code): label for code, label in declared["classes"].items()}
    return {**declared, "classes": classes}
