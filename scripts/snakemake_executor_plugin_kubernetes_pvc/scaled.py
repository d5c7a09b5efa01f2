"""Run a command with pods of a Deployment beside it: ``… scaled DEPLOYMENT PODS LABEL COMMAND``.

The Deployment, at rest without pods, gets them for as long as the command runs. Other Jobs with the
LABEL (``app.kubernetes.io/name``) may use them too: the last one that ends takes them away. Its
own Job is that of the variable ``JOB_NAME``. The rights that this takes are those of
``profiles/dask/rbac.yaml``; without them the command runs all the same.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_kubernetes_pvc.connection import Connection
from snakemake_executor_plugin_kubernetes_pvc.status import finished

log = logging.getLogger("scaled")

NAME = "app.kubernetes.io/name"
# Between two looks whether somebody has taken the pods away, as `kubectl apply` does.
LOOK_EVERY_S = 30
# What the API server does not answer in the end is asked again so often, after so many seconds.
TRIES, AGAIN_S = 5, 2
# Between two looks whether the command has ended.
WAIT_S = 0.2


class Unanswered(Exception):
    """What the API server refused, or that it cannot be reached."""


class Deployment:
    """The number of pods of a Deployment.

    Parameters
    ----------
    connection
        To the API server.
    name
        Of the Deployment.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = name
        self._path = f"/apis/apps/v1/namespaces/{connection.namespace}/deployments/{name}/scale"

    def replicas(self) -> int:
        """How many pods it should have; `Unanswered` if that is not known."""
        return int(self._call("GET", self._path)["spec"].get("replicas", 0))

    def scale(self, replicas: int) -> None:
        """Set how many pods it should have; `Unanswered` if that cannot be done."""
        found = self._call("GET", self._path)
        found["spec"]["replicas"] = replicas
        self._call("PUT", self._path, body=found)

    def jobs(self, label: str) -> list[dict[str, Any]]:
        """Jobs with a value of the label `NAME`; `Unanswered` if they are not known."""
        path = f"/apis/batch/v1/namespaces/{self._connection.namespace}/jobs"
        return self._call("GET", path, query={"labelSelector": f"{NAME}={label}"})["items"]

    def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        from urllib3.exceptions import HTTPError

        try:
            answer = self._connection.send(method, path, **more)
        except HTTPError as error:
            raise Unanswered(str(error)) from error
        if answer.status >= 400:
            raise Unanswered(answer.message)
        return json.loads(answer.text)


def at_work(job: Mapping[str, Any]) -> bool:
    """Tell whether a Job has or will have pods that need others."""
    return not finished(job) and "deletionTimestamp" not in job["metadata"]


def needed(jobs: Sequence[Mapping[str, Any]], own: str, *, interrupted: bool) -> bool:
    """Tell whether some Job needs the pods when a command of one of them has ended.

    Parameters
    ----------
    jobs
        All Jobs that use them.
    own
        Name of the command's own Job.
    interrupted
        Whether the command was asked to end. If its Job is still there, another pod will take it
        up.
    """
    return any(at_work(job) and (interrupted or job["metadata"]["name"] != own) for job in jobs)


def keep_up(deployment: Deployment, replicas: int, least: int) -> None:
    """Give the Deployment pods if it has fewer than some number; say so if that fails."""
    try:
        if deployment.replicas() < least:
            deployment.scale(replicas)
    except Unanswered as error:
        log.warning(
            "Deployment %s cannot be scaled (%s): kubectl scale deployment/%s --replicas=%d",
            deployment.name,
            error,
            deployment.name,
            replicas,
        )


def take_away(deployment: Deployment, label: str, own: str, *, interrupted: bool) -> None:
    """Leave the Deployment without pods, unless another Job needs them; say so if that fails."""
    for left in reversed(range(TRIES)):
        try:
            if not needed(deployment.jobs(label), own, interrupted=interrupted):
                deployment.scale(0)
            return
        except Unanswered as error:
            if left:
                time.sleep(AGAIN_S)
            else:
                log.warning(
                    "Pods of deployment %s may be left (%s): kubectl scale deployment/%s "
                    "--replicas=0",
                    deployment.name,
                    error,
                    deployment.name,
                )


def run(deployment: Deployment, replicas: int, label: str, own: str, command: Sequence[str]) -> int:
    """Run a command with pods of a Deployment beside it.

    Parameters
    ----------
    deployment
        That has the pods.
    replicas
        How many, at least.
    label, own
        Value of the label `NAME` of all Jobs that use the pods, and the name of this one's Job.
    command
        Words of the command. SIGTERM is passed on to it.

    Returns
    -------
    int
        Its exit status, 128 and the signal's number if it was killed.
    """
    over = threading.Event()
    interrupted = threading.Event()
    with subprocess.Popen(command) as process:

        def pass_on(number: int, _frame: object) -> None:
            interrupted.set()
            process.send_signal(number)

        def look() -> None:
            keep_up(deployment, replicas, replicas)
            while not over.wait(LOOK_EVERY_S):
                keep_up(deployment, replicas, 1)

        signal.signal(signal.SIGTERM, pass_on)
        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        while process.poll() is None and not interrupted.wait(WAIT_S):
            pass
        over.set()
        looking.join()
        # Before a command that is asked to end does: Snakemake waits for its jobs first, and
        # whatever outlives the pod's grace period is killed with this process.
        take_away(deployment, label, own, interrupted=interrupted.is_set())
        status = process.wait()
    return status if status >= 0 else 128 - status


def main(words: Sequence[str]) -> int:
    """Do what the module's docstring says."""
    logging.basicConfig(format="%(message)s")
    if len(words) < 4 or not words[1].isdecimal():
        raise SystemExit(
            f"{' '.join(words)!r} was found where DEPLOYMENT PODS LABEL COMMAND... is expected: "
            "the name of a deployment, a number, a value of the label app.kubernetes.io/name, and "
            "the words of a command."
        )
    name, replicas, label, *command = words
    try:
        deployment = Deployment(Connection(), name)
    except WorkflowError as error:
        log.warning("Deployment %s is not scaled: %s", name, error)
        return subprocess.run(command, check=False).returncode
    return run(deployment, int(replicas), label, os.environ.get("JOB_NAME", ""), command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
