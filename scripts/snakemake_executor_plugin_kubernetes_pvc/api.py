"""The calls that the executor makes, each repeated until it is answered or patience ends."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import Counter
from typing import Any, Protocol

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_kubernetes_pvc.connection import Answer, Connection
from snakemake_executor_plugin_kubernetes_pvc.manifest import CONTAINER

UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
EXISTS = "AlreadyExists"
# Two creations met at the same quota.
CONFLICT = "Conflict"
BUSY = {408, 429, 500, 502, 503, 504}

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0


class Log(Protocol):
    """What Snakemake's logger and Python's have in common."""

    def warning(self, msg: str) -> None:
        """Tell the user."""

    def info(self, msg: str) -> None:
        """Tell the user."""


class Refused(Exception):
    """The API server has understood a call, and said no.

    Attributes
    ----------
    status
        HTTP status.
    reason, message
        What it said, in one word and in a sentence.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message)
        self.status = answer.status
        self.reason = answer.reason
        self.message = answer.message

    @property
    def over_quota(self) -> bool:
        """Whether the same call may be allowed later, when other Jobs are done."""
        return self.status == FORBIDDEN and "exceeded quota" in self.message

    @property
    def concerns_all(self) -> bool:
        """Whether no job can be sent: a right, or the namespace, is missing."""
        no_right = self.status == FORBIDDEN and "cannot create resource" in self.message
        return no_right or self.status in (UNAUTHORIZED, NOT_FOUND)


class Stopped(Exception):
    """The run ends: nothing is waited for any more."""


class Api:
    """Jobs, pods and events of one namespace.

    Parameters
    ----------
    connection
        The way to the API server.
    namespace
        The namespace.
    patience_s
        How long a call is repeated that gets no answer, or one that says "later".
    stop
        When set, a call that would have to be repeated raises `Stopped` instead.
    log
        Where troubles are told.

    Attributes
    ----------
    calls
        Number of requests sent, by what they are for.
    """

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        patience_s: float,
        stop: threading.Event,
        log: Log | logging.Logger,
    ) -> None:
        self.namespace = namespace
        self.calls: Counter[str] = Counter()
        self._connection = connection
        self._patience_s = patience_s
        self._stop = stop
        self._log = log
        self._answered = False

    def hurried(self, patience_s: float) -> Api:
        """Make the same calls for the end of a run: with less patience, and not to be stopped."""
        api = Api(self._connection, self.namespace, patience_s, threading.Event(), self._log)
        api.calls = self.calls
        return api

    def create_job(self, manifest: dict[str, Any]) -> None:
        """Create a Job; one of that name that is there already is this one, sent before.

        Raises
        ------
        Refused
            If the API server does not want it.
        """
        try:
            self._call("create job", "POST", self._path("jobs"), body=manifest)
        except Refused as refusal:
            if refusal.reason != EXISTS:
                raise

    def jobs(self, selector: str) -> list[dict[str, Any]]:
        """All Jobs with these labels."""
        return self._list("list jobs", self._path("jobs"), {"labelSelector": selector})

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """All pods with these labels but those that have succeeded: their Job tells it."""
        query = {"labelSelector": selector, "fieldSelector": "status.phase!=Succeeded"}
        return self._list("list pods", self._path("pods"), query)

    def pod(self, name: str) -> dict[str, Any] | None:
        """Get one pod, or None if there is none of that name."""
        query = {"fieldSelector": f"metadata.name={name}"}
        return next(iter(self._list("list pods", self._path("pods"), query)), None)

    def warnings(self) -> list[dict[str, Any]]:
        """All events of type Warning in the namespace."""
        return self._list("list events", self._path("events"), {"fieldSelector": "type=Warning"})

    def events_of(self, name: str) -> list[dict[str, Any]]:
        """All events about one object."""
        return self._list(
            "list events", self._path("events"), {"fieldSelector": f"involvedObject.name={name}"}
        )

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes, which a driver need not have the right to."""
        return self._list("list nodes", "/api/v1/nodes", {})

    def delete_job(self, name: str) -> None:
        """Delete a Job and, soon after, its pods; that there is none is fine."""
        query = {"propagationPolicy": "Background"}
        try:
            self._call("delete job", "DELETE", f"{self._path('jobs')}/{name}", query)
        except Refused as refusal:
            if refusal.status != NOT_FOUND:
                raise

    def delete_jobs(self, selector: str) -> None:
        """Delete all Jobs with these labels and, soon after, their pods."""
        query = {"labelSelector": selector, "propagationPolicy": "Background"}
        try:
            self._call("delete jobs", "DELETE", self._path("jobs"), query)
        except Refused as refusal:
            # To delete many at once is a right of its own.
            if refusal.status != FORBIDDEN:
                raise
            for job in self.jobs(selector):
                self.delete_job(job["metadata"]["name"])

    def last_lines(self, pod: str, lines: int) -> str:
        """Last lines of a container's log, or why there are none."""
        query = {"container": CONTAINER, "tailLines": lines}
        try:
            return self._call("read log", "GET", f"{self._path('pods')}/{pod}/log", query).text
        except Refused as refusal:
            return f"(no log: {refusal.message})"

    def _path(self, kind: str) -> str:
        group = "/apis/batch/v1" if kind == "jobs" else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{kind}"

    def _list(self, purpose: str, path: str, query: dict[str, str | int]) -> list[dict[str, Any]]:
        return json.loads(self._call(purpose, "GET", path, query).text)["items"]

    def _call(
        self,
        purpose: str,
        method: str,
        path: str,
        query: dict[str, str | int] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Answer:
        """Send a request until it is answered.

        Raises
        ------
        Refused
            If the answer is no.
        Stopped
            If the run ends meanwhile.
        WorkflowError
            If patience ends.
        """
        from urllib3.exceptions import HTTPError

        begin = time.monotonic()
        delay_s = FIRST_DELAY_S
        troubled = False
        while True:
            pause_s = delay_s * random.uniform(0.5, 1)
            self.calls[purpose] += 1
            try:
                answer = self._connection.send(method, path, query, body)
            except (HTTPError, OSError) as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if answer.status == UNAUTHORIZED:
                    trouble = f"401 {answer.message}"
                    if not self._answered and troubled:
                        # Never let in, also with what was read again: nothing to wait for.
                        raise Refused(answer)
                    try:
                        self._connection.renew()
                    except WorkflowError as error:  # being written at this moment, perhaps
                        trouble = str(error)
                elif answer.status in BUSY or answer.reason == CONFLICT:
                    trouble = f"{answer.status} {answer.message}"
                    pause_s = max(pause_s, _retry_after_s(answer))
                else:
                    self._answered = True
                    if troubled:
                        self._log.warning(f"The Kubernetes API answers again ({purpose}).")
                    if answer.status >= 400:
                        raise Refused(answer)
                    return answer
            waited_s = time.monotonic() - begin
            if waited_s + pause_s > self._patience_s:
                raise WorkflowError(
                    f"The Kubernetes API did not answer for {waited_s:.0f} s ({purpose}): {trouble}"
                )
            if not troubled:
                self._log.warning(
                    f"The Kubernetes API does not answer ({purpose}: {trouble}): asking again for "
                    f"up to {self._patience_s:.0f} s."
                )
            troubled = True
            if self._stop.wait(pause_s):
                raise Stopped
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)


def _retry_after_s(answer: Answer) -> float:
    """Seconds that a busy server asks to be left alone."""
    try:
        return float(answer.headers.get("Retry-After", 0))
    except ValueError:  # a date: no API server sends it
        return 0
