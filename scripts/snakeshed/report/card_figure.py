"""The figure of a site's card: the ground, the network, the catchment, and the layers.

Axes count in columns and rows of the terrain's lattice: nothing is resampled but the layers.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.delineation.site import DelineationRule
from snakeshed.errors import printable
from snakeshed.features.layer import Layer
from snakeshed.raster.lattice import Lattice
from snakeshed.report.hillshade import hillshade, thinned
from snakeshed.report.network import Network, network_of
from snakeshed.report.site_values import kind_in_words, kind_of
from snakeshed.terrain.elevations import Terrain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

# Okabe and Ito (2008), as on the pages; the others are theirs too, for classes of layers.
_COLOURS = {"high": "#0072b2", "medium": "#e69f00", "low": "#d55e00", "unrated": "#56606b"}
_CLASSES = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#332288")
_OTHER_CLASSES = "#999999"
_SEVERITY = {"unburned": "#009e73", "low": "#f0e442", "moderate": "#e69f00", "high": "#d55e00"}
_WATER, _TRICKLE, _INK, _PAPER = "#08519c", "#4292c6", "#111111", "#ffffff"

# A patch of more cells is drawn without its network, which costs as much as its delineation.
_MOST_CELLS = 100_000_000
_MOST_CHANNELS = 4_000
_PIXELS = 800
_ABREAST = 4
_DOTS_PER_INCH = 130
_LONGEST_NAME = 90
# Near the outlet, what drains such a part of the catchment is drawn too.
_TRICKLES = 20


@dataclass(frozen=True)
class Extent:
    """A box of the lattice, in columns and rows with their fractions."""

    west: float
    north: float
    east: float
    south: float

    def window(self) -> tuple[int, int, int, int]:
        """Return row, column, height and width of the cells that it touches."""
        row, column = math.floor(self.north), math.floor(self.west)
        return row, column, math.ceil(self.south) - row, math.ceil(self.east) - column


@dataclass(frozen=True, eq=False)
class Drawing:
    """What is drawn of a site, in columns and rows.

    Attributes
    ----------
    lattice : Lattice
    outline : shapely.Geometry or None
    point, outlet, runner_up : tuple of 2 float or None
    confidence : str or None
    radius_m : float
        ``snap.radius_m``.
    """

    lattice: Lattice
    outline: shapely.Geometry | None
    point: tuple[float, float]
    outlet: tuple[float, float] | None
    runner_up: tuple[float, float] | None
    confidence: str | None
    radius_m: float

    @classmethod
    def of(
        cls,
        row: Mapping[str, Any],
        outline: shapely.Geometry | None,
        lattice: Lattice,
        radius_m: float,
    ) -> Drawing | None:
        """Place a row of ``catchments.parquet``; None if the site has no place on the lattice."""

        def place(name: str) -> tuple[float, float] | None:
            x, y = row[f"{name}_x"], row[f"{name}_y"]
            if x is None or y is None:
                return None
            return (x - lattice.x0) / lattice.dx, (lattice.y0 - y) / lattice.dy

        if (point := place("site")) is None:
            return None
        in_cells = outline and shapely.transform(
            outline,
            lambda xy: np.column_stack(
                [(xy[:, 0] - lattice.x0) / lattice.dx, (lattice.y0 - xy[:, 1]) / lattice.dy]
            ),
        )
        return cls(
            lattice,
            in_cells,
            point,
            place("outlet"),
            place("runner_up"),
            row["confidence"],
            radius_m,
        )

    def cell_m(self) -> tuple[float, float]:
        """Return width and height of a cell at the site, m."""
        column, row = map(math.floor, self.point)
        cell = self.lattice.cell_at(row, column)
        return cell.width_m, cell.height_m

    def extent(self) -> Extent:
        """Return a box, as high as wide on the ground, that shows the site and its catchment."""
        boxes = [self._snapped()]
        if self.outline is None:
            return self._square(boxes, 4.0)
        return self._square([*boxes, self.outline.bounds])

    def outlet_extent(self) -> Extent:
        """Return the same around what snapping saw."""
        return self._square([self._snapped()])

    def _snapped(self) -> tuple[float, float, float, float]:
        width_m, height_m = self.cell_m()
        right, down = self.radius_m / width_m, self.radius_m / height_m
        x, y = self.point
        return x - right, y - down, x + right, y + down

    def _square(
        self, boxes: Sequence[tuple[float, float, float, float]], room: float = 1.08
    ) -> Extent:
        width_m, height_m = self.cell_m()
        west, north, east, south = zip(*boxes, strict=True)
        west, north, east, south = min(west), min(north), max(east), max(south)
        half_m = max((east - west) * width_m, (south - north) * height_m) * room / 2
        x, y = (west + east) / 2, (north + south) / 2
        right, down = half_m / width_m, half_m / height_m
        return Extent(x - right, y - down, x + right, y + down)


def card_figure(
    row: Mapping[str, Any],
    outline: shapely.Geometry | None,
    terrain: Terrain,
    pyramid: PatchPyramid,
    layers: Sequence[Layer],
    rule: DelineationRule,
) -> tuple[bytes, list[str]]:
    """Draw a site: its patch, itself, and the layers over its catchment.

    Parameters
    ----------
    row : mapping
        Plain values of its row of ``catchments.parquet``.
    outline : shapely.Geometry or None
        Its catchment.
    terrain : Terrain
        Of the tiles under its patches.
    pyramid : PatchPyramid
    layers : sequence of Layer
    rule : DelineationRule
        By which it was delineated. Near a site that drains little, channels smaller than
        ``rule.channel_km2`` are drawn too.

    Returns
    -------
    picture : bytes
        PNG.
    notes : list of str
        What is not drawn, and why.

    Raises
    ------
    TerrainError, LayerError
        A tile or a layer cannot be read.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    site = Drawing.of(row, outline, terrain.index.lattice, rule.snap.radius_m)
    if site is None:
        figure = Figure(figsize=(11, 2), dpi=_DOTS_PER_INCH, facecolor=_PAPER)
        note = "The site has no place in the CRS of the DEM: there is nothing to draw."
        figure.text(0.5, 0.5, note, ha="center", va="center")
        return _png(figure, FigureCanvasAgg), [note]
    notes = []
    network, whole, core = None, None, None
    if row["patch"] is not None:
        patch = Patch.from_id(row["patch"])
        window = pyramid.window(patch)
        whole, core = _around(window), _around(pyramid.core(patch))
        part = terrain.index.part_with_tiles(*window)
        if part[2] * part[3] <= _MOST_CELLS:
            network = network_of(terrain, rule.conditioning, *part)
        else:
            notes.append(
                f"The network is not drawn: the patch has {part[2] * part[3]:,} cells, more "
                f"than {_MOST_CELLS:,}."
            )
    below = math.ceil(len(layers) / _ABREAST) if site.outline is not None else 0
    heights = [5.4, *[3.7] * below]
    figure = Figure(figsize=(12.6, sum(heights)), dpi=_DOTS_PER_INCH, facecolor=_PAPER)
    parts = figure.subfigures(1 + below, 1, squeeze=False, height_ratios=heights)[:, 0]
    name = printable(" ".join(row["site_id"].split()))
    name = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    title = f"{name}: {kind_in_words(kind_of(row))}"
    parts[0].text(0.01, 0.965, title, fontsize=13, parse_math=False, va="center")
    margins = {"left": 0.01, "right": 0.99, "wspace": 0.04}
    axes = parts[0].subplots(1, 3, gridspec_kw=margins | {"bottom": 0.12, "top": 0.89})
    close, closest = site.extent(), site.outlet_extent()
    # Most sites drain less than what makes a channel.
    area_km2 = row["area_km2"] or row["reported_area_km2"] or rule.channel_km2
    trickle_km2 = min(rule.channel_km2, area_km2 / _TRICKLES)
    maps = [
        (axes[1], close, "Catchment" if site.outline is not None else "Surroundings"),
        (axes[2], closest, "Outlet" if site.outlet else "Within the snap radius"),
    ]
    if whole is not None:
        maps.insert(0, (axes[0], whole, f"Patch {row['patch']}"))
        _draw_box(axes[0], whole, "-")
        _draw_box(axes[0], core, "--")
        _draw_box(axes[0], close, ":")
    else:
        axes[0].set_axis_off()
    _draw_box(axes[1], closest, ":")
    for axis, extent, title in maps:
        begins = (rule.channel_km2,) if extent is whole else (rule.channel_km2, trickle_km2)
        _draw_terrain(axis, extent, terrain, network, begins)
        _draw_site(axis, site, points=axis is axes[2])
        _finish(axis, extent, site, title)
    _draw_key(
        parts[0], site, network, (rule.channel_km2, trickle_km2), with_patch=whole is not None
    )
    for n in range(below):
        abreast = layers[n * _ABREAST : (n + 1) * _ABREAST]
        axes = parts[1 + n].subplots(
            1, _ABREAST, gridspec_kw=margins | {"bottom": 0.18, "top": 0.93}
        )
        for axis, layer in zip(axes, abreast, strict=False):
            _draw_layer(axis, layer, close, site)
            _finish(axis, close, site, f"Layer {layer.name}", scale=False)
        for axis in axes[len(abreast) :]:
            axis.set_axis_off()
    return _png(figure, FigureCanvasAgg), notes


