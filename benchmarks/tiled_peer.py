"""The side of xarray-spatial in `tiled.py`: fill, directions and accumulation on Dask's threads.

python tiled_peer.py TERRAIN.npy EDGE THREADS
"""

from __future__ import annotations

import json
import resource
import sys
import time

import dask
import numpy as np
import xarray
from xrspatial.hydro import fill_d8, flow_accumulation_d8, flow_direction_d8

CELL_M = 10.0


def drain(z: np.ndarray, edge: int) -> np.ndarray:
    """Return upslope cells, computed chunk by chunk."""
    places = {axis: CELL_M * np.arange(n) for axis, n in zip("yx", z.shape, strict=True)}
    raster = xarray.DataArray(z, dims=("y", "x"), coords=places).chunk({"y": edge, "x": edge})
    # Each step is kept, as the next one passes over it more than once.
    filled = fill_d8(raster).persist()
    directions = flow_direction_d8(filled).persist()
    return flow_accumulation_d8(directions).compute().values


def main() -> None:
    """Time a run after one on a corner, which compiles what there is to compile."""
    path, edge, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    z = np.load(path)
    with dask.config.set(scheduler="threads", num_workers=threads):
        drain(z[:200, :200].copy(), 100)
        begin, cpu = time.perf_counter(), time.process_time()
        counts = drain(z, edge)
        wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(
        json.dumps(
            {
                "cells": z.size,
                "wall_ns": round(wall / z.size * 1e9, 1),
                "chain_ns": round(cpu / z.size * 1e9, 1),
                "peaks_mb": [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024],
                "largest": float(np.nanmax(counts)),
            }
        )
    )


if __name__ == "__main__":
    main()
