"""What has become of a job, read from the objects that the API server gives: pure functions.

Which answer stands for which event was recorded on a Kubernetes 1.33 API server, scheduler and
kubelet; the tests hold the objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
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

# What keeps a node from a pod for good. A taint is for good unless it tells of the node's state.
NOT_FOR_THIS_POD = re.compile(
    r"didn't match Pod's node affinity/selector|volume node affinity conflict"
    r"|untolerated taint \{(?!node\.kubernetes\.io/|node\.cloudprovider\.kubernetes\.io/)"
)
NO_TAINT = re.compile("didn't match|conflict")
# What is said of a thing that is named and does not exist.
MISSING = re.compile(r"\bnot found\b|non-existent|type check failed|is being deleted")
# What is said of a request that will be refused again.
REFUSED = re.compile(r"forbidden: |denied the request|is invalid: |\bnot found\b")
# A registry that asks for patience, or is ill for a while.
LATER = re.compile(r"toomanyrequests|429 Too Many Requests|\b50[0234] ")
# States of a container that has a node and will not start there by itself.
WRONG_CONTAINER = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}
# Events of a pod for which a cluster is about to start a node.
SCALE_UP = {"TriggeredScaleUp", "Nominated"}

UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
UNITS |= {f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTP", start=1)}
QUANTITY = re.compile(r"([\d.]+(?:[eE]\d+)?)([numkMGTP]|[KMGTP]i)?")


class Wait(Enum):
    """What a job waits for, which decides how long that may take."""

    ROOM = "for room"
    """Resources of a node, quota, or its turn in a queue: it costs nothing."""
    START = "for its start"
    """The image, the volume, or an answer of a part of the cluster."""
    END = "for an end"
    """A pod that must end and has not yet ended."""
    NOTHING = "for nothing"
    """What it needs does not exist or is refused: it will never start."""


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
    kind
        What it waits for.
    explained
        False if the objects do not tell the reason; events may.
    """

    why: str
    kind: Wait = Wait.START
    explained: bool = True

    @property
    def ending(self) -> bool:
        """Whether a pod that must end has not yet ended."""
        return self.kind is Wait.END


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
    out_of_memory
        The memory limit that its container went over; empty if that is not why.
    """

    reason: str
    infrastructure: bool
    pod: str | None = None
    out_of_memory: str = ""


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
    if job.get("spec", {}).get("suspend") or _holds(job, "Suspended"):
        return Waiting("the Job is suspended, as a queue does until it is its turn", Wait.ROOM)
    if not pods:
        return _no_pod(warnings)
    if not left:
        # The Job controller takes a second or two to count a pod that has ended.
        return Running()
    if _state(left[0], "running") or left[0]["status"].get("phase") == "Running":
        return Running()
    return _not_started(left[0], warnings)


def _ending(pod: dict[str, Any]) -> Waiting:
    """Describe a pod that is told to end and has not done so."""
    node = pod["spec"].get("nodeName", "no node yet")
    return Waiting(f"pod {pod['metadata']['name']} has not ended on {node}", Wait.END)


def _latest(warnings: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Latest of some events, or an empty one."""
    return max(
        warnings,
        key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "",
        default={},
    )


def _no_pod(warnings: Iterable[dict[str, Any]]) -> Waiting:
    """Explain by events why a Job has no pod."""
    event = _latest(warnings)
    message = event.get("message") or ""
    why = _sentence(event.get("reason"), message)
    if not why:
        return Waiting("no pod yet", explained=False)
    if "quota" in message:
        return over_quota(message, why)
    return Waiting(why, Wait.NOTHING if REFUSED.search(message) else Wait.START)


def over_quota(message: str, why: str = "") -> Waiting:
    """Describe the wait for a quota, which is in vain if the whole of it is too small."""
    requested, limited = (
        dict(pair.split("=", 1) for pair in found[1].split(",") if "=" in pair)
        if (found := re.search(rf"\b{word}: (\S+?)(?:, |$)", message))
        else {}
        for word in ("requested", "limited")
    )
    too_small = any(_more(requested.get(name), most) for name, most in limited.items())
    return Waiting(why or message, Wait.NOTHING if too_small else Wait.ROOM)


