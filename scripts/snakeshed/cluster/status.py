"""What is going on in the cluster, on one screen."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Set
from datetime import UTC, datetime
from typing import Any

from snakeshed.cluster.access import newest, pod_reason, why_no_pod
from snakeshed.cluster.driver import configuration_of, drivers, end_of
from snakeshed.cluster.kubectl import Kubectl, NotAnswered, NotThere
from snakeshed.cluster.pull import RESULTS, There
from snakeshed.errors import KubernetesError

_WORKFLOW = "snakemake/workflow"
_STATES = ("waiting", "running", "done", "failed")
_MOST_DRIVERS = 5
_MOST_REASONS = 5
_LONGEST_REASON = 200
_SHARD_FILES = {
    "sites.parquet": "planned",
    "catchments.parquet": "delineated",
    "features.parquet": "with features",
}


def driver_lines(kubectl: Kubectl) -> list[str]:
    """Say how the last drivers are, those that run with the last words of their log."""
    jobs = drivers(kubectl)
    if not jobs:
        return ["No run is known to the cluster (it forgets them a week after their end)."]
    going = [job for job in jobs if end_of(job) is None]
    lines = []
    for job in (going + [job for job in reversed(jobs) if job not in going])[:_MOST_DRIVERS]:
        lines.append(_driver_line(job))
        if job in going:
            pods = kubectl.items("pods", f"job-name={_name(job)}")
            pod = newest(pods)
            reason = pod_reason(pod)[0] if pod else _without_pod(kubectl, _name(job))
            if reason:
                lines.append(f"  waits: {_shortened(reason)}")
            elif pod["status"].get("phase") == "Running":
                lines.append(f"  says: {_last_words(kubectl, pod)}")
    return lines


def job_lines(kubectl: Kubectl) -> list[str]:
    """Count Jobs by rule and state, and say what those wait for that do."""
    jobs = kubectl.items("jobs", _WORKFLOW)
    if not jobs:
        return ["Jobs: none."]
    pods = defaultdict(list)
    for pod in kubectl.items("pods", _WORKFLOW):
        for owner in pod["metadata"].get("ownerReferences", []):
            pods[owner["uid"]].append(pod)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: Counter[str] = Counter()
    without_pod = []
    for job in jobs:
        labels = job["metadata"].get("labels", {})
        kind = labels.get("snakemake/rule") or ("batch" if "snakemake/batch" in labels else "other")
        own = pods[job["metadata"]["uid"]]
        state = _state(job, own)
        counts[kind][state] += 1
        if state == "waiting":
            reason = next(filter(None, (pod_reason(pod)[0] for pod in own)), "")
            if not own:
                without_pod.append(_name(job))
            elif reason:
                reasons[reason] += 1
    if without_pod:
        reasons[_without_pod(kubectl, without_pod[0])] += len(without_pod)
    width = max(map(len, counts))
    lines = [f"Jobs  {'':{width}}" + "".join(f"{state:>9}" for state in _STATES)]
    for kind, states in sorted(counts.items()):
        lines.append(f"      {kind:{width}}" + "".join(f"{states[each]:>9,}" for each in _STATES))
    for reason, count in reasons.most_common(_MOST_REASONS):
        lines.append(f"  {count:,} wait: {_shortened(reason)}")
    return lines


def result_lines(files: list[There], with_sites: Mapping[str, Set[str]]) -> list[str]:
    """Say how far the studies on the volume are, by the files of their shards.

    Parameters
    ----------
    files
        All below ``results``.
    with_sites
        Of each study, as far as it is known, the shards that have sites: others have no jobs.
    """
    shards: dict[str, Counter[str]] = defaultdict(Counter)
    gathered = Counter()
    for file in files:
        parts = file.path.split("/")
        if len(parts) >= 3 and parts[0] == RESULTS:
            shards[parts[1]].update()
            if len(parts) == 5 and parts[2] == "shards" and parts[4] in _SHARD_FILES:
                state = _SHARD_FILES[parts[4]]
                # An earlier site table may have had sites in a shard that has none now.
                if state == "planned" or parts[3] in with_sites.get(parts[1], {parts[3]}):
                    shards[parts[1]][state] += 1
            elif len(parts) == 3 and parts[2] in {"catchments.parquet", "features.parquet"}:
                gathered[parts[1]] += 1
    lines = []
    for study, counts in sorted(shards.items()):
        planned = f"{counts['planned']:,} shards"
        if study in with_sites:
            planned += f", {len(with_sites[study]):,} with sites"
        done = ", ".join(f"{counts[each]:,} {each}" for each in list(_SHARD_FILES.values())[1:])
        tables = "; tables gathered" if gathered[study] == 2 else ""
        lines.append(f"Study {study}: {planned}, {done}{tables}.")
    return lines or ["Studies on the volume: none has results yet."]


def _driver_line(job: dict[str, Any]) -> str:
    status, ended = job.get("status", {}), end_of(job)
    began = status.get("startTime") or job["metadata"]["creationTimestamp"]
    if ended is None:
        state = f"runs for {_age(began)}"
    elif ended.well:
        state = f"done {_age(status.get('completionTime') or began)} ago"
    else:
        state = f"failed ({_shortened(ended.why)})"
    lost = status.get("failed", 0)
    pods = f"; {lost} of its pods ended early" if lost and (ended is None or ended.well) else ""
    return f"Run {_name(job)} ({configuration_of(job)}): {state}{pods}"


def _state(job: dict[str, Any], pods: list[dict[str, Any]]) -> str:
    ended = end_of(job)
    if ended is not None:
        return "done" if ended.well else "failed"
    phases = {pod["status"].get("phase") for pod in pods}
    return "running" if phases & {"Running", "Succeeded"} else "waiting"


def _last_words(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    try:
        said = kubectl.once("logs", "--tail=1", f"pod/{_name(pod)}").strip()
    except (KubernetesError, NotThere, NotAnswered):
        return "its log cannot be read"
    return _shortened(said) or "nothing yet"


def _without_pod(kubectl: Kubectl, job: str) -> str:
    why = why_no_pod(kubectl, job)
    return f"no pod yet ({why})" if why else "no pod yet"


def _age(since: str) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
    if seconds < 120:
        return f"{max(0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _shortened(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 1]}…"


def _name(thing: dict[str, Any]) -> str:
    return thing["metadata"]["name"]
