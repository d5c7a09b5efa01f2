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
print(runs.begin("other", "demo").locks, flush=True)
time.sleep(100)
"""


def test_a_run_lives_until_it_ends(tmp_path):
    one, other = LiveRuns(tmp_path / "runs"), LiveRuns(tmp_path / "runs")
    assert one.begin("one", "demo").locks
    assert other.begin("other", "demo").run == "other"
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
    assert runs.begin("one", "demo").drivers == 1
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    runs.end()


def test_a_run_that_nobody_has_heard_of_is_dead(tmp_path):
    assert not LiveRuns(tmp_path / "runs").lives("abcd1234")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, number):
    def no_lock(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    assert not LiveRuns(tmp_path).begin("one", "demo").locks
    assert list(tmp_path.iterdir()) == []


def killed(folder, run: str, purpose: str, owner: str = "") -> None:
    """A run whose driver ends without a word."""
    runs = LiveRuns(folder)
    runs.begin(run, purpose, owner)
    runs.leave()


def test_a_dead_run_is_taken_up_by_a_driver_with_its_purpose(tmp_path):
    killed(tmp_path, "one", "demo", "job-1")
    runs = LiveRuns(tmp_path)
    session = runs.begin("two", "demo", "job-1")
    assert (session.run, session.drivers, session.same_owner) == ("one", 2, True)
    # A second driver finds it alive.
    other = LiveRuns(tmp_path)
    assert other.begin("three", "demo").run == "three"
    other.end()
    runs.leave()
    session = LiveRuns(tmp_path).begin("four", "demo", "job-2")
    assert (session.run, session.drivers, session.same_owner) == ("one", 3, False)


def test_a_person_is_not_the_same_owner_twice(tmp_path):
    killed(tmp_path, "one", "demo")
    assert not LiveRuns(tmp_path).begin("two", "demo").same_owner


def test_a_dead_run_with_another_purpose_is_taken_off(tmp_path):
    killed(tmp_path, "one", "another study")
    runs = LiveRuns(tmp_path)
    assert runs.begin("two", "demo").run == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_a_run_that_has_ended_is_not_taken_up(tmp_path):
    runs = LiveRuns(tmp_path)
    runs.begin("one", "demo")
    runs.end()
    assert LiveRuns(tmp_path).begin("two", "demo").run == "two"


@pytest.mark.parametrize("said", ["", "{", "[]", '{"purpose": "demo"}'])
def test_a_run_that_left_no_word_is_taken_off(tmp_path, said):
    (tmp_path / "one").write_text(said)
    assert LiveRuns(tmp_path).begin("two", "demo").run == "two"


def test_a_run_that_another_driver_of_the_same_job_holds_is_noticed(tmp_path):
    runs = LiveRuns(tmp_path)
    assert not runs.held_by_another("job-1")
    other = LiveRuns(tmp_path)
    other.begin("other", "demo", "job-1")
    assert runs.held_by_another("job-1")
    assert not runs.held_by_another("job-2")
    assert not runs.held_by_another("")
    other.leave()
    assert not runs.held_by_another("job-1")


def test_a_link_in_the_place_of_a_run_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text('{"purpose": "demo", "owner": "", "drivers": 1}')
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "one").symlink_to(victim)
    runs = LiveRuns(folder)
    assert runs.begin("two", "demo").run == "two"
    runs.leave()
    assert victim.read_text().startswith('{"purpose"')
