"""The calls that the executor makes, each repeated until it is answered or patience ends."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import quote

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_kubernetes_pvc.connection import Answer, Connection, Stream
from snakemake_executor_plugin_kubernetes_pvc.manifest import CONTAINER

UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
GONE = 410
EXISTS = "AlreadyExists"
# Two creations met at the same quota.
CONFLICT = "Conflict"
BUSY = {408, 429, 500, 502, 503, 504}

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
# As many things come in one answer.
PAGE = 500
# The server ends a stream after this time, if nothing else does before.
STREAM_S = 300

Thing = dict[str, Any]

# All pods but those that have succeeded: their Job tells it.
_FIELDS = {"jobs": {}, "pods": {"fieldSelector": "status.phase!=Succeeded"}}


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
    stop, log
        As given.
    calls
        Number of requests sent, by what they are for.
    received
        Bytes of the answers, by the same.
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
        self.stop = stop
        self.log = log
        self.calls: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self._connection = connection
        self._patience_s = patience_s
        self._answered = False
        self._telling = threading.Lock()
        # Calls that wait for an answer at this moment: of several at once, one message is enough.
        self._troubled: set[object] = set()

    def hurried(self, patience_s: float) -> Api:
        """Make the same calls for the end of a run: with less patience, and not to be stopped."""
        api = Api(self._connection, self.namespace, patience_s, threading.Event(), self.log)
        api.calls, api.received = self.calls, self.received
        return api

    def create_job(self, manifest: Thing) -> Thing:
        """Create a Job; one of that name that is there already is this one, sent before.

        Returns
        -------
        dict
            The Job as the API server has it, or the manifest if the server did not tell.

        Raises
        ------
        Refused
            If the API server does not want it.
        """
        try:
            answer = self._call("create job", "POST", self._path("jobs"), body=manifest)
        except Refused as refusal:
            if refusal.reason != EXISTS:
                raise
            return manifest
        return json.loads(answer.text)

    def jobs(self, selector: str) -> list[Thing]:
        """All Jobs with these labels."""
        return self.listed("jobs", selector)[0]

    def pods(self, selector: str) -> list[Thing]:
        """All pods with these labels but those that have succeeded: their Job tells it."""
        return self.listed("pods", selector)[0]

    def listed(
        self, kind: str, selector: str, keep: Callable[[Thing], Thing] | None = None
    ) -> tuple[list[Thing], str]:
        """All Jobs or pods with these labels, as `jobs` and `pods` have them.

        Parameters
        ----------
        kind
            ``jobs`` or ``pods``.
        selector
            The labels.
        keep
            What to keep of each.

        Returns
        -------
        things
            What there is.
        version
            The state of the cluster that this is; a stream can begin there.
        """
        query = {"labelSelector": selector, **_FIELDS[kind]}
        return self._list(f"list {kind}", self._path(kind), query, keep)

    def watch(self, kind: str, selector: str, version: str) -> Stream:
        """Open a stream with all that becomes of what `listed` lists, from a version on.

        Raises
        ------
        Refused
            If there is none; with status 410 if the version is too old.
        """
        query = {"labelSelector": selector, **_FIELDS[kind], "watch": "true"}
        query |= {"allowWatchBookmarks": "true", "resourceVersion": version}
        query["timeoutSeconds"] = STREAM_S
        answer = self._call(f"watch {kind}", "GET", self._path(kind), query, stream=True)
        assert answer.stream is not None
        return answer.stream

    def events_of(self, kind: str, stream: Stream, silence_s: float) -> Iterator[Thing]:
        """Events of a stream as they come.

        Raises
        ------
        ValueError
            If it speaks something else.
        urllib3.exceptions.HTTPError, OSError
            As `Stream.pieces`.
        """
        rest: list[bytes] = []
        for piece in stream.pieces(silence_s):
            self.received[f"watch {kind}"] += len(piece)
            *lines, last = piece.split(b"\n")
            for line in lines:
                event = json.loads(b"".join([*rest, line]))
                rest = []
                if not isinstance(event, dict) or not {"type", "object"} <= event.keys():
                    raise ValueError(f"no event: {line[:100]!r}")
                yield event
            rest.append(last)

    def pod(self, name: str) -> Thing | None:
        """Get one pod, or None if there is none of that name."""
        query = {"fieldSelector": f"metadata.name={name}"}
        pods, _ = self._list("list pods", self._path("pods"), query)
        return next(iter(pods), None)

    def warnings(self) -> list[Thing]:
        """All events of type Warning in the namespace."""
        query = {"fieldSelector": "type=Warning"}
        return self._list("list events", self._path("events"), query)[0]

    def events_about(self, name: str) -> list[Thing]:
        """All events about one object."""
        query = {"fieldSelector": f"involvedObject.name={name}"}
        return self._list("list events", self._path("events"), query)[0]

    def nodes(self) -> list[Thing]:
        """All nodes, which a driver need not have the right to."""
        return self._list("list nodes", "/api/v1/nodes", {})[0]

    def delete_job(self, name: str) -> None:
        """Delete a Job and, soon after, its pods; that there is none is fine."""
        if not name:
            # Without a name the path is that of all Jobs.
            raise ValueError("a Job without a name cannot be deleted")
        query = {"propagationPolicy": "Background"}
        try:
            path = f"{self._path('jobs')}/{quote(name, safe='')}"
            self._call("delete job", "DELETE", path, query)
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

    def _list(
        self,
        purpose: str,
        path: str,
        query: dict[str, str | int],
        keep: Callable[[Thing], Thing] | None = None,
    ) -> tuple[list[Thing], str]:
        """Ask for a list, page by page, and tell its version too."""
        things: list[Thing] = []
        page_of: dict[str, str | int] = {"limit": PAGE}
        while True:
            try:
                page = json.loads(self._call(purpose, "GET", path, {**query, **page_of}).text)
            except Refused as refusal:
                if refusal.status != GONE or "continue" not in page_of:
                    raise
                # The first pages have grown too old meanwhile: once more, in one.
                things, page_of = [], {}
                continue
            things += map(keep, page["items"]) if keep else page["items"]
            metadata = page.get("metadata", {})
            if not metadata.get("continue"):
                return things, metadata.get("resourceVersion", "")
            page_of = {"limit": PAGE, "continue": metadata["continue"]}

    def _call(
        self,
        purpose: str,
        method: str,
        path: str,
        query: dict[str, str | int] | None = None,
        body: dict[str, Any] | None = None,
        stream: bool = False,
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
        troubled: object = None
        try:
            while True:
                pause_s = delay_s * random.uniform(0.5, 1)
                self.calls[purpose] += 1
                try:
                    answer = self._connection.send(method, path, query, body, stream)
                except (HTTPError, OSError) as error:
                    trouble = f"{type(error).__name__}: {error}"
                else:
                    self.received[purpose] += len(answer.text)
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
                        if troubled and self._end_trouble(troubled):
                            self.log.warning(f"The Kubernetes API answers again ({purpose}).")
                        if answer.status >= 400:
                            raise Refused(answer)
                        return answer
                waited_s = time.monotonic() - begin
                if waited_s + pause_s > self._patience_s:
                    raise WorkflowError(
                        f"The Kubernetes API did not answer for {waited_s:.0f} s ({purpose}): "
                        f"{trouble}"
                    )
                if not troubled:
                    troubled = object()
                    if self._begin_trouble(troubled):
                        self.log.warning(
                            f"The Kubernetes API does not answer ({purpose}: {trouble}): asking "
                            f"again for up to {self._patience_s:.0f} s."
                        )
                if self.stop.wait(pause_s):
                    raise Stopped
                delay_s = min(2 * delay_s, LONGEST_DELAY_S)
        finally:
            self._end_trouble(troubled)

    def _begin_trouble(self, call: object) -> bool:
        """Note that a call has to wait, and tell whether no other one does."""
        with self._telling:
            self._troubled.add(call)
            return len(self._troubled) == 1

    def _end_trouble(self, call: object) -> bool:
        """Note that a call waits no more, and tell whether it was the last that did."""
        with self._telling:
            self._troubled.discard(call)
            return not self._troubled


def _retry_after_s(answer: Answer) -> float:
    """Seconds that a busy server asks to be left alone."""
    try:
        return float(answer.headers.get("Retry-After", 0))
    except ValueError:  # a date: no API server sends it
        return 0
