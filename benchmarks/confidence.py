"""How far the confidence of an outlet can be trusted, and the figure of docs/confidence.md.

    python benchmarks/confidence.py --figure docs/confidence.png
    python benchmarks/confidence.py DEM.tif FLOW.tif [--seed 1]

The figure shows three sites of the demo: their catchments, and of the plausible outlets that of the
one that has least in common with it.

With a DEM and flow directions that other software has derived from it (codes of TauDEM: 1 is east,
and on counterclockwise), the catchments of 119 cells are independent masks, with areas as in the
table of Staley et al. (2016). What a study would get of them is a DEM of three times wider cells,
points up to 30 m beside the outlets, and areas with an error of 10 %. Writes a table of how much
the catchments that are found there have in common with the masks, by confidence.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import shapely
import yaml
from affine import Affine
from PIL import Image
from pipeline import AREA_QUANTILES
from rasterio import features
from record import ROOT
from stages import completed

from snakeshed import demo
from snakeshed.backends.local import Backend
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.outlines import outline
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.delineation.routed_window import Routed
from snakeshed.delineation.shards import split
from snakeshed.delineation.site import DelineationRule, Site, sites_of
from snakeshed.grid.snap import snap
from snakeshed.report.hillshade import hillshade
from snakeshed.sites.prepare import prepare_sites
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain

SHOWN = {
    "jf_30": "all plausible outlets\nhave nearly the same catchment",
    "jf_40": "a step along the stream\nchanges the catchment",
    "jf_45": "the stream beside it\ncould be meant as well",
}
OURS, WORST, INK, PAPER = "#0072b2", "#d55e00", "#111111", "#ffffff"
"""Blue and vermilion of Okabe and Ito (2008), and what is written."""

MASKS, COARSER, POINT_M, AREA_ERROR = 119, 3, 30.0, 0.1
SMALL_KM2 = 0.1
TAUDEM = {1: (0, 1), 2: (-1, 1), 3: (-1, 0), 4: (-1, -1), 5: (0, -1), 6: (1, -1), 7: (1, 0)} | {
    8: (1, 1)
}


# ---- the figure ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Shown:
    """What the figure shows of a site; places in columns and rows of the lattice."""

    catchment: Catchment
    outlet: tuple[float, float]
    plausible: np.ndarray
    worst: shapely.Geometry


def draw(path: Path, sites: Mapping[str, str] = SHOWN) -> None:
    """Draw the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo.make_demo(folder)
        raw = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
        raw["sites"]["path"], raw["dem"]["path"] = f"{folder}/sites.csv", f"{folder}/dem.tif"
        study = completed(raw | {"layers": []})
        index = index_terrain([study["dem"]["path"]])
        pyramid = PatchPyramid(index.lattice, **study["patches"])
        (shard,) = split(prepare_sites(study["sites"]).sites, index, pyramid, 1)
        rule = DelineationRule.of(study)
        chosen = [site for site in sites_of(shard.sites) if site.site_id in sites]
        done = delineate(chosen, index, pyramid, rule, Backend("serial"))
        figure = Figure(figsize=(9.6, 4.5), dpi=110, facecolor=PAPER)
        axes = figure.subplots(1, len(sites), squeeze=False)[0]
        with Terrain(index, rule.max_void_cells) as terrain:
            for axis, site, catchment in zip(axes, chosen, done, strict=True):
                found = shown_of(site, catchment, terrain, pyramid, rule)
                _draw_site(axis, site, found, terrain, rule.snap.radius_m)
                axis.set_title(
                    f"{site.site_id}: {sites[site.site_id]}", fontsize=10, color=INK, loc="left"
                )
                axis.set_xlabel(
                    f"stability {catchment.stability:.2f}, confidence {catchment.confidence}\n"
                    f"{catchment.area_km2:.2f} km² "
                    f"({catchment.area_low_km2:.2f} to {catchment.area_high_km2:.2f})",
                    fontsize=10,
                    color=INK,
                )
    _draw_key(figure)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.87, bottom=0.2, wspace=0.05)
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    # Half of the size, and nothing of when and with what it was drawn.
    Image.open(picture).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(
        path, "PNG", optimize=True
    )


