"""From a Snakemake job to the manifest of a Kubernetes Job."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_kubernetes_pvc.placement import placement_of_all
from snakemake_executor_plugin_kubernetes_pvc.settings import ExecutorSettings

CONTAINER = "main"
TEMPORARY = "/tmp"

# Labels: `kubectl get jobs -l snakemake/rule=delineate`.
WORKFLOW = "snakemake/workflow"
RUN = "snakemake/run"
RULE = "snakemake/rule"
JOB = "snakemake/job"
ATTEMPT = "snakemake/attempt"
WILDCARD = "snakemake/wildcard."
# Of a Job that runs tasks of many jobs: which tasks.
BATCH = "snakemake/batch"
# Digests of what a Job makes, and of what that depends on.
PRODUCT = "snakemake/product"
CONTENT = "snakemake/content"
# By this label Kueue knows the Jobs that it is to admit.
QUEUE = "kueue.x-k8s.io/queue-name"

# Kubernetes gives a Job's pods a label with its name, and a label has at most this many letters.
LONGEST = 63

GPUS = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}

# Snakemake in the pod takes SIGTERM as "finish the job at hand first". A pod that is deleted has
# no time for that, and outputs appear whole or not at all: the default of 30 s would only delay
# the end of a run that was stopped.
GRACE_S = 5


@dataclass(frozen=True)
class JobFacts:
    """What a Job needs to know about a Snakemake job.

    Attributes
    ----------
    rule
        Name of the rule, or of the group.
    jobid
        Snakemake's number of the job in this run.
    attempt
        1, and one more with each retry by Snakemake.
    command
        Shell command that runs the job.
    working_directory
        Where it runs; on the volume.
    threads
        Cores.
    resources
        Snakemake's resources; used are ``mem_mb``, ``disk_mb``, ``runtime`` (minutes), ``gpu`` and
        ``gpu_manufacturer``.
    wildcards
        Their values by name.
    variables
        Names of the environment variables that the workflow asks for.
    environment
        More variables, with their values.
    labels
        More labels.
    rules
        Names of the rules in it, where that is more than one or not what it is called.
    """

    rule: str
    jobid: int
    attempt: int
    command: str
    working_directory: str
    threads: int
    resources: Mapping[str, Any] = field(default_factory=dict)
    wildcards: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One run of Snakemake, as labels tell it from others.

    Attributes
    ----------
    workflow
        The same for all runs in this working directory; see `workflow_id`.
    run
        Another one for each run.
    image
        The image of its pods.
    owner
        What its Jobs are deleted with, as an owner reference.
    writable
        The only folders that its pods can write to, as paths in the volume; empty: all of it.
    """

    workflow: str
    run: str
    image: str
    owner: Mapping[str, str] | None = None
    writable: tuple[str, ...] = ()


def workflow_id(claim: str, working_directory: str) -> str:
    """Label value that is the same for all runs in one folder of one volume."""
    return hashlib.sha256(f"{claim}\0{working_directory}".encode()).hexdigest()[:10]


