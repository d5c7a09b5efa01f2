"""What Snakemake has measured of a job, from the file of its benchmark directive."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class JobBenchmark:
    """What a job took.

    Attributes
    ----------
    seconds : float or None
        Wall time.
    peak_mb : float or None
        Largest resident memory of the job's processes together, MiB; None where the job ended
        before Snakemake measured it.
    """

    seconds: float | None
    peak_mb: float | None


def read_benchmark(path: str | Path) -> JobBenchmark:
    """Read the ``.tsv`` of a job.

    Raises
    ------
    OSError
        There is none.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        # Snakemake has one row for each repetition, and repeats only if it is told to.
        row = next(csv.DictReader(file, delimiter="\t"), {})
    return JobBenchmark(_number(row.get("s")), _number(row.get("max_rss")))


def _number(text: str | None) -> float | None:
    """A number; None for the signs that Snakemake writes where it has none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
