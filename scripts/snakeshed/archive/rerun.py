"""Whether an archive is what was archived, and whether a re-run of it gives the same results."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import yaml

from snakeshed.archive.bag import sha256_of
from snakeshed.archive.write import CONFIGURATION, INPUTS, LINKS
from snakeshed.errors import ArchiveError
from snakeshed.tables.geoparquet import read_table

# Their rows are of sites, or of what was refused; the rest is made from them.
TABLES = ("catchments.parquet", "features.parquet", "observations.parquet", "rejected.csv")
_MOST_TOLD = 100


@dataclass(frozen=True)
class Difference:
    """A value that a re-run does not give again.

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
                f"column {self.column}" if self.column else "",
                f"site {self.site}" if self.site else "",
            )
            if part
        )
        return f"{where}: archived {self.archived}, now {self.found}"


def prepare(bag: Path, archive: str, inputs: Path | None) -> str:
    """Make an unpacked archive ready to be run.

    Links of the workflow are made again, inputs that the archive only names are taken from
    another folder, and the archived results are put aside, into ``archived``.

    Parameters
    ----------
    bag : Path
        The folder ``data`` of the archive.
    archive : str
        The archive, for messages.
    inputs : Path or None
        A folder with those inputs, at the paths that the archive gives them.

    Returns
    -------
    str
        Name of the study.

    Raises
    ------
    ArchiveError
        An input is missing or another one, or a link leaves the workflow.
    """
    for name, target in json.loads((bag / LINKS).read_text(encoding="utf-8")).items():
        _link(bag / "workflow", name, target, archive)
    for told in json.loads((bag / INPUTS).read_text(encoding="utf-8")):
        if told["included"]:
            continue
        source = None if inputs is None else inputs / told["path"]
        place = bag / told["path"]
        if not place.resolve().is_relative_to(bag.resolve()):
            raise _distrusted(archive, f"the input {told['path']!r} outside of it")
        wanted = f"{told['size']:,} bytes with SHA-256 {told['sha256']}"
        if source is None or not source.is_file():
            raise ArchiveError(
                f"{archive}: {told['path']}",
                "an input that is only named" if source is None else f"no file {source}",
                f"{wanted}, from {told['url'] or 'whoever made the archive'}",
                "Put it at this path in a folder of your own, and name that with --inputs.",
            )
        if source.stat().st_size != told["size"] or sha256_of(source) != told["sha256"]:
            raise ArchiveError(
                f"{archive}: {told['path']}",
                f"another file, {source}",
                wanted,
                "Fetch the one that the archive names.",
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source.resolve())
    (bag / "results").rename(bag / "archived")
    return yaml.safe_load((bag / CONFIGURATION).read_text(encoding="utf-8"))["study"]


def rerun(bag: Path, python: str, targets: Sequence[str], cores: int) -> None:
    """Run the archive's workflow.

    Parameters
    ----------
    bag : Path
        From `prepare`.
    python : str
        The Python of the environment to run it in.
    targets : sequence of str
        Files to make; all tables if none are given.
    cores : int

    Raises
    ------
    ArchiveError
        The run failed.
    """
    workflow = bag / "workflow"
    command = [python, "-m", "snakemake", *targets]
    command += ["--snakefile", str(workflow / "Snakefile"), "--directory", str(bag)]
    command += ["--workflow-profile", str(workflow / "profiles/default")]
    command += ["--cores", str(cores), "--configfile", str(bag / CONFIGURATION)]
    # Of the archive, not of this process: its own library is what is to be verified.
    environment = os.environ | {"PYTHONPATH": str(workflow / "scripts")}
    done = subprocess.run(
        command, cwd=bag, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        shown = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise ArchiveError(
            "the re-run",
            f"an error of snakemake (status {done.returncode})",
            "a run to its end",
            f"It said last:\n{shown}",
        )


def default_targets(bag: Path, study: str) -> list[str]:
    """Tables that an archive has results of."""
    return [
        f"results/{study}/{name}" for name in TABLES if (bag / "archived" / study / name).is_file()
    ]


def differences(
    bag: Path, study: str, targets: Sequence[str], tolerance: float
) -> Iterator[Difference]:
    """Compare tables of a re-run with the archived ones, value by value.

    Parameters
    ----------
    bag : Path
        After `rerun`.
    study : str
    targets : sequence of str
        Tables that were made. One of a shard or a site is compared with the rows of its sites.
    tolerance : float
        Largest relative difference of two numbers that count as equal; 0 asks for the same
        numbers. Geometries and text are compared exactly.

    Raises
    ------
    ArchiveError
        A target is no table that the archive has.
    """
    for target in targets:
        name = PurePosixPath(target).name
        archived = bag / "archived" / study / name
        if name not in TABLES or not archived.is_file():
            raise ArchiveError(
                f"--targets {target}",
                f"no table {name} among the archived results",
                f"a file called {', '.join(TABLES)}",
                "Name one of these: whole, of a shard, or of a site.",
            )
        before, after = _table(archived), _table(bag / target)
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


def told_differences(found: Sequence[Difference]) -> list[str]:
    """Lines for a person: each difference, or the first hundred and how many there are."""
    lines = [str(each) for each in found[:_MOST_TOLD]]
    if len(found) > _MOST_TOLD:
        lines.append(f"… and {len(found) - _MOST_TOLD:,} more")
    return lines


def _other(there: bool) -> str:
    return "none" if there else "there"


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str) if path.suffix == ".csv" else pd.DataFrame(read_table(path))


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


def _link(workflow: Path, name: str, target: str, archive: str) -> None:
    place = workflow / name
    inside = Path(os.path.normpath(place.parent / target))
    if (
        os.path.isabs(target)
        or not inside.is_relative_to(workflow)
        or not Path(os.path.normpath(place)).is_relative_to(workflow)
        or not place.parent.resolve().is_relative_to(workflow.resolve())
    ):
        raise _distrusted(archive, f"the link {name!r} to {target!r}, which leaves the workflow")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def _distrusted(archive: str, found: str) -> ArchiveError:
    return ArchiveError(
        archive,
        found,
        "files and links within the archive",
        "Nothing of it was run. Snakeshed makes no such archive: do not trust this one.",
    )