def owner_of_jobs(driver: dict[str, Any]) -> dict[str, str]:
    """Reference to what the Jobs of a driver pod are deleted with: its own Job, else the pod.

    A pod of a Job may be replaced by another one, which takes the run up.
    """
    for owner in driver["metadata"].get("ownerReferences", []):
        if owner["kind"] == "Job":
            return {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")}
    metadata = driver["metadata"]
    return {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}


def label_value(text: str) -> str:
    """Turn a text into one that Kubernetes takes as the value of a label."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(text))[:LONGEST].strip("._-")


def job_name(job: JobFacts, run: str, number: int) -> str:
    """Name of a Job: what it does, then the run and the number that make it unique."""
    words = "-".join([job.rule, *job.wildcards.values()])
    readable = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    unique = f"{run}-{number}"
    readable = readable[: LONGEST - len(unique) - 1].strip("-")
    # Names begin with a letter where they become names of pods' hosts.
    return f"{readable}-{unique}" if readable[:1].isalpha() else f"job-{unique}"


def _container_resources(job: JobFacts) -> dict[str, str]:
    """Cores, memory (MB), disk (MB) and GPUs of a job in the words of Kubernetes."""
    amounts = {"cpu": str(job.threads)}
    for resource, name in (("mem_mb", "memory"), ("disk_mb", "ephemeral-storage")):
        if resource in job.resources:
            amounts[name] = f"{job.resources[resource]}M"
    if job.resources.get("gpu"):
        maker = str(job.resources.get("gpu_manufacturer", "nvidia")).lower()
        if maker not in GPUS:
            raise WorkflowError(
                f"Rule {job.rule} asks for a GPU by {maker!r}: 'nvidia' and 'amd' are known."
            )
        amounts[GPUS[maker]] = str(job.resources["gpu"])
    return amounts


def _environment(job: JobFacts, settings: ExecutorSettings, image: str) -> list[dict[str, Any]]:
    """Variables of the container; those that the workflow asks for by reference only."""
    plain = {"HOME": TEMPORARY, "TMPDIR": TEMPORARY, "XDG_CACHE_HOME": f"{TEMPORARY}/.cache"}
    # For the archive, which says where its results were made.
    plain["SNAKESHED_IMAGE"] = image
    plain |= job.environment
    variables: list[dict[str, Any]] = [
        {"name": name, "value": value} for name, value in (plain | settings.environment).items()
    ]
    if BATCH in job.labels:
        # Under this name a worker takes tasks.
        field = {"fieldPath": "metadata.labels['job-name']"}
        variables.append({"name": "SNAKEMAKE_JOB", "valueFrom": {"fieldRef": field}})
    for name in job.variables:
        if name in settings.environment:
            continue
        if settings.env_secret is None:
            raise WorkflowError(
                f"The workflow asks for the environment variable {name}: put it in a secret "
                f"(kubectl create secret generic SECRET --from-literal={name}=…) and give its name "
                "with --kubernetes-pvc-env-secret, or, if it is not secret, set "
                f"--kubernetes-pvc-environment {name}=VALUE."
            )
        reference = {"name": settings.env_secret, "key": name}
        variables.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return variables


def _shared_mounts(mount_path: str, writable: tuple[str, ...]) -> list[dict[str, Any]]:
    """Mounts of the volume: all of it, and over that the folders that can be written to."""
    whole = {"name": "shared", "mountPath": mount_path}
    if not writable:
        return [whole]
    folders = [
        {"name": "shared", "mountPath": str(PurePosixPath(mount_path, folder)), "subPath": folder}
        for folder in writable
    ]
    return [whole | {"readOnly": True}, *folders]


def manifest(job: JobFacts, settings: ExecutorSettings, run: Run, number: int) -> dict[str, Any]:
    """Manifest of the Job that runs a Snakemake job once.

    Parameters
    ----------
    job
        The Snakemake job.
    settings
        What the user set.
    run
        The run that it belongs to.
    number
        Number of the Job in this run. It makes the name unique, and the name is what keeps a
        creation that is repeated, because its answer was lost, from starting a second Job.

    Returns
    -------
    dict
        A ``batch/v1`` Job. It runs one pod once (no ``backoffLimit``, no restarts): when to try
        again is decided in one place, by the executor and Snakemake. With a queue, it is
        suspended until Kueue admits it.

    Raises
    ------
    WorkflowError
        It asks for a variable without a secret or an unknown GPU, or its rules are to run at
        different places.
    """
    placement = placement_of_all(job.rules or (job.rule,), settings)
    labels = {
        **settings.labels,
        "app.kubernetes.io/managed-by": "snakemake-kubernetes-pvc",
        WORKFLOW: run.workflow,
        RUN: run.run,
        RULE: label_value(job.rule),
        JOB: str(job.jobid),
        ATTEMPT: str(job.attempt),
        **{
            f"{WILDCARD}{name}"[: len("snakemake/") + LONGEST]: label_value(value)
            for name, value in job.wildcards.items()
        },
        **job.labels,
    }
    amounts = _container_resources(job)
    container = {
        "name": CONTAINER,
        "image": run.image,
        "command": ["/bin/sh", "-c", job.command],
        "workingDir": job.working_directory,
        "env": _environment(job, settings, run.image),
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "volumeMounts": [
            *_shared_mounts(settings.mount_path, run.writable),
            {"name": "temporary", "mountPath": TEMPORARY},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": settings.claim}},
            {"name": "temporary", "emptyDir": {}},
        ],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user_id,
            "runAsGroup": settings.group_id,
            "fsGroup": settings.group_id,
            # Without this every pod would walk over all files of the volume before it starts.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    pod |= placement.pod_fields
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if job.resources.get("runtime"):
        # The pod's deadline, not the Job's: the Job's deletes the pod, and its log with it.
        pod["activeDeadlineSeconds"] = int(job.resources["runtime"] * 60)
    of_pod: dict[str, Any] = {"labels": labels}
    if placement.annotations:
        of_pod["annotations"] = dict(placement.annotations)
    metadata = {"name": job_name(job, run.run, number), **copy.deepcopy(of_pod)}
    if run.owner:
        metadata["ownerReferences"] = [dict(run.owner)]
    spec = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": settings.ttl,
        "template": {"metadata": of_pod, "spec": pod},
    }
    if placement.queue:
        metadata["labels"][QUEUE] = placement.queue
        spec["suspend"] = True
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
