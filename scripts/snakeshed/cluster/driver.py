"""Drivers: the Jobs that run Snakemake on the cluster, one for each run."""

from __future__ import annotations

import json
import posixpath
import queue
import re
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from snakeshed.cluster.access import newest, pod_reason, why_no_pod
from snakeshed.cluster.inputs import DEMO
from snakeshed.cluster.kubectl import Kubectl, NotAnswered, NotThere, Refused, lines_of
from snakeshed.errors import KubernetesError

CRONJOB = "snakeshed"
# Those on Dask (profiles/dask) have the same volume.
DRIVERS = "app.kubernetes.io/name in (snakeshed-driver,snakeshed-dask-driver)"
_JOB_PODS = "snakemake/workflow"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_OPTIONS = ("--configfile", "--configfiles")
_LONGEST_NAME = 52
_LOOK_EVERY_S = 2.0
# A log that is silent for so long is looked at from the other side (s).
_SILENT_S = 60.0
_END_S = 10.0
_TAIL = 20
# How often the last words of a run that has ended are asked for where they do not come.
_LAST_TRIES = 5
_STOP_S = 180.0


@dataclass(frozen=True)
class Ended:
    """How a run has ended.

    Attributes
    ----------
    well : bool
    why : str
        What Kubernetes says of a run that has not ended well; Snakemake says more in its log.
    deleted : bool
        Whether its Job is gone, as when it is stopped.
    """

    well: bool
    why: str = ""
    deleted: bool = False


def configuration_of(job: dict[str, Any]) -> str:
    """Return the configuration that a driver is given; without one it is the demo's."""
    words = _arguments(job["spec"]["template"])
    for place, word in enumerate(words):
        option, _, value = word.partition("=")
        if option in _OPTIONS:
            value = value or next(iter(words[place + 1 :]), "")
            return posixpath.normpath(value)
    return DEMO


def end_of(job: dict[str, Any]) -> Ended | None:
    """Return how a Job has ended, None if it goes on."""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["status"] == "True" and condition["type"] in {"Complete", "Failed"}:
            well = condition["type"] == "Complete"
            return Ended(well, "" if well else condition.get("message", ""))
    return None