def _png(figure: FigureBase, canvas: type) -> bytes:
    canvas(figure)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The font that matplotlib brings does not have all scripts; the page beside it does.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        # Nothing of when and with what it was drawn.
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _around(window: tuple[int, int, int, int]) -> Extent:
    row, column, height, width = window
    return Extent(column, row, column + width, row + height)


def _draw_terrain(
    axis: Axes, extent: Extent, terrain: Terrain, network: Network | None, begins: Sequence[float]
) -> None:
    _draw_ground(axis, extent, terrain)
    if network is not None:
        _draw_network(axis, extent, network, begins)


def _draw_ground(axis: Axes, extent: Extent, terrain: Terrain) -> None:
    row, column, height, width = extent.window()
    step = max(1, math.ceil(max(height, width) / _PIXELS))
    # One pixel more on each side is known to the shade.
    row, column = row - step, column - step
    height, width = (math.ceil(side / step) + 2 for side in (height, width))
    z = thinned(terrain, row, column, height, width, step)
    if np.isnan(z).all():
        axis.text(0.5, 0.75, "the DEM has no data here", ha="center", transform=axis.transAxes)
        return
    sizes = terrain.index.lattice.cells(row, column + width * step // 2, height * step, 1)
    rows = slice(step // 2, None, step)
    shade = hillshade(z, sizes.width_m[rows, 0] * step, sizes.height_m[rows, 0] * step)
    axis.imshow(
        shade,
        extent=(column, column + width * step, row + height * step, row),
        cmap="gray",
        vmin=-0.5,
        vmax=1.02,
        interpolation="bilinear",
    )


def _draw_network(axis: Axes, extent: Extent, network: Network, begins: Sequence[float]) -> None:
    """Draw channels, and fainter all that drains less than they do, down to the least."""
    from matplotlib.collections import LineCollection

    # What begins beside the box leads into it.
    box = extent.west - 1, extent.north - 1, extent.east + 1, extent.south + 1
    channels = network.channels(box, min(begins), _MOST_CHANNELS)
    if not channels.area_km2.size:
        return
    is_channel = channels.area_km2 >= max(begins)
    # Between the smallest and the largest that is drawn.
    decades = np.log10(channels.area_km2 / channels.area_km2.min())
    axis.add_collection(
        LineCollection(
            np.stack([channels.start, channels.end], axis=1),
            colors=[_WATER if large else _TRICKLE for large in is_channel],
            linewidths=0.5 + 0.8 * np.clip(decades, 0, 3),
            capstyle="round",
        ),
        autolim=False,
    )


def _draw_site(axis: Axes, site: Drawing, points: bool) -> None:
    from matplotlib.patches import Ellipse, PathPatch
    from matplotlib.path import Path

    if site.outline is not None:
        rings = [
            Path(np.asarray(ring.coords), closed=True)
            for part in shapely.get_parts(site.outline)
            for ring in (part.exterior, *part.interiors)
        ]
        colour = _COLOURS[site.confidence]
        path = Path.make_compound_path(*rings)
        axis.add_patch(PathPatch(path, facecolor=colour, alpha=0.22, edgecolor="none"))
        axis.add_patch(PathPatch(path, facecolor="none", edgecolor=colour, linewidth=1.8))
    if points:
        width_m, height_m = site.cell_m()
        diameters = 2 * site.radius_m / width_m, 2 * site.radius_m / height_m
        axis.add_patch(
            Ellipse(site.point, *diameters, facecolor="none", edgecolor=_INK, linestyle=(0, (4, 3)))
        )
        if site.outlet:
            axis.plot(*zip(site.point, site.outlet, strict=True), color=_INK, linewidth=1.2)
        for point, style in ((site.runner_up, _RUNNER_UP), (site.outlet, _OUTLET)):
            if point:
                axis.plot(*point, linestyle="none", **style)
    axis.plot(*site.point, linestyle="none", **_POINT)


_POINT = {"marker": "o", "ms": 7, "mfc": "none", "mec": _INK, "mew": 1.8}
_OUTLET = {"marker": "o", "ms": 6, "mfc": _INK, "mec": _PAPER, "mew": 1.0}
_RUNNER_UP = {"marker": "s", "ms": 7, "mfc": _PAPER, "mec": _INK, "mew": 1.5}


def _draw_box(axis: Axes, box: Extent, style: str) -> None:
    from matplotlib.patches import Rectangle

    corner, size = (box.west, box.north), (box.east - box.west, box.south - box.north)
    axis.add_patch(Rectangle(corner, *size, facecolor="none", edgecolor=_INK, linestyle=style))


def _finish(axis: Axes, extent: Extent, site: Drawing, title: str, scale: bool = True) -> None:
    width_m, height_m = site.cell_m()
    # A hair wider, so that a line at the rim is seen whole.
    more = 0.004 * (extent.east - extent.west)
    axis.set_xlim(extent.west - more, extent.east + more)
    axis.set_ylim(extent.south + more, extent.north - more)
    axis.set_aspect(height_m / width_m)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, loc="left", fontsize=10)
    if not scale:
        return
    across_m = (extent.east - extent.west) * width_m
    power = 10.0 ** math.floor(math.log10(across_m / 4))
    length_m = max(power * times for times in (1, 2, 5) if power * times <= across_m / 4)
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    end, foot = 0.97, 0.03
    start = end - length_m / across_m
    axis.plot(
        [start, end],
        [foot, foot],
        color=_INK,
        linewidth=3,
        transform=axis.transAxes,
        zorder=9,
        solid_capstyle="butt",
    )
    axis.text(
        (start + end) / 2,
        foot + 0.015,
        text,
        ha="center",
        va="bottom",
        fontsize=9,
        zorder=9,
        transform=axis.transAxes,
        bbox={"facecolor": _PAPER, "alpha": 0.75, "lw": 0, "pad": 1.5},
    )


def _draw_key(
    part: FigureBase,
    site: Drawing,
    network: Network | None,
    begins: tuple[float, float],
    with_patch: bool,
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch as Swatch

    entries: list[tuple[Any, str]] = []
    if site.outline is not None:
        colour = _COLOURS[site.confidence]
        swatch = Swatch(facecolor=f"{colour}38", edgecolor=colour, linewidth=1.8)
        entries.append((swatch, f"catchment ({site.confidence})"))
    if network is not None:
        for colour, km2 in zip((_WATER, _TRICKLE), sorted(set(begins), reverse=True), strict=False):
            text = f"{'channels' if colour == _WATER else 'flow paths'} from {km2:.2g} km² on"
            if colour == _WATER and (network.area_km2 >= km2).sum() > _MOST_CHANNELS:
                text += f", at most the {_MOST_CHANNELS:,} largest"
            entries.append((Line2D([], [], color=colour, lw=2), text))
    entries.append((Line2D([], [], linestyle="none", **_POINT), "site as given"))
    if site.outlet:
        entries.append((Line2D([], [], linestyle="none", **_OUTLET), "outlet"))
    if site.runner_up:
        entries.append((Line2D([], [], linestyle="none", **_RUNNER_UP), "runner-up"))
    lines = [((0, (4, 3)), f"snap radius, {site.radius_m:g} m"), (":", "next map")]
    if with_patch:
        lines += [("-", "window of the patch, to its rim"), ("--", "core of the patch")]
    for style, text in lines:
        entries.append((Line2D([], [], color=_INK, linestyle=style), text))
    part.legend(
        *zip(*entries, strict=True),
        loc="lower center",
        ncols=math.ceil(len(entries) / 2),
        frameon=False,
        fontsize=9,
    )


def _draw_layer(axis: Axes, layer: Layer, extent: Extent, site: Drawing) -> None:
    cells = _layer_cells(layer, extent, site.lattice)
    row, column, height, width = extent.window()
    box = (column, column + width, row + height, row)
    if cells.mask.all():
        axis.text(0.5, 0.5, "no data", ha="center", transform=axis.transAxes)
    elif layer.names() is None:
        image = axis.imshow(cells, extent=box, cmap="viridis", interpolation="nearest")
        below = axis.inset_axes((0, -0.08, 1, 0.05))
        bar = axis.figure.colorbar(image, cax=below, orientation="horizontal")
        bar.ax.tick_params(labelsize=8)
        bar.set_label(getattr(layer, "unit", None) or layer.name, fontsize=8)
    else:
        _draw_classes(axis, layer.names(), cells, box)
    if site.outline is not None:
        for colour, width in ((_PAPER, 2.6), (_INK, 1.2)):
            for part in shapely.get_parts(site.outline):
                for ring in (part.exterior, *part.interiors):
                    axis.plot(*np.asarray(ring.coords).T, color=colour, linewidth=width)


def _draw_classes(
    axis: Axes, names: Mapping[float, str], cells: np.ma.MaskedArray, box: tuple
) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch as Swatch

    codes, counts = np.unique(cells.compressed(), return_counts=True)
    shares: dict[str, int] = {}
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        name = names.get(code, f"{code:.0f}")
        shares[name] = shares.get(name, 0) + count
    largest = sorted(shares, key=lambda name: (-shares[name], name))[: len(_CLASSES)]
    if set(shares) <= set(_SEVERITY):
        # From green to red, as on other maps of severity.
        largest = [name for name in _SEVERITY if name in shares]
        colours = _SEVERITY
    else:
        colours = dict(zip(largest, _CLASSES, strict=False))
    pixels = np.ones((*cells.shape, 3))
    for code in codes.tolist():
        colour = colours.get(names.get(code, f"{code:.0f}"), _OTHER_CLASSES)
        pixels[(cells == code).filled(False)] = to_rgb(colour)
    axis.imshow(pixels, extent=box, interpolation="nearest")
    swatches = [Swatch(color=colours[name], label=name) for name in largest]
    if len(shares) > len(largest):
        swatches.append(Swatch(color=_OTHER_CLASSES, label=f"{len(shares) - len(largest)} others"))
    axis.legend(
        handles=swatches,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncols=3,
        frameon=False,
        fontsize=8,
        handlelength=1,
        columnspacing=1,
    )


def _layer_cells(layer: Layer, extent: Extent, lattice: Lattice) -> np.ma.MaskedArray:
    """Values or codes of a layer at points on the terrain's lattice, masked without data."""
    row, column, height, width = extent.window()
    step = max(1, math.ceil(max(height, width) / _PIXELS))
    high, wide = max(1, height // step), max(1, width // step)
    rows = row + (np.arange(high) + 0.5) * (height / high)
    columns = column + (np.arange(wide) + 0.5) * (width / wide)
    x, y = lattice.corner(*(each.ravel() for each in np.meshgrid(rows, columns, indexing="ij")))
    with closing(layer.sampler(lattice.crs)) as sampler:
        return np.ma.masked_invalid(sampler.values(x, y).reshape(high, wide))
