"""Record what a real cluster says about Jobs that end in every way they can.

    python tests/kubernetes/record_objects.py [CASE ...]

The current context of the kubeconfig must be a test cluster with the image ``busybox:test``: quota,
priority classes and taints are made in it. ``recorded/CASE.json`` gets the Job, its pods and their
events at each change, without what no one reads.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_kubernetes_pvc.api import Api
from snakemake_executor_plugin_kubernetes_pvc.connection import Connection
from snakemake_executor_plugin_kubernetes_pvc.manifest import JobFacts, Run, manifest
from snakemake_executor_plugin_kubernetes_pvc.settings import ExecutorSettings

RECORDED = Path(__file__).parent / "recorded"
NAMESPACE = "recording"
IMAGE = "busybox:test"

connection = Connection()
api = Api(connection, NAMESPACE, 10, threading.Event(), logging.getLogger())


def send(method: str, path: str, body: dict[str, Any] | None = None) -> int:
    """Send a request that may be refused, because what it makes is there."""
    return connection.send(method, path, body=body).status


@dataclass
class Case:
    """A Job, what is done to it while it runs, and how long it is looked at."""

    command: str = "sleep 30"
    seconds: float = 12
    facts: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    image: str = IMAGE
    volume: dict[str, Any] = field(default_factory=lambda: {"emptyDir": {}})
    suspend: bool = False
    before: Callable[[], object] = lambda: None
    act: Callable[[dict[str, Any]], object] = lambda pod: None
    after: Callable[[], object] = lambda: None


def pod_path(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}"


def evict(pod: dict[str, Any]) -> None:
    metadata = {"name": pod["metadata"]["name"], "namespace": NAMESPACE}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    send("POST", f"{pod_path(pod)}/eviction", body)


def quota(cpu: str) -> Callable[[], object]:
    def make() -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"
        body = {"metadata": {"name": "small"}, "spec": {"hard": {"cpu": cpu}}}
        send("POST", path, {"apiVersion": "v1", "kind": "ResourceQuota", **body})
        time.sleep(2)

    return make


def no_quota() -> None:
    send("DELETE", f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/small")


def priority_class() -> None:
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1000}
    send(
        "POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {**body, "metadata": {"name": "high"}}
    )


def preempt(_pod: dict[str, Any]) -> None:
    """Ask for the whole machine, at a higher priority."""
    job = draft(
        "preemptor", Case("true", facts={"threads": 2}, settings={"priority_class": "high"})
    )
    api.create_job(job)


def fill_node() -> None:
    """Take one core of the machine's two."""
    api.create_job(draft("filler", Case("sleep 60", facts={"threads": 1})))
    until_running("case=filler")


def until_running(selector: str) -> None:
    while not any(pod["status"].get("phase") == "Running" for pod in api.pods(selector)):
        time.sleep(0.3)


CASES = {
    "success": Case("true"),
    "exit_code": Case("echo no such tile >&2; exit 3"),
    "out_of_memory": Case("tail /dev/zero", facts={"resources": {"mem_mb": 50}}),
    "child_out_of_memory": Case(
        "sh -c 'tail /dev/zero'; exit 3", facts={"resources": {"mem_mb": 50}}
    ),
    "disk_full": Case(
        "dd if=/dev/zero of=/tmp/big bs=1M count=60; sleep 60",
        seconds=75,
        facts={"resources": {"disk_mb": 20}},
    ),
    "runtime_exceeded": Case(facts={"resources": {"runtime": 0.05}}, seconds=20),
    "image_missing": Case(image="nowhere.invalid/none:1", seconds=40),
    "image_name_invalid": Case(image="No Image"),
    "command_missing": Case("exec /no/such/program"),
    "larger_than_any_node": Case(facts={"threads": 1000}),
    "busy_node": Case(before=fill_node, facts={"threads": 2}),
    "suspended": Case(suspend=True),
    "no_such_node": Case(settings={"node_selector": {"disk": "fast"}}),
    "claim_missing": Case(volume={"persistentVolumeClaim": {"claimName": "nothing"}}),
    "volume_missing": Case(
        volume={"hostPath": {"path": "/no/such/folder", "type": "Directory"}}, seconds=15
    ),
    "secret_missing": Case(
        facts={"variables": ("PASSWORD",)}, settings={"env_secret": "nothing"}, seconds=15
    ),
    "quota_exceeded": Case(before=quota("100m"), after=no_quota),
    "priority_class_missing": Case(settings={"priority_class": "nothing"}),
    "service_account_missing": Case(settings={"service_account": "nothing"}),
    "pod_deleted": Case(act=lambda pod: send("DELETE", pod_path(pod)), seconds=20),
    "pod_evicted": Case(act=evict, seconds=20),
    "preempted": Case(before=priority_class, act=preempt, facts={"threads": 1}, seconds=20),
    "job_deleted": Case(act=lambda pod: api.delete_jobs("case"), seconds=20),
}


