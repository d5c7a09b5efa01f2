"""One file over HTTP: resumed after an interruption, and never a mixture of two versions."""

from __future__ import annotations

import email.utils
import errno
import hashlib
import json
import math
import random
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from snakeshed.atomic import atomic
from snakeshed.errors import TransferError, UnreachableError
from snakeshed.transfer.addresses import host, shown
from snakeshed.transfer.limits import Limits
from snakeshed.transfer.progress import Progress

if TYPE_CHECKING:
    import requests

_CHUNK_BYTES = 1 << 20
# A process that is killed loses this much.
_NOTED_BYTES = 4 << 20
# Busy or overloaded, for a while.
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_NO_NETWORK = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
# What is quoted of a server's answer.
_QUOTED = 200

KEPT = "What has been fetched is kept."


class Stopped(Exception):
    """Another transfer has failed, so this one ends; what it has is kept."""


class OtherLengthError(Exception):
    """The file is of another length, `found`, than the one that is wanted."""

    def __init__(self, found: int) -> None:
        super().__init__(found)
        self.found = found


class Watch:
    """Until when something must have happened, or nobody waits for it any longer."""

    def __init__(self) -> None:
        self.deadline = math.inf

    def allow(self, seconds: float) -> None:
        """Allow some time from now on."""
        self.deadline = time.monotonic() + seconds


@dataclass(frozen=True)
class Validators:
    """What a server says of the version of a file.

    Attributes
    ----------
    etag, last_modified : str or None
        As in its headers.
    """

    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def of(cls, answer: requests.Response) -> Validators:
        """Read them from an answer."""
        return cls(answer.headers.get("ETag"), answer.headers.get("Last-Modified"))

    @property
    def for_range(self) -> str | None:
        """What a request for the rest of this version names; None if it cannot be named."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


@dataclass(frozen=True)
class Received:
    """A file that was received as a whole.

    Attributes
    ----------
    length : int
        In bytes.
    sha256 : str
    validators : Validators
    is_joined : bool
        It was received in pieces: the rest was added to a beginning.
    """

    length: int
    sha256: str
    validators: Validators
    is_joined: bool = False


class _Again(Exception):
    """A failure that may pass; `wait_s` is what the server asks for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


class _Part:
    """A file that is partly there; a note beside it says of which version, and how much is sound.

    The note has the SHA-256 of the beginning: after a loss of power, that may not be what it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}.json")
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._noted = 0
        self._is_done = False
        self.size = 0
        self.validators = Validators()
        self.is_joined = False

    def __enter__(self) -> _Part:
        # Unbuffered: what is counted is in the file, and not in memory only.
        self._file = open(self.path, "a+b", buffering=0)
        if not self._take_up():
            self.restart(Validators())
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self._is_done and self.size > self._noted:
            with suppress(OSError):
                self._write_note()

    def restart(self, validators: Validators) -> None:
        """Drop what is there; what follows is of another version."""
        self._note.unlink(missing_ok=True)
        self._file.truncate(0)
        self._hash, self.size, self.validators = hashlib.sha256(), 0, validators
        self.is_joined = False
        self._write_note()

    def append(self, block: bytes) -> None:
        try:
            # A raw file may take a part of it.
            left = memoryview(block)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            error.filename = str(self.path)
            raise
        self._hash.update(block)
        self.size += len(block)
        if self.size >= self._noted + _NOTED_BYTES:
            self._write_note()

    def received(self) -> Received:
        self._is_done = True
        self._note.unlink(missing_ok=True)
        return Received(self.size, self._hash.hexdigest(), self.validators, self.is_joined)

    def remove(self) -> None:
        self._is_done = True
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)

    def _write_note(self) -> None:
        content = {
            "etag": self.validators.etag,
            "last_modified": self.validators.last_modified,
            "size": self.size,
            "sha256": self._hash.hexdigest(),
        }
        with atomic(self._note, lasting=False) as part:
            part.write_text(json.dumps(content), encoding="utf-8")
        self._noted = self.size

    def _take_up(self) -> bool:
        """Go on with what an earlier transfer has left, as far as its note goes."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            validators = Validators(note["etag"], note["last_modified"])
            size, sha256 = int(note["size"]), str(note["sha256"])
        except (OSError, ValueError, TypeError, KeyError):
            return False
        if validators.for_range is None:
            return False
        self._file.seek(0)
        left = size
        while left and (block := self._file.read(min(left, _CHUNK_BYTES))):
            self._hash.update(block)
            left -= len(block)
        if left or self._hash.hexdigest() != sha256:
            return False
        self._file.truncate(size)
        self._noted = self.size = size
        self.validators = validators
        return True


