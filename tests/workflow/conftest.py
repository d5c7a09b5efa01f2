"""The small study, finished once and copied for each test."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from faulty_runs import Surroundings
from tiny_study import TinyStudy, copy_workflow

Made = TypeVar("Made")


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], Made]], Made]:
    """Make something in a new folder of a name, once for all processes that share the tests."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def get(name: str, make: Callable[[Path], Made]) -> Made:
        folder, kept = root / name, root / f"{name}.pickle"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                kept.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(kept.read_bytes())

    return get


@pytest.fixture(scope="session")
def workflow(once) -> Path:
    """A copy of the workflow: what is edited in the checkout meanwhile re-runs nothing here."""
    return once("workflow", copy_workflow)


@pytest.fixture(scope="session")
def finished(workflow, once) -> TinyStudy:
    """The study after its first run; never changed."""

    def make(folder: Path) -> TinyStudy:
        study = TinyStudy(folder / "study", workflow)
        study.first = study.run()
        assert study.first.code == 0, study.first.text
        return study

    return once("finished", make)


@pytest.fixture(scope="session")
def exported(finished, once) -> TinyStudy:
    """The finished study after a run that exports its tables; never changed."""

    def make(folder: Path) -> TinyStudy:
        study = finished.copy(folder / "study")
        study.export = study.run("results/tiny/catchments.gpkg", "results/tiny/features.csv")
        assert study.export.code == 0, study.export.text
        return study

    return once("exported", make)


@pytest.fixture
def study(finished, tmp_path) -> TinyStudy:
    """A copy of the finished study, with its history, for a test to change."""
    return finished.copy(tmp_path / "study")


@pytest.fixture
def fresh(workflow, tmp_path) -> TinyStudy:
    """The study before its first run."""
    return TinyStudy(tmp_path / "study", workflow)


@pytest.fixture
def surroundings() -> Iterator[Surroundings]:
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("no unshare and nsenter (util-linux) on this machine")
    made = Surroundings()
    try:
        if reason := made.ready():
            pytest.skip(f"no mount namespace on this machine: {reason}")
        yield made
    finally:
        made.close()


@pytest.fixture
def memory_limit() -> Iterator[Callable[[int], Path]]:
    """Make a group of processes (cgroup) whose memory is limited to some bytes."""
    made: list[Path] = []

    def make(limit: int) -> Path:
        for root, file in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
            group = Path("/sys/fs/cgroup", root, f"snakeshed-test-{os.getpid()}")
            try:
                group.mkdir()
                made.append(group)
                (group / file).write_text(str(limit))
            except OSError:
                continue
            return group
        pytest.skip("no right to limit the memory of processes (cgroup) on this machine")

    yield make
    for group in made:
        group.rmdir()
