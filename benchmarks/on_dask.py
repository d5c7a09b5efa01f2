"""What the backend `dask` costs beside `serial`, and what a second worker brings.

    python benchmarks/on_dask.py [STALEY.xlsx DEM.tif [--cell 10]] [--repeats 5] [--folder FOLDER]
                                 [--json FILE] [--readme]

The catchments of all sites of a table are delineated as one shard, in this process and on Dask
clusters of one and of two workers, in turns. Which table and DEM, and what is made without them,
is told in `pipeline.py`. Starting a cluster, and the first round, which loads what is compiled,
are not counted. The catchments are compared with those of `serial`.

The overhead of one worker is what the run takes longer. CPU time is that of all processes, this one
with the scheduler in it included. (It is not called `dask.py`: Python would take it for Dask.)
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from pipeline import made_study, name_of, resampled, study_of
from record import machine, made_folder, parser_of, publish, source_of
from stages import prepare

from snakeshed.backends.local import Backend
from snakeshed.backends.opening import open_backend
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule, Site, sites_of
from snakeshed.grid.snap import SnapRule
from snakeshed.tables.geoparquet import read_table
from snakeshed.terrain.index import TerrainIndex

MOST_OVERHEAD = 0.15
PACKAGES = ("snakeshed", "dask", "distributed", "numpy", "numba")
WORKERS = (1, 2)


class OneShard:
    """All sites of a study as one shard.

    Parameters
    ----------
    study : dict
        With all defaults.
    folder : Path
        For the shard's files.
    """

    def __init__(self, study: dict, folder: Path) -> None:
        (own,) = prepare(study, 1, folder)["shards"]
        self.sites: list[Site] = sites_of(read_table(own / "sites.parquet"))
        self.index = TerrainIndex.from_json((own / "terrain.json").read_text(encoding="utf-8"))
        self.pyramid = PatchPyramid(self.index.lattice, **study["patches"])
        self.rule = DelineationRule(
            SnapRule(**study["snap"]),
            study["dem"]["max_void_cells"],
            study["network"]["min_area_km2"],
        )

    def delineate(self, backend: Backend) -> list[Catchment]:
        """Its catchments."""
        return delineate(self.sites, self.index, self.pyramid, self.rule, backend)


def cpu_seconds(backend: Backend) -> float:
    """CPU time of this process and of the workers so far."""
    client = getattr(backend, "client", None)
    workers = sum(client.run(time.process_time).values()) if client is not None else 0.0
    return time.process_time() + workers


def timed(shard: OneShard, backend: Backend) -> tuple[float, float]:
    """Seconds and CPU time of a round."""
    cpu, started = cpu_seconds(backend), time.perf_counter()
    shard.delineate(backend)
    took = time.perf_counter() - started
    return took, cpu_seconds(backend) - cpu


def measure(study: dict, repeats: int) -> dict:
    """Run the rounds; the median of each backend's.

    Raises
    ------
    AssertionError
        If catchments differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        shard = OneShard(study, Path(folder))
    backends = {"serial": open_backend("serial", 1)}
    try:
        for workers in WORKERS:
            name = f"dask, {workers} worker{'s'[: workers - 1]}"
            backends[name] = open_backend("dask", workers)
        expected, *others = [shard.delineate(backend) for backend in backends.values()]
        assert all(other == expected for other in others), "catchments differ"
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in backends}
        for _ in range(repeats):
            for name, backend in backends.items():
                rounds[name].append(timed(shard, backend))
    finally:
        for backend in backends.values():
            backend.__exit__()
    rows = [
        {
            "backend": name,
            "seconds": statistics.median(took for took, _ in each),
            "cpu_seconds": statistics.median(cpu for _, cpu in each),
        }
        for name, each in rounds.items()
    ]
    one, two = (row["seconds"] for row in rows[1:])
    # Of each round by itself, as the machine's speed changes from round to round.
    overheads = [
        other[0] / own[0] - 1
        for own, other in zip(*(rounds[row["backend"]] for row in rows[:2]), strict=True)
    ]
    return {
        "sites": len(shard.sites),
        "delineated": sum(catchment.status == "ok" for catchment in expected),
        "patches": len({catchment.patch for catchment in expected if catchment.patch}),
        "rounds": repeats,
        "rows": rows,
        "overhead": statistics.median(overheads),
        "scaling": one / two,
    }


def table_of(result: dict) -> str:
    """The result as a table."""
    lines = [
        source_of(result),
        "",
        f"{result['on']}: {result['sites']} sites, {result['delineated']} of them delineated, in "
        f"one shard; medians of {result['rounds']} rounds. Catchments are equal.",
        "",
        f"- overhead of one worker: {result['overhead']:.0%}, target at most {MOST_OVERHEAD:.0%}, "
        + ("met" if result["overhead"] <= MOST_OVERHEAD else "missed"),
        f"- one worker's time over that of two: {result['scaling']:.2f}",
        "",
        "| | s | CPU time (s) | ms/site delineated |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['backend']} | {row['seconds']:.2f} | {row['cpu_seconds']:.2f} "
        f"| {1000 * row['seconds'] / result['delineated']:.1f} |"
        for row in result["rows"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("table", type=Path, nargs="?", help="the published table")
    parser.add_argument("dem", type=Path, nargs="?", help="a DEM that covers some of its sites")
    parser.add_argument("--cell", type=float, help="resample the DEM to cells of this size (m)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of each backend")
    made_folder(parser)
    options = parser.parse_args()
    if (options.table is None) != (options.dem is None):
        parser.error("a table needs a DEM")
    with tempfile.TemporaryDirectory() as scratch:
        if options.table is None:
            study = made_study(options.folder)
        else:
            dem = options.dem.resolve()
            if options.cell:
                dem = resampled(dem, options.cell, Path(scratch))
            study = study_of(options.table.resolve(), dem)
        result = {**machine(*PACKAGES), "on": name_of(study), **measure(study, options.repeats)}
    publish("dask", result, table_of(result), options)
    if result["overhead"] > MOST_OVERHEAD:
        parser.exit(1, "The target was missed.\n")


if __name__ == "__main__":
    main()
