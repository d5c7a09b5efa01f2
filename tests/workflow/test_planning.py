"""Planning is linear: twice as many shards take twice the calls, of every function."""

from __future__ import annotations

import pstats
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_study import NORTH, WEST

# Functions are compared that are called more often than this for the shards that were added.
MANY = 2000
# The end of what the executor gives a job; see benchmarks/planning.py.
OF_A_JOB = ["--cores", "all", "--force", "--nolock", "--ignore-incomplete", "--mode", "remote"]


def calls(study, arguments: list[str]) -> tuple[dict[str, int], str]:
    """How often each function is called by a Snakemake that ends well, by place; what it says."""
    profile = study.folder / "profile"
    done = subprocess.run(
        [sys.executable, "-m", "cProfile", "-o", str(profile), "-m", "snakemake", *arguments],
        cwd=study.folder,
        check=True,
        capture_output=True,
        text=True,
    )
    stats = pstats.Stats(str(profile)).stats
    found = {":".join(map(str, place)): entry[1] for place, entry in stats.items()}
    return found, done.stdout + done.stderr


@pytest.fixture(scope="module")
def planned(finished, tmp_path_factory):
    """Studies whose split is done, and the calls of a dry run, by the number of shards."""
    found = {}
    for shards in (25, 50, 100):
        study = finished.copy(tmp_path_factory.mktemp("planning") / "study")
        study.config["shards"] = shards
        # Sites for all of them: one in each of 1,080 patches.
        study.config["patches"] = {"core_m": 450, "buffer_m": 450, "levels": 2}
        study.rows = [
            (f"s{column}_{row}", WEST + 225 + 450 * column, NORTH - 225 - 450 * row, 0.1, "")
            for column in range(90)
            for row in range(12)
        ]
        study.write()
        study.split()
        made, text = calls(study, study.command("--dry-run")[3:])
        assert int(re.search(r"^delineate +(\d+)$", text, re.MULTILINE)[1]) == shards
        found[shards] = study, made
    return found


def test_no_function_is_called_more_often_than_in_proportion_to_the_shards(planned):
    few, some, many = (planned[shards][1] for shards in (25, 50, 100))
    grown = {
        place: (many[place] - some[place], some[place] - few.get(place, 0))
        for place in many
        if place in some and many[place] - some[place] > MANY
    }
    assert len(grown) > 20
    # Linear is 2, quadratic is 4.
    assert not {place: more for place, more in grown.items() if more[0] > 2.5 * more[1]}
    assert sum(many.values()) - sum(some.values()) < 2.2 * (sum(some.values()) - sum(few.values()))


def test_the_process_of_a_job_plans_that_job_alone(planned):
    study, _ = planned[100]
    snakefile = ["--snakefile", str(study.workflow / "Snakefile"), "--configfile", "study.yaml"]
    target = ["--target-jobs", "delineate:shard=07", "--allowed-rules", "delineate"]
    found, _ = calls(study, [*snakefile, *target, *OF_A_JOB, "--dry-run"])
    (made,) = [number for place, number in found.items() if place.endswith(":expand_input")]
    assert made == 1
    assert not [place for place in found if place.endswith(":script_digest")]


def test_no_parameter_is_looked_at_with_pandas(planned):
    _, found = planned[25]
    assert not [place for place in found if place.endswith(":_serialize_param_pandas")]
    assert [place for place in found if place.endswith(":_serialize_param_builtin")]


# What jobs need; Snakemake itself imports NumPy, and last_words() nothing more.
FOR_JOBS = {
    "dask",
    "geopandas",
    "matplotlib",
    "numba",
    "pandas",
    "pyarrow",
    "pyproj",
    "pysheds",
    "rasterio",
    "scipy",
    "shapely",
    "xarray",
}


def test_a_run_that_has_nothing_to_do_imports_nothing_that_only_jobs_need(study):
    python, *command = study.command()
    done = subprocess.run(
        [python, "-X", "importtime", *command],
        cwd=study.folder,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "Nothing to be done" in done.stdout + done.stderr
    loaded = set(re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert {"snakemake.workflow", "snakeshed.terrain.index"} <= loaded
    assert not FOR_JOBS.intersection(name.partition(".")[0] for name in loaded)
    assert "snakemake_executor_plugin_kubernetes_pvc.executor" not in loaded


SMALL = """
import sys, time
from snakemake.logging import logger
include: {planning!r}
rule all:
    input:
        expand("{{n}}.out", n=[1, 2]),
rule tell:
    input:
        old=ancient("old"),
        found=ancient(lambda wildcards: "old"),
        several=lambda wildcards: ["several", "new"],
        new="new",
    output:
        out="{{n}}.out",
    params:
        n=lambda wildcards: wildcards.n,
    shell:
        "echo {{input.old}}, {{input.several}}, {{params.n}} > {{output.out}}"
"""


def test_files_keep_their_names_and_flags(tmp_path):
    def snakemake(*options):
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "1", *options],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stderr

    planning = Path(__file__).parents[2] / "rules" / "planning.smk"
    (tmp_path / "Snakefile").write_text(SMALL.format(planning=str(planning)))
    for name in ("old", "several", "new"):
        (tmp_path / name).write_text(name)
    snakemake()
    assert (tmp_path / "2.out").read_text() == "old, several new, 2\n"
    # Snakemake compares the content of a file that is newer, unless it is ancient.
    (tmp_path / "old").write_text("another")
    assert "Nothing to be done" in snakemake()
    (tmp_path / "new").write_text("another")
    assert "Updated input files: new" in snakemake()
