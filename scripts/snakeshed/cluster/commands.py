"""What `snakeshed cluster` does, word by word."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

import yaml

from snakeshed.cluster import driver, status
from snakeshed.cluster.access import CLAIM, apply, ensure_access, has_access, wait_for_access
from snakeshed.cluster.inputs import SCHEMA
from snakeshed.cluster.kubectl import Kubectl, NotThere
from snakeshed.cluster.manifests import FOLDER, read_manifests
from snakeshed.cluster.pull import RESULTS, There, listed, pull
from snakeshed.cluster.push import push
from snakeshed.cluster.selection import Selection, configuration_name, select
from snakeshed.cluster.volume import Volume
from snakeshed.delineation.shard_index import ShardIndex
from snakeshed.errors import KubernetesError
from snakeshed.study.configuration import complete
from snakeshed.study.yaml_file import read_study

Say = Callable[[str], None]
_CLAIM_S = 120.0
_LOOK_EVERY_S = 2.0


def run(configuration: Path, say: Say) -> int:
    """Bring a study to the cluster, run it there, and fetch its results.

    A run of the same configuration that goes on is joined; nothing is copied then.

    Returns
    -------
    int
        Exit status.
    """
    name = configuration_name(configuration)
    kubectl = _kubectl(say)
    if going := driver.running(kubectl, name):
        job = going[-1]["metadata"]["name"]
        study = _study(name)
        say(f"{job} runs {name} already. What has changed here since it began is not copied.")
    else:
        selection = select(name)
        _bring(kubectl, selection)
        study = selection.study
        # The copy may have taken hours.
        if going := driver.running(kubectl, name):
            job = going[-1]["metadata"]["name"]
            say(f"{job} was started while files were copied, and is joined.")
        else:
            job = driver.start(kubectl, study, name)
            say(f"{job} is started.")
    try:
        ended = driver.follow(kubectl, job, joined=bool(going))
    except KeyboardInterrupt:
        say(
            f"\nDetached. {job} goes on. To come back: snakeshed cluster run {name}. "
            f"To stop it: snakeshed cluster stop"
        )
        return 130
    if ended.deleted:
        say(f"{job} was stopped. What is done can be fetched: snakeshed cluster pull {name}")
        return 1
    ensure_access(kubectl)
    pull(Volume(kubectl), f"{RESULTS}/{study}", [name])
    if not ended.well:
        say(f"{job} has failed: {ended.why or 'see above'}")
        say(f"The logs of its jobs are in {RESULTS}/{study}/logs.")
    return 0 if ended.well else 1


def send(configuration: Path, say: Say) -> int:
    """Copy what a study needs to the volume, and start nothing."""
    selection = select(configuration)
    _bring(_kubectl(say), selection)
    return 0


def fetch(configuration: Path | None, say: Say) -> int:
    """Fetch the results of a study, or of all."""
    folder = RESULTS if configuration is None else f"{RESULTS}/{_study(configuration)}"
    kubectl = _kubectl(say)
    ensure_access(kubectl)
    names = [] if configuration is None else [configuration_name(configuration)]
    pull(Volume(kubectl), folder, names)
    return 0


def show(say: Say) -> int:
    """Say what goes on."""
    kubectl = _kubectl(say)
    for line in (*status.driver_lines(kubectl), *status.job_lines(kubectl)):
        say(line)
    if not has_access(kubectl):
        say("Studies on the volume: not known, because the access pod does not run.")
        return 0
    volume = Volume(kubectl)
    files = listed(volume, RESULTS)
    for line in status.result_lines(files, _shards_with_sites(volume, files)):
        say(line)
    return 0


def logs(wanted: str, configuration: Path | None, say: Say) -> int:
    """Show the logs of the jobs of a shard or of a rule."""
    kubectl = _kubectl(say)
    ensure_access(kubectl)
    volume = Volume(kubectl)
    found = [file for file in listed(volume, RESULTS) if _is_log(file)]
    studies = sorted({file.path.split("/")[1] for file in found})
    if configuration is not None:
        studies = [_study(configuration)]
        found = [file for file in found if file.path.split("/")[1] == studies[0]]
    if len(studies) > 1:
        raise KubernetesError(
            "the volume",
            f"logs of several studies ({', '.join(studies)})",
            "one that is meant",
            f"Name its configuration: snakeshed cluster logs {wanted} CONFIG",
        )
    meant = [file for file in found if _is_meant(file, wanted)]
    if not meant:
        names = sorted({PurePosixPath(file.path).parts[3].removesuffix(".log") for file in found})
        raise KubernetesError(
            f"{RESULTS}/{studies[0] if studies else ''}/logs on the volume",
            f"no log of {wanted}",
            "a shard, such as 07, or one of " + (", ".join(names) or "the rules that have run"),
            "Look at what has run: snakeshed cluster status",
        )
    for file in meant:
        say(f"== {file.path}")
        say(volume.text(file.path).rstrip("\n"))
    return 0


def halt(configuration: Path | None, say: Say) -> int:
    """Stop the run of a configuration, or all."""
    kubectl = _kubectl(say)
    name = None if configuration is None else configuration_name(configuration)
    return 0 if _stop(kubectl, driver.running(kubectl, name)) else 3


def clean(keep_volume: bool, agreed: Callable[[str], bool], say: Say) -> int:
    """Remove what the manifests have made, after a question."""
    kubectl = _kubectl(say)
    what = "all of snakeshed but the volume" if keep_volume else "all of snakeshed"
    lost = "" if keep_volume else ", and the volume with all data and results on it"
    if not agreed(f"Remove {what} from the namespace {kubectl.namespace}{lost}? [y/N] "):
        say("Nothing is removed.")
        return 0
    if not _stop(kubectl, driver.running(kubectl)):
        return 3
    objects = list(yaml.safe_load_all(kubectl.call("kustomize", FOLDER, timed=False)))
    if keep_volume:
        objects = [one for one in objects if one["kind"] != "PersistentVolumeClaim"]
    text = yaml.safe_dump_all(objects)
    said = kubectl.call(
        *("delete", "--ignore-not-found", "--wait=false", "-f", "-"), stdin=text, timed=False
    )
    for line in said.splitlines():
        say(line)
    if not keep_volume and (users := _claim_users(kubectl)) is not None:
        say(
            f"The volume (persistentvolumeclaim {CLAIM}) is still there. It goes when no pod uses "
            f"it any more. Pods that do: {', '.join(users) or 'none is seen'}. Look at them: "
            f"kubectl get pods --namespace {kubectl.namespace}"
        )
        return 3
    say(
        f"The volume (persistentvolumeclaim {CLAIM}) is kept." if keep_volume else "All is removed."
    )
    return 0


def _kubectl(say: Say) -> Kubectl:
    manifests = read_manifests()
    kubectl = Kubectl(manifests.namespace, say)
    context = kubectl.context()
    say(f"Cluster {context}, namespace {manifests.namespace}, image {manifests.image}")
    return kubectl


def _bring(kubectl: Kubectl, selection: Selection) -> None:
    """Make what the manifests describe, and copy a study."""
    apply(kubectl)
    wait_for_access(kubectl)

    def busy() -> list[str]:
        return [job["metadata"]["name"] for job in driver.running(kubectl)]

    push(Volume(kubectl), selection, busy)


def _claim_users(kubectl: Kubectl) -> list[str] | None:
    """Wait until the claim is gone; if that takes too long, return the pods that use it."""
    given_up = time.monotonic() + _CLAIM_S
    while True:
        try:
            kubectl.get("persistentvolumeclaim", CLAIM)
        except NotThere:
            return None
        users = [
            pod["metadata"]["name"]
            for pod in kubectl.items("pods")
            if any(
                each.get("persistentVolumeClaim", {}).get("claimName") == CLAIM
                for each in pod["spec"].get("volumes", [])
            )
        ]
        if time.monotonic() > given_up:
            return users
        kubectl.sleep(_LOOK_EVERY_S)


def _stop(kubectl: Kubectl, jobs: list) -> bool:
    gone = True
    for job in jobs:
        name = job["metadata"]["name"]
        kubectl.say(f"Stopping {name}.")
        if driver.stop(kubectl, job):
            kubectl.say(f"{name} and its Jobs are gone. What is done stays done.")
        else:
            gone = False
            kubectl.say(f"Pods or Jobs of {name} are still there: kubectl get jobs,pods")
    if not jobs:
        kubectl.say("Nothing runs.")
    return gone


def _study(configuration: Path | str) -> str:
    """Return the name of the study in a configuration."""
    return complete(read_study(configuration), SCHEMA, str(configuration))["study"]


def _shards_with_sites(volume: Volume, files: list[There]) -> dict[str, frozenset[str]]:
    """Read for each study which shards have sites, where an index that is not damaged says so."""
    found = {}
    for file in files:
        parts = file.path.split("/")
        if parts[2:] == ["shards", "index.json"]:
            text = volume.text(file.path)
            with suppress(ValueError, KeyError, TypeError):
                found[parts[1]] = frozenset(ShardIndex(text).with_sites)
    return found


def _is_log(file: There) -> bool:
    parts = file.path.split("/")
    return len(parts) >= 4 and parts[2] == "logs" and file.path.endswith(".log")


def _is_meant(file: There, wanted: str) -> bool:
    """Whether a log is of a shard, whatever zeros it is written with, or of a rule."""
    name, folder = PurePosixPath(file.path).stem, PurePosixPath(file.path).parent.name
    if re.fullmatch(r"\d+", wanted) and re.fullmatch(r"\d+", name):
        return int(wanted) == int(name)
    return wanted in {name, folder}
