"""What has become of a job, read from the objects that the API server gives: pure functions.

Which answer stands for which event was recorded on a Kubernetes 1.33 API server, scheduler and
kubelet; the tests hold the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from snakemake_executor_plugin_kubernetes_pvc.manifest import CONTAINER

# A pod that ends for one of these reasons never had a fair chance to do its work.
LOST = {
    "NodeAffinity",
    "NodeLost",
    "NodeShutdown",
    "OutOfcpu",
    "OutOfephemeral-storage",
    "OutOfmemory",
    "OutOfpods",
    "Preempting",
    "Shutdown",
    "Terminated",
    "UnexpectedAdmissionError",
}


@dataclass(frozen=True)
class Running:
    """Its container runs, or has ended a moment ago."""


@dataclass(frozen=True)
class Succeeded:
    """It has done its work."""


@dataclass(frozen=True)
class Waiting:
    """It does not run.

    Attributes
    ----------
    why
        What the cluster says about it.
    explained
        False if the objects do not tell the reason; events may.
    ending
        True if a pod that must end has not yet ended.
    """

    why: str
    explained: bool = True
    ending: bool = False


@dataclass(frozen=True)
class Failed:
    """It has ended without success.

    Attributes
    ----------
    reason
        What the cluster says about it.
    infrastructure
        True if the cluster took its pod away, False if the job itself failed.
    pod
        Name of the pod whose log tells more, if there is one.
    """

    reason: str
    infrastructure: bool
    pod: str | None = None


Verdict = Running | Succeeded | Waiting | Failed


def _condition(thing: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """Condition of a Job or pod, with its status: True, False or Unknown."""
    for condition in thing.get("status", {}).get("conditions") or []:
        if condition["type"] == kind:
            return condition
    return None


def _holds(thing: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """Condition of a Job or pod, if it is true."""
    condition = _condition(thing, kind)
    return condition if condition and condition["status"] == "True" else None


def _sentence(reason: str | None, message: str | None) -> str:
    """Join the two words in which Kubernetes explains itself."""
    return ": ".join(text for text in (reason, (message or "").strip()) if text)


def _state(pod: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """State of the job's container (waiting, running, terminated), if it is in that one."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        if status["name"] == CONTAINER:
            return status["state"].get(kind)
    return None


def finished(job: dict[str, Any]) -> bool:
    """Tell whether a Job has succeeded or failed for good."""
    return bool(_holds(job, "Complete") or _holds(job, "Failed"))


def succeeded(job: dict[str, Any]) -> bool:
    """Tell whether a Job has done its work."""
    return bool(_holds(job, "Complete"))


def active(pod: dict[str, Any]) -> bool:
    """Tell whether something of a pod may still run."""
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def verdict(
    job: dict[str, Any] | None,
    pods: Sequence[dict[str, Any]],
    warnings: Iterable[dict[str, Any]] = (),
) -> Verdict:
    """Say what has become of a job.

    An end is only told when no pod of the job is left that might run: what comes after an end is
    often the same job once more.

    Parameters
    ----------
    job
        Its Job, or None if there is none of that name.
    pods
        The Job's pods.
    warnings
        Events of type Warning about the Job or its pods.

    Returns
    -------
    Running, Succeeded, Waiting or Failed
    """
    left = [pod for pod in pods if active(pod)]
    if job is not None and _holds(job, "Complete"):
        return Succeeded()
    if job is None or _holds(job, "Failed"):
        if left:
            return _ending(left[0])
        return _failure(job, pods)
    for pod in left:
        if "deletionTimestamp" in pod["metadata"]:
            return _ending(pod)
    if not pods:
        return _waiting("no pod yet", warnings)
    if not left:
        # The Job controller takes a second or two to count a pod that has ended.
        return Running()
    if _state(left[0], "running") or left[0]["status"].get("phase") == "Running":
        return Running()
    return _not_started(left[0], warnings)


def _ending(pod: dict[str, Any]) -> Waiting:
    """Describe a pod that is told to end and has not done so."""
    node = pod["spec"].get("nodeName", "no node yet")
    return Waiting(f"pod {pod['metadata']['name']} has not ended on {node}", ending=True)


def _waiting(otherwise: str, warnings: Iterable[dict[str, Any]]) -> Waiting:
    """Explain a wait by the latest event."""
    events = sorted(
        warnings,
        key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "",
    )
    if not events:
        return Waiting(otherwise, explained=False)
    return Waiting(_sentence(events[-1].get("reason"), events[-1].get("message")))


def _not_started(pod: dict[str, Any], warnings: Iterable[dict[str, Any]]) -> Waiting:
    """Explain why a pod does not run yet."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled and scheduled["status"] == "False":
        return Waiting(_sentence(scheduled.get("reason"), scheduled.get("message")))
    waiting = _state(pod, "waiting")
    if waiting and waiting.get("message"):
        return Waiting(_sentence(waiting.get("reason"), waiting["message"]))
    return _waiting((waiting or {}).get("reason") or "pod not started yet", warnings)


def _failure(job: dict[str, Any] | None, pods: Sequence[dict[str, Any]]) -> Failed:
    """Explain why a Job without running pods did not succeed."""
    if job is None:
        return Failed("the Job is gone: someone deleted it", infrastructure=True)
    if not pods:
        # The pod of a container that failed stays until the Job goes.
        return Failed("its pod is gone: deleted, preempted or evicted", infrastructure=True)
    pod = max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
    name, status = pod["metadata"]["name"], pod["status"]
    reason, message = status.get("reason"), status.get("message") or ""
    disrupted = _holds(pod, "DisruptionTarget")
    if disrupted:
        return Failed(_sentence(disrupted.get("reason"), disrupted.get("message")), True, name)
    if "deletionTimestamp" in pod["metadata"]:
        return Failed("its pod was deleted", True, name)
    ended = _state(pod, "terminated")
    if reason in LOST or (ended and ended.get("reason") == "ContainerStatusUnknown"):
        return Failed(_sentence(reason, message) or "ContainerStatusUnknown", True, name)
    if reason == "Evicted":
        # Before 1.26 nothing but the text tells a node in need from a pod over its limit.
        return Failed(_sentence(reason, message), message.startswith("The node "), name)
    if reason == "DeadlineExceeded":
        seconds = pod["spec"].get("activeDeadlineSeconds")
        return Failed(f"ran longer than its runtime of {seconds} s", False, name)
    if ended and ended.get("reason") == "OOMKilled":
        return Failed(f"OOMKilled, limit {_memory_limit(pod)}", False, name)
    if ended:
        exit_code = f"exit code {ended.get('exitCode')}"
        why = ended.get("reason") if ended.get("reason") != "Error" else None
        return Failed(": ".join(filter(None, [exit_code, why, ended.get("message")])), False, name)
    return Failed(_sentence(reason, message) or "its pod failed without a reason", False, name)


def _memory_limit(pod: dict[str, Any]) -> str:
    """Memory limit of the job's container, as it was asked for."""
    for container in pod["spec"]["containers"]:
        if container["name"] == CONTAINER:
            return container.get("resources", {}).get("limits", {}).get("memory", "of the node")
    return "of the node"