def draft(name: str, case: Case) -> dict[str, Any]:
    """Manifest of a case's Job, as the executor sends it, but for its volume."""
    facts = {"threads": 1, **case.facts}
    job = JobFacts(name, 1, 1, case.command, "/shared", **facts)
    settings = ExecutorSettings(claim="unused", mount_path="/shared", ttl=60, **case.settings)
    made = manifest(job, settings, Run("recording", "0", case.image), 1)
    made["spec"]["template"]["spec"]["volumes"][0] = {"name": "shared", **case.volume}
    made["spec"]["suspend"] = case.suspend
    made["metadata"]["labels"]["case"] = name
    made["spec"]["template"]["metadata"]["labels"]["case"] = name
    return made


def kept(thing: dict[str, Any], *paths: str) -> dict[str, Any]:
    """Copy of some parts of an object."""
    small: dict[str, Any] = {}
    for path in paths:
        source, target = thing, small
        *folders, last = path.split(".")
        for folder in folders:
            source, target = source.get(folder, {}), target.setdefault(folder, {})
        if last in source:
            target[last] = source[last]
    return small


def snapshot(name: str) -> dict[str, Any]:
    """All that the cluster has on a case at this moment, as far as it matters."""
    jobs, pods = api.jobs(f"case={name}"), api.pods(f"case={name}")
    names = {thing["metadata"]["name"] for thing in jobs + pods}
    times = ("metadata.name", "metadata.creationTimestamp", "metadata.deletionTimestamp")
    return {
        "job": kept(jobs[0], *times, "spec.suspend", "status") if jobs else None,
        "pods": [
            kept(
                pod,
                *times,
                "spec.nodeName",
                "spec.activeDeadlineSeconds",
                "spec.containers",
                "status.phase",
                "status.reason",
                "status.message",
                "status.conditions",
                "status.containerStatuses",
            )
            for pod in pods
        ],
        "warnings": [
            kept(event, "reason", "message", "lastTimestamp", "eventTime")
            for event in api.warnings()
            if event["involvedObject"]["name"] in names
        ],
    }


def record(name: str, case: Case) -> None:
    """Run a case and write its snapshots."""
    case.before()
    api.create_job(draft(name, case))
    snapshots: list[dict[str, Any]] = []
    acted = False
    end = time.monotonic() + case.seconds
    while time.monotonic() < end:
        now = snapshot(name)
        for pod in now["pods"]:
            pod["spec"]["containers"] = [
                kept(container, "name", "resources") for container in pod["spec"]["containers"]
            ]
        if not snapshots or now != snapshots[-1]:
            snapshots.append(now)
        running = [pod for pod in now["pods"] if pod["status"].get("phase") == "Running"]
        if running and not acted:
            acted = True
            time.sleep(2)
            case.act(running[0])
        time.sleep(0.3)
    case.after()
    for job in api.jobs("snakemake/workflow=recording"):
        api.delete_job(job["metadata"]["name"])
    while api.pods("snakemake/workflow=recording"):
        time.sleep(0.5)
    text = json.dumps(snapshots, indent=1, ensure_ascii=False)
    (RECORDED / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    send("POST", "/api/v1/namespaces", body)
    time.sleep(2)
    for chosen in sys.argv[1:] or CASES:
        record(chosen, CASES[chosen])