def shown_of(
    site: Site, catchment: Catchment, terrain: Terrain, pyramid: PatchPyramid, rule: DelineationRule
) -> Shown:
    """Find the plausible outlets of a site, and the catchment that has least in common with its."""
    lattice = terrain.index.lattice
    ground = terrain.read(*pyramid.window(Patch.from_id(catchment.patch)))
    routed = Routed.of(ground, lattice, rule.conditioning, pyramid.backwater_m, 1)
    box = routed.box_around(site, rule.snap.radius_m)
    choice = snap(box.near, site.reported_area_km2, rule.snap)
    cells = np.argwhere(choice.plausible)
    columns = routed.directions.shape[1]
    flat = [int((box.top + i) * columns + box.left + j) for i, j in cells]
    own, *others = map(set, routed.catchments([box.flat_index(choice.outlet), *flat]))
    worst = min(others, key=lambda other: len(own & other) / len(own | other))
    mask = np.zeros(routed.directions.shape, np.bool_)
    mask.ravel()[list(worst)] = True
    middle = np.array([routed.column + box.left + 0.5, routed.row + box.top + 0.5])
    return Shown(
        catchment,
        (choice.outlet.column + middle[0], choice.outlet.row + middle[1]),
        cells[:, ::-1] + middle,
        _in_cells(outline(mask, lattice, routed.row, routed.column), lattice),
    )


def _in_cells(shape: shapely.Geometry, lattice) -> shapely.Geometry:
    """An outline in columns and rows."""
    return shapely.transform(
        shape,
        lambda xy: np.column_stack(
            [(xy[:, 0] - lattice.x0) / lattice.dx, (lattice.y0 - xy[:, 1]) / lattice.dy]
        ),
    )


def _draw_site(axis, site: Site, found: Shown, terrain: Terrain, radius_m: float) -> None:
    from matplotlib.patches import Ellipse, PathPatch
    from matplotlib.path import Path as Line

    lattice = terrain.index.lattice
    own = _in_cells(found.catchment.geometry, lattice)
    point = (site.x - lattice.x0) / lattice.dx, (lattice.y0 - site.y) / lattice.dy
    sizes = lattice.rows(math.floor(point[1]), 1)
    width_m, height_m = float(sizes.width_m[0]), float(sizes.height_m[0])
    radius = radius_m / width_m, radius_m / height_m
    ring = shapely.box(
        *(p - r for p, r in zip(point, radius, strict=True)),
        *(p + r for p, r in zip(point, radius, strict=True)),
    )
    west, north, east, south = shapely.union_all([own, found.worst, ring]).bounds
    half_m = 1.06 * max((east - west) * width_m, (south - north) * height_m) / 2
    x, y = (west + east) / 2, (north + south) / 2
    west, east = x - half_m / width_m, x + half_m / width_m
    north, south = y - half_m / height_m, y + half_m / height_m

    row, column = math.floor(north) - 1, math.floor(west) - 1
    height, width = math.ceil(south) - row + 1, math.ceil(east) - column + 1
    z = terrain.read(row, column, height, width).z.astype(np.float64)
    rows = lattice.rows(row, height)
    shade = hillshade(z, rows.width_m, rows.height_m)
    axis.imshow(
        shade,
        extent=(column + 1, column + width - 1, row + height - 1, row + 1),
        cmap="gray",
        vmin=-0.6,
        vmax=1.02,
        interpolation="bilinear",
    )
    for shape, colour, alpha, line in ((found.worst, WORST, 0.25, "--"), (own, OURS, 0.3, "-")):
        path = Line.make_compound_path(
            *(
                Line(np.asarray(each.coords), closed=True)
                for part in shapely.get_parts(shape)
                for each in (part.exterior, *part.interiors)
            )
        )
        axis.add_patch(PathPatch(path, facecolor=colour, alpha=alpha, edgecolor="none"))
        axis.add_patch(
            PathPatch(path, facecolor="none", edgecolor=colour, linewidth=2.0, linestyle=line)
        )
    axis.add_patch(
        Ellipse(point, 2 * radius[0], 2 * radius[1], facecolor="none", edgecolor=INK, linestyle=":")
    )
    axis.plot(*found.plausible.T, **PLAUSIBLE)
    axis.plot(*found.outlet, **OUTLET)
    axis.plot(*point, **POINT)
    axis.set_xlim(west, east)
    axis.set_ylim(south, north)
    axis.set_aspect(height_m / width_m)
    axis.set_xticks([])
    axis.set_yticks([])


