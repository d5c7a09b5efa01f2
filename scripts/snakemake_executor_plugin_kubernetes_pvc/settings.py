"""The settings, as Snakemake reads them from its command line and profiles.

Types are evaluated here (no ``from __future__ import annotations``): Snakemake makes its options
from them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from snakemake_executor_plugin_kubernetes_pvc.placement import (
    LABEL_KEY,
    LABEL_VALUE,
    QUEUE,
    read_placement,
)

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOLERATION = re.compile(
    r"(?P<key>[^=:\s]+)(=(?P<value>[^=:\s]*))?"
    r"(:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?"
)


def _pairs(items: list[str]) -> dict[str, str]:
    """Split each ``name=value``."""
    pairs = {}
    for item in items:
        name, sign, value = item.partition("=")
        if not sign or not name:
            raise WorkflowError(f"{item!r} was found where NAME=VALUE is expected.")
        pairs[name] = value
    return pairs


def _joined(pairs: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in pairs.items()]


def parse_labels(items: list[str]) -> dict[str, str]:
    """Labels from ``name=value``, as Kubernetes allows them."""
    labels = _pairs(items)
    for name, value in labels.items():
        if not LABEL_KEY.fullmatch(name) or not LABEL_VALUE.fullmatch(value):
            raise WorkflowError(
                f"'{name}={value}' is no label: letters, digits, '-', '_' and '.' are allowed, up "
                "to 63 on each side."
            )
    return labels


def parse_annotations(items: list[str]) -> dict[str, str]:
    """Annotations from ``name=value``; the value can be any text."""
    annotations = _pairs(items)
    for name in annotations:
        if not LABEL_KEY.fullmatch(name):
            raise WorkflowError(
                f"{name!r} is no name of an annotation: letters, digits, '-', '_' and '.' are "
                "allowed, up to 63, and a domain with '/' in front of it."
            )
    return annotations


def parse_queue(name: str) -> str:
    """Name of a queue."""
    if not QUEUE.fullmatch(name):
        raise WorkflowError(
            f"--kubernetes-pvc-queue {name!r} is no name of a queue: lower-case letters, digits "
            "and '-' are allowed, up to 63."
        )
    return name


def parse_environment(items: list[str]) -> dict[str, str]:
    """Environment variables from ``NAME=VALUE``."""
    variables = _pairs(items)
    for name in variables:
        if not VARIABLE.fullmatch(name):
            raise WorkflowError(f"{name!r} is no name of an environment variable.")
    return variables


def parse_tolerations(items: list[str]) -> list[dict[str, str]]:
    """Tolerations from ``key[=value][:effect]``, the way ``kubectl taint`` writes taints."""
    tolerations = []
    for item in items:
        found = TOLERATION.fullmatch(item)
        if not found:
            raise WorkflowError(
                f"{item!r} is no toleration: KEY[=VALUE][:EFFECT] is expected, with the effect "
                "NoSchedule, PreferNoSchedule or NoExecute."
            )
        given = {name: value for name, value in found.groupdict().items() if value is not None}
        tolerations.append({"operator": "Equal" if "value" in given else "Exists", **given})
    return tolerations


def format_tolerations(tolerations: list[dict[str, str]]) -> list[str]:
    """Write tolerations as they are given."""
    return [
        toleration["key"]
        + (f"={toleration['value']}" if "value" in toleration else "")
        + (f":{toleration['effect']}" if "effect" in toleration else "")
        for toleration in tolerations
    ]


def _word(help_text: str, **more: Any) -> dict[str, Any]:
    """Describe a setting of one word that may be absent."""
    return {"help": help_text, "type": str, **more}


def _words(help_text: str, metavar: str) -> dict[str, Any]:
    """Describe a setting of several words."""
    return {"help": help_text, "nargs": "+", "metavar": metavar}


def _pairs_of(help_text: str, parse: Callable[[list[str]], dict[str, str]]) -> dict[str, Any]:
    """Describe a setting of several names with values."""
    functions = {"parse_func": parse, "unparse_func": _joined}
    return {**_words(help_text, "NAME=VALUE"), **functions}


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """What a user can set. The image is Snakemake's own ``--container-image``."""

    claim: str | None = field(
        default=None,
        metadata=_word(
            "The PersistentVolumeClaim (ReadWriteMany) that holds the workflow and its data. The "
            "driver has the same volume at the same path.",
            required=True,
        ),
    )
    mount_path: str | None = field(
        default=None,
        metadata=_word(
            "Where the volume is mounted, in the driver and in every pod. The working directory "
            "lies in it.",
            required=True,
        ),
    )
    writable: list[str] = field(
        default_factory=list,
        metadata=_words(
            "The only folders of the volume that jobs can write to, besides Snakemake's own "
            "(.snakemake): paths in the working directory, or absolute ones. Jobs can read all "
            "else, such as the code that the driver runs, but cannot change it. Folders that do "
            "not exist are created. Default: the whole volume.",
            "FOLDER",
        ),
    )
    namespace: str | None = field(
        default=None,
        metadata=_word(
            "The namespace of the Jobs. Default: the one of the kubeconfig context or, in a pod, "
            "of the pod."
        ),
    )
    service_account: str | None = field(
        default=None,
        metadata=_word(
            "The service account of the pods. Its token is not mounted. Default: the namespace's "
            "own."
        ),
    )
    priority_class: str | None = field(
        default=None, metadata=_word("The priority class of the pods.")
    )
    node_selector: dict[str, str] = field(
        default_factory=dict,
        metadata=_pairs_of("Labels that a node must have to run the pods.", parse_labels),
    )
    tolerations: list[dict[str, str]] = field(
        default_factory=list,
        metadata={
            **_words("Taints of nodes that the pods tolerate.", "KEY[=VALUE][:EFFECT]"),
            "type": str,
            "parse_func": parse_tolerations,
            "unparse_func": format_tolerations,
        },
    )
    annotations: dict[str, str] = field(
        default_factory=dict,
        metadata=_pairs_of("Annotations of the Jobs and pods.", parse_annotations),
    )
    placement: dict[str, Any] | None = field(
        default=None,
        metadata=_word(
            "A YAML file, from the working directory, that says where the pods of single rules "
            "run: nodeSelector, affinity, tolerations, priorityClassName, annotations, and queue, "
            "as in a manifest, below rules: and the rule's name, or below every-rule:.",
            parse_func=read_placement,
            unparse_func=lambda placement: placement["file"],
            metavar="FILE",
        ),
    )
    queue: str | None = field(
        default=None,
        metadata=_word(
            "The queue of Kueue (LocalQueue) that Jobs wait in: they are sent suspended, and Kueue "
            "admits them.",
            parse_func=parse_queue,
            unparse_func=str,
            metavar="NAME",
        ),
    )
    image_pull_secrets: list[str] = field(
        default_factory=list,
        metadata=_words("Secrets of the namespace that give access to the image.", "NAME"),
    )
    labels: dict[str, str] = field(
        default_factory=dict,
        metadata=_pairs_of(
            "More labels for the Jobs and pods, for accounting or policies.", parse_labels
        ),
    )
    environment: dict[str, str] = field(
        default_factory=dict,
        metadata=_pairs_of(
            "Environment variables of the pods. They can be read in the Jobs: nothing secret here.",
            parse_environment,
        ),
    )
    env_secret: str | None = field(
        default=None,
        metadata=_word(
            "An existing secret from which the pods get the variables that the workflow asks for "
            "with 'envvars:', each under its own name. Snakemake never sends their values."
        ),
    )
    user_id: int = field(
        default=1000, metadata={"help": "The numeric user that the pods run as; not 0."}
    )
    group_id: int = field(
        default=1000,
        metadata={"help": "The numeric group of the pods and of what they write to the volume."},
    )
    start_deadline: int = field(
        default=300,
        metadata={
            "help": "Seconds after which a job fails that can never start (no such image, claim, "
            "secret, or priority class; refused by admission; larger than any node), with what the "
            "cluster says about it."
        },
    )
    node_deadline: int = field(
        default=3600,
        metadata={
            "help": "Seconds that a node may take to pull the image and to attach the volume, "
            "before the job fails, or to end a pod, before it is taken for dead."
        },
    )
    room_deadline: int = field(
        default=0,
        metadata={
            "help": "Seconds that a job may wait for room (a free node, quota, its turn in a "
            "queue) before it fails. 0: for ever, as it costs nothing."
        },
    )
    api_patience: int = field(
        default=600,
        metadata={
            "help": "Seconds for which a call that the API server does not answer, or answers with "
            "429 or 5xx, is repeated before the run is given up."
        },
    )
    infrastructure_retries: int = field(
        default=5,
        metadata={
            "help": "How often a job is started again because its pod was evicted, preempted or "
            "deleted or its node was lost. This is apart from --retries, which counts the job's "
            "own failures."
        },
    )
    memory_retries: int = field(
        default=2,
        metadata={
            "help": "How often a job that was OOMKilled is started again with more memory: "
            "resources that depend on 'attempt' get 1 and one more for each time. This is apart "
            "from --retries, which leaves the memory as it is."
        },
    )
    batch_minutes: int = field(
        default=0,
        metadata={
            "help": "Run jobs with Python scripts in warm pods, each with work for about this many "
            "minutes, one job after the other. How long a job is expected to take is its resource "
            "'estimated_s' or the mean of its rule. 0: each job has a pod of its own."
        },
    )
    jobs_per_process: int = field(
        default=1,
        metadata={
            "help": "How many jobs a process in a warm pod runs. With more than 1, what a script "
            "leaves in imported modules is there for the next one. After a failure, and where "
            "threads, processes, or much memory are left, the next job has a new process anyway."
        },
    )
    warm_up: str | None = field(
        default=None,
        metadata=_word(
            "A Python function without arguments, as MODULE:FUNCTION, that a warm pod calls before "
            "its first job, so that jobs find loaded what they use."
        ),
    )
    max_pods: int = field(
        default=0,
        metadata={
            "help": "How many Jobs of a run there may be in the cluster at once. 0: as many as "
            "--jobs allows."
        },
    )
    ttl: int = field(
        default=3600,
        metadata={
            "help": "Seconds after which the cluster removes a finished Job and its pod. At least "
            "--kubernetes-pvc-api-patience, or a Job could be gone before its end was seen."
        },
    )
    dry_run: bool = field(
        default=False,
        metadata={
            "help": "Print the Jobs that would be sent now, as YAML, and stop. Nothing is sent."
        },
    )


