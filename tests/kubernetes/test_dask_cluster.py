"""The README's commands for a Dask cluster, on the cluster of the current kubeconfig context.

As in test_nautilus.py, and beside what that sets up. A cluster for tests has no names of services:
here the scheduler is addressed by its pod's, which stays as long as the pod.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request

import pytest
import yaml
from small_workflow import until
from test_nautilus import CHECKOUT, TABLES, Project, project, run_here  # noqa: F401
from test_nautilus import commands as commands_of_nautilus

pytestmark = pytest.mark.cluster

END_OF_SCHEDULER = "import os, signal; os.kill(1, signal.SIGTERM)"


def commands() -> list[str]:
    """What the README says is to be typed, in its order."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    section = readme.split("\n## On a Dask cluster\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    return block.splitlines()


@pytest.fixture
def dask_project(project) -> Project:  # noqa: F811
    """The project with its volume and data, and the values of the Dask profile set."""
    project.fill_in("dask")
    for kind, pod in (
        ("CronJob", "/spec/jobTemplate/spec/template"),
        ("Deployment", "/spec/template"),
    ):
        # The few cores and the memory of a test machine are for all of them.
        for resource in ("cpu", "memory"):
            at = f"{pod}/spec/containers/0/resources/requests/{resource}"
            project.patch("dask", {"kind": kind}, at, "0")
    apply, ready, copy_in, *_ = commands_of_nautilus()
    project.shell(apply)
    project.shell(ready)
    project.shell(copy_in)
    return project


def pods(project: Project, part: str) -> list[dict]:  # noqa: F811
    """Pods of a part of the cluster."""
    return project.items("pods", f"app.kubernetes.io/name=snakeshed-dask-{part}")


def address_by_pod(project: Project) -> None:  # noqa: F811
    """Have workers and driver take the address of the scheduler's pod for that of its service."""
    until(lambda: [one for one in pods(project, "scheduler") if one["status"].get("podIP")], 120)
    address = f"tcp://{pods(project, 'scheduler')[0]['status']['podIP']}:8786"
    for target, at, container in (
        ({"kind": "Deployment", "name": "snakeshed-dask-worker"}, "/spec/template", "worker"),
        ({"kind": "CronJob"}, "/spec/jobTemplate/spec/template", "driver"),
    ):
        folder = project.folder / "profiles/dask"
        name = {"worker": "workers.yaml", "driver": "driver.yaml"}[container]
        thing = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        spec = thing["spec"].get("jobTemplate", thing)["spec"]["template"]["spec"]
        names = [one["name"] for one in spec["containers"][0]["env"]]
        place = names.index("DASK_SCHEDULER_ADDRESS")
        project.patch("dask", target, f"{at}/spec/containers/0/env/{place}/value", address)


def test_the_readme_is_all_there_is_to_do_for_dask(dask_project, tmp_path):
    project = dask_project  # noqa: F811
    apply, ready, start, scale, watch, forward, remove = commands()
    here = tmp_path / "here"
    shutil.copytree(project.folder, here, symlinks=True)
    expected = run_here(here) / "demo"

    project.shell(apply)
    address_by_pod(project)
    project.shell(apply)
    project.shell(ready)
    assert len(pods(project, "worker")) >= 3
    assert "dask-1 created" in project.shell(start)
    assert "scaled" in project.shell(scale)
    until(lambda: len(pods(project, "worker")) >= 4, 60)

    # In the midst of it a worker is killed, and the scheduler starts again.
    logs = project.volume / "results/demo/logs/delineate"
    until(lambda: any("dask: dashboard" in one.read_text() for one in logs.glob("*.log")), 300)
    victim = pods(project, "worker")[0]["metadata"]["name"]
    project.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
    project.kubectl(
        *("exec", "deployment/snakeshed-dask-scheduler", "--", "python", "-c", END_OF_SCHEDULER)
    )
    said = project.shell(watch)
    assert "Study demo: 50 sites, 49 delineated" in said
    told = "".join(one.read_text() for one in sorted(logs.glob("*.log")))
    assert re.search(r"dask: dashboard at http://[\d.]+:8787/status", told)
    assert re.search(r"dask: (\d+) of \1 patches done", told)
    for table in TABLES:
        got = project.volume / f"results/demo/{table}.parquet"
        assert got.read_bytes() == (expected / f"{table}.parquet").read_bytes(), table

    forwarding = subprocess.Popen(
        forward.replace(" 8787", " :8787").split(),
        env=project.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        (port,) = re.findall(r"127\.0\.0\.1:(\d+)", forwarding.stdout.readline())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=30) as page:
            assert b"bokeh" in page.read()
    finally:
        forwarding.kill()
        forwarding.communicate()

    project.shell(remove)
    parts = ("scheduler", "worker", "driver")
    until(lambda: not any(pods(project, part) for part in parts), 60)
    # The volume, and what else there was, stays.
    assert len(project.items("persistentvolumeclaims")) == 1
    names = {one["metadata"]["name"] for one in project.items("deployments")}
    assert names == {"snakeshed-access"}


def test_the_cluster_would_take_the_manifests_of_dask(dask_project):
    said = dask_project.shell("kubectl apply -k profiles/dask --dry-run=server")
    assert said.count("created (server dry run)") == 4
