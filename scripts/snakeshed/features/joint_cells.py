"""Joint features of one catchment, on the cells of the DEM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from snakeshed.features.form_and_relief import CatchmentCells
from snakeshed.features.joint import JointRule
from snakeshed.features.layer import Layer, Sampler
from snakeshed.kernels.relief import total
from snakeshed.raster.lattice import Lattice

# Points of a layer that are read at a time.
_MOST_POINTS = 1 << 22


class JointFeatures:
    """Joint features, with the layers that they read.

    Parameters
    ----------
    rules : sequence of JointRule
    layers : sequence of Layer
    samplers : mapping of str to Sampler
        Of the layers that the rules name, at points in the CRS of `lattice`.
    lattice : Lattice
        Of the terrain.
    """

    def __init__(
        self,
        rules: Sequence[JointRule],
        layers: Sequence[Layer],
        samplers: Mapping[str, Sampler],
        lattice: Lattice,
    ) -> None:
        self._rules = rules
        self._layers = {layer.name: layer for layer in layers}
        self._samplers = samplers
        self._lattice = lattice

    def of(self, cells: CatchmentCells) -> dict[str, float | None]:
        """Return the joint features of a catchment; None where a layer is not known anywhere.

        Raises
        ------
        LayerError
            A layer cannot be read.
        """
        values = {name: self._values(name, cells) for name in self._samplers}
        tangent = np.sqrt(cells.east * cells.east + cells.north * cells.north)
        return {
            rule.name: self._feature(rule, cells, tangent, values[rule.layer])
            for rule in self._rules
        }

    def _values(self, name: str, cells: CatchmentCells) -> np.ndarray:
        """Return the values of a layer at the centers of the cells."""
        parts = [np.empty(0)]
        for first in range(0, cells.rows.size, _MOST_POINTS):
            piece = slice(first, first + _MOST_POINTS)
            x, y = self._lattice.centre(cells.rows[piece], cells.columns[piece])
            parts.append(self._samplers[name].values(x, y))
        return np.concatenate(parts)

    def _feature(
        self, rule: JointRule, cells: CatchmentCells, tangent: np.ndarray, values: np.ndarray
    ) -> float | None:
        known = int(np.count_nonzero(~np.isnan(values)))
        if not known:
            return None
        if rule.range is None:
            weights = np.zeros(values.size)
            for code, share in self._layers[rule.layer].codes_of(rule.classes).items():
                weights[values == code] = share
        else:
            weights = _within(values, rule.range).astype(np.float64)
        low, high = rule.slope_deg
        steepness = (
            None if low is None else math.tan(math.radians(low)),
            None if high is None else math.tan(math.radians(high)),
        )
        weights[~_within(tangent, steepness)] = 0.0
        weights[~_within(cells.elevation, rule.elevation_m)] = 0.0
        if rule.aspect_deg is not None:
            weights[~_faces(cells.east, cells.north, *rule.aspect_deg)] = 0.0
        if rule.mean is not None:
            weights *= {
                "sin_slope": lambda: tangent / np.sqrt(1.0 + tangent * tangent),
                "tan_slope": lambda: tangent,
                "elevation_m": lambda: cells.elevation,
            }[rule.mean]()
        return total(weights) / known


@contextmanager
def joint_features(
    rules: Sequence[JointRule], layers: Sequence[Layer], lattice: Lattice
) -> Iterator[JointFeatures]:
    """Open the layers that some joint features read.

    Parameters
    ----------
    rules : sequence of JointRule
        From `snakeshed.features.joint.joint_rules`.
    layers : sequence of Layer
    lattice : Lattice
        Of the terrain.

    Raises
    ------
    LayerError
        A layer cannot be read.
    """
    named = {rule.layer for rule in rules}
    with ExitStack() as stack:
        samplers = {}
        for layer in layers:
            if layer.name in named:
                samplers[layer.name] = layer.sampler(lattice.crs)
                stack.callback(samplers[layer.name].close)
        yield JointFeatures(rules, layers, samplers, lattice)


def _within(values: np.ndarray, bounds: tuple[float | None, float | None]) -> np.ndarray:
    low, high = bounds
    inside = ~np.isnan(values)
    if low is not None:
        inside &= values >= low
    if high is not None:
        inside &= values <= high
    return inside


def _faces(east: np.ndarray, north: np.ndarray, first: float, last: float) -> np.ndarray:
    """Which cells face a direction from `first` clockwise to `last`, degrees; none that is level.

    Sines of differences of angles are compared with 0, so that no angle is computed.
    """

    def clockwise_from(degrees: float) -> np.ndarray:
        # Downslope is against the gradient.
        angle = math.radians(degrees)
        return north * math.sin(angle) - east * math.cos(angle)

    after, before = clockwise_from(first) >= 0, clockwise_from(last) <= 0
    span = (last - first) % 360.0
    is_wide = span > 180.0 or (span == 0 and last > first)
    facing = after | before if is_wide else after & before
    if span == 0 and not is_wide:
        # The opposite direction is on the same line.
        angle = math.radians(first)
        facing &= -east * math.sin(angle) - north * math.cos(angle) > 0
    return facing & ((east != 0) | (north != 0))
