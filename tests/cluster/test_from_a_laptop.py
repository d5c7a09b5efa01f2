"""`snakeshed cluster` with a real kubectl and cluster: a study there and back, from one folder."""

from __future__ import annotations

import os
import subprocess
import sys

import yaml
from project_copy import Project
from small_workflow import until

CONFIGURATION = "config/few.yaml"


def command(project: Project, *words: str) -> subprocess.Popen[str]:
    """Type a command of snakeshed in the project, where the library is that of its copy."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakeshed.cli", "cluster", *words],
        cwd=project.folder,
        env={**os.environ, **project.environment, "PYTHONPATH": str(project.folder / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done(process: subprocess.Popen[str], timeout_s: float = 300) -> str:
    """Wait for a command that has to succeed, and return what it said."""
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        raise AssertionError(f"still running:\n{said}") from None
    assert process.returncode == 0, said
    return said


def test_one_command_runs_a_study_whose_driver_is_lost(project, kernels, demo_here):
    """The tables are those that this machine makes, and nothing is left."""
    project.take_kernels(kernels)
    study = yaml.safe_load((project.folder / "config/config.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump({**study, "shards": 1})
    (project.folder / CONFIGURATION).write_text(text, encoding="utf-8")
    tables = [f"results/demo/{table}.parquet" for table in ("catchments", "features")]
    project.give(*tables)

    run = command(project, "run", CONFIGURATION)
    shards = project.volume / "results/demo/shards"
    until(lambda: list(shards.glob("*/sites.parquet")) or run.poll() is not None, 300)
    assert "runs for" in done(command(project, "status"))
    drivers = "app.kubernetes.io/name=snakeshed-driver"
    (first,) = project.items("pods", drivers)
    project.kubectl("delete", "pod", first["metadata"]["name"], "--wait=false")
    said = done(run)
    assert "snakeshed-demo-1 is started." in said
    assert "takes the run up." in said
    assert len({pod["metadata"]["name"] for pod in project.items("pods", drivers)}) == 1
    for table in tables:
        got = (project.folder / table).read_bytes()
        assert got == (demo_here / table.removeprefix("results/demo/")).read_bytes(), table

    assert "== results/demo/logs/delineate/" in done(command(project, "logs", "0"))
    assert "The volume has all files as they are here." in done(
        command(project, "push", CONFIGURATION)
    )
    assert "All is removed." in done(command(project, "clean", "--yes"))
    until(lambda: not project.items("jobs") and not project.items("pods"), 60, every_s=1)
    for kind in ("persistentvolumeclaims", "cronjobs", "deployments", "roles", "networkpolicies"):
        assert project.items(kind) == [], kind