def check(settings: ExecutorSettings, working_directory: str) -> None:
    """Raise a WorkflowError that names the first setting with a value that cannot work."""
    mount_path = PurePosixPath(settings.mount_path)
    if not mount_path.is_absolute():
        raise WorkflowError(
            f"--kubernetes-pvc-mount-path {settings.mount_path} is not an absolute path."
        )
    if not PurePosixPath(working_directory).is_relative_to(mount_path):
        raise WorkflowError(
            f"The working directory {working_directory} is not in {mount_path}, where pods have "
            "the volume: run Snakemake in a folder of the volume, or set "
            "--kubernetes-pvc-mount-path."
        )
    for name, lowest in (
        ("user_id", 1),
        ("group_id", 1),
        ("start_deadline", 1),
        ("node_deadline", 1),
        ("room_deadline", 0),
        ("api_patience", 0),
        ("infrastructure_retries", 0),
        ("memory_retries", 0),
        ("batch_minutes", 0),
        ("jobs_per_process", 1),
        ("max_pods", 0),
        ("ttl", settings.api_patience),
    ):
        value = getattr(settings, name)
        if value < lowest:
            option = name.replace("_", "-")
            raise WorkflowError(f"--kubernetes-pvc-{option} is {value}, and must be >= {lowest}.")


