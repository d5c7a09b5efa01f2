"""Joint features: where a layer has a class or a range, and the terrain a slope or an elevation.

This is read at every start of Snakemake: it imports nothing heavy. `snakeshed.features.joint_cells`
computes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.features.columns import Column
from snakeshed.features.layer import Layer

_STALEY = (
    "Staley et al. (2017), https://doi.org/10.1016/j.geomorph.2016.10.019. With slopes of the "
    "conditioned DEM along D8 directions, as in current USGS code, it has another value."
)
PRESETS: Mapping[str, Mapping] = {
    "terrain_m1": {
        "classes": ["moderate", "high"],
        "slope_min_deg": 23.0,
        "note": f"Terrain term of model M1 of {_STALEY}",
    },
    "terrain_m2": {
        "classes": ["moderate", "high"],
        "mean": "sin_slope",
        "note": f"Terrain term of model M2 of {_STALEY}",
    },
    "terrain_m4": {
        "classes": ["low", "moderate", "high"],
        "slope_min_deg": 30.0,
        "note": f"Terrain term of model M4 of {_STALEY}",
    },
}
"""Features with a name of their own, over the study's layer of type severity."""

QUANTITIES = {
    "sin_slope": "sine of the slope",
    "tan_slope": "tangent of the slope",
    "elevation_m": "elevation, m,",
}


@dataclass(frozen=True)
class JointRule:
    """One joint feature.

    Attributes
    ----------
    name : str
        Of its column.
    layer : str
    classes : tuple of str
        Labels of the layer's classes; empty with a range.
    range : tuple of 2 float or None, or None
        Smallest and largest value of the layer; None sets no limit.
    slope_deg, elevation_m : tuple of 2 float or None
        Smallest and largest value; None sets no limit.
    aspect_deg : tuple of 2 float, or None
        Downslope directions, clockwise from the first to the second.
    mean : str or None
        One of `QUANTITIES`: its mean over these cells, relative to the whole catchment.
    note : str
        What else the column's description says.
    """

    name: str
    layer: str
    classes: tuple[str, ...] = ()
    range: tuple[float | None, float | None] | None = None
    slope_deg: tuple[float | None, float | None] = (None, None)
    elevation_m: tuple[float | None, float | None] = (None, None)
    aspect_deg: tuple[float, float] | None = None
    mean: str | None = None
    note: str = ""

    def column(self) -> Column:
        """Describe its column."""
        if self.range is None:
            where = [f"{self.layer} is {' or '.join(self.classes)}"]
        else:
            where = [f"{self.layer} is {_between(self.range, '')}"]
        if self.slope_deg != (None, None):
            where.append(f"the slope (Horn 1981) is {_between(self.slope_deg, ' degrees')}")
        if self.elevation_m != (None, None):
            where.append(f"the elevation is {_between(self.elevation_m, ' m')}")
        if self.aspect_deg is not None:
            first, last = self.aspect_deg
            where.append(
                f"the ground faces {first:g} to {last:g} degrees clockwise from north of the grid"
            )
        cells = " and ".join(where)
        known = f"of the cells of the DEM where {self.layer} is known at their centers"
        if self.mean is None:
            text = f"Share {known}: those where {cells}."
        else:
            horn = " (Horn 1981)" if self.mean.endswith("slope") else ""
            text = (
                f"Sum of the {QUANTITIES[self.mean]}{horn} over the cells of the DEM where "
                f"{cells}, divided by the number {known}."
            )
        return Column(self.name, " ".join(filter(None, (text, self.note))))


def joint_rules(declared: Sequence[Mapping | str], layers: Sequence[Layer]) -> list[JointRule]:
    """Read the section ``features.joint``.

    Parameters
    ----------
    declared : sequence of mapping or str
        Of the completed configuration; a text is the name of one of `PRESETS`.
    layers : sequence of Layer

    Raises
    ------
    SeveralProblems
        A layer or a class that the study does not have, or keys that contradict each other.
    """
    problems: list[ConfigurationError] = []
    rules = []
    for place, each in enumerate(declared, start=1):
        name = each if isinstance(each, str) else each["name"]
        where = f"features.joint[{name or place}]"
        try:
            keys = _preset(each, layers, where) if isinstance(each, str) else dict(each)
        except ConfigurationError as problem:
            problems.append(problem)
            continue
        own = list(_contradictions(keys, layers, where))
        problems += own
        if not own:
            rules.append(_rule(keys))
    if problems:
        raise SeveralProblems(problems)
    return rules


