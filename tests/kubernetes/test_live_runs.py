"""Runs in one folder know of each other which are alive."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys

import pytest

from snakemake_executor_plugin_kubernetes_pvc.live_runs import LiveRuns

HOLD = """
import sys, time
from pathlib import Path
from snakemake_executor_plugin_kubernetes_pvc.live_runs import LiveRuns
runs = LiveRuns(Path(sys.argv[1]))
print(runs.begin("other"), flush=True)
time.sleep(100)
"""


def test_a_run_lives_until_it_ends(tmp_path):
    one, other = LiveRuns(tmp_path / "runs"), LiveRuns(tmp_path / "runs")
    assert one.begin("one")
    assert other.begin("other")
    assert other.lives("one")
    assert one.lives("other")
    one.end()
    assert not other.lives("one")
    other.end()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_dies_with_its_process(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "True\n"
        runs = LiveRuns(tmp_path)
        assert runs.lives("other")
        process.kill()
        process.wait()
    assert not runs.lives("other")
    assert list(tmp_path.iterdir()) == []


def test_the_dead_are_taken_off_when_a_run_begins(tmp_path):
    (tmp_path / "dead").touch()
    runs = LiveRuns(tmp_path)
    assert runs.begin("one")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    runs.end()


def test_a_run_that_nobody_has_heard_of_is_dead(tmp_path):
    assert not LiveRuns(tmp_path / "runs").lives("abcd1234")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, number):
    def no_lock(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    assert not LiveRuns(tmp_path).begin("one")
    assert list(tmp_path.iterdir()) == []
