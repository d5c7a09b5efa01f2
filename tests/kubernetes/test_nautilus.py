"""The README's commands on the cluster of the current kubeconfig context, and a study there.

The cluster's node has to be this machine, and has to have the image of envs/Dockerfile under the
name that SNAKESHED_TEST_IMAGE gives.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from cluster import IMAGE, leave_out
from small_workflow import until

pytestmark = pytest.mark.cluster

CHECKOUT = Path(__file__).parents[2]
MANIFESTS = CHECKOUT / "profiles" / "nautilus"
# Runs all kernels, and counts what was found compiled and what was not.
COUNT_COMPILED = """
import gc, tempfile
from numba.core.dispatcher import Dispatcher
from snakeshed.precompile import precompile
with tempfile.TemporaryDirectory() as folder:
    precompile(folder)
called = [one.stats for one in gc.get_objects() if isinstance(one, Dispatcher)
          and one.py_func.__module__.startswith("snakeshed.")]
print(sum(sum(one.cache_hits.values()) for one in called),
      sum(sum(one.cache_misses.values()) for one in called))
"""
LIST_PACKAGES = """
import re
from importlib.metadata import distributions
for one in distributions():
    print(re.sub(r"[-_.]+", "-", one.name).lower(), one.version)
"""
TABLES = ["catchments", "features", "observations", "sites"]
SITE_COLUMNS = {"site_id": "Fire_SegID", "x": "UTM_X", "y": "UTM_Y", "area": "ContributingArea_km2"}
# What NumPy chooses other code by where a CPU has it.
NEWER_FEATURES = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3"
STUDY = {
    "study": "station",
    "sites": {"path": "data/sites.csv", "crs": "EPSG:26911", "columns": SITE_COLUMNS},
    "dem": {"path": "data/dem.tif"},
    "shards": 4,
}


def commands() -> list[str]:
    """What the README says is to be typed, in its order."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    section = readme.split("\n## On a Kubernetes cluster\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    return "".join(blocks).splitlines()


