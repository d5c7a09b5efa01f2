"""Layers of type severity: a raster of burn severity, coded or as dNBR.

Codes 1 to 4 mean the same in BARC4 rasters, in maps of soil burn severity, and in those of MTBS
(Monitoring Trends in Burn Severity). MTBS adds 0 for what lies outside a fire, 5 for increased
greenness, which did not burn, and 6 for what could not be mapped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from snakeshed.errors import LayerError
from snakeshed.features.columns import Column
from snakeshed.features.layer import Catchments, Summary, place_of
from snakeshed.features.missing import NOTHING_MISSING, Missing

if TYPE_CHECKING:
    import numpy as np

    from snakeshed.features.layer import LayerFile, Sampler
    from snakeshed.features.prepared_polygons import PreparedPolygons
    from snakeshed.terrain.index import TerrainIndex

RASTERS = {"path": "a raster of burn severity"}
TABLES = {"perimeter": "a file of polygons, the perimeter of the fire"}
INDEXED = ("coding", "scale", "sheet", "nodata", "valid_range")
PREPARED = ("perimeter",)

CLASSES = ("unburned", "low", "moderate", "high")
"""By their codes, from 1."""

# What other codes mean: 0 is outside the map, _UNKNOWN could not be mapped.
_UNKNOWN = -1
_MEANINGS = {
    "barc4": {0: 0, 1: 1, 2: 2, 3: 3, 4: 4},
    "mtbs": {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 1, 6: _UNKNOWN},
}
# No severity is known where more than this of a catchment is not mapped, if nothing else is set:
# shares of what is mapped, the fire, would be taken for shares of the catchment.
MOST_MISSING = 0.05
_SHARE_DECIMALS = 9
_NO_SHARE = 1e-6
# dNBR lies between -2 and 2, and is stored times 1000.
_LARGEST_UNSCALED = 2.0


@dataclass(frozen=True)
class SeverityLayer:
    """Burn severity.

    Attributes
    ----------
    name, path : str
    coding : str
        barc4, mtbs, or dnbr.
    thresholds : tuple of float
        Of dNBR: low, moderate, and high severity lie above them.
    unburned_outside : bool
        What the raster does not cover, and code 0, is unburned; else it is missing.
    scale : float
        Factor on every cell of dNBR.
    missing : Missing
    perimeter : str or None
        A file of polygons, outside of which nothing burned.
    prepared : str or None
        What `prepare` wrote of the perimeter. Without it, one with a perimeter has columns, but no
        values.
    """

    name: str
    path: str
    coding: str = "barc4"
    thresholds: tuple[float, ...] = (125.0, 250.0, 500.0)
    unburned_outside: bool = False
    scale: float = 1.0
    missing: Missing = NOTHING_MISSING
    perimeter: str | None = None
    prepared: str | None = None
    has_coverage: ClassVar[bool] = True

    def own_columns(self) -> list[Column]:
        """List the layer's columns but the coverage, in order."""
        name = self.name
        how = ""
        if self.coding == "dnbr":
            low, moderate, high = self.thresholds
            how = f" by dNBR: low above {low:g}, moderate above {moderate:g}, high above {high:g}"
        if self.perimeter is not None:
            how += "; outside the perimeter nothing burned"
        return [
            *(
                Column(f"{name}_share_{each}", f"Share of the catchment that is {each}{how}.")
                if each == "unburned"
                else Column(
                    f"{name}_share_{each}",
                    f"Share of the catchment that burned at {each} severity{how}.",
                )
                for each in CLASSES
            ),
            Column(
                f"{name}_share_moderate_high",
                f"Share of the catchment that burned at moderate or high severity{how}.",
            ),
            Column(
                f"{name}_burned_share", f"Share of the catchment that burned at any severity{how}."
            ),
            Column(
                f"{name}_moderate_high_km2",
                "Area of the catchment that burned at moderate or high severity: "
                f"{name}_share_moderate_high x area_km2, km2.",
            ),
            Column(
                f"{name}_burned_km2",
                "Area of the catchment that burned at any severity: "
                f"{name}_burned_share x area_km2, km2.",
            ),
        ]

    def summarise(self, catchments: Catchments) -> Iterator[Summary]:
        """Summarize it over each catchment in turn."""
        import numpy as np

        from snakeshed.features.layer_cells import cells_of_layer
        from snakeshed.features.raster_layer import header_of, scale_of

        header = header_of(self)
        factor, shift = scale_of(self, header)
        within, inside = self._within_perimeter(catchments)
        every = cells_of_layer(self, header, within)
        for cells, share, area_km2 in zip(every, inside, catchments.areas_km2, strict=True):
            codes = self.classified(cells.stored.astype(np.float64) * factor + shift)
            # bincount adds in the order of the cells.
            weights = np.bincount(codes - _UNKNOWN, cells.shares, minlength=2 + len(CLASSES))
            whole = math.fsum(weights)
            parts = [float(part) / whole * cells.coverage if whole else 0.0 for part in weights]
            unknown, outside, *mapped = parts
            outside += max(0.0, 1 - math.fsum(parts))
            if self.unburned_outside:
                mapped[0] += outside
            if share < 1:
                mapped = [part * share for part in mapped]
                mapped[0] += 1 - share
            coverage = math.fsum(mapped)
            coverage = 1.0 if coverage > 1 - 1e-6 else round(coverage, 9)
            if coverage == 0 or not self.missing.allows(coverage):
                yield Summary(None, coverage, self._gap(coverage, unknown))
                continue
            shares = [part / math.fsum(mapped) for part in mapped]
            moderate_high = math.fsum(shares[2:])
            burned = math.fsum(shares[1:])
            values = [*shares, moderate_high, burned, moderate_high * area_km2, burned * area_km2]
            yield Summary(values, coverage)

    def _within_perimeter(self, catchments: Catchments) -> tuple[Catchments, list[float]]:
        """Return the part of each catchment inside the perimeter, and its share of the catchment.

        Of one that is outside, the share is 0 and the part any place: nothing of it counts.
        """
        if self.perimeter is None:
            return catchments, [1.0] * len(catchments.outlines)
        import numpy as np
        import shapely

        from snakeshed.features.ground_area import GroundArea

        polygons = self._polygons(catchments.crs)
        inside, shares = [], []
        for outline in catchments.outlines:
            near = polygons.shapes(polygons.touching(outline.bounds))
            part = shapely.intersection(outline, shapely.union_all(near))
            ground = GroundArea.around(outline, catchments.crs)
            some, whole = ground.of(np.array([part, outline], object))
            share = round(float(some) / float(whole), _SHARE_DECIMALS)
            is_whole, is_none = share > 1 - _NO_SHARE, share < _NO_SHARE
            inside.append(outline if is_whole or is_none else part)
            shares.append(1.0 if is_whole else 0.0 if is_none else share)
        return Catchments(inside, catchments.crs), shares

    def _polygons(self, crs: str) -> PreparedPolygons:
        from snakeshed.features.prepared_polygons import PreparedPolygons

        if self.prepared is None:
            raise ValueError(f"{self.name} has a perimeter that index_layers has to prepare")
        return PreparedPolygons(self.prepared, crs, place_of(self.name, self.perimeter))

    def _gap(self, coverage: float, unknown: float) -> str | None:
        if coverage == 0:
            return None
        remark = self.missing.excess(self.name, coverage)
        if self.unburned_outside or self.perimeter or unknown >= 1 - coverage:
            return remark
        return f"{remark}; if that part did not burn, set perimeter, or outside: unburned"

    def classified(self, values: np.ndarray) -> np.ndarray:
        """Return the classes of cells.

        Parameters
        ----------
        values : ndarray of float64, shape (n,)
            Codes, or dNBR x 1000; no NaN.

        Returns
        -------
        ndarray of int64, shape (n,)
            1 to 4, 0 outside the map, -1 where it could not be mapped.

        Raises
        ------
        LayerError
            A code is none of the coding.
        """
        import numpy as np

        if self.coding == "dnbr":
            return 1 + np.searchsorted(np.array(self.thresholds), values, side="left")
        meanings = _MEANINGS[self.coding]
        if not values.size:
            return np.empty(0, np.int64)
        codes, places = np.unique(values, return_inverse=True)
        for code in codes:
            if code not in meanings:
                raise self._no_code(float(code))
        return np.array([meanings[int(code)] for code in codes], np.int64)[places]

    def _no_code(self, code: float) -> LayerError:
        if self.coding == "barc4" and code in _MEANINGS["mtbs"]:
            step = "Set coding: mtbs if these are codes of MTBS."
        elif abs(code) <= max(_MEANINGS["mtbs"]):
            step = "Round the cells, or set coding: dnbr if these are values of dNBR."
        else:
            step = (
                f"Set nodata: {code:g} if these cells are missing, or coding: dnbr if these are "
                "values of dNBR."
            )
        return LayerError(
            place_of(self.name, self.path),
            f"the cell value {code:g}",
            f"the codes 0 to {max(_MEANINGS[self.coding])} of coding {self.coding}",
            step,
        )

    def sampler(self, crs: str) -> Sampler:
        """Return what reads its classes at points: 1 to 4."""
        from snakeshed.features.sampling import RasterSampler

        perimeter = None
        if self.perimeter is not None:
            from snakeshed.features.polygon_cover import PolygonSampler

            perimeter = PolygonSampler(self._polygons(crs), lambda row: 1.0, 0.0)
        return _SeveritySampler(self, RasterSampler(self, crs), perimeter)

    def classes(self) -> Sequence[str]:
        """List the classes of severity."""
        return CLASSES

    def codes_of(self, classes: Sequence[str]) -> Mapping[float, float]:
        """Return the codes of some classes, each with a share of 1."""
        return {float(code): 1.0 for code, name in enumerate(CLASSES, 1) if name in classes}

    def names(self) -> Mapping[float, str]:
        """Return the classes by their codes."""
        return {float(code): name for code, name in enumerate(CLASSES, 1)}

    def undeclared(self, features: Any) -> Mapping[int | str, int]:
        """Return nothing: a code that is none of the coding stops the run."""
        return {}