def drivers(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Return all drivers that the cluster still knows, the oldest first."""
    found = kubectl.items("jobs", DRIVERS)
    return sorted(found, key=lambda one: one["metadata"]["creationTimestamp"])


def running(kubectl: Kubectl, configuration: str | None = None) -> list[dict[str, Any]]:
    """Return the drivers that run, or those with a configuration."""
    return [
        job
        for job in drivers(kubectl)
        if end_of(job) is None and configuration in {None, configuration_of(job)}
    ]


def start(kubectl: Kubectl, study: str, configuration: str) -> str:
    """Start a driver, and return the name of its Job.

    It has the options of kustomization.yaml, with this configuration in place of any other.

    Raises
    ------
    KubernetesError
        The cluster does not take it.
    """
    # The name, which only one can have, keeps two who start the same at once from doing so twice.
    stem = f"snakeshed-{re.sub('[^a-z0-9]+', '-', study.lower()).strip('-')}"[:_LONGEST_NAME]
    numbers = [
        int(match[1])
        for job in drivers(kubectl)
        if (match := re.fullmatch(rf"{stem}-(\d+)", job["metadata"]["name"]))
    ]
    name = f"{stem}-{max(numbers, default=0) + 1}"
    try:
        text = kubectl.call(
            *("create", "job", name, f"--from=cronjob/{CRONJOB}"),
            *("--dry-run=client", "-o", "json"),
        )
    except NotThere as error:
        raise KubernetesError(
            f"cronjob {CRONJOB}",
            str(error),
            "the pattern of drivers, which the manifests make",
            "Run the same command again.",
        ) from None
    job = json.loads(text)
    container = job["spec"]["template"]["spec"]["containers"][0]
    others = _without_configuration(container.get("args") or [])
    container["args"] = [*others, "--configfile", configuration]
    try:
        kubectl.call("create", "-f", "-", stdin=json.dumps(job))
    except KubernetesError as error:
        # Its first creation may have gone through, and only the answer been lost.
        there = "AlreadyExists" in error.found and kubectl.get("job", name)
        if not there or configuration_of(there) != configuration:
            raise
    return name


def follow(kubectl: Kubectl, name: str, joined: bool = False) -> Ended:
    """Show what a driver says until its run ends, whatever becomes of its pods.

    Parameters
    ----------
    kubectl
        An API that does not answer is waited for.
    name
        Of the Job.
    joined
        Whether it has run for a while: then only the last lines of its present pod are shown.

    Raises
    ------
    KubernetesError
        The cluster refuses, or has not answered for too long.
    """
    shown, last_tries = "", 0
    logs: dict[str, _Log] = {}
    while True:
        try:
            job = kubectl.get("job", name)
        except NotThere:
            return Ended(False, "its Job was deleted", deleted=True)
        ended, missing = end_of(job), False
        pods = _by_age(kubectl.items("pods", f"job-name={name}"))
        if not pods and not logs and ended is None:
            reason = why_no_pod(kubectl, name)
            if reason and reason != shown:
                kubectl.say(f"The driver has no pod yet: {reason}")
                shown = reason
        for pod in pods:
            uid = pod["metadata"]["uid"]
            if uid not in logs:
                logs[uid] = _Log(kubectl, pod["metadata"]["name"], _TAIL if joined else None)
                if joined and not _is_last(pod, kubectl, name):
                    logs[uid].over = True
            log = logs[uid]
            if log.over:
                continue
            phase = pod["status"].get("phase")
            if phase in {"Running", "Succeeded", "Failed"}:
                if not log.begun and len(logs) > 1 and not joined:
                    kubectl.say(f"Pod {log.pod} takes the run up.")
                joined = False
                log.show()
                log.over |= phase != "Running" and log.complete
                missing |= not log.over
            else:
                reason, _ = pod_reason(pod)
                if reason and reason != shown:
                    kubectl.say(f"The driver's pod waits: {reason}")
                    shown = reason
        if ended is not None:
            last_tries += 1
            if not missing or last_tries > _LAST_TRIES:
                return ended
        kubectl.sleep(_LOOK_EVERY_S)


def stop(kubectl: Kubectl, job: dict[str, Any]) -> bool:
    """Delete a driver, and wait until its pods and Jobs are gone; return whether they are.

    Raises
    ------
    KubernetesError
        The cluster refuses.
    """
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    try:
        kubectl.call("delete", "job", name, "--wait=false")
    except NotThere:
        return True
    given_up, seen = time.monotonic() + _STOP_S, set()
    while time.monotonic() < given_up:
        pods = kubectl.items("pods", f"job-name={name}")
        owned = [one for one in kubectl.items("jobs") if uid in _owners(one)]
        seen |= {one["metadata"]["uid"] for one in owned}
        # Pods outlive the Jobs that they belong to, and write until they end.
        left = seen and [one for one in kubectl.items("pods", _JOB_PODS) if seen & _owners(one)]
        if not pods and not owned and not left:
            return True
        kubectl.sleep(_LOOK_EVERY_S)
    return False


def _owners(one: dict[str, Any]) -> set[str]:
    return {owner["uid"] for owner in one["metadata"].get("ownerReferences", [])}


class _Log:
    """What a pod says, each line once, also where the connection is cut."""

    def __init__(self, kubectl: Kubectl, pod: str, tail: int | None) -> None:
        self._kubectl = kubectl
        self.pod = pod
        self._tail = tail
        self._last = ""
        self.begun = False
        self.complete = False
        self.over = False

    def show(self) -> None:
        """Show what there is to be shown, until the pod ends or the connection does."""
        options = ["--follow", "--timestamps"]
        if self._last:
            options.append(f"--since-time={self._last[:19]}Z")
        elif self._tail is not None:
            options.append(f"--tail={self._tail}")
        self.begun = True
        process = self._kubectl.start("logs", *options, f"pod/{self.pod}")
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        reader.start()
        try:
            while True:
                try:
                    line = lines.get(timeout=_SILENT_S)
                except queue.Empty:
                    if self._has_ended():
                        break
                    continue
                if line is None:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_END_S)
                    break
                self._show(line)
        finally:
            process.kill()
            complaint = process.stderr.read()
            self.complete = process.wait() == 0
            process.stdout.close()
            process.stderr.close()
        if not self.complete and complaint:
            try:
                self._kubectl.refuse(["logs", self.pod], complaint)
            except NotThere:
                self.over = True
            except NotAnswered:
                pass
            except Refused:
                raise
            except KubernetesError as error:
                # A container that has just ended, or not quite begun.
                if "ContainerCreating" not in error.found and "waiting" not in error.found:
                    self.complete = True

    def _show(self, line: str) -> None:
        when, _, text = line.partition(" ")
        moment = _moment(when)
        if not moment:
            self._kubectl.say(line)
        elif moment > self._last:
            self._last = moment
            self._kubectl.say(text)

    def _has_ended(self) -> bool:
        """Whether a pod whose log is silent is not there any more, or has ended."""
        try:
            pod = self._kubectl.get("pod", self.pod)
        except NotThere:
            return True
        return pod["status"].get("phase") != "Running"


def _read(process: Any, lines: queue.SimpleQueue[str | None]) -> None:
    try:
        for line in lines_of(process):
            lines.put(line)
    except ValueError:
        pass  # Closed meanwhile.
    lines.put(None)


def _moment(when: str) -> str:
    """Return a time of a log in UTC, in a form whose order is that of time; empty if it is none."""
    match = _TIME.fullmatch(when)
    if not match:
        return ""
    zone = "+00:00" if match[3] == "Z" else match[3]
    seconds = datetime.fromisoformat(match[1] + zone).astimezone(UTC)
    return f"{seconds:%Y-%m-%dT%H:%M:%S}.{match[2] or '':0<9}"


def _is_last(pod: dict[str, Any], kubectl: Kubectl, job: str) -> bool:
    last = newest(kubectl.items("pods", f"job-name={job}"))
    return last is None or last["metadata"]["uid"] == pod["metadata"]["uid"]


def _by_age(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(pods, key=lambda one: one["metadata"]["creationTimestamp"])


def _arguments(template: dict[str, Any]) -> list[str]:
    return template["spec"]["containers"][0].get("args") or []


def _without_configuration(words: list[str]) -> list[str]:
    """Return options without the configuration file; it takes all words up to the next option."""
    kept, within = [], False
    for word in words:
        if word.startswith("-"):
            within = word in _OPTIONS
            if within or word.partition("=")[0] in _OPTIONS:
                continue
        elif within:
            continue
        kept.append(word)
    return kept