def writable_folders(settings: ExecutorSettings, working_directory: str) -> tuple[str, ...]:
    """Find the folders that jobs can write to.

    Parameters
    ----------
    settings
        What the user set.
    working_directory
        Where the driver runs; on the volume.

    Returns
    -------
    tuple of str
        Paths in the volume without links, none below another one. Empty: jobs can write to the
        whole volume.

    Raises
    ------
    WorkflowError
        If a folder is not on the volume, or is all of it.
    """
    if not settings.writable:
        return ()
    volume = Path(settings.mount_path).resolve()
    found = set()
    for name in [*settings.writable, ".snakemake"]:
        # A pod finds a link's target only where the driver has it, too.
        folder = Path(working_directory, name).resolve()
        if not folder.is_relative_to(volume):
            raise WorkflowError(
                f"--kubernetes-pvc-writable {name}: {folder} is not in {volume}, where pods have "
                "the volume: name folders of the volume."
            )
        if folder == volume:
            raise WorkflowError(
                f"--kubernetes-pvc-writable {name} is the whole volume: name folders in it, or "
                "leave the setting out."
            )
        found.add(folder.relative_to(volume))
    outermost = [one for one in found if not found.intersection(one.parents)]
    return tuple(sorted(map(str, outermost)))


def check_user(
    settings: ExecutorSettings, uid: int, gid: int, umask: int, owner: int
) -> str | None:
    """Check that driver and pods can change what the other one makes.

    Snakemake in the driver marks outputs as incomplete, and Snakemake in the pod takes that back:
    a pod that cannot write to the driver's folders fails, or leaves no mark, once it has done its
    work.

    Parameters
    ----------
    settings
        What the user set.
    uid, gid, umask
        Of the driver.
    owner
        User who owns what the driver makes on the volume.

    Returns
    -------
    str or None
        A warning.

    Raises
    ------
    WorkflowError
        Pods cannot write to folders that the driver makes.
    """
    # With a volume that gives all files to one user, who it is in the pod does not matter.
    if settings.user_id == uid or owner != uid:
        return None
    differ = f"The driver runs as user {uid}, and its pods as user {settings.user_id}"
    if uid == 0:
        user = settings.user_id
        own = f"setpriv --reuid {user} --regid {settings.group_id} --clear-groups snakemake …"
        same = f"Run it as user {user} (in a pod: runAsUser: {user}; as root: {own})"
    else:
        same = f"Set --kubernetes-pvc-user-id {uid} --kubernetes-pvc-group-id {gid}"
    shared = not umask & 0o002 or (gid == settings.group_id and not umask & 0o020)
    if not shared:
        raise WorkflowError(
            f"{differ}, which cannot write to the folders that user {uid} makes (umask "
            f"{umask:03o}): jobs would fail, or interrupted ones would leave outputs that are not "
            f"marked as incomplete. {same}, or let others write (umask 000)."
        )
    if uid != 0:
        return f"{differ}: it may not be able to replace what they make. {same}."
    return None