def download(
    address: str,
    path: Path,
    session: requests.Session,
    limits: Limits,
    stop: threading.Event,
    progress: Progress,
    watch: Watch | None = None,
    length: int | None = None,
) -> Received | None:
    """Fetch a file, or the rest of it.

    It is not on the disk yet, as a loss of power would show: who relies on that sees to it.

    Parameters
    ----------
    address : str
    path : Path
        Where it goes. If an earlier call was interrupted, its beginning is there, and is used if
        the server still has the same version. Nobody else writes there.
    session : requests.Session
    limits : Limits
    stop : threading.Event
        Once it is set, the transfer ends soon.
    progress : Progress
    watch : Watch, optional
        Says how long a step may take, for another thread to see.
    length : int, optional
        Of the file that is wanted: another one is not fetched.

    Returns
    -------
    Received or None
        None if the server has no such file (404, 410).

    Raises
    ------
    TransferError
        It cannot be fetched.
    Stopped
        `stop` was set.
    OtherLengthError
        The server has a file of another length.
    OSError
        It cannot be written.
    """
    watch = watch or Watch()
    with _Part(path) as part:
        progress.kept(part.size)
        failed, reached = 0, part.size
        while True:
            try:
                watch.allow(limits.stuck_s)
                return _attempt(address, part, session, limits, stop, progress, watch, length)
            except _Again as again:
                reason, wait_s = again.reason, again.wait_s
            failed = 1 if part.size >= reached + limits.progress_bytes else failed + 1
            reached = max(reached, part.size)
            if failed >= limits.tries:
                raise _given_up(address, part, failed, reason)
            if wait_s is not None and wait_s > limits.longest_wait_s:
                raise TransferError(
                    shown(address),
                    f"{reason}, which asks to wait {wait_s:,.0f} s",
                    f"a server that answers within {limits.longest_wait_s:,.0f} s",
                    f"{KEPT} Run the same command again after that time.",
                )
            # Not all transfers of a run try again at the same moment.
            delay_s = max(limits.delay_s(failed) * (1 + random.random() / 4), wait_s or 0.0)
            watch.allow(delay_s + limits.stuck_s)
            if stop.wait(delay_s):
                raise Stopped


def _attempt(
    address: str,
    part: _Part,
    session: requests.Session,
    limits: Limits,
    stop: threading.Event,
    progress: Progress,
    watch: Watch,
    wanted: int | None,
) -> Received | None:
    """Do one request, and take what it brings."""
    headers = {"Accept-Encoding": "identity"}
    if part.size and (version := part.validators.for_range):
        headers |= {"Range": f"bytes={part.size}-", "If-Range": version}
    with _answer(address, headers, session, limits) as answer:
        if answer.status_code in {404, 410}:
            part.remove()
            return None
        if answer.status_code == 206 and part.size:
            whole = _whole_length(answer, part)
            if whole is None:
                _drop(part, Validators(), progress)
                raise _Again("another part of the file than was asked for")
            part.is_joined = True
        elif answer.status_code == 200:
            _drop(part, Validators.of(answer), progress)
            length = answer.headers.get("Content-Length", "")
            whole = int(length) if length.isdecimal() else None
            if None not in {whole, wanted} and whole != wanted:
                raise OtherLengthError(whole)
        else:
            # 416, or 206 to a request for the whole file: what is here is of another version.
            _drop(part, Validators(), progress)
            raise _Again(f"status {answer.status_code} {answer.reason}")
        coding = answer.headers.get("Content-Encoding", "identity")
        if coding.lower() not in {"", "identity"}:
            raise TransferError(
                shown(address),
                f"a file in the encoding {coding}",
                "the file as it is, as was asked for",
                "The server, or a proxy before it, changes files: fetch it from another network.",
            )
        _take(answer, part, limits, stop, progress, watch)
        if whole is not None and part.size != whole:
            raise _Again(f"{part.size:,} bytes of {whole:,}")
        return part.received()


def _answer(
    address: str, headers: dict[str, str], session: requests.Session, limits: Limits
) -> requests.Response:
    """Ask, and return an answer that has the file, or says that there is none."""
    import requests

    try:
        answer = session.get(
            address, headers=headers, stream=True, timeout=(limits.connect_s, limits.read_s)
        )
    except requests.exceptions.SSLError as error:
        raise certificate_error(address, error) from error
    except requests.exceptions.TooManyRedirects as error:
        raise TransferError(
            shown(address),
            f"more than {limits.redirects} redirects",
            "a file",
            "Open the address in a browser: the source may have moved.",
        ) from error
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise _Again(reason_of(error)) from error
    except (requests.exceptions.RequestException, ValueError) as error:
        # The error itself would show where a redirect leads, with passwords in it.
        raise TransferError(
            shown(address),
            "an address that cannot be used, or a redirect to one",
            "a file",
            "Open the address in a browser: the source may have moved.",
        ) from error
    status = answer.status_code
    if status in {200, 206, 404, 410, 416}:
        return answer
    with answer:
        named = f"status {status} {answer.reason}"
        if status in _TEMPORARY:
            raise _Again(named, _retry_after_s(answer))
        # The text may repeat the address that was asked.
        is_secret = any(shown(each) != each for each in (address, answer.url))
        text = "" if is_secret else _beginning(answer)
        raise TransferError(
            shown(address),
            f"{named}{f' ({text})' if text else ''}",
            "a file that everybody can read",
            "Open the address in a browser. If it asks for a login, fetch the file yourself and "
            "name it by its path.",
        )


