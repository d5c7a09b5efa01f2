"""One side of the comparison of `kernels.py`, in a process, and an environment, of its own.

    PYTHON benchmarks/side.py NAME TERRAIN.npy [--threads 1] [--repeats 3] [--seconds 120]

Each side is a function: it gets square float elevations and a `Watch`, runs its library from
elevations in memory to upslope cells in memory, and tells where water ends. Writes JSON: seconds
and peak memory of each step, and what became of the water. Runs on the Pythons of all peers, so
it needs nothing but NumPy besides the library.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from usage import forget_peak, memory

CELL_M = 10.0
NODATA = -9999.0
WARM_UP_CELLS = 60


class Watch:
    """Takes the time and the peak memory of the steps of a chain.

    Attributes
    ----------
    steps : dict of {str: dict}
        Seconds, and bytes at most beyond those before `z` was prepared, of each step, by its name.
    """

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, float]] = {}
        self._before = memory("VmRSS")

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Watch one step."""
        forget_peak()
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self.steps[step] = {"s": seconds, "bytes": memory("VmHWM") - self._before}


Outcome = tuple[np.ndarray, np.ndarray]
"""Upslope cells, and where water goes no further: both of the shape of the terrain."""


def snakeshed(z: np.ndarray, watch: Watch, threads: int) -> Outcome:
    """Fill by the basin graph; flats by distance."""
    from made_terrain import pad

    from snakeshed.kernels.accumulation import count_upslope
    from snakeshed.kernels.filling import fill

    padded, border = pad(z)
    cell_m = np.full(len(padded), CELL_M)
    with watch("fill, flats, directions"):
        _, directions = fill(padded, border, cell_m, cell_m, threads)
    with watch("accumulation"):
        counts = count_upslope(directions, threads)
    return counts[1:-1, 1:-1], directions[1:-1, 1:-1] == 0


def snakeshed_carve(z: np.ndarray, watch: Watch, threads: int) -> Outcome:
    """Carve by the basin graph."""
    from made_terrain import pad

    from snakeshed.kernels.accumulation import count_upslope
    from snakeshed.kernels.carving import carve

    padded, border = pad(z)
    cell_m = np.full(len(padded), CELL_M)
    with watch("carve, flats, directions"):
        directions = carve(padded, border, cell_m, cell_m)
    with watch("accumulation"):
        counts = count_upslope(directions, threads)
    return counts[1:-1, 1:-1], directions[1:-1, 1:-1] == 0


def pysheds(z: np.ndarray, watch: Watch, _: int) -> Outcome:
    """All of its conditioning, in the order of its README."""
    from affine import Affine

    from snakeshed.grid.pysheds_import import Grid, Raster, ViewFinder

    affine = Affine(CELL_M, 0, 0, 0, -CELL_M, 0)
    view = ViewFinder(affine=affine, shape=z.shape, nodata=np.nan)
    grid, raster = Grid(viewfinder=view), Raster(z.astype(np.float64), view)
    for step in ("fill_pits", "fill_depressions", "resolve_flats", "flowdir"):
        with watch(step):
            raster = getattr(grid, step)(raster)
    with watch("accumulation"):
        counts = grid.accumulation(raster)
    return np.asarray(counts), np.asarray(raster) <= 0


def pyflwdir(z: np.ndarray, watch: Watch, _: int) -> Outcome:
    """Fill and route in one priority flood."""
    import pyflwdir as peer

    with watch("from_dem"):
        flow = peer.from_dem(z, nodata=NODATA)
    with watch("accumulation"):
        counts = flow.upstream_area("cell")
    ends = np.zeros(z.size, np.bool_)
    ends[flow.idxs_pit] = True
    return counts, ends.reshape(z.shape)


def topotoolbox(z: np.ndarray, watch: Watch, _: int) -> Outcome:
    """Fill by reconstruction, carve through flats by least cost."""
    import topotoolbox as peer

    grid = peer.GridObject()
    grid.z, grid.cellsize = z, CELL_M
    with watch("FlowObject"):
        flow = peer.FlowObject(grid)
    with watch("accumulation"):
        counts = flow.flow_accumulation()
    ends = np.zeros(z.size, np.bool_)
    ends[flow.getoutlets()] = True
    return counts.z, ends.reshape(z.shape)


def xarray_spatial(z: np.ndarray, watch: Watch, _: int) -> Outcome:
    """Fill by repeated sweeps; there is nothing for flats."""
    import xarray
    from xrspatial.hydro import fill_d8, flow_accumulation_d8, flow_direction_d8

    places = {axis: CELL_M * np.arange(n) for axis, n in zip("yx", z.shape, strict=True)}
    raster = xarray.DataArray(z, dims=("y", "x"), coords=places)
    with watch("fill_d8"):
        raster = fill_d8(raster)
    with watch("flow_direction_d8"):
        raster = flow_direction_d8(raster)
    with watch("accumulation"):
        counts = flow_accumulation_d8(raster)
    return counts.values, raster.values == 0


def richdem(z: np.ndarray, watch: Watch, _: int) -> Outcome:
    """Fill by priority flood, flats by Barnes; in float64, as float32 has no room for the flats."""
    import richdem as peer

    grid = peer.rdarray(z.astype(np.float64), no_data=NODATA)
    grid.geotransform = [0, CELL_M, 0, 0, 0, -CELL_M]
    with watch("FillDepressions"):
        peer.FillDepressions(grid, in_place=True)
    with watch("ResolveFlats"):
        peer.ResolveFlats(grid, in_place=True)
    with watch("accumulation"):
        counts = peer.FlowAccumulation(grid, method="D8")
    return np.asarray(counts), without_lower_neighbour(np.asarray(grid))


