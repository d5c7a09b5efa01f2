"""An API server on loopback that runs Jobs as processes of this machine, and has faults at will.

It knows what the executor needs: Jobs, pods, events, logs, labels, and streams of what happens. A
Job's pod is a process that runs the container's command in its working directory, so Snakemake in a
"pod" is real.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
from urllib3.exceptions import HTTPError

from snakemake_executor_plugin_kubernetes_pvc.connection import Connection, Stream

TOKEN = "let-me-in"


@dataclass(frozen=True)
class Call:
    """One request: what was asked, when, and what was answered (0: nothing)."""

    method: str
    kind: str
    name: str
    status: int
    at: float
    watch: bool = False


@dataclass
class Fault:
    """An answer instead of the right one; streams that it could have hit break before it.

    Attributes
    ----------
    status
        HTTP status; 0 to reset the connection, -1 to leave it unanswered for `hang_s`.
    method, kind, watch
        Which requests; None for all.
    skip, times
        How many of them come before it, and how many it hits.
    done
        True if the request is carried out, and only its answer is lost.
    """

    status: int
    method: str | None = None
    kind: str | None = None
    skip: int = 0
    times: int = 1
    message: str = "made for the test"
    reason: str = ""
    retry_after: str | None = None
    done: bool = False
    hang_s: float = 0
    watch: bool | None = None

    def fits(self, method: str, kind: str, watch: bool) -> bool:
        """Tell whether a request is one of those."""
        return (
            self.times > 0
            and self.method in (None, method)
            and self.kind in (None, kind)
            and self.watch in (None, watch)
        )


@dataclass(frozen=True)
class Change:
    """What happened to one thing: how it was and is (as JSON; None: it is not there)."""

    kind: str
    name: str
    before: str | None
    after: str | None


# What becomes of a Job's pod; None: its command runs.
Fate = Callable[["FakeApi", dict[str, Any]], None] | None


@dataclass
class FakeApi:
    """The server and its objects.

    Attributes
    ----------
    fate
        Asked for each new Job: what becomes of it.
    faults
        Faults to come, each used up by the first requests that it fits.
    calls
        All requests so far.
    page
        As many things are in one answer at most, whatever is asked for.
    stream_s, bookmark_s, event_s
        Seconds: how long streams last, how far bookmarks are apart, how late each event is.
    mute
        True if streams say nothing.
    forgets
        How many of the first changes streams know no more.
    gone_in_stream
        Whether that is told by the status of the answer, or by an event in it.
    sent_bytes
        Length of all answers, by kind.
    """

    fate: Callable[[dict[str, Any]], Fate] = lambda job: None
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)
    # What was ever created, also if it is deleted now.
    created: list[dict[str, Any]] = field(default_factory=list)
    # What each pod does, and how many pods were alive at once that did the same.
    at_work: dict[str, str] = field(default_factory=dict)
    most_at_once: dict[str, int] = field(default_factory=dict)
    token: str = TOKEN
    page: int = 10_000
    stream_s: float = 60.0
    bookmark_s: float = 5.0
    event_s: float = 0.0
    mute: bool = False
    forgets: int = 0
    gone_in_stream: bool = False
    sent_bytes: Counter[str] = field(default_factory=Counter)
    # All changes since the beginning; a version is a number of them.
    changes: list[Change] = field(default_factory=list)
    breaks: int = 0
    closed: bool = False

    def __enter__(self) -> FakeApi:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                api.answer(self)

            do_GET = do_POST = do_DELETE = handle_one  # noqa: N815 - names of the base class

            def log_message(self, *_: object) -> None:
                pass

        self.lock = threading.RLock()
        self._known: dict[tuple[str, str], tuple[str, str]] = {}

        class Server(ThreadingHTTPServer):
            def handle_error(self, *address: object) -> None:
                if not isinstance(sys.exc_info()[1], ConnectionError):  # some clients are killed
                    super().handle_error(*address)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self.server.shutdown()
        self.server.server_close()
        for process in self.processes.values():
            _kill(process)

    def write_kubeconfig(self, path: Path, token: str = TOKEN, namespace: str = "here") -> Path:
        """Write the configuration that leads here."""
        server = f"http://127.0.0.1:{self.server.server_port}"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "fake",
                    "clusters": [{"name": "fake", "cluster": {"server": server}}],
                    "users": [{"name": "me", "user": {"token": token}}],
                    "contexts": [
                        {
                            "name": "fake",
                            "context": {"cluster": "fake", "user": "me", "namespace": namespace},
                        }
                    ],
                }
            ),
            encoding="utf-8",
        )
        return path

    def writes(self) -> list[Call]:
        """Requests that change something."""
        return [call for call in self.calls if call.method != "GET"]

    def break_streams(self) -> None:
        """Break all streams that are open."""
        self.breaks += 1

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request, rightly or not."""
        kind, name, _ = _parse(handler.path)
        watch = "watch" in _query(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length) or "null")
        with self.lock:
            fault = self._fault(handler.command, kind, watch)
        if fault is None or fault.done:
            status, answer = self.carry_out(handler, body)
        if fault is not None:
            status, answer = fault.status, _no(fault.message, fault.reason)
        at = time.monotonic()
        self.calls.append(Call(handler.command, kind, name, max(status, 0), at, watch))
        if status <= 0:
            time.sleep(fault.hang_s)
            _reset(handler)
            return
        try:
            handler.send_response(status)
            if fault is not None and fault.retry_after:
                handler.send_header("Retry-After", fault.retry_after)
            handler.send_header("Content-Type", "application/json")
            if isinstance(answer, Iterator):
                self._stream(handler, kind, answer)
                return
            payload = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.sent_bytes[kind] += len(payload)
            handler.send_header("Content-Length", str(len(payload)))
            handler.end_headers()
            handler.wfile.write(payload)
        except OSError:  # the client is gone: it may have been killed by its test
            handler.close_connection = True

    def _stream(
        self, handler: BaseHTTPRequestHandler, kind: str, pieces: Iterator[bytes | None]
    ) -> None:
        """Send a stream until it ends, breaks, or the client is gone."""
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        breaks = self.breaks
        for piece in pieces:
            with self.lock:
                faulty = any(one.fits("GET", kind, True) and not one.skip for one in self.faults)
            if faulty or self.closed or self.breaks != breaks:
                _reset(handler)
                return
            if piece is None or self.mute:
                continue
            # An event may come in several pieces.
            for part in filter(None, (piece[: len(piece) // 2], piece[len(piece) // 2 :])):
                self.sent_bytes[kind] += len(part)
                handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                handler.wfile.flush()
        handler.wfile.write(b"0\r\n\r\n")

    def carry_out(self, handler: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        """Do what a request asks for, and return status and answer."""
        if handler.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, _no("Unauthorized")
        query = _query(handler.path)
        if "watch" in query:
            return self._watched(_parse(handler.path)[0], query)
        return self._act(handler.command, *_parse(handler.path), query, body)

    def _fault(self, method: str, kind: str, watch: bool) -> Fault | None:
        for fault in self.faults:
            if fault.fits(method, kind, watch):
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def note_changes(self) -> int:
        """Note what has changed since this was done last, and return the version."""
        with self.lock:
            now = {}
            for kind in ("jobs", "pods"):
                for name, thing in list(getattr(self, kind).items()):
                    # Specifications do not change.
                    state = _dumped([thing["metadata"], thing["status"]])
                    known = self._known.get((kind, name))
                    if known is None or known[0] != state:
                        self._note(kind, name, known and known[1], thing)
                        now[kind, name] = (state, self.changes[-1].after)
                    else:
                        now[kind, name] = known
            for kind, name in self._known.keys() - now.keys():
                self._note(kind, name, self._known[kind, name][1], None)
            self._known = now
            return len(self.changes)

    def _note(self, kind: str, name: str, before: str | None, thing: Any) -> None:
        version = str(len(self.changes) + 1)
        if thing is None:
            after = None
        else:
            metadata = {**thing["metadata"], "resourceVersion": version}
            after = _dumped({**thing, "metadata": metadata})
        self.changes.append(Change(kind, name, before, after))

    def _watched(self, kind: str, query: dict[str, str]) -> tuple[int, Any]:
        """Begin a stream."""
        version = int(query["resourceVersion"])
        if version < self.forgets and not self.gone_in_stream:
            return 410, _no("too old resource version", "Expired")
        return 200, self._events(kind, query, version)

    def _events(self, kind: str, query: dict[str, str], version: int) -> Iterator[bytes | None]:
        """What a stream says from a version on; None: nothing new."""
        if version < self.forgets:
            yield _event("ERROR", {**_no("too old resource version", "Expired"), "code": 410})
            return
        begin = bookmark = time.monotonic()
        while time.monotonic() - begin < min(self.stream_s, float(query["timeoutSeconds"])):
            self.note_changes()
            for change in self.changes[version:]:
                version += 1
                was, there = (
                    thing is not None and bool(_chosen({change.name: json.loads(thing)}, query))
                    for thing in (change.before, change.after)
                )
                if change.kind != kind or not (was or there):
                    continue
                what = ("MODIFIED" if was else "ADDED") if there else "DELETED"
                thing = json.loads(change.after or change.before)
                if not there and change.after:
                    thing = json.loads(change.before)
                thing["metadata"]["resourceVersion"] = str(version)
                time.sleep(self.event_s)
                yield _event(what, thing)
            if time.monotonic() - bookmark > self.bookmark_s:
                bookmark = time.monotonic()
                yield _event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})
            yield None
            time.sleep(0.1)

    def _act(
        self, method: str, kind: str, name: str, log: bool, query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        """Carry a request out."""
        with self.lock:
            things = getattr(self, kind)
            if kind == "events":
                return 200, {"items": _of_fields(things, query)}
            if method == "POST":
                return self._create(body)
            if method == "DELETE":
                doomed = [name] if name else list(_chosen(things, query))
                if name and name not in things:
                    return 404, _no(f'jobs.batch "{name}" not found')
                for one in doomed:
                    self.delete(one)
                return 200, {"kind": "Status"}
            if log:
                text = self.logs[name].read_text() if name in self.logs else ""
                return 200, "\n".join(text.splitlines()[-int(query["tailLines"]) :])
            version = self.note_changes()
            chosen = list(_chosen(things, query).values())
            begin = int(query.get("continue", 0))
            if begin and begin < self.forgets:
                return 410, _no("the provided continue parameter is too old", "Expired")
            end = begin + min(self.page, int(query.get("limit", len(chosen))))
            more = {"continue": str(end)} if end < len(chosen) else {}
            return 200, {
                "metadata": {"resourceVersion": str(version), **more},
                "items": chosen[begin:end],
            }

    def _create(self, job: dict[str, Any]) -> tuple[int, Any]:
        name = job["metadata"]["name"]
        if name in self.jobs:
            return 409, _no(f'jobs.batch "{name}" already exists', "AlreadyExists")
        self.created.append(job)
        job["status"] = {}
        job["metadata"]["uid"] = f"uid-{len(self.created)}"
        self.jobs[name] = job
        self.note_changes()
        fate = self.fate(job)
        if fate is None:
            self.run(job)
        else:
            fate(self, job)
        return 201, job

    def add_pod(self, job: dict[str, Any], **status: Any) -> dict[str, Any]:
        """Give a Job its pod."""
        name = f"{job['metadata']['name']}-pod"
        labels = {**job["metadata"]["labels"], "job-name": job["metadata"]["name"]}
        self.pods[name] = {
            "metadata": {"name": name, "labels": labels},
            "spec": job["spec"]["template"]["spec"],
            "status": status,
        }
        return self.pods[name]

    def run(self, job: dict[str, Any]) -> None:
        """Start the pod of a Job."""
        pod = self.add_pod(job, phase="Running")
        name = pod["metadata"]["name"]
        container = pod["spec"]["containers"][0]
        given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        for one in container["env"]:
            path = one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
            if label := re.fullmatch(r"metadata\.labels\['(.+)'\]", path):
                given[one["name"]] = pod["metadata"]["labels"][label[1]]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        log = Path(container["workingDir"], ".snakemake", f"{name}.log")
        self.logs[name] = log
        with log.open("w") as output:
            self.processes[name] = subprocess.Popen(
                container["command"],
                cwd=container["workingDir"],
                env={**os.environ, **given, "PATH": path},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        does = task(job)
        self.at_work[name] = does
        alive = [one for one, process in self.processes.items() if process.poll() is None]
        number = sum(self.at_work[one] == does for one in alive)
        self.most_at_once[does] = max(number, self.most_at_once.get(does, 0))
        threading.Thread(target=self._watch, args=(job, pod), daemon=True).start()

    def _watch(self, job: dict[str, Any], pod: dict[str, Any]) -> None:
        code = self.processes[pod["metadata"]["name"]].wait()
        with self.lock:
            ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
            self.end(job, pod, "Succeeded" if code == 0 else "Failed", terminated=ended)

    def end(self, job: dict[str, Any], pod: dict[str, Any], phase: str, **state: Any) -> None:
        """End a pod, and its Job with it."""
        pod["status"]["phase"] = phase
        if state:
            pod["status"]["containerStatuses"] = [{"name": "main", "state": state}]
        kind = "Complete" if phase == "Succeeded" else "Failed"
        job["status"]["conditions"] = [{"type": kind, "status": "True"}]

    def delete(self, name: str) -> None:
        """Delete a Job with its pod, and kill what runs in it."""
        self.jobs.pop(name)
        pod = f"{name}-pod"
        if pod in self.processes:
            _kill(self.processes[pod])
        self.pods.pop(pod, None)


@dataclass
class FaultyProxy(FakeApi):
    """The same faults before a real API server; it is reached with the rights of `connection`."""

    connection: Connection | None = None

    def carry_out(self, handler: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        """Pass a request on."""
        watch = "watch" in _query(handler.path)
        answer = self.connection.send(handler.command, handler.path, body=body, stream=watch)
        return answer.status, answer.text if answer.stream is None else _passed_on(answer.stream)


def task(job: dict[str, Any]) -> str:
    """Rule and wildcards of a Job, from its labels."""
    labels = job["metadata"]["labels"]
    wildcards = [value for key, value in labels.items() if key.startswith("snakemake/wildcard.")]
    return "-".join([labels["snakemake/rule"], *wildcards])


def _parse(path: str) -> tuple[str, str, bool]:
    """Kind and name in a path, and whether it asks for a log."""
    path = urlsplit(path).path
    if path == "/api/v1/nodes":
        return "nodes", "", False
    _, kind, *rest = path.partition("/namespaces/")[2].split("/")
    return kind, rest[0] if rest else "", rest[-1:] == ["log"]


def _query(path: str) -> dict[str, str]:
    """The query of a path."""
    return {key: values[0] for key, values in parse_qs(urlsplit(path).query).items()}


def _dumped(thing: Any) -> str:
    """Write something as JSON that a test may be changing at this moment."""
    while True:
        with suppress(RuntimeError):
            return json.dumps(thing)


def _event(kind: str, thing: Any) -> bytes:
    return json.dumps({"type": kind, "object": thing}).encode() + b"\n"


def _passed_on(stream: Stream) -> Iterator[bytes | None]:
    """Pieces of a stream of another server; None when there have been none for a moment."""
    pieces: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        with suppress(HTTPError, OSError):
            for piece in stream.pieces(600):
                pieces.put(piece)
        pieces.put(b"")

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            try:
                piece = pieces.get(timeout=0.1)
            except queue.Empty:
                yield None
                continue
            if not piece:
                return
            yield piece
    finally:
        stream.close()


def _reset(handler: BaseHTTPRequestHandler) -> None:
    """Reset a connection."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.shutdown(socket.SHUT_RDWR)


def _chosen(things: dict[str, dict[str, Any]], query: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Things with the labels and fields that a query asks for."""
    chosen = dict(things)
    field_term = query.get("fieldSelector", "")
    if field_term == "status.phase!=Succeeded":
        chosen = {
            name: pod for name, pod in chosen.items() if pod["status"].get("phase") != "Succeeded"
        }
    elif field_term.startswith("metadata.name="):
        wanted = field_term.partition("=")[2]
        chosen = {name: thing for name, thing in chosen.items() if name == wanted}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, sign, value = term.partition("!=" if "!=" in term else "=")
        chosen = {
            name: thing
            for name, thing in chosen.items()
            if (thing["metadata"]["labels"].get(key) == value) == (sign == "=")
        }
    return chosen


def _of_fields(events: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    """Events with the fields that a query asks for."""
    key, _, value = query.get("fieldSelector", "").partition("=")
    if key == "type":
        return [event for event in events if event.get("type", "Warning") == value]
    if key == "involvedObject.name":
        return [event for event in events if event["involvedObject"]["name"] == value]
    return events


def _no(message: str, reason: str = "") -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "message": message, "reason": reason}


def _kill(process: subprocess.Popen) -> None:
    """Kill a process and its children, and wait until it is gone."""
    if process.poll() is None:
        # A warm worker's children lead groups of their own.
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait()
