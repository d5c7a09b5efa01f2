"""Layers of type points: how many of them a catchment has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from snakeshed.errors import LayerError
from snakeshed.features.columns import Column
from snakeshed.features.layer import Catchments, Summary, place_of
from snakeshed.features.missing import NOTHING_MISSING, Missing

if TYPE_CHECKING:
    from snakeshed.features.layer import LayerFile, Sampler
    from snakeshed.terrain.index import TerrainIndex

RASTERS: dict[str, str] = {}
TABLES = {"path": "a file of points"}
INDEXED = ("sheet",)
PREPARED = ("path",)


@dataclass(frozen=True)
class PointLayer:
    """Points. `prepared` is the file that `prepare` wrote, which all but the columns needs."""

    name: str
    path: str
    prepared: str | None = None
    missing: ClassVar[Missing] = NOTHING_MISSING
    has_coverage: ClassVar[bool] = False

    def own_columns(self) -> list[Column]:
        """List the layer's columns."""
        text = (
            f"Number of points of {self.name} in the catchment. A point is in the catchment if the "
            "cell of the DEM is that it lies in; on a line between cells, it lies in the cell to "
            "the east or to the south."
        )
        return [Column(f"{self.name}_count", text)]

    def summarise(self, catchments: Catchments) -> Iterator[Summary]:
        """Count its points in each catchment in turn."""
        from snakeshed.features.prepared_points import count_in, read_points

        if self.prepared is None:
            raise ValueError(f"layer {self.name} is read from the file that index_layers prepares")
        points = read_points(self.prepared)
        for outline in catchments.outlines:
            yield Summary([float(count_in(outline, points))], None)

    def sampler(self, crs: str) -> Sampler:
        """Raise a LayerError: points have no value at other places."""
        raise LayerError(
            place_of(self.name, self.path),
            "points",
            "a raster or polygons, which have a value at every place",
            "Use another layer here.",
        )

    def codes_of(self, classes: Sequence[str]) -> Mapping[float, float]:
        """Return nothing: points have no classes."""
        return {}

    def classes(self) -> Sequence[str]:
        """Return nothing: points have no classes."""
        return ()

    def names(self) -> Mapping[float, str]:
        """Return nothing, as for a layer of classes without any: points are no quantity."""
        return {}

    def undeclared(self, features: Any) -> Mapping[int | str, int]:
        """Return nothing: points have no codes."""
        return {}


def layer_of(declared: Mapping) -> PointLayer:
    """Make a layer of its declaration."""
    return PointLayer(declared["name"], declared["path"])


def look(declared: Mapping, terrain: TerrainIndex) -> Iterator[LayerFile]:
    """Look at its file."""
    yield from prepare(declared, terrain, None)


def prepare(declared: Mapping, terrain: TerrainIndex, path: str | None) -> Iterator[LayerFile]:
    """Look at its file, and write what the shards need of it."""
    from snakeshed.features.vector_preparation import prepare_points

    yield prepare_points(declared, terrain, path)


def contradictions(declared: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is wrong with its keys."""
    from snakeshed.features.vector_keys import source_contradictions

    yield from source_contradictions(declared)
    for key in ("nodata", "valid_range", "max_missing"):
        if declared.get(key) is not None:
            yield key, "this key on points", "no such key: no place is missing", "Remove it."


def completed(declared: Mapping, features: Mapping) -> dict:
    """Return it as it is."""
    return dict(declared)
