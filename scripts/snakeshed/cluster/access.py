"""The manifests in the cluster, and the pod through which the volume is reached."""

from __future__ import annotations

import time
from typing import Any

from snakeshed.cluster.kubectl import Kubectl, NotThere
from snakeshed.cluster.manifests import FILE, FOLDER
from snakeshed.errors import KubernetesError

ACCESS = "snakeshed-access"
CLAIM = "snakeshed"
# What a container waits for that hardly comes by itself; for so long it has a chance (s).
_CANNOT_START = {
    *("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"),
    *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    *("CrashLoopBackOff",),
}
_CHANCE_S = 45.0
_LOOK_EVERY_S = 2.0


def apply(kubectl: Kubectl) -> None:
    """Apply the manifests of the checkout; what is there already stays as it is.

    Raises
    ------
    KubernetesError
        The cluster does not take them.
    """
    try:
        kubectl.call("apply", "-k", FOLDER, timed=False)
    except NotThere as error:
        raise _not_taken(str(error)) from None
    except KubernetesError as error:
        if "immutable" in error.found or "Forbidden: spec is immutable" in error.found:
            raise KubernetesError(
                FILE,
                f"a value that cannot be changed in the cluster ({error.found})",
                "the value that the volume was made with",
                "Put the old one back. For another storage class, fetch the results (snakeshed "
                "cluster pull), remove the volume (snakeshed cluster clean), and start again.",
            ) from None
        raise


def ensure_access(kubectl: Kubectl) -> None:
    """Bring the access pod back where it was removed, as Nautilus does after two weeks, and wait.

    Raises
    ------
    KubernetesError
        Snakeshed has no volume in this namespace, or the pod cannot start.
    """
    try:
        kubectl.get("persistentvolumeclaim", CLAIM)
    except NotThere:
        raise KubernetesError(
            f"namespace {kubectl.namespace}",
            f"no volume (persistentvolumeclaim {CLAIM})",
            "what snakeshed cluster run has made",
            "Start a run: snakeshed cluster run CONFIG",
        ) from None
    try:
        kubectl.get("deployment", ACCESS)
    except NotThere:
        kubectl.say("The access pod is gone. It is made again.")
        apply(kubectl)
    wait_for_access(kubectl)


def has_access(kubectl: Kubectl) -> bool:
    """Tell whether the access pod runs; for errors see `Kubectl.call`."""
    try:
        return _rolled_out(kubectl.get("deployment", ACCESS))
    except NotThere:
        return False


def wait_for_access(kubectl: Kubectl) -> None:
    """Wait until the access pod runs, and say what it waits for.

    Raises
    ------
    KubernetesError
        It cannot start, for a reason that does not pass.
    """
    shown, hopeless_since = "", None
    while True:
        try:
            deployment = kubectl.get("deployment", ACCESS)
        except NotThere as error:
            raise _not_taken(str(error)) from None
        if _rolled_out(deployment):
            return
        reason, hopeless, key = _why_not(kubectl, deployment)
        if reason and reason != shown:
            kubectl.say(f"The access pod waits: {reason}")
            shown = reason
        now = time.monotonic()
        hopeless_since = (hopeless_since or now) if hopeless else None
        if hopeless_since is not None and now - hopeless_since >= _CHANCE_S:
            raise KubernetesError(
                key, f"a pod that cannot start ({reason})", "one that starts", _advice(kubectl, key)
            )
        kubectl.sleep(_LOOK_EVERY_S)


def pod_reason(pod: dict[str, Any]) -> tuple[str, bool]:
    """Return what a pod waits for, empty if it does not, and whether that hardly passes."""
    status = pod.get("status", {})
    for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = each.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
            message = waiting.get("message", "")
            reason = waiting["reason"]
            return f"{reason}: {message}" if message else reason, reason in _CANNOT_START
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}", False
    return "", False


def last_event(kubectl: Kubectl, kind: str, name: str) -> dict[str, Any]:
    """Return the last event of an object; empty if there is none, or none may be seen."""
    chosen = f"involvedObject.name={name},involvedObject.kind={kind}"
    return newest(kubectl.allowed_items("events", "--field-selector", chosen)) or {}


def why_no_pod(kubectl: Kubectl, job: str) -> str:
    """Return why a Job has no pod, such as a quota; empty where no event tells."""
    event = last_event(kubectl, "Job", job)
    return event.get("message", "") if event.get("type") == "Warning" else ""


def newest(objects: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the object that was made last, or None."""
    return max(objects, key=lambda one: one["metadata"]["creationTimestamp"], default=None)


def _rolled_out(deployment: dict[str, Any]) -> bool:
    status = deployment.get("status", {})
    return (
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) >= 1
        and status.get("availableReplicas", 0) >= 1
        and status.get("replicas", 0) == status.get("updatedReplicas", 0)
    )


def _why_not(kubectl: Kubectl, deployment: dict[str, Any]) -> tuple[str, bool, str]:
    """Return what the access pod waits for, whether that hardly passes, and the key to blame."""
    pods = [
        pod
        for pod in kubectl.items("pods", f"app.kubernetes.io/name={ACCESS}")
        if "deletionTimestamp" not in pod["metadata"]
    ]
    pod = newest(pods)
    if pod is None:
        for condition in deployment.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure":
                return condition.get("message", ""), True, f"deployment {ACCESS}"
        return "", False, ""
    reason, hopeless = pod_reason(pod)
    if "PersistentVolumeClaim" in reason or "persistentvolumeclaim" in reason:
        event = last_event(kubectl, "PersistentVolumeClaim", CLAIM)
        if event:
            reason = f"the volume: {event.get('reason')}: {event.get('message')}"
            hopeless = event.get("reason") == "ProvisioningFailed"
        return reason, hopeless, f"{FILE}: patches[0] (storage class)"
    key = f"{FILE}: images[0]" if "mage" in reason else f"deployment {ACCESS}"
    return reason, hopeless, key


def _advice(kubectl: Kubectl, key: str) -> str:
    if "images" in key:
        return (
            "Build the image from envs/Dockerfile, push it to where the cluster can pull it, and "
            "name it there."
        )
    if "storage" in key:
        return "Choose one of: kubectl get storageclass. Its volumes have to be ReadWriteMany."
    return f"Look at: kubectl describe deployment,pod --namespace {kubectl.namespace}"


def _not_taken(found: str) -> KubernetesError:
    return KubernetesError(
        FOLDER,
        found,
        "what the manifests make in the cluster",
        "Run the same command again; if it is the namespace, correct it in kustomization.yaml.",
    )
