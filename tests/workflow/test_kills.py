"""Runs that are killed or stopped: the same command ends with the same bytes.

The random moments are those of a seed; what a run is doing then depends on the machine.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from examples import share_of
from faulty_runs import (
    bytes_of,
    completes,
    fault_in,
    parts_of,
    until_none_is_left,
    wait_until,
)
from tiny_study import TinyStudy

# Kills of each kind, 51 in all with `make test-all`.
VICTIMS = ("driver", "job", "group")
KILLS = share_of(17)
# Most runs of the study are still at work after so many seconds.
LONGEST_S = 3.0


def remove_some(study: TinyStudy, chance: random.Random) -> None:
    """Remove all results, or the gathered ones and those of some shards."""
    if chance.random() < 0.5:
        shutil.rmtree(study.results)
        return
    for name in ("catchments.parquet", "features.parquet", "summary.json", "report.html"):
        (study.results / name).unlink(missing_ok=True)
    for table in sorted(study.results.glob("shards/*/[cf]*.parquet")):
        if chance.random() < 0.5:
            table.unlink()


def kill(victim: str, study: TinyStudy, run: subprocess.Popen, chance: random.Random) -> int:
    """Wait for a random moment, kill, and return how many kills there were."""
    if ended_within(run, chance.uniform(0.5, LONGEST_S)):
        return 0
    if victim == "group":
        os.killpg(run.pid, signal.SIGKILL)
    elif victim == "driver":
        run.kill()
    kills = 1
    if victim == "job":
        # The others go on, so there is more to kill.
        kills = 0
        while not ended_within(run, chance.uniform(0.1, 2.0)):
            jobs = [pid for pid, command in study.processes().items() if is_job(command)]
            if jobs:
                os.kill(chance.choice(sorted(jobs)), signal.SIGKILL)
                kills += 1
    run.wait()
    return kills


def is_job(command: str) -> bool:
    # Also the process that forks those of the jobs.
    return "snakemake_warm_scripts.server" in command


def ended_within(run: subprocess.Popen, seconds: float) -> bool:
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
def test_runs_that_are_killed_at_random_moments_end_with_the_same_bytes(study, victim):
    undisturbed = bytes_of(study)
    chance = random.Random(victim)
    remove_some(study, chance)
    kills = 0
    while kills < KILLS:
        run = study.start()
        kills += kill(victim, study, run, chance)
        assert "Traceback" not in study.shown()
        # A user may have typed the command again before the jobs of a killed driver have ended.
        if chance.random() < 0.5:
            until_none_is_left(study)
            assert bytes_of(study).items() <= undisturbed.items()
        if run.returncode == 0:
            assert bytes_of(study) == undisturbed
            remove_some(study, chance)
    completes(study, undisturbed)
    until_none_is_left(study)


# Ctrl-C reaches all of a run, and so does what ends a batch job or a service; kill one process.
STOPS = [
    (signal.SIGINT, 2, "group"),
    (signal.SIGTERM, 1, "driver"),
    (signal.SIGTERM, 2, "driver"),
    (signal.SIGTERM, 1, "group"),
    (signal.SIGTERM, 2, "group"),
]


def test_runs_that_are_asked_to_stop_once_or_twice_leave_nothing_behind(study):
    undisturbed = bytes_of(study)
    shard = study.shard_of("a")
    for number, times, whom in STOPS:
        for name in ("catchments.parquet", "features.parquet", f"shards/{shard}/features.parquet"):
            (study.results / name).unlink(missing_ok=True)
        (study.folder / "go").unlink(missing_ok=True)
        run = study.start(**fault_in("extract_features", "held"))
        wait_until(lambda: [*study.results.glob(f"shards/{shard}/.features.*.part.*")], run)
        for _ in range(times):
            (os.killpg if whom == "group" else os.kill)(run.pid, number)
            time.sleep(0.5)
        (study.folder / "go").touch()
        assert run.wait() == 1
        shown = study.shown()
        assert "Traceback" not in shown
        assert shown.count("Stopping") == 1
        if whom == "driver" or number == signal.SIGINT:
            assert shown.endswith("Stopped. Run the same command again for the rest.\n")
        else:
            message = (
                f"extract_features shard {shard} failed: the process was terminated (SIGTERM)."
            )
            assert shown.count(f"{message}\n") == 1
        until_none_is_left(study)
        assert not parts_of(study)
        # SIGTERM leaves the jobs of a driver alone.
        done = (study.results / f"shards/{shard}/features.parquet").exists()
        assert done == (whom == "driver")
        assert bytes_of(study).items() < undisturbed.items()
    completes(study, undisturbed)