PLAUSIBLE = {"linestyle": "none", "marker": "o", "ms": 5, "mfc": PAPER, "mec": INK, "mew": 1.0}
OUTLET = {"linestyle": "none", "marker": "o", "ms": 8, "mfc": INK, "mec": PAPER, "mew": 1.2}
POINT = {"linestyle": "none", "marker": "+", "ms": 11, "mec": INK, "mew": 2.0}


def _draw_key(figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch as Swatch

    entries = [
        (Swatch(facecolor=f"{OURS}4c", edgecolor=OURS, lw=2), "catchment"),
        (
            Swatch(facecolor=f"{WORST}40", edgecolor=WORST, lw=2, ls="--"),
            "of the plausible outlet with least in common",
        ),
        (Line2D([], [], **POINT), "site"),
        (Line2D([], [], **OUTLET), "outlet"),
        (Line2D([], [], **PLAUSIBLE), "plausible outlet"),
        (Line2D([], [], color=INK, ls=":"), "snap.radius_m"),
    ]
    handles, names = zip(*entries, strict=True)
    figure.legend(
        handles,
        names,
        loc="lower center",
        ncols=len(entries),
        fontsize=9,
        frameon=False,
        columnspacing=1.2,
        handletextpad=0.5,
    )


# ---- the measurement -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Mask:
    """A catchment by other software, as a mask of the fine DEM, and what a study knows of it."""

    cells: np.ndarray
    x: float
    y: float
    reported_km2: float


def upslope(directions: np.ndarray, known: np.ndarray, row: int, column: int) -> np.ndarray | None:
    """Return the cells that drain through one; None if they may go on where the DEM ends."""
    mask = np.zeros(directions.shape, np.bool_)
    mask[row, column] = True
    left = deque([(row, column)])
    while left:
        i, j = left.popleft()
        for code, (down, right) in TAUDEM.items():
            y, x = i - down, j - right
            if not (0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and known[y, x]):
                return None
            if directions[y, x] == code and not mask[y, x]:
                mask[y, x] = True
                left.append((y, x))
    return mask


def count_upslope(directions: np.ndarray) -> np.ndarray:
    """Return the number of cells that drain through each, itself included."""
    rows, columns = directions.shape
    counts, waiting = np.ones(directions.shape, np.int64), np.zeros(directions.shape, np.int64)
    into: dict[tuple[int, int], tuple[int, int]] = {}
    for code, (down, right) in TAUDEM.items():
        for i, j in np.argwhere(directions == code).tolist():
            if 0 <= i + down < rows and 0 <= j + right < columns:
                into[i, j] = i + down, j + right
                waiting[i + down, j + right] += 1
    ready = deque(map(tuple, np.argwhere(waiting == 0).tolist()))
    while ready:
        cell = ready.popleft()
        if cell in into:
            below = into[cell]
            counts[below] += counts[cell]
            waiting[below] -= 1
            if waiting[below] == 0:
                ready.append(below)
    return counts


def masks_of(
    directions: np.ndarray, known: np.ndarray, transform: Affine, masks: int, seed: int
) -> Iterator[Mask]:
    """Choose outlets with areas as in the published table, and what a study is given of them."""
    random = np.random.default_rng(seed)
    cell_km2 = transform.a * -transform.e / 1e6
    counts = count_upslope(directions)
    probabilities, quantiles = np.array(AREA_QUANTILES).T
    taken = np.zeros(directions.shape, np.bool_)
    ranks = (np.arange(masks) + 0.5) / masks
    for wanted in np.exp(np.interp(ranks, probabilities, np.log(quantiles))):
        fitting = np.argwhere((np.abs(counts * cell_km2 / wanted - 1) < 0.05) & known & ~taken)
        for row, column in random.permutation(fitting)[:200]:
            mask = upslope(directions, known, row, column)
            if mask is None:
                continue
            taken[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = True
            x, y = transform @ (column + 0.5, row + 0.5)
            aside = random.uniform(-POINT_M, POINT_M, 2)
            reported = mask.sum() * cell_km2 * math.exp(random.normal(0, AREA_ERROR))
            yield Mask(mask, x + aside[0], y + aside[1], round(float(reported), 4))
            break


def coarser(z: np.ndarray, times: int) -> np.ndarray:
    """Means of cells taken together; NaN where half of them or more have no data."""
    height, width = z.shape[0] // times, z.shape[1] // times
    parts = z[: height * times, : width * times].reshape(height, times, width, times)
    known = (~np.isnan(parts)).sum(axis=(1, 3))
    total = np.nansum(parts, axis=(1, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known > times * times / 2, total / known, np.nan)


def measure(dem: Path, flow: Path, seed: int, masks: int = MASKS) -> pd.DataFrame:
    """Delineate the outlets of the masks on the coarser DEM; a row per site.

    Returns
    -------
    pandas.DataFrame
        reported_km2, iou (of the catchment and the mask), before (confidence by the area and the
        runner-up alone), confidence, stability.
    """
    with rasterio.open(dem) as raster:
        z = raster.read(1, masked=True).astype(np.float64).filled(np.nan)
        transform, crs = raster.transform, raster.crs
    with rasterio.open(flow) as raster:
        directions = raster.read(1)
    chosen = list(masks_of(directions, ~np.isnan(z), transform, masks, seed))
    table = pd.DataFrame(
        {
            "site_id": [f"m{k:03}" for k in range(len(chosen))],
            "x": [mask.x for mask in chosen],
            "y": [mask.y for mask in chosen],
            "crs": crs.to_string(),
            "reported_area_km2": [mask.reported_km2 for mask in chosen],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dem.tif")
        given = coarser(z, COARSER).astype(np.float32)
        profile = {"driver": "GTiff", "height": given.shape[0], "width": given.shape[1]}
        profile |= {"count": 1, "dtype": "float32", "crs": crs, "nodata": np.nan}
        with rasterio.open(
            path, "w", transform=transform * Affine.scale(COARSER), **profile
        ) as out:
            out.write(given, 1)
        sites = {"path": "none.csv", "crs": "EPSG:4326", "columns": {"x": "x", "y": "y"}}
        study = completed({"study": "masks", "sites": sites, "dem": {"path": str(path)}})
        index = index_terrain([str(path)])
        pyramid = PatchPyramid(index.lattice, **study["patches"])
        (shard,) = split(table, index, pyramid, 1)
        rule = DelineationRule.of(study)
        done = delineate(sites_of(shard.sites), index, pyramid, rule, Backend("serial"))
    rows = []
    for mask, found in zip(chosen, done, strict=True):
        if found.status != "ok":
            continue
        ours = features.rasterize(
            [found.geometry], out_shape=z.shape, transform=transform, dtype=np.uint8
        ).astype(np.bool_)
        both, either = (ours & mask.cells).sum(), (ours | mask.cells).sum()
        rows.append(
            {
                "reported_km2": mask.reported_km2,
                "iou": both / either,
                "before": _before(found),
                "confidence": found.confidence,
                "stability": found.stability,
            }
        )
    return pd.DataFrame(rows)


def _before(found: Catchment) -> str:
    factor = max(found.area_ratio, 1 / found.area_ratio)
    rival = found.runner_up_cost
    if found.needs_larger_window or factor > 1.5:
        return "low"
    ambiguous = rival is not None and rival - found.snap_cost < 0.1
    return "medium" if ambiguous or factor > 1.1 else "high"


def table_of(found: pd.DataFrame) -> str:
    """The table of docs/confidence.md."""
    lines = [
        "| confidence | sites | median IoU | IoU above 0.8 | IoU below 0.5 | smaller than 0.1 km2 "
        "| their median IoU | their IoU above 0.8 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for when, column in (("before", "before"), ("now", "confidence")):
        for name in ("high", "medium", "low"):
            of_class = found[found[column] == name]
            small = of_class[of_class["reported_km2"] < SMALL_KM2]
            iou, of_small = of_class["iou"], small["iou"]
            lines.append(
                f"| {name}, {when} | {len(iou)} | {iou.median():.2f} | {(iou > 0.8).mean():.0%} "
                f"| {(iou < 0.5).mean():.0%} | {len(of_small)} | {of_small.median():.2f} "
                f"| {(of_small > 0.8).mean():.0%} |"
            )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Draw or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="DEM.tif FLOW.tif")
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args(arguments)
    if options.figure:
        draw(options.figure)
    if options.files:
        dem, flow = options.files
        found = pd.concat([measure(dem, flow, seed) for seed in options.seed])
        print(table_of(found))


if __name__ == "__main__":
    main(sys.argv[1:])