def _preset(name: str, layers: Sequence[Layer], where: str) -> dict:
    if name not in PRESETS:
        raise ConfigurationError(
            where,
            f"no feature of the name {name}",
            f"keys, or one of {', '.join(PRESETS)}",
            f"{_near(name, PRESETS)}Correct the name, or write name, layer, and classes.",
        )
    fitting = [layer for layer in layers if {"low", "moderate", "high"} <= set(layer.classes())]
    if len(fitting) != 1:
        raise ConfigurationError(
            where,
            f"{len(fitting)} layers with the classes low, moderate, and high"
            + (f" ({', '.join(layer.name for layer in fitting)})" if fitting else ""),
            "one layer of type severity",
            f"Declare one; with several, write the keys of {name} and name the layer.",
        )
    return {"name": name, "layer": fitting[0].name, **PRESETS[name]}


def _contradictions(
    keys: Mapping, layers: Sequence[Layer], where: str
) -> Iterator[ConfigurationError]:
    by_name = {layer.name: layer for layer in layers}
    layer = by_name.get(keys["layer"])
    if layer is None:
        yield ConfigurationError(
            f"{where}.layer",
            f"no layer {keys['layer']}",
            "the name of a layer of this study",
            f"{_near(keys['layer'], by_name)}Correct it, or declare the layer.",
        )
        return
    classes, bounds = keys.get("classes"), keys.get("range")
    if (classes is None) == (bounds is None):
        yield ConfigurationError(
            where,
            "both classes and range" if classes else "neither classes nor range",
            "one of them",
            "Set classes for a layer of classes, range for one of numbers.",
        )
        return
    is_quantity = layer.names() is None
    if is_quantity and classes is not None:
        yield ConfigurationError(
            f"{where}.classes",
            f"classes of {layer.name}, a layer of numbers",
            "a range",
            "Set range: [smallest, largest] instead.",
        )
    elif not is_quantity and bounds is not None:
        yield ConfigurationError(
            f"{where}.range",
            f"a range of {layer.name}, a layer of classes",
            "classes",
            f"Set classes to some of {', '.join(layer.classes()) or 'its labels'}.",
        )
    else:
        for name in classes or ():
            if name not in layer.classes():
                yield ConfigurationError(
                    f"{where}.classes",
                    f"{name}",
                    f"classes of {layer.name}: {', '.join(layer.classes()) or 'it has no labels'}",
                    f"{_near(name, layer.classes())}Correct it, or label the codes of the layer.",
                )
    terrain = ("slope_min_deg", "slope_max_deg", "elevation_min_m", "elevation_max_m", "aspect_deg")
    if not any(keys.get(key) is not None for key in (*terrain, "mean")):
        yield ConfigurationError(
            where,
            "nothing of the terrain",
            f"one of {', '.join(terrain)}, or mean",
            "Add one; the share of a class alone is a column of the layer.",
        )
    for low, high in (("slope_min_deg", "slope_max_deg"), ("elevation_min_m", "elevation_max_m")):
        if None not in (keys.get(low), keys.get(high)) and keys[low] > keys[high]:
            yield ConfigurationError(
                f"{where}.{low}",
                f"{keys[low]:g}, more than the {high} of {keys[high]:g}",
                "the smaller value",
                "Swap the two.",
            )
    if bounds is not None and None not in bounds and bounds[0] > bounds[1]:
        yield ConfigurationError(
            f"{where}.range",
            f"{bounds[0]:g} before {bounds[1]:g}",
            "the smallest value first, then the largest",
            f"Write [{bounds[1]:g}, {bounds[0]:g}].",
        )


def _rule(keys: Mapping) -> JointRule:
    bounds, aspect = keys.get("range"), keys.get("aspect_deg")
    return JointRule(
        keys["name"],
        keys["layer"],
        tuple(keys.get("classes") or ()),
        None if bounds is None else (bounds[0], bounds[1]),
        (keys.get("slope_min_deg"), keys.get("slope_max_deg")),
        (keys.get("elevation_min_m"), keys.get("elevation_max_m")),
        None if aspect is None else (aspect[0], aspect[1]),
        keys.get("mean"),
        keys.get("note", ""),
    )


def _between(bounds: tuple[float | None, float | None], unit: str) -> str:
    low, high = bounds
    if high is None:
        return "known" if low is None else f"at least {low:g}{unit}"
    return f"at most {high:g}{unit}" if low is None else f"{low:g} to {high:g}{unit}"


def _near(name: str, known: Sequence[str] | Mapping) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}? " if near else ""