def fastscapelib(z: np.ndarray, watch: Watch, _: int) -> Outcome:
    """The basin graph in C++, with its default: Kruskal's tree, and carving."""
    import fastscapelib as peer

    z = z.astype(np.float64)
    grid = peer.RasterGrid(z.shape, [CELL_M, CELL_M], peer.NodeStatus.FIXED_VALUE)
    with watch("FlowGraph"):
        flow = peer.FlowGraph(grid, [peer.SingleFlowRouter(), peer.MSTSinkResolver()])
        flow.update_routes(z)
    with watch("accumulation"):
        counts = flow.accumulate(1 / CELL_M**2)
    receivers = flow.impl().receivers[:, 0]
    ends = receivers == np.arange(z.size, dtype=receivers.dtype)
    return counts, ends.reshape(z.shape)


def whitebox(z: np.ndarray, watch: Watch, _: int) -> Outcome:
    """Fill by priority flood with a gradient in flats; reads its input from a file beforehand."""
    import rasterio
    import whitebox_workflows as peer

    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:32611"}
    profile |= {"height": z.shape[0], "width": z.shape[1], "nodata": NODATA}
    profile |= {"transform": rasterio.Affine(CELL_M, 0, 4e5, 0, -CELL_M, 4e6)}
    work = peer.WbEnvironment()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/terrain.tif"
        with rasterio.open(path, "w", **profile) as file:
            file.write(z, 1)
        # Its rasters of files are read when they are used; one made of an array is in memory.
        raster = peer.Raster.from_numpy(z, work.read_raster(path))
        with watch("fill_depressions"):
            filled = work.hydrology.fill_depressions(dem=raster)
        with watch("accumulation"):
            counts = work.hydrology.d8_flow_accum(input=filled, out_type="cells")
    return counts.to_numpy(), without_lower_neighbour(filled.to_numpy())


SIDES = {
    "snakeshed": snakeshed,
    "snakeshed carve": snakeshed_carve,
    "pysheds": pysheds,
    "pyflwdir": pyflwdir,
    "topotoolbox": topotoolbox,
    "xarray-spatial": xarray_spatial,
    "richdem": richdem,
    "fastscapelib": fastscapelib,
    "whitebox-workflows": whitebox,
}


def without_lower_neighbour(z: np.ndarray) -> np.ndarray:
    """Where water of a finished surface goes no further: inside, or over the rim.

    Parameters
    ----------
    z : ndarray of float, shape (h, w)

    Returns
    -------
    ndarray of bool, shape (h, w)
        True on the rim too.
    """
    ends = np.ones(z.shape, np.bool_)
    middle = z[1:-1, 1:-1]
    inside = ends[1:-1, 1:-1]
    rows, columns = z.shape
    for i in range(3):
        for j in range(3):
            inside &= ~(z[i : rows - 2 + i, j : columns - 2 + j] < middle)
    return ends


def water(counts: np.ndarray, ends: np.ndarray) -> dict[str, float]:
    """What became of the water of all cells.

    Parameters
    ----------
    counts : ndarray, shape (h, w)
        Upslope cells; what is not finite counts nothing.
    ends : ndarray of bool, shape (h, w)
        Cells whose water goes no further.

    Returns
    -------
    dict of {str: float}
        trapped: share of all cells whose water ends in the interior, from where there is no way
        out of the array; largest: the most cells that drain through one.
    """
    inside = counts[1:-1, 1:-1][ends[1:-1, 1:-1]]
    trapped = np.nansum(inside.astype(np.float64)) / counts.size
    return {"trapped": float(trapped), "largest": float(np.nanmax(counts))}


def measure(name: str, terrain: Path, threads: int, repeats: int, seconds: float) -> dict:
    """Run a side some times, within about so many seconds.

    Returns
    -------
    dict
        cells; repeats; versions; steps: of each the fewest seconds, and the bytes of the first
        run; and what `water` tells.
    """
    chain = SIDES[name]
    z = np.load(terrain)
    # Whole metres are exact in float32, which all sides take.
    z = np.ascontiguousarray(z, dtype=np.float32)
    small = np.ascontiguousarray(z[:WARM_UP_CELLS, :WARM_UP_CELLS])
    chain(small, Watch(), threads)  # compiles
    start = time.perf_counter()
    watch = Watch()
    found = water(*chain(z, watch, threads))
    done = 1
    best = watch.steps
    while done < repeats and (time.perf_counter() - start) * (done + 1) / done < seconds:
        watch = Watch()
        chain(z, watch, threads)
        done += 1
        for step, use in watch.steps.items():
            best[step]["s"] = min(best[step]["s"], use["s"])
    return {
        "cells": z.size,
        "repeats": done,
        "steps": best,
        "python": sys.version.split()[0],
    } | found


def main() -> None:
    """Measure a side, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("terrain", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--seconds", type=float, default=120, help="that the runs may take")
    options = parser.parse_args()
    # Peers print what they do; what this process says is one line of JSON at its end.
    answer = os.dup(1)
    os.dup2(2, 1)
    found = measure(
        options.side, options.terrain, options.threads, options.repeats, options.seconds
    )
    with open(answer, "w", encoding="ascii") as file:
        file.write(json.dumps(found))


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "scripts"))
    main()