class Project:
    """A copy of the checkout, in a shell whose kubectl has a namespace of its own.

    Parameters
    ----------
    folder
        For the copy and for the kubeconfig.
    """

    def __init__(self, folder: Path) -> None:
        self.namespace = f"test-{secrets.token_hex(4)}"
        self.volume = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="nautilus-"))
        self.volume.chmod(0o777)
        self.folder = folder / "checkout"
        tracked = subprocess.run(
            ["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, stdout=subprocess.PIPE
        ).stdout.decode()
        for name in filter(None, tracked.split("\0")):
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target, follow_symlinks=False)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(self.kubectl("config", "view", "--raw"), encoding="utf-8")
        self.environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self.kubectl("create", "namespace", self.namespace)
        self.kubectl("config", "set-context", "--current", "--namespace", self.namespace)
        self.make_volume()
        self.set_values()

    environment: dict[str, str] | None = None

    def shell(self, command: str, timeout_s: float = 600) -> str:
        """Type a command; it has to succeed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=getattr(self, "folder", None),
            env=self.environment,
            timeout=timeout_s,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Call kubectl; it has to succeed."""
        done = subprocess.run(
            ["kubectl", *words],
            env=self.environment,
            input=stdin,
            timeout=120,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}\n{done.stderr}"
        return done.stdout

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Objects of a kind in the namespace."""
        return json.loads(self.kubectl("get", kind, "-o", "json", "-l", selector))["items"]

    def make_volume(self) -> None:
        """Offer a volume of a storage class of its own, as an administrator would."""
        spec = {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": self.namespace,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(self.volume), "type": "Directory"},
        }
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.namespace},
            "spec": spec,
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(volume))

    def set_values(self) -> None:
        """Set the three values, and leave the few cores of a test machine to the shards."""
        self.fill_in("nautilus", ("value: rook-cephfs-central", f"value: {self.namespace}"))
        for kind, container in (
            ("CronJob", "/spec/jobTemplate/spec/template/spec/containers/0"),
            ("Deployment", "/spec/template/spec/containers/0"),
        ):
            self.patch("nautilus", {"kind": kind}, f"{container}/resources/requests/cpu", "0")

    def fill_in(self, profile: str, *more: tuple[str, str]) -> None:
        """Set the values that are marked in a profile's kustomization, each there once."""
        path = self.folder / "profiles" / profile / "kustomization.yaml"
        text = path.read_text(encoding="utf-8")
        name, _, tag = IMAGE.rpartition(":")
        for given, own in (
            ("namespace: my-namespace", f"namespace: {self.namespace}"),
            ("newName: registry.example.org/my-project/snakeshed", f"newName: {name}"),
            ('newTag: "1"', f'newTag: "{tag}"'),
            *more,
        ):
            assert text.count(given) == 1, given
            text = text.replace(given, own)
        path.write_text(text, encoding="utf-8")

    def patch(self, profile: str, target: dict[str, str], path: str, value: object) -> None:
        """Add a patch to a profile's kustomization."""
        file = self.folder / "profiles" / profile / "kustomization.yaml"
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        operation = [{"op": "replace", "path": path, "value": value}]
        settings["patches"].append({"target": target, "patch": yaml.safe_dump(operation)})
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")

    def give(self, *arguments: str) -> None:
        """Set what the driver gets behind ``snakemake --profile nautilus``."""
        path = self.folder / "profiles/nautilus/kustomization.yaml"
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        (patch,) = [one for one in settings["patches"] if "/args" in one["patch"]]
        operation = yaml.safe_load(patch["patch"])
        patch["patch"] = yaml.safe_dump([{**operation[0], "value": list(arguments)}])
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.shell("kubectl apply -k profiles/nautilus")

    def start(self, run: str) -> None:
        """Start a run as the README does."""
        (command,) = [line for line in commands() if line.startswith("kubectl create job")]
        self.shell(command.replace("run-1", run))

    def finish(self, run: str, end: str = "Complete") -> str:
        """Wait for the end of a run, and return what it said."""

        def ends() -> set[str]:
            (job,) = [one for one in self.items("jobs") if one["metadata"]["name"] == run]
            return {one["type"] for one in job["status"].get("conditions", [])}

        until(lambda: {"Complete", "Failed"} & ends(), 600)
        said = self.kubectl("logs", f"job/{run}")
        assert end in ends(), said
        return said

    def sent(self) -> Counter[str]:
        """How many Jobs of each rule there are."""
        labels = [job["metadata"]["labels"] for job in self.items("jobs", "snakemake/rule")]
        return Counter(each["snakemake/rule"] for each in labels)

    def runs(self, rule: str) -> bool:
        """Tell whether the container of a pod of a rule runs."""
        pods = self.items("pods", f"snakemake/rule={rule}")
        return any(pod["status"]["phase"] == "Running" for pod in pods)

    def forget_jobs(self) -> None:
        """Delete the Jobs of earlier runs."""
        self.kubectl("delete", "jobs", "-l", "snakemake/rule")

    def table(self, study: str, table: str) -> bytes:
        """A table as it is on the volume."""
        return (self.volume / f"results/{study}/{table}.parquet").read_bytes()

    def remove(self) -> None:
        """Remove the namespace and the volume."""
        self.kubectl("delete", "namespace", self.namespace)
        self.kubectl("delete", "persistentvolume", self.namespace)
        shutil.rmtree(self.volume)


