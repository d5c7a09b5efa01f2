"""Where pods run, for all rules and for single ones: nodes, priority, annotations, queue."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from snakemake_interface_common.exceptions import WorkflowError

if TYPE_CHECKING:
    from snakemake_executor_plugin_kubernetes_pvc.settings import ExecutorSettings

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?")
QUEUE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
CLASS = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
AFFINITIES = ("nodeAffinity", "podAffinity", "podAntiAffinity")
# What a toleration may hold, and the values of a word of which there are only some.
TOLERATION_KEYS: dict[str, tuple[str, ...]] = {
    "key": (),
    "operator": ("Equal", "Exists"),
    "value": (),
    "effect": EFFECTS,
    "tolerationSeconds": (),
}
PARTS = ("every-rule", "rules")


@dataclass(frozen=True)
class Placement:
    """Where the pods of a rule run. Equal ones may share a Job.

    Attributes
    ----------
    pod
        Fields of the pod's specification (``nodeSelector``, ``affinity``, ``tolerations``,
        ``priorityClassName``), as JSON with sorted keys.
    annotations
        Of the Job and the pod, sorted by name.
    queue
        The queue of Kueue that the Job waits in, or None.
    """

    pod: str = "{}"
    annotations: tuple[tuple[str, str], ...] = ()
    queue: str | None = None

    @property
    def pod_fields(self) -> dict[str, Any]:
        """Fields of the pod's specification."""
        return json.loads(self.pod)


def placement_of(rule: str, settings: ExecutorSettings) -> Placement:
    """Find where the pods of a rule run.

    Parameters
    ----------
    rule
        Its name.
    settings
        What the user set for all rules, and for this one in the file of
        ``--kubernetes-pvc-placement``. What the file says of every rule is added to the settings,
        and what it says of this one to both: labels and annotations name by name, tolerations at
        the end; affinity, priority class and queue replace others.

    Returns
    -------
    Placement
        Can be compared and hashed: jobs of rules with different ones never share a Job.
    """
    file = settings.placement or {}
    layers: list[Mapping[str, Any]] = [
        {
            "nodeSelector": settings.node_selector,
            "tolerations": settings.tolerations,
            "priorityClassName": settings.priority_class,
            "annotations": settings.annotations,
            "queue": settings.queue,
        },
        file.get("every-rule", {}),
        file.get("rules", {}).get(rule, {}),
    ]
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if key in ("nodeSelector", "annotations"):
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "tolerations":
                merged[key] = [*merged.get(key, []), *value]
            elif value is not None:
                merged[key] = value
    annotations = tuple(sorted(merged.pop("annotations").items()))
    queue = merged.pop("queue", None)
    pod = {key: value for key, value in merged.items() if value}
    return Placement(json.dumps(pod, sort_keys=True), annotations, queue)


def placement_of_all(rules: Collection[str], settings: ExecutorSettings) -> Placement:
    """Find where a Job with jobs of several rules runs.

    Raises
    ------
    WorkflowError
        The rules are to run at different places.
    """
    first, *others = sorted(set(rules))
    placement = placement_of(first, settings)
    for other in others:
        if placement_of(other, settings) != placement:
            raise WorkflowError(
                f"Rules {first} and {other} run in one Job, but have different placements: give "
                f"both the same in {settings.placement['file']}, or take them apart (--groups)."
            )
    return placement


def check_rules(settings: ExecutorSettings, rules: Collection[str]) -> None:
    """Raise a WorkflowError if a placement is for a rule that the workflow does not have."""
    if not settings.placement:
        return
    for rule in settings.placement["rules"]:
        if rule not in rules:
            near = get_close_matches(rule, rules, n=1)
            hint = f"do you mean {near[0]}?" if near else f"it has: {', '.join(sorted(rules))}."
            raise WorkflowError(
                f"{settings.placement['file']}: rules: {rule}: the workflow has no rule of this "
                f"name; {hint}"
            )