@dataclass(frozen=True)
class _SeveritySampler:
    layer: SeverityLayer
    cells: Sampler
    perimeter: Sampler | None

    def values(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        import numpy as np

        values = self.cells.values(x, y)
        known = ~np.isnan(values)
        classes = np.zeros(values.shape, np.int64)
        classes[known] = self.layer.classified(values[known])
        if self.layer.unburned_outside:
            classes[classes == 0] = 1
        if self.perimeter is not None:
            classes[self.perimeter.values(x, y) == 0] = 1
        return np.where(classes > 0, classes, np.nan).astype(np.float64)

    def close(self) -> None:
        self.cells.close()
        if self.perimeter is not None:
            self.perimeter.close()


def layer_of(declared: Mapping) -> SeverityLayer:
    """Make a layer of its declaration."""
    return SeverityLayer(
        declared["name"],
        declared["path"],
        declared["coding"],
        tuple(declared["thresholds"]),
        declared["outside"] == "unburned",
        declared["scale"],
        Missing.of(declared),
        declared["perimeter"],
    )


def look(declared: Mapping, terrain: TerrainIndex) -> Iterator[LayerFile]:
    """Look at its raster and its perimeter."""
    yield from prepare(declared, terrain, None)


def prepare(declared: Mapping, terrain: TerrainIndex, path: str | None) -> Iterator[LayerFile]:
    """Look at its raster, of which dNBR has to be scaled by 1000, and prepare its perimeter."""
    from snakeshed.features.raster_layer import look_at_raster
    from snakeshed.features.vector_preparation import prepare_polygons

    layer = SeverityLayer(declared["name"], declared["path"], declared["coding"])

    def judge(values: np.ndarray) -> None:
        if layer.coding != "dnbr":
            layer.classified(values)
        elif values.size and abs(values).max() <= _LARGEST_UNSCALED:
            raise LayerError(
                place_of(layer.name, layer.path),
                f"values from {values.min():.3g} to {values.max():.3g}",
                "dNBR times 1000, of some hundreds where a fire was severe",
                "Set scale: 1000 if this is dNBR itself.",
            )

    yield look_at_raster(declared, terrain, codes=layer.coding != "dnbr", judge=judge)
    if declared.get("perimeter"):
        polygons = {"name": layer.name, "path": declared["perimeter"], "sheet": declared["sheet"]}
        presence = {"attribute": None, "summary": "classes"}
        yield prepare_polygons(polygons | presence, terrain, path)


def contradictions(declared: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is wrong with its coding and its thresholds."""
    coding = declared.get("coding", "barc4")
    for key, default in (("thresholds", [125, 250, 500]), ("scale", 1)):
        if coding != "dnbr" and declared.get(key, default) != default:
            yield (
                key,
                f"this key with coding {coding}",
                "it with coding dnbr only",
                "Remove it, or set coding: dnbr.",
            )
    if declared.get("perimeter") and declared.get("outside", "missing") != "missing":
        yield (
            "outside",
            f"outside: {declared['outside']} beside a perimeter",
            "one of them",
            "Remove it: outside the perimeter nothing burned, and inside, gaps are missing.",
        )
    if declared.get("sheet") and not declared.get("perimeter"):
        yield (
            "sheet",
            "this key without a perimeter",
            "only keys that change something",
            "Remove it, or set perimeter.",
        )
    thresholds = declared.get("thresholds", [])
    if any(low >= high for low, high in pairwise(thresholds)):
        yield (
            "thresholds",
            ", ".join(f"{each:g}" for each in thresholds),
            "the thresholds of low, moderate, and high severity, each above the one before",
            "Sort them.",
        )


def completed(declared: Mapping, features: Mapping) -> dict:
    """Return it with a limit of what may be missing."""
    if declared["max_missing"] is not None:
        return dict(declared)
    return {**declared, "max_missing": MOST_MISSING}