def _not_started(pod: dict[str, Any], warnings: Iterable[dict[str, Any]]) -> Waiting:
    """Explain why a pod does not run yet."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled and scheduled["status"] == "False":
        message = scheduled.get("message") or ""
        return Waiting(_sentence(scheduled.get("reason"), message), _unscheduled(message))
    waiting = _state(pod, "waiting") or {}
    reason, message = waiting.get("reason"), waiting.get("message") or ""
    if message or reason in WRONG_CONTAINER:
        wrong = reason in WRONG_CONTAINER and not LATER.search(message)
        return Waiting(_sentence(reason, message), Wait.NOTHING if wrong else Wait.START)
    # It has a node: why it had none for a while explains nothing now.
    event = _latest(one for one in warnings if one.get("reason") != "FailedScheduling")
    if not event:
        return Waiting(reason or "pod not started yet", explained=False)
    message = event.get("message") or ""
    return Waiting(
        _sentence(event.get("reason"), message),
        Wait.NOTHING if MISSING.search(message) else Wait.START,
    )


def _unscheduled(message: str) -> Wait:
    """Tell from the scheduler's arithmetic whether a pod may ever get a node.

    ``0/5 nodes are available: 2 Insufficient cpu, 3 node(s) had untolerated taint {a: b}.
    preemption: 0/5 nodes are available: ...``. Kubernetes 1.33 says the same of a node that is busy
    and of one that is too small (`larger_than_all` tells them apart); some versions say that
    preemption is not helpful on the latter.
    """
    if MISSING.search(message):
        return Wait.NOTHING
    if "unbound immediate PersistentVolumeClaims" in message:
        return Wait.START
    found = re.match(r"0/(\d+) nodes are available: (.*)", message, flags=re.DOTALL)
    if not found:
        return Wait.ROOM
    nodes = int(found[1])
    reasons, _, preemption = found[2].partition("preemption: ")
    each = [(int(n), text) for n, text in re.findall(r"(\d+) ((?:[^,{]|\{[^}]*\})+)", reasons)]
    closed = sum(n for n, text in each if NOT_FOR_THIS_POD.search(text))
    if closed >= nodes and any(NO_TAINT.search(text) for _, text in each):
        return Wait.NOTHING
    hopeless = re.search(rf"\b{nodes} Preemption is not helpful", preemption)
    small = any("Insufficient" in text for _, text in each)
    known = all("Insufficient" in text or NOT_FOR_THIS_POD.search(text) for _, text in each)
    return Wait.NOTHING if hopeless and small and known else Wait.ROOM


def larger_than_all(pod: dict[str, Any], nodes: Iterable[dict[str, Any]]) -> str:
    """Say what a pod asks for that no node has, even if it were empty.

    Parameters
    ----------
    pod
        A pod of a Job.
    nodes
        All nodes of the cluster.

    Returns
    -------
    str
        Empty if there are no nodes, or there is one that is large enough.
    """
    asked: Mapping[str, str] = {}
    for container in pod["spec"]["containers"]:
        if container["name"] == CONTAINER:
            asked = container.get("resources", {}).get("requests", {})
    have = [node.get("status", {}).get("allocatable", {}) for node in nodes]
    if not have or any(
        not any(_more(amount, one.get(name, "0")) for name, amount in asked.items()) for one in have
    ):
        return ""
    most = {name: max((one.get(name, "0") for one in have), key=_amount) for name in asked}
    too_much = [
        f"{name} {amount} (the most that one has is {most[name]})"
        for name, amount in asked.items()
        if _more(amount, most[name])
    ]
    if too_much:
        return f"it asks for more than any node has: {', '.join(too_much)}"
    together = ", ".join(f"{name} {amount}" for name, amount in asked.items())
    return f"it asks for more than any one node has: {together}"


def _amount(quantity: str) -> float:
    """Value of a quantity as Kubernetes writes them (500m, 2G, 1Gi); NaN if it is none."""
    found = QUANTITY.fullmatch(quantity)
    return float(found[1]) * UNITS[found[2] or ""] if found else float("nan")


def _more(quantity: str | None, than: str) -> bool:
    """Compare two quantities; what is not known is not more."""
    return quantity is not None and _amount(quantity) > _amount(than)


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
        limit = _memory_limit(pod)
        return Failed(f"OOMKilled, limit {limit}", False, name, out_of_memory=limit)
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
