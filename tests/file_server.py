"""A server of files on this machine that does what servers do, also what they should not do."""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

MODIFIED = "Tue, 03 Mar 2026 10:20:30 GMT"


@dataclass
class Reply:
    """How one request for a file is answered, other than it should be.

    Attributes
    ----------
    status : int, optional
        In place of 200 or 206.
    headers : mapping
        In place of what they would be; one that is None is left out.
    body : bytes, optional
        In place of the file, or of the rest of it.
    drop_after : int, optional
        The connection is reset after this many bytes of the body.
    close_after : int, optional
        It is closed in good order after this many.
    stall_after : int, optional
        Nothing follows this many; the connection stays.
    trickle_s : float, optional
        Between two bytes.
    trickles_head : bool
        Also the headers are sent like that, and have no end.
    ignores_range : bool
        The whole file whatever is asked for.
    then : callable, optional
        Called before the answer, with the server: such as for another file to take its place.
    """

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    drop_after: int | None = None
    close_after: int | None = None
    stall_after: int | None = None
    trickle_s: float | None = None
    trickles_head: bool = False
    ignores_range: bool = False
    then: Callable[[FileServer], None] | None = None


@dataclass(frozen=True)
class Request:
    """A request that the server has had."""

    method: str
    path: str
    headers: Mapping[str, str]


class _Silent(ThreadingHTTPServer):
    """Says nothing of clients that go."""

    def handle_error(self, *_: object) -> None:
        pass


class FileServer:
    """Serves `files` (content by path) on a port of this machine until it is closed.

    Attributes
    ----------
    files : dict of str to bytes
    replies : dict of str to deque of Reply
        By path: how the next requests with GET are answered, one after the other.
    always : dict of str to Reply
        How all others of a path are answered.
    requests : list of Request
    etags : bool
        Whether answers have an ETag.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.files: dict[str, bytes] = dict(files or {})
        self.replies: dict[str, deque[Reply]] = {}
        self.always: dict[str, Reply] = {}
        self.heads: dict[str, Reply] = {}
        self.requests: list[Request] = []
        self.etags = True
        self.modified: str | None = MODIFIED
        self.ended = threading.Event()
        self._server = _Silent(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def __enter__(self) -> FileServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak HTTPS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def next(self, path: str, *replies: Reply) -> None:
        """Answer the next requests of a path in these ways."""
        self.replies.setdefault(path, deque()).extend(replies)

    def gets(self, path: str | None = None) -> list[Request]:
        """Requests with GET, of a path or of all."""
        return [
            each for each in self.requests if each.method == "GET" and path in {None, each.path}
        ]

    def etag(self, path: str) -> str:
        return f'"{hashlib.sha256(self.files[path]).hexdigest()[:16]}"'

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                server._answer(self, "HEAD")

            def do_GET(self) -> None:
                server._answer(self, "GET")

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        # Through a proxy, the whole address is asked for.
        path = urlsplit(handler.path).path
        self.requests.append(Request(method, path, dict(handler.headers)))
        reply = self.heads.get(path) if method == "HEAD" else None
        if method == "GET":
            waiting = self.replies.get(path)
            reply = waiting.popleft() if waiting else self.always.get(path)
        reply = reply or Reply()
        if reply.then:
            reply.then(self)
        status, headers, body = self._regular(handler, path, reply)
        if reply.body is not None:
            body, headers["Content-Length"] = reply.body, str(len(reply.body))
        if method == "HEAD":
            body = b""
        headers |= reply.headers
        if reply.trickles_head:
            self._trickle(handler, b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000, reply.trickle_s)
            return
        handler.send_response(reply.status or status)
        for name, value in headers.items():
            if value is not None:
                handler.send_header(name, value)
        handler.end_headers()
        try:
            self._send(handler, body, reply)
        except OSError:
            handler.close_connection = True

    def _regular(
        self, handler: BaseHTTPRequestHandler, path: str, reply: Reply
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers, and body as a good server gives them."""
        if path not in self.files:
            text = b"<html>no such file</html>"
            return 404, {"Content-Length": str(len(text))}, text
        content = self.files[path]
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(len(content))}
        if self.etags:
            headers["ETag"] = self.etag(path)
        if self.modified:
            headers["Last-Modified"] = self.modified
        wanted = handler.headers.get("Range")
        version = handler.headers.get("If-Range")
        if not wanted or reply.ignores_range or handler.command == "HEAD":
            return 200, headers, content
        if version and version not in {headers.get("ETag"), headers.get("Last-Modified")}:
            return 200, headers, content
        first = int(wanted.removeprefix("bytes=").rstrip("-"))
        if first >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}, b""
        rest = content[first:]
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        headers["Content-Length"] = str(len(rest))
        return 206, headers, rest

    def _trickle(self, handler: BaseHTTPRequestHandler, content: bytes, pause_s: float) -> None:
        """Send content byte by byte until the client has gone, or the server ends."""
        handler.close_connection = True
        with suppress(OSError):
            for place in range(len(content)):
                handler.wfile.write(content[place : place + 1])
                handler.wfile.flush()
                if self.ended.wait(pause_s):
                    return

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes, reply: Reply) -> None:
        out = handler.wfile
        if reply.trickle_s is not None:
            self._trickle(handler, body, reply.trickle_s)
            return
        if reply.headers.get("Transfer-Encoding") == "chunked":
            for start in range(0, len(body), 1000):
                block = body[start : start + 1000]
                out.write(b"%x\r\n%b\r\n" % (len(block), block))
            out.write(b"0\r\n\r\n")
            return
        ends = [
            n for n in (reply.drop_after, reply.close_after, reply.stall_after) if n is not None
        ]
        out.write(body[: min(ends, default=len(body))])
        out.flush()
        if reply.stall_after is not None:
            self.ended.wait()
        if reply.drop_after is not None:
            # A reset reaches the client before bytes that it has not read yet would.
            time.sleep(0.05)
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
        if ends or handler.headers.get("Connection") == "close":
            handler.close_connection = True