def read_placement(path: str) -> dict[str, Any]:
    """Read the file of ``--kubernetes-pvc-placement``.

    Parameters
    ----------
    path
        A YAML file with fields of pods for every rule and for single ones.

    Returns
    -------
    dict
        ``file``, the path; ``every-rule``, fields by their key; ``rules``, such fields by rule.

    Raises
    ------
    WorkflowError
        It cannot be read, or has something that it cannot have. File, rule and key are named.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise WorkflowError(
            f"--kubernetes-pvc-placement {path} cannot be read ({reason}): name a YAML file, from "
            "the working directory."
        ) from error
    except yaml.YAMLError as error:
        raise WorkflowError(f"--kubernetes-pvc-placement {path} is not YAML: {error}") from error
    content = {} if content is None else content
    _known(content, PARTS, path)
    every = content.get("every-rule") or {}
    rules = content.get("rules") or {}
    if not isinstance(rules, dict) or not all(isinstance(rule, str) for rule in rules):
        raise _wrong(f"{path}: rules", rules, "names of rules, each with its fields below it")
    return {
        "file": path,
        "every-rule": _fields(every, f"{path}: every-rule"),
        "rules": {
            rule: _fields({} if one is None else one, f"{path}: rules: {rule}")
            for rule, one in rules.items()
        },
    }


def _wrong(where: str, found: object, expected: str) -> WorkflowError:
    return WorkflowError(f"{where}: {found!r} was found where {expected} is expected.")


def _known(found: object, keys: Collection[str], where: str) -> None:
    """Check that something is a mapping with none but some keys."""
    if not isinstance(found, dict):
        raise _wrong(where, found, f"a mapping with the keys {', '.join(keys)}")
    for key in found:
        if key not in keys:
            near = get_close_matches(str(key), keys, n=1, cutoff=0.5)
            hint = f"do you mean {near[0]}?" if near else f"known are {', '.join(keys)}."
            raise WorkflowError(f"{where}: there is no key {key!r}; {hint}")


def _fields(found: object, where: str) -> dict[str, Any]:
    """Check the fields of one rule."""
    _known(found, tuple(_CHECKS), where)
    return {key: _CHECKS[key](value, f"{where}: {key}") for key, value in found.items()}


def _texts(what: str, value_pattern: re.Pattern[str] | None) -> Callable[[object, str], dict]:
    """Check a mapping from names to texts."""

    def checked(found: object, where: str) -> dict[str, str]:
        if not isinstance(found, dict):
            raise _wrong(where, found, f"a mapping of {what}")
        for name, value in found.items():
            if not isinstance(name, str) or not LABEL_KEY.fullmatch(name):
                raise _wrong(where, name, f"a name of {what}")
            if not isinstance(value, str):
                raise _wrong(f"{where}: {name}", value, "text (in quotes, if it is a number)")
            if value_pattern and not value_pattern.fullmatch(value):
                raise _wrong(f"{where}: {name}", value, f"a value of {what}")
        return found

    return checked


def _affinity(found: object, where: str) -> dict[str, Any]:
    """Check the outline of an affinity; the API server knows the rest."""
    _known(found, AFFINITIES, where)
    for key, value in found.items():
        if not isinstance(value, dict):
            raise _wrong(f"{where}: {key}", value, "a mapping as in the manifest of a pod")
    return found


def _tolerations(found: object, where: str) -> list[dict[str, Any]]:
    if not isinstance(found, list):
        raise _wrong(where, found, "a list of tolerations")
    for number, one in enumerate(found, start=1):
        here = f"{where}: {number}"
        _known(one, tuple(TOLERATION_KEYS), here)
        for key, value in one.items():
            words = TOLERATION_KEYS[key]
            if key == "tolerationSeconds":
                if isinstance(value, bool) or not isinstance(value, int):
                    raise _wrong(f"{here}: {key}", value, "a whole number of seconds")
            elif not isinstance(value, str) or (words and value not in words):
                raise _wrong(f"{here}: {key}", value, " or ".join(words) if words else "text")
    return found


def _name(what: str, pattern: re.Pattern[str]) -> Callable[[object, str], str]:
    """Check a name."""

    def checked(found: object, where: str) -> str:
        if not isinstance(found, str) or not pattern.fullmatch(found):
            raise _wrong(where, found, f"the name of {what}")
        return found

    return checked


_CHECKS: dict[str, Callable[[object, str], Any]] = {
    "nodeSelector": _texts("labels", LABEL_VALUE),
    "affinity": _affinity,
    "tolerations": _tolerations,
    "priorityClassName": _name("a priority class", CLASS),
    "annotations": _texts("annotations", None),
    "queue": _name("a queue", QUEUE),
}
