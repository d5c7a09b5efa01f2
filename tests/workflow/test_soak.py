"""A large study that is killed again and again, until it is done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from examples import share_of
from faulty_runs import bytes_of, parts_of, until_none_is_left
from tiny_study import CELL_M, NORTH, TILE_CELLS, TILES_ACROSS, TILES_DOWN, WEST, TinyStudy

SITES = share_of(20_000)
# Kills in the time that the study takes if it is left alone, on average.
KILLS = 3


@pytest.mark.slow
def test_a_large_study_that_is_killed_again_and_again_ends_with_the_same_bytes(workflow, tmp_path):
    study = TinyStudy(tmp_path / "study", workflow)
    chance = np.random.default_rng(17)
    metres = np.array([TILES_ACROSS, TILES_DOWN]) * TILE_CELLS * CELL_M
    places = (chance.uniform(0.01, 0.99, (SITES, 2)) * metres * [1, -1] + [WEST, NORTH]).round(1)
    study.rows = [(f"s{k}", x, y, 0.3, "2005-01-07") for k, (x, y) in enumerate(places)]
    study.config["shards"] = 16
    study.write()
    twin = study.copy(tmp_path / "twin")
    began = time.monotonic()
    undisturbed = twin.run()
    every_s = (time.monotonic() - began) / KILLS
    assert undisturbed.code == 0, undisturbed.text

    moments = random.Random(17)
    kills = 0
    # Where a job takes longer than that, the time between kills grows.
    while (code := run_for(study, moments.uniform(0.5, 1.5) * every_s * 1.05**kills)) is None:
        kills += 1
    assert code == 0, study.shown()
    assert kills >= 1
    assert bytes_of(study) == bytes_of(twin)
    assert not parts_of(study)


def run_for(study: TinyStudy, seconds: float) -> int | None:
    """Run a study; kill the run after some seconds, and return its status if it ended before."""
    run = study.start()
    try:
        return run.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return None
    finally:
        until_none_is_left(study)