@pytest.fixture
def project(tmp_path) -> Iterator[Project]:
    if shutil.which("kubectl") is None:
        leave_out("no kubectl on this machine")
    try:
        found = subprocess.run(
            ["kubectl", "get", "nodes", "-o", "jsonpath={.items[*].status.images[*].names}"],
            timeout=30,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except subprocess.SubprocessError as error:
        leave_out(f"no Kubernetes cluster answers: {error}")
    if f'{IMAGE}"' not in found:
        leave_out(f"the cluster has no image {IMAGE}: build one from envs/Dockerfile")
    made = Project(tmp_path)
    yield made
    made.remove()


def run_here(folder: Path, *options: str) -> Path:
    """Run the workflow of a folder on this machine, and return where its results are."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return folder / "results"


def check_image(project: Project) -> None:
    """What is in the image, seen from a pod that can write nothing but the volume and /tmp."""
    pod = ("exec", "deployment/snakeshed-access", "--")
    lock = (CHECKOUT / "envs/requirements.lock").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock, flags=re.MULTILINE))
    installed = dict(
        line.split() for line in project.kubectl(*pod, "python", "-c", LIST_PACKAGES).splitlines()
    )
    assert {name: locked.get(name) for name in installed} == installed
    assert {"snakemake", "kubernetes", "numba", "pysheds", "distributed"} <= set(installed)
    assert not {"pip", "pytest", "ruff", "hypothesis"} & set(installed)
    for command in ("pip", "gcc", "touch /opt/snakeshed/new", "touch /etc/new"):
        denied = ("sh", "-c", f"{command} 2>/dev/null && echo done || echo denied")
        assert project.kubectl(*pod, *denied) == "denied\n", command
    profile = "nautilus/config.yaml"
    project.kubectl(*pod, "cmp", f"/etc/xdg/snakemake/{profile}", f"profiles/{profile}")
    # What the run before has compiled is found, all of it.
    found, compiled = project.kubectl(*pod, "python", "-c", COUNT_COMPILED).split()
    assert int(found) > 10
    assert int(compiled) == 0
    kept = list(project.volume.glob(".cache/numba/*/**/*.nbc"))
    assert {path.stat().st_uid for path in kept} == {1000}


def test_the_readme_is_all_there_is_to_do(project, tmp_path):
    apply, ready, copy_in, start, watch, copy_out, remove = commands()
    here = tmp_path / "here"
    shutil.copytree(project.folder, here, symlinks=True)
    expected = run_here(here) / "demo"

    project.shell(apply)
    project.shell(ready)
    project.shell(copy_in)
    assert "run-1 created" in project.shell(start)
    said = project.shell(watch)
    assert "Study demo: 50 sites, 49 delineated" in said
    assert project.sent()["delineate"] == project.sent()["extract_features"] == 4
    # What is read and written in place is neither copied nor installed first.
    for job in project.items("jobs", "snakemake/rule"):
        (container,) = job["spec"]["template"]["spec"]["containers"]
        (word,) = container["command"][2:]
        assert word.startswith("python -m snakemake ")
        assert not re.search(r"pip|rsync|tar |storage-provider|deploy-sources", word)
    assert project.items("secrets") == []

    project.shell(copy_out)
    for table in TABLES:
        got = project.folder / f"results/demo/{table}.parquet"
        assert got.read_bytes() == (expected / f"{table}.parquet").read_bytes(), table

    check_image(project)

    project.shell(remove)
    until(lambda: not project.items("jobs") and not project.items("pods"), 60)
    for kind in ("persistentvolumeclaims", "cronjobs", "deployments", "roles", "rolebindings"):
        assert project.items(kind) == [], kind


@pytest.fixture
def station(project, shared_data) -> Project:
    """A project with the sites of the Station fire and their DEM."""
    table = pd.read_excel(
        next(shared_data("staley2016").glob("*.xlsx")), sheet_name="Appendix1_ModelData"
    )
    data = project.folder / "data"
    data.mkdir()
    sites = table[table[SITE_COLUMNS["site_id"]].str.startswith("stn")]
    sites[list(SITE_COLUMNS.values())].to_csv(data / "sites.csv", index=False)
    shutil.copy(shared_data("station-fire") / "dem.tif", data)
    (project.folder / "config/station.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    apply, ready, copy_in, *_ = commands()
    project.shell(apply)
    project.shell(ready)
    project.shell(copy_in)
    return project


def test_the_station_fire_is_the_same_as_here_whatever_happens(station, tmp_path):
    here = tmp_path / "here"
    shutil.copytree(station.folder, here, symlinks=True)
    options = ("--configfile", "config/station.yaml")
    expected = run_here(here, *options) / "station"

    # A second run of the study is turned away, and told by which.
    station.give(*options)
    station.start("run-2")
    until((station.volume / ".snakemake/snakeshed/station.lock").exists, 60)
    station.start("second")
    said = station.finish("second", end="Failed")
    assert re.search(r"another run of it at work \(process \d+ of \w+ on run-2-", said), said

    station.finish("run-2")
    for table in TABLES:
        assert station.table("station", table) == (expected / f"{table}.parquet").read_bytes(), (
            table
        )

    # One row is changed in place: its shard alone is done again, here on a CPU that can do less.
    station.forget_jobs()
    done = pd.read_parquet(expected / "catchments.parquet", columns=["site_id", "status"])
    chosen = done.site_id[done.status == "ok"].iloc[0]
    for folder in (station.volume, here):
        path = folder / "data/sites.csv"
        sites = pd.read_csv(path, dtype=str)  # all else is to stay as it is written
        row = sites[SITE_COLUMNS["site_id"]] == chosen
        areas = sites.loc[row, SITE_COLUMNS["area"]].astype(float)
        sites.loc[row, SITE_COLUMNS["area"]] = (1.01 * areas).map(str)
        sites.to_csv(path, index=False)
    station.give(
        *options, "--kubernetes-pvc-environment", f"NPY_DISABLE_CPU_FEATURES={NEWER_FEATURES}"
    )
    station.start("run-3")
    station.finish("run-3")
    assert station.sent() == {
        "prepare_sites": 1,
        "split_shards": 1,
        "delineate": 1,
        "extract_features": 1,
        "gather": 2,
        "summarise": 1,
        "report": 1,
    }
    run_here(here, *options)
    for table in TABLES:
        assert station.table("station", table) == (expected / f"{table}.parquet").read_bytes(), (
            table
        )

    # The driver's pod is deleted in the midst of it: another one takes the run up. Last, as a job
    # that ends while no driver lives leaves no record of its inputs, and may be done once more.
    station.forget_jobs()
    station.give(*options, "--forceall")
    station.start("run-4")
    until(lambda: station.runs("delineate"), 300)
    (driver,) = station.items("pods", "job-name=run-4")
    station.kubectl("delete", "pod", driver["metadata"]["name"])
    station.finish("run-4")
    assert (
        station.items("pods", "job-name=run-4")[0]["metadata"]["uid"] != driver["metadata"]["uid"]
    )
    for table in TABLES:
        assert station.table("station", table) == (expected / f"{table}.parquet").read_bytes(), (
            table
        )


def test_the_driver_may_do_no_more_than_it_has_to(project):
    project.shell(commands()[0])
    account = f"system:serviceaccount:{project.namespace}:snakeshed-driver"

    def may(verb: str, what: str, *options: str) -> bool:
        done = subprocess.run(
            ["kubectl", "auth", "can-i", verb, what, "--as", account, *options],
            env=project.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() == "yes"

    for verb in ("create", "list", "delete", "deletecollection"):
        assert may(verb, "jobs.batch"), verb
        assert not may(verb, "jobs.batch", "--namespace", "default"), verb
    for verb, what in (("get", "secrets"), ("list", "secrets"), ("create", "secrets")):
        assert not may(verb, what), what
    for what in ("pods", "pods/exec", "pods/attach", "serviceaccounts/token", "roles"):
        assert not may("create", what), what
    assert not may("get", "nodes")


def test_the_cluster_would_take_the_manifests(project):
    said = project.shell("kubectl apply -k profiles/nautilus --dry-run=server")
    assert said.count("created (server dry run)") == 6
