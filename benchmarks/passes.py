"""Where the time of routing goes: its passes over the cells, against the speed of the memory.

    python benchmarks/passes.py [--cells 16] [--terrain eroded fractal] [--repeats 5]
                                [--json FILE] [--readme]

`fill` and `count_upslope` run as they are, on one thread and on two, with a clock around each
compiled function that they call: each is a pass. The rest is allocation, and copies that NumPy
makes. The best of the repeats counts.

The bytes are those of the arrays that a pass reads and writes, each of them once: at the speed of
the memory, which is measured in the same run, they are the least time that the pass can take. What
takes several times more waits for something else: arithmetic, branches, pages that are touched for
the first time, or cells out of order (what one visit of those takes is measured too).
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
from kernels import TERRAINS, made
from record import ROOT, machine, made_folder, parser_of, publish, source_of

BYTES = {
    "_descend_singles": (6, "elevations, border; directions"),
    "_drain": (1, "directions; what is flat"),
    "_reopen": (2, "directions, read and written"),
    "_number_pits": (1, "directions; labels of pits"),
    "_label_rows": (5, "directions; labels"),
    "_follow": (0, "what leaves rows that are labelled at once"),
    "_relabel_rows": (8, "labels, read and written"),
    "_saddles_of_rows": (9, "elevations, labels, border"),
    "_spill_levels": (0, "the basins alone"),
    "raise_rows": (12, "labels; elevations, read and written"),
    "_sum_rows": (6, "directions; states, counts"),
    "_pass_on": (0, "what leaves the bands"),
    "rest": (9, "elevations, read and written; states"),
}
"""Least bytes per cell that a pass moves, of float32 elevations, and of which arrays."""
STREAM_CELLS = 1 << 25
CHASE_CELLS = 1 << 24


class Clock:
    """Notes when the compiled functions of some modules begin and end.

    Attributes
    ----------
    spans : dict of {str: list of (float, float)}
        By the name of the function; a second pass of the same function has the name "… (2)".
    """

    def __init__(self) -> None:
        self.spans: dict[str, list[tuple[float, float]]] = {}
        self._latest = ""

    @contextmanager
    def around(self, *modules: ModuleType) -> Iterator[None]:
        """Time what is called from Python by the names that these modules have for it.

        Everything must have been compiled: compiled functions do not see the clock, and the
        compiler would not understand it.
        """
        kept = [
            (module, name, function)
            for module in modules
            for name, function in vars(module).items()
            if hasattr(function, "py_func")
        ]
        for module, name, function in kept:
            setattr(module, name, self._timed(name, function))
        try:
            yield
        finally:
            for module, name, function in kept:
                setattr(module, name, function)

    def seconds(self, total: float) -> dict[str, float]:
        """Time in each pass, and the rest of the total; what threads do at once counts once."""
        passes = {name: union(spans) for name, spans in self.spans.items()}
        every = union([span for spans in self.spans.values() for span in spans])
        return passes | {"rest": total - every}

    def _timed(self, function_name: str, function: Callable) -> Callable:
        @functools.wraps(function.py_func)
        def timed(*arguments, **options):
            name = self._pass_of(function_name)
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.spans[name].append((start, time.perf_counter()))
            return result

        return timed

    def _pass_of(self, function_name: str) -> str:
        latest, _, _ = self._latest.partition(" (")
        if latest != function_name:
            again = sum(name.partition(" (")[0] == function_name for name in self.spans)
            self._latest = f"{function_name} ({again + 1})" if again else function_name
            self.spans[self._latest] = []
        return self._latest


def union(spans: list[tuple[float, float]]) -> float:
    """Length of what some spans of time cover."""
    total, reached = 0.0, -np.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def time_passes(z: np.ndarray, threads: int, repeats: int) -> dict[str, float]:
    """Nanoseconds per cell of each pass, of the fastest of some runs."""
    from made_terrain import CELL_M, pad

    from snakeshed.kernels import accumulation, basin_graph, filling, flats, steepest_descent

    def chain(padded: np.ndarray, border: np.ndarray) -> None:
        cell_m = np.full(len(padded), CELL_M)
        _, routed = filling.fill(padded, border, cell_m, cell_m, threads)
        accumulation.count_upslope(routed, threads)

    chain(*pad(z[:60, :60]))  # compiles
    padded, border = pad(z)
    runs = []
    for _ in range(repeats):
        clock = Clock()
        with clock.around(basin_graph, filling, steepest_descent, flats, accumulation):
            start = time.perf_counter()
            chain(padded, border)
            total = time.perf_counter() - start
        runs.append(clock.seconds(total) | {"chain": total})
    best = min(runs, key=lambda run: run["chain"])
    return {name: seconds / z.size * 1e9 for name, seconds in best.items()}


def memory_speed(repeats: int) -> dict[str, float]:
    """How fast this machine's memory is.

    Returns
    -------
    dict of {str: float}
        gb_per_s, gb_per_s_2: bytes that a + s * b -> c reads and writes, on one thread and on two;
        in_turn_ns: one read of a random place that the read before tells; at_once_ns: the same
        where the places are known.
    """
    from numba import njit

    from snakeshed.kernels.row_bands import in_bands, split

    @njit(nogil=True)
    def triad(a, b, c, first, end):
        for i in range(first, end):
            c[i] = a[i] + np.float32(3.0) * b[i]

    @njit
    def chase(following, steps):
        place = 0
        for _ in range(steps):
            place = following[place]
        return place

    @njit
    def gather(values, places):
        total = 0
        for place in places:
            total += values[place]
        return total

    def fastest(work: Callable[[], object]) -> float:
        work()
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    a, b, c = (np.ones(STREAM_CELLS, np.float32) for _ in range(3))

    def stream(threads: int) -> None:
        bands = split(0, STREAM_CELLS, threads)
        in_bands(lambda first, end: triad(a, b, c, first, end), bands)

    order = np.random.default_rng(1).permutation(CHASE_CELLS).astype(np.int32)
    following = np.empty_like(order)
    following[order] = np.roll(order, -1)
    steps = CHASE_CELLS // 8
    return {
        "gb_per_s": 12 * STREAM_CELLS / fastest(lambda: stream(1)) / 1e9,
        "gb_per_s_2": 12 * STREAM_CELLS / fastest(lambda: stream(2)) / 1e9,
        "in_turn_ns": fastest(lambda: chase(following, steps)) / steps * 1e9,
        "at_once_ns": fastest(lambda: gather(following, order)) / CHASE_CELLS * 1e9,
    }


def table_of(result: dict) -> str:
    """The result as Markdown tables."""
    speed = result["memory"]
    lines = [
        source_of(result),
        "",
        f"The memory moves {speed['gb_per_s']:.1f} GB/s for one thread and "
        f"{speed['gb_per_s_2']:.1f} GB/s for two (a + s * b -> c). A read of a random place in "
        f"{CHASE_CELLS * 4 >> 20} MiB takes {speed['in_turn_ns']:.0f} ns where it waits for the "
        f"one before, {speed['at_once_ns']:.1f} ns where it does not.",
    ]
    for kind, passes in result["terrains"].items():
        lines += [
            "",
            f"Terrain `{kind}`, {result['cells']:,} cells:",
            "",
            "| pass | ns/cell | on 2 threads | bytes/cell | of | ns/cell at the memory's speed | "
            "times that |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, ns in passes[1].items():
            two = passes[2].get(name, 0.0)
            moved, arrays = BYTES.get(name.partition(" (")[0], (None, ""))
            least = (moved or 0) / speed["gb_per_s"]
            # A pass that moves nothing to speak of has nothing to be compared with.
            bound = f"{least:.1f} | {ns / least:.1f}" if least else " | "
            told = f"**{ns:.1f}** | {two:.1f}" if name == "chain" else f"{ns:.1f} | {two:.1f}"
            lines.append(
                f"| {name} | {told} | {'' if moved is None else moved} | {arrays} | {bound} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    made_folder(parser)
    parser.add_argument("--cells", type=float, default=16, help="millions of cells")
    parser.add_argument("--terrain", nargs="+", choices=TERRAINS, default=["eroded", "fractal"])
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the best counts")
    options = parser.parse_args()
    result = machine("snakeshed", "numpy", "numba") | {"memory": memory_speed(options.repeats)}
    result["terrains"] = {}
    for kind in options.terrain:
        z = np.load(made(kind, options.cells, options.folder)).astype(np.float32)
        result["cells"] = z.size
        result["terrains"][kind] = {
            threads: time_passes(z, threads, options.repeats) for threads in (1, 2)
        }
    publish("passes", result, table_of(result), options)


if __name__ == "__main__":
    sys.path.append(str(ROOT / "scripts"))
    main()
