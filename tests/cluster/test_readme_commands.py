"""The README's commands for a Kubernetes cluster and for Dask, on a real cluster.

Its node has to be this machine, and has to have the image of envs/Dockerfile under the name that
SNAKESHED_TEST_IMAGE gives. A cluster for tests has no names of services: here the Dask scheduler is
addressed by its pod's, which stays as long as the pod.
"""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request

import pytest
import yaml
from dask_processes import certificates
from project_copy import CHECKOUT, TABLES, Project, commands_for_kubernetes
from readme_blocks import fenced
from small_workflow import until

# Runs all kernels, and counts what was found compiled and what was not.
COUNT_COMPILED = """
import gc, tempfile
from numba.core.dispatcher import Dispatcher
from snakeshed.precompile import precompile
with tempfile.TemporaryDirectory() as folder:
    precompile(folder, all_ways=True)
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
    build = (CHECKOUT / "envs/build.in").read_text(encoding="utf-8")
    needless = set(re.findall(r"^[\w-]+", build, flags=re.MULTILINE)) | {"pip", "pytest"}
    assert not needless & set(installed)
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


def check_what_jobs_can_change(project: Project, sent: dict) -> None:
    """A Job as the driver sends them writes to results and compiled kernels, not to code."""
    pod = sent["spec"]["template"]["spec"]
    names = ["Snakefile", "new", "rules/new", "scripts/snakeshed/new", "config/new", "data.tif"]
    names += ["results/new", "resources/new", ".cache/new", ".snakemake/new"]
    tried = "; ".join(f"touch {name} 2>/dev/null && echo {name}" for name in names)
    pod["containers"][0]["command"] = ["/bin/sh", "-c", f"{tried}; true"]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "intruder"},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }
    project.kubectl("apply", "-f", "-", stdin=json.dumps(job))
    project.kubectl("wait", "--for=condition=Complete", "job/intruder", "--timeout=100s")
    assert project.kubectl("logs", "job/intruder").split() == names[-4:]
    project.kubectl("delete", "job/intruder")
    # The driver has compiled what jobs cannot write.
    code = project.volume / "scripts/snakeshed"
    assert any((code / "delineation/__pycache__").glob("patch*.pyc"))


def check_rights(project: Project) -> None:
    """The driver may do no more than it has to."""
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


def test_the_readme_is_all_there_is_to_do(project, demo_here):
    apply, ready, copy_in, start, watch, copy_out, remove = commands_for_kubernetes()
    said = project.shell(f"{apply} --dry-run=server")
    assert said.count("created (server dry run)") == 8

    project.shell(apply)
    check_rights(project)
    project.shell(ready)
    project.shell(copy_in)
    assert "run-1 created" in project.shell(start)
    until(lambda: project.items("jobs", "snakemake/batch"), 300, every_s=0.5)
    sent, *_ = project.items("jobs", "snakemake/batch")
    said = project.shell(watch)
    assert "Study demo: 50 sites, 49 delineated" in said
    begun = project.jobs_of_last_run()
    assert begun["delineate"] == begun["extract_features"] == 4
    # What is read and written in place is neither copied nor installed first.
    (container,) = sent["spec"]["template"]["spec"]["containers"]
    (word,) = container["command"][2:]
    assert word.startswith("exec python -m snakemake_executor_plugin_kubernetes_pvc.worker ")
    # Nothing is left of pods that waited for more.
    assert project.items("jobs", "snakemake/run") == []
    assert project.items("secrets") == []
    check_what_jobs_can_change(project, sent)

    project.shell(copy_out)
    for table in TABLES:
        got = project.folder / f"results/demo/{table}.parquet"
        assert got.read_bytes() == (demo_here / f"{table}.parquet").read_bytes(), table

    check_image(project)

    project.shell(remove)
    until(lambda: not project.items("jobs") and not project.items("pods"), 60, every_s=1)
    for kind in (
        *("persistentvolumeclaims", "cronjobs", "deployments", "roles", "rolebindings"),
        "networkpolicies",
    ):
        assert project.items(kind) == [], kind


END_OF_SCHEDULER = "import os, signal; os.kill(1, signal.SIGTERM)"


@pytest.fixture
def dask_project(project, kernels) -> Project:
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
    # Pods of two workers each, one pod to begin with.
    replicas = "/spec/jobTemplate/spec/template/spec/containers/0/env/0/value"
    project.patch("dask", {"kind": "CronJob"}, replicas, "1")
    workers = {"kind": "Deployment", "name": "snakeshed-dask-worker"}
    project.patch("dask", workers, "/spec/template/spec/containers/0/resources/limits/cpu", "2")
    apply, ready, copy_in, *_ = commands_for_kubernetes()
    project.shell(apply)
    project.shell(ready)
    project.shell(copy_in)
    project.take_kernels(kernels)
    return project


def pods(project: Project, part: str) -> list[dict]:
    """Pods of a part of the cluster."""
    return project.items("pods", f"app.kubernetes.io/name=snakeshed-dask-{part}")


def address_by_pod(project: Project) -> None:
    """Have workers and driver take the address of the scheduler's pod for that of its service."""
    until(
        lambda: [one for one in pods(project, "scheduler") if one["status"].get("podIP")],
        120,
        every_s=0.5,
    )
    address = f"tls://{pods(project, 'scheduler')[0]['status']['podIP']}:8786"
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