def _take(
    answer: requests.Response,
    part: _Part,
    limits: Limits,
    stop: threading.Event,
    progress: Progress,
    watch: Watch,
) -> None:
    """Append the body of an answer to a part."""
    import urllib3

    since, there = time.monotonic(), part.size
    while True:
        if stop.is_set():
            raise Stopped
        try:
            # One read of the socket at a time: a server that trickles is seen as such.
            block = answer.raw.read1(_CHUNK_BYTES, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Again(reason_of(error)) from error
        if not block:
            return
        part.append(block)
        progress.arrived(len(block))
        now = time.monotonic()
        if now - since >= limits.slow_s:
            if part.size - there < limits.slow_bytes_per_s * (now - since):
                raise _Again(f"{part.size - there:,} bytes in {now - since:.0f} s")
            since, there = now, part.size
            watch.allow(limits.stuck_s)


def _drop(part: _Part, validators: Validators, progress: Progress) -> None:
    progress.arrived(-part.size)
    part.restart(validators)


def _whole_length(answer: requests.Response, part: _Part) -> int | None:
    """Return the length of the whole file if an answer has the rest of a part, else None."""
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if match is None:
        return None
    first, last, whole = map(int, match.groups())
    return whole if first == part.size and last == whole - 1 else None


def _retry_after_s(answer: requests.Response) -> float | None:
    """Return how long the server asks to wait, which it does in seconds or by a date."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    with suppress(ValueError, TypeError):
        until = email.utils.parsedate_to_datetime(value)
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    return None


def _beginning(answer: requests.Response) -> str:
    """Return the beginning of the text of an answer, without tags."""
    import urllib3

    try:
        text = answer.raw.read(2000, decode_content=True).decode("utf-8", "replace")
    except (urllib3.exceptions.HTTPError, OSError):
        return ""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:_QUOTED]


def reason_of(error: BaseException) -> str:
    """Return in a few words why a connection failed."""
    import requests
    import urllib3

    causes: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(causes) < 20:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in causes:
            causes.append(each)
            waiting += [each.__cause__, getattr(each, "reason", None), *each.args]
    if any(getattr(each, "errno", None) in _NO_NETWORK for each in causes):
        return "no network"
    # In this order: urllib3 counts a refused connection among those that time out.
    kinds = (
        ((requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), "no way past the proxy"),
        (urllib3.exceptions.NameResolutionError, "no address for this host"),
        (ConnectionRefusedError, "connection refused"),
        ((ConnectionResetError, BrokenPipeError), "connection reset"),
        (urllib3.exceptions.IncompleteRead, "connection closed before the end of the file"),
        (
            (urllib3.exceptions.ReadTimeoutError, requests.exceptions.ReadTimeout),
            "no byte for too long",
        ),
        ((TimeoutError, requests.exceptions.Timeout), "no answer in time"),
    )
    for kind, words in kinds:
        if any(isinstance(each, kind) for each in causes):
            return words
    return "connection broken"


def certificate_error(address: str, error: Exception) -> TransferError:
    """Return the error of a host whose certificate is not trusted."""
    reason = re.search(r"\[SSL: \w+\] ([^(]*)", str(error))
    words = f" ({reason[1].strip()})" if reason else ""
    return TransferError(
        shown(address),
        f"no secure connection to {host(address)}{words}",
        "a certificate that this machine trusts",
        "If your network has a certificate of its own, set REQUESTS_CA_BUNDLE to the file with it.",
    )


def _given_up(address: str, part: _Part, tries: int, reason: str) -> UnreachableError:
    there = f", with {part.size:,} bytes of the file here" if part.size else ""
    return unreachable(address, f"{reason} in {tries} tries{there}")


def unreachable(address: str, found: str) -> UnreachableError:
    """Return the error of a server that does not give a file."""
    return UnreachableError(
        shown(address),
        found,
        f"a file from {host(address)}",
        f"{KEPT} Check the network (https_proxy, if it has a proxy), and run the same command "
        "again. A machine without network needs `snakeshed fetch` on one that has it.",
    )
