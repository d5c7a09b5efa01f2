"""Tables of a re-run beside the archived ones, value by value.

Both come from strangers, and a small table can expand to more than any memory. So they are read by
a process of its own (``python -m snakeshed.archive.compare``) whose memory is limited.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from snakeshed.archive.entry_names import shown
from snakeshed.archive.sandbox import Surroundings
from snakeshed.errors import ArchiveError, SnakeshedError, printable
from snakeshed.tables.geoparquet import read_table

# Rows of sites, or of what was refused, and what is fitted or scored; the rest is made from them.
TABLES = (
    "catchments.parquet",
    "features.parquet",
    "observations.parquet",
    "dataset.parquet",
    "rejected.csv",
    "hazard.parquet",
    "thresholds.parquet",
    "skill.json",
    "refit.json",
    "classifiers.json",
)
_MOST_SHOWN = 100
_LEAST_MEMORY = 4 << 30
_LARGEST_ANSWER = 1 << 20


@dataclass(frozen=True)
class Difference:
    """A value that a re-run does not reproduce.

    Attributes
    ----------
    file, column, site : str
        Where it is. `column` or `site` is empty if the whole file, row or column is meant.
    archived, found : str
        The two values, as text.
    """

    file: str
    column: str
    site: str
    archived: str
    found: str

    def __str__(self) -> str:
        where = ", ".join(
            part
            for part in (
                self.file,
                f"column {shown(self.column)}" if self.column else "",
                f"site {shown(self.site)}" if self.site else "",
            )
            if part
        )
        return f"{where}: archived {shown(self.archived)}, now {shown(self.found)}"


def differences(
    made: Path, archived: Path, study: str, targets: Sequence[str], tolerance: float
) -> Iterator[Difference]:
    """Compare tables of a re-run with the archived ones, value by value.

    Parameters
    ----------
    made : Path
        The folder in which the re-run took place.
    archived : Path
        The folder with the archived results of the study.
    study : str
    targets : sequence of str
        Tables that were made. One of a shard or a site is compared with the rows of its sites.
    tolerance : float
        Largest relative difference of two numbers that count as equal; 0 asks for the same
        numbers. Geometries and text are compared exactly.

    Raises
    ------
    ArchiveError
        A target is no table that the archive has, or none that the re-run made.
    """
    for target in targets:
        name = PurePosixPath(target).name
        before_file, after_file = archived / name, made / target
        if name not in TABLES or not before_file.is_file():
            raise ArchiveError(
                f"--targets {target}",
                f"no table {name} among the archived results",
                f"a file called {', '.join(TABLES)}",
                "Name one of these: whole, of a shard, or of a site.",
            )
        if not after_file.resolve().is_relative_to(made.resolve()) or not after_file.is_file():
            raise ArchiveError(
                shown(target),
                "no file that the re-run made",
                "the table that was asked for",
                "Do not trust this archive: its workflow makes no files as snakeshed does.",
            )
        before, after = _table(before_file), _table(after_file)
        part = PurePosixPath(target).parent != PurePosixPath("results", study)
        if part and "site_id" in before:
            before = before[before["site_id"].isin(after["site_id"])]
        yield from compare_tables(before, after, target, tolerance)


def compare_tables(
    before: pd.DataFrame, after: pd.DataFrame, file: str, tolerance: float = 0.0
) -> Iterator[Difference]:
    """Yield what differs between two tables; their rows are in the same order."""
    for column in before.columns.symmetric_difference(after.columns, sort=False):
        there = column in before
        yield Difference(file, column, "", "a column" if there else "none", _other(there))
    keys = [column for column in ("site_id",) if column in before and column in after]
    if keys and list(before["site_id"]) != list(after["site_id"]):
        one, two = set(before["site_id"]), set(after["site_id"])
        for site in sorted(map(str, one ^ two)):
            there = site in set(map(str, one))
            yield Difference(file, "", site, "a row" if there else "none", _other(there))
    if len(before) != len(after):
        yield Difference(file, "", "", f"{len(before)} rows", f"{len(after)}")
        return
    names = list(before["site_id"]) if keys else [f"in row {k + 1}" for k in range(len(before))]
    for column in before.columns:
        if column not in after:
            continue
        for site, one, two in zip(names, before[column], after[column], strict=True):
            if not _equal(one, two, tolerance):
                yield Difference(file, str(column), str(site), _text(one), _text(two))


@dataclass(frozen=True)
class Comparison:
    """How tables of a re-run differ from the archived ones.

    Attributes
    ----------
    count : int
        Number of differences.
    first : list of str
        The first hundred of them, for a person.
    """

    count: int
    first: list[str]

    def lines(self) -> list[str]:
        """Lines for a person: each difference, or the first hundred and how many there are."""
        more = self.count - len(self.first)
        return [*self.first, f"… and {more:,} more"] if more else list(self.first)


def summarize(found: Iterator[Difference]) -> Comparison:
    """Count differences, and keep the first hundred of them."""
    first = [str(each) for each in islice(found, _MOST_SHOWN)]
    return Comparison(len(first) + sum(1 for _ in found), first)


def compare_apart(
    made: Path,
    archived: Path,
    study: str,
    targets: Sequence[str],
    tolerance: float,
    surroundings: Surroundings,
) -> Comparison:
    """Compare as `differences` does, in a process with limited memory.

    Parameters
    ----------
    made, archived, study, targets, tolerance
        As for `differences`.
    surroundings : Surroundings
        Where the process runs.

    Raises
    ------
    ArchiveError
        As for `differences`; or a table cannot be read, or takes more than half of the memory of
        this machine.
    """
    library = Path(__file__).parents[2]
    answer = surroundings.folder / "comparison"
    answer.mkdir()
    memory = _memory()
    words = [str(memory), str(made), str(archived), study, repr(tolerance), *targets]
    status, output = surroundings.run(
        [sys.executable, "-m", "snakeshed.archive.compare", str(answer / "answer.json"), *words],
        start=answer,
        variables=surroundings.variables() | {"PYTHONPATH": str(library)},
        writable=[answer],
        readable=[library, made, archived],
    )
    found = None
    if status == 0:
        with suppress(OSError, ValueError, RecursionError):
            found = _answer(answer / "answer.json")
    if found is None:
        last = (output.strip().splitlines() or [f"status {status}"])[-1]
        raise ArchiveError(
            "the comparison",
            f"tables that cannot be read and compared ({shown(last)})",
            f"tables of this workflow that take at most {memory >> 20:,} MB of memory",
            "Compare fewer of them with --targets, or on a machine with more memory.",
        )
    return found


def _answer(path: Path) -> Comparison:
    """Read what the process says: a table that takes it over can leave anything there."""
    with path.open("rb") as file:
        said = json.loads(file.read(_LARGEST_ANSWER))
    match said:
        case {"error": [str(where), str(found), str(expected), str(next_step)]}:
            raise ArchiveError(where, found, expected, next_step)
        case {"count": int(count), "first": [*first]} if (
            all(isinstance(line, str) for line in first)
            and len(first) == min(count, _MOST_SHOWN)
            and not isinstance(count, bool)
        ):
            return Comparison(count, [printable(line) for line in first])
    raise ValueError("another answer")


def _other(there: bool) -> str:
    return "none" if there else "there"


def _table(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str)
    if path.suffix == ".json":
        return _values(path)
    # An archive has no records: its manifest has the checksums.
    return pd.DataFrame(read_table(path, recorded=False))


def _values(path: Path) -> pd.DataFrame:
    """Read JSON as one row, with a column for each value, by its place."""
    try:
        waiting = [("", json.loads(path.read_text(encoding="utf-8")))]
    except (ValueError, RecursionError) as error:
        raise ArchiveError(
            path.name, f"no JSON ({error})", "a file as snakeshed writes it", "Do not trust it."
        ) from None
    values = {}
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{place}.{key}".lstrip("."), each) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}[{k}]", each) for k, each in enumerate(value)]
            # An empty list is a value, too.
            values[f"{place}[]"] = len(value)
        else:
            values[place] = value
    return pd.DataFrame([values], dtype=object)[sorted(values)]


def _equal(one: object, two: object, tolerance: float) -> bool:
    # A column without gaps has another type in memory than the same one with gaps.
    one, two = (each.item() if isinstance(each, np.generic) else each for each in (one, two))
    if {type(one), type(two)} == {int, float}:
        one, two = float(one), float(two)
    if isinstance(one, float) and isinstance(two, float):
        if math.isnan(one) or math.isnan(two):
            return math.isnan(one) and math.isnan(two)
        return one == two or (tolerance > 0 and math.isclose(one, two, rel_tol=tolerance))
    wkb = getattr(one, "wkb", None)
    if wkb is not None:
        return wkb == getattr(two, "wkb", None)
    if pd.isna(one) is True or pd.isna(two) is True:
        return pd.isna(one) is True and pd.isna(two) is True
    return type(one) is type(two) and bool(one == two)


def _text(value: object) -> str:
    text = repr(value) if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:80]} …"


def _memory() -> int:
    """Memory that a comparison may take, in bytes: half of the machine's, but 4 GiB at least."""
    return max(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2, _LEAST_MEMORY)


def _main(
    answer: str, memory: str, made: str, archived: str, study: str, tolerance: str, *targets: str
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    try:
        found = differences(Path(made), Path(archived), study, targets, float(tolerance))
        said = asdict(summarize(found))
    except ArchiveError as error:
        said = {"error": [shown(part) for part in error.args]}
    except SnakeshedError as error:
        # Its advice is for a study of the user's own.
        sys.exit(f"{Path(error.where).name}: {error.found}")
    Path(answer).write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