def check_tls(project: Project) -> None:
    """The scheduler takes who has the certificate, and nobody else; its dashboard is local."""
    project.kubectl("rollout", "status", "deployment/snakeshed-dask-scheduler", "--timeout=100s")
    address = pods(project, "scheduler")[0]["status"]["podIP"]
    pod = ("exec", "deployment/snakeshed-access", "--", "python", "-c")
    asking = f"""
import socket, ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with context.wrap_socket(socket.create_connection(("{address}", 8786), 10)) as connection:
    try:
        print(len(connection.recv(1)), "bytes")
    except ssl.SSLError as error:
        print(error.reason)
try:
    socket.create_connection(("{address}", 8787), 10)
except ConnectionRefusedError as error:
    print(error.strerror)
"""
    said = project.kubectl(*pod, asking).splitlines()
    assert "CERTIFICATE_REQUIRED" in said[0]
    assert said[1:] == ["Connection refused"]


def test_the_readme_is_all_there_is_to_do_for_dask(dask_project, demo_here, tmp_path):
    project = dask_project
    secret, apply, ready, start, scale, watch, forward, *removal = fenced("On a Dask cluster")
    remove, remove_secret = removal
    home = tmp_path / "home"
    certificates(home)
    said = project.shell(f"{apply} --dry-run=server")
    assert said.count("created (server dry run)") == 10

    # kubectl keeps finding its configuration, wherever home is.
    assert "snakeshed-dask-tls created" in project.shell(f"HOME={home}; {secret}")
    project.shell(apply)
    address_by_pod(project)
    project.shell(apply)
    project.shell(ready)
    # At rest there is none; a run has as many as are set, and may be given more.
    assert pods(project, "worker") == []
    check_tls(project)
    assert "dask-1 created" in project.shell(start)
    until(lambda: len(pods(project, "worker")) == 1, 60, every_s=0.5)
    assert "scaled" in project.shell(scale)
    until(lambda: len(pods(project, "worker")) >= 3, 60, every_s=0.5)

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
    assert "Traceback" not in said
    told = "".join(one.read_text() for one in sorted(logs.glob("*.log")))
    assert "Traceback" not in told
    assert re.search(r"dask: dashboard at http://[\d.]+:8787/status", told)
    assert re.search(r"dask: (\d+) of \1 patches done", told)
    for table in TABLES:
        got = project.volume / f"results/demo/{table}.parquet"
        assert got.read_bytes() == (demo_here / f"{table}.parquet").read_bytes(), table

    # The workers go with the run.
    until(lambda: not pods(project, "worker"), 60, every_s=0.5)

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
    until(lambda: not any(pods(project, part) for part in parts), 60, every_s=1)
    assert "deleted" in project.shell(remove_secret)
    assert project.items("secrets") == []
    # The volume, and what else there was, stays.
    assert len(project.items("persistentvolumeclaims")) == 1
    names = {one["metadata"]["name"] for one in project.items("deployments")}
    assert names == {"snakeshed-access"}
