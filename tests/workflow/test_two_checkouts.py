"""Two checkouts in one environment: each makes its results with its own code, or a job stops.

The other checkout measures perimeters twice as long, in a kernel.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from dask_processes import dask_processes
from numba.core.caching import UserProvidedCacheLocator
from tiny_study import Run, TinyStudy, copy_workflow

BACKENDS = {
    "local": [],
    "processes": ["--set-threads", "delineate=2", "--set-resources", "delineate:backend=process"],
    "own Dask cluster": ["--profile", "profiles/dask"],
}
SHAPE = "scripts/snakeshed/kernels/catchment_shape.py"


@pytest.fixture(scope="module")
def other(finished, once) -> Path:
    """The workflow of the other checkout."""

    def make(folder: Path) -> Path:
        copy_workflow(folder, finished.workflow)
        shape = folder / SHAPE
        text = shape.read_text()
        assert text.count("    return length\n") == 1
        shape.write_text(text.replace("    return length\n", "    return 2 * length\n"))
        return folder

    return once("other", make)


def delineate(
    study: TinyStudy, backend: str, installed: Path, *more: str, **environment: str
) -> Run:
    """Delineate the shard of site a, where the environment has the library of some checkout.

    It comes first there, before whatever else is installed.
    """
    options = [
        option.replace("profiles/", f"{study.workflow}/profiles/") for option in BACKENDS[backend]
    ]
    shard = f"results/tiny/shards/{study.shard_of('a')}/catchments.parquet"
    return study.run(
        shard,
        "--forcerun",
        "delineate",
        *options,
        *more,
        PYTHONPATH=str(installed / "scripts"),
        **environment,
    )


def perimeters(study: TinyStudy) -> pd.Series:
    shard = study.results / "shards" / study.shard_of("a") / "catchments.parquet"
    return pd.read_parquet(shard).set_index("site_id")["perimeter_km"]


def log_of(study: TinyStudy) -> str:
    return (study.results / f"logs/delineate/{study.shard_of('a')}.log").read_text()


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_checkout_makes_its_own_values(finished, other, study, tmp_path, backend):
    run = delineate(study, backend, installed=other)
    assert run.code == 0, run.text
    assert run.jobs == {"delineate": 1}
    assert study.contents().keys() == finished.contents().keys()
    assert perimeters(study).equals(perimeters(finished))

    others = finished.copy(tmp_path / "others", other)
    run = delineate(others, backend, installed=finished.workflow)
    assert run.code == 0, run.text
    assert run.jobs == {"delineate": 1}
    assert (perimeters(others) == 2 * perimeters(finished)).all()
    # The digest is that of the code which made them, so there is nothing to do again.
    shard = f"results/tiny/shards/{study.shard_of('a')}/catchments.parquet"
    assert not others.plan(shard)


def test_a_job_as_another_node_runs_it_has_the_code_of_its_checkout(other, finished, tmp_path):
    """A pod runs Snakemake for one job, in a container whose PYTHONPATH is that of the image."""
    study = finished.copy(tmp_path / "study", other)
    shard = study.shard_of("a")
    options = ["--mode", "remote", "--target-jobs", f"delineate:shard={shard}"]
    options += ["--allowed-rules", "delineate", "--force", "--executor", "local"]
    run = study.run(*options, PYTHONPATH=str(finished.workflow / "scripts"))
    assert run.code == 0, run.text
    assert (perimeters(study) == 2 * perimeters(finished)).all()


def test_a_worker_of_the_other_checkout_is_refused(study, other, tmp_path):
    with dask_processes(tmp_path / "cluster") as cluster:
        cluster.start_worker(path=str(other / "scripts"))
        run = delineate(study, "own Dask cluster", other, DASK_SCHEDULER_ADDRESS=cluster.address)
    assert run.code == 1
    assert "the Dask worker tcp://127.0.0.1:" in run.text
    assert "found snakeshed's code " in run.text
    assert f"one checkout (PYTHONPATH={study.workflow}/scripts), restart the workers" in run.text
    assert "Traceback" not in run.text


def test_a_job_stops_where_the_shell_puts_the_other_checkout_first(study, other, tmp_path):
    started = tmp_path / "start-up"
    started.write_text(f"export PYTHONPATH={other}/scripts\n")
    before = study.contents()
    # As Snakemake runs scripts: a shell starts Python for each.
    run = delineate(study, "local", other, "--skip-script-cleanup", BASH_ENV=str(started))
    assert run.code == 1
    message = (
        f"this job: found the library {other}/scripts/snakeshed; expected the workflow's own, "
        f"{study.workflow}/scripts/snakeshed."
    )
    assert message in run.text
    assert message in log_of(study)
    shard = f"shards/{study.shard_of('a')}/catchments.parquet"
    # A failed job leaves no table, and no other one is touched.
    assert study.contents() == {name: each for name, each in before.items() if name != shard}
    # In warm processes there is no shell.
    run = delineate(study, "local", other, BASH_ENV=str(started))
    assert run.code == 0, run.text
    assert study.contents()[shard][0] == before[shard][0]


def test_what_a_user_puts_on_the_path_stays_there(study, other, tmp_path):
    """And kernels are compiled ahead for the checkout of the workflow alone."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "with open(os.environ['TOLD'], 'a') as file:\n"
        "    print(*sys.orig_argv, *sys.path[:4], sep=':', file=file)\n"
    )
    told, kept = tmp_path / "told", tmp_path / "numba"
    own = os.pathsep.join([str(tmp_path), str(other / "scripts")])
    shard = f"results/tiny/shards/{study.shard_of('a')}/catchments.parquet"
    run = study.run(
        *[shard, "--forcerun", "delineate"],
        PYTHONPATH=own,
        TOLD=str(told),
        NUMBA_CACHE_DIR=str(kept),
    )
    assert run.code == 0, run.text
    scripts = study.workflow / "scripts"
    jobs = [line for line in told.read_text().splitlines() if f"{scripts}:{own}" in line]
    assert any("delineate.py" in line for line in jobs)
    kernels = scripts / "snakeshed/kernels/d8.py"
    subpath = UserProvidedCacheLocator.get_suitable_cache_subpath
    compiled = {path.parent.name for path in kept.rglob("*.nbc")}
    assert subpath(str(kernels)) in compiled
    assert subpath(str(other / "scripts/snakeshed/kernels/d8.py")) not in compiled
