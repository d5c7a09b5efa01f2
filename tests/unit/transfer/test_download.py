"""One file from a server that fails in every way: the right bytes, or an error that says why."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from file_server import MODIFIED, FileServer, Reply

from snakeshed.errors import TransferError
from snakeshed.transfer.download import Stopped, download
from snakeshed.transfer.limits import Limits
from snakeshed.transfer.progress import Progress

QUICK = Limits(
    connect_s=2,
    read_s=0.3,
    slow_bytes_per_s=100,
    slow_s=0.3,
    tries=3,
    progress_bytes=1000,
    first_delay_s=0.001,
    longest_delay_s=0.002,
    longest_wait_s=5,
    redirects=3,
)
CONTENT = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(250_000)
PATH = "/a/b.tif"
KEPT = "What has been fetched is kept."
LATER = (
    f"{KEPT} Check the network (https_proxy, if it has a proxy), and run the same command again. A "
    "machine without network needs `snakeshed fetch` on one that has it."
)


@pytest.fixture
def server():
    with FileServer({PATH: CONTENT}) as made:
        yield made


def get(server: FileServer | str, part: Path, limits: Limits = QUICK, stop=None):
    address = server if isinstance(server, str) else server.address + PATH
    with requests.Session() as session:
        session.max_redirects = limits.redirects
        return download(
            address, part, session, limits, stop or threading.Event(), Progress(None, 1000)
        )


def check(received, part: Path, content: bytes = CONTENT) -> None:
    assert part.read_bytes() == content
    assert (received.length, received.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    # Nothing is left that a later transfer could take for a beginning.
    assert [each.name for each in part.parent.iterdir()] == [part.name]


def change(server: FileServer) -> None:
    server.files[PATH] = OTHER


def ranges(server: FileServer) -> list[str | None]:
    return [each.headers.get("Range") for each in server.gets()]


def test_a_file_is_fetched_as_it_is(server, tmp_path):
    received = get(server, tmp_path / "part")
    check(received, tmp_path / "part")
    assert received.validators.etag == server.etag(PATH)
    assert received.validators.last_modified == MODIFIED
    (request,) = server.gets()
    assert request.headers["Accept-Encoding"] == "identity"


# What a server does first; the file is right in the end, and its beginning is not fetched twice
# where the server lets it be resumed.
FAULTS = {
    "drops": ([Reply(drop_after=100_000)], True),
    "drops twice": ([Reply(drop_after=100_000), Reply(drop_after=50_000)], True),
    "drops at once": ([Reply(drop_after=0)], False),
    "ends early": ([Reply(close_after=100_000)], True),
    "stalls": ([Reply(stall_after=100_000)], True),
    "is busy": ([Reply(status=503, body=b"busy", headers={"Retry-After": "0"})], False),
    "has too many requests": ([Reply(status=429, body=b"slow down")], False),
    "times out": ([Reply(status=504, body=b"")], False),
    "answers nothing": ([Reply(stall_after=0)], False),
    "says more than it has": ([Reply(headers={"Content-Length": "400000"})], False),
    "ignores a range": ([Reply(drop_after=100_000), Reply(ignores_range=True)], None),
    "gives another range": (
        [
            Reply(drop_after=100_000),
            Reply(headers={"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"}),
        ],
        False,
    ),
    "gives a range of another file": (
        [Reply(drop_after=100_000), Reply(headers={"Content-Range": "bytes 100000-299998/299999"})],
        False,
    ),
    "gives no range": ([Reply(drop_after=100_000), Reply(headers={"Content-Range": None})], False),
    "has no such range": ([Reply(drop_after=100_000), Reply(status=416, body=b"")], False),
    "gives a range unasked": ([Reply(status=206)], False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_changes_nothing(server, tmp_path, fault):
    replies, resumes = FAULTS[fault]
    server.next(PATH, *replies)
    check(get(server, tmp_path / "part"), tmp_path / "part")
    last = server.gets()[-1]
    assert resumes is None or ("Range" in last.headers) == resumes
    if resumes:
        assert last.headers["If-Range"] == server.etag(PATH)
        assert int(last.headers["Range"].removeprefix("bytes=").rstrip("-")) > 50_000


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changes_in_between_is_never_a_mixture(server, tmp_path, etags):
    server.etags = etags

    def replaced(server: FileServer) -> None:
        change(server)
        server.modified = "Wed, 04 Mar 2026 10:20:30 GMT"

    server.next(PATH, Reply(drop_after=100_000), Reply(then=replaced))
    check(get(server, tmp_path / "part"), tmp_path / "part", OTHER)


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_without_a_name_of_its_version_a_file_is_fetched_from_the_start(server, tmp_path, etag):
    server.etags, server.modified = False, None
    headers = {"ETag": etag} if etag else {}
    server.next(PATH, Reply(drop_after=100_000, headers=headers), Reply(then=change))
    check(get(server, tmp_path / "part"), tmp_path / "part", OTHER)
    assert ranges(server) == [None, None]


def test_a_weak_etag_is_no_name_of_a_version_but_a_date_is(server, tmp_path):
    server.next(PATH, Reply(drop_after=100_000, headers={"ETag": 'W/"1"'}))
    check(get(server, tmp_path / "part"), tmp_path / "part")
    assert server.gets()[-1].headers["If-Range"] == MODIFIED


def test_a_file_without_a_length_is_whole_when_its_last_chunk_has_come(server, tmp_path):
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": None}
    server.next(PATH, Reply(headers=chunked))
    check(get(server, tmp_path / "part"), tmp_path / "part")
    server.next(PATH, Reply(headers=chunked | {"ETag": None, "Last-Modified": None}, body=b"x"))
    check(get(server, tmp_path / "part"), tmp_path / "part", b"x")


def test_an_empty_file_is_a_file(server, tmp_path):
    server.files[PATH] = b""
    check(get(server, tmp_path / "part"), tmp_path / "part", b"")


@pytest.mark.parametrize("status", [404, 410])
def test_a_server_may_have_no_such_file(server, tmp_path, status):
    server.next(PATH, Reply(status=status, body=b"none"))
    assert get(server, tmp_path / "part") is None


def test_redirects_are_followed(server, tmp_path):
    server.next(PATH, Reply(status=302, headers={"Location": "/there"}, body=b""))
    server.files["/there"] = OTHER
    check(get(server, tmp_path / "part"), tmp_path / "part", OTHER)


def fails(server: FileServer | str, tmp_path: Path, limits: Limits = QUICK) -> str:
    with pytest.raises(TransferError) as error:
        get(server, tmp_path / "part", limits)
    return str(error.value).replace(server if isinstance(server, str) else server.address, "S")


# What a server always does, and what is said then.
LASTING = {
    "cuts": (
        Reply(headers={"Content-Length": "400000"}, close_after=300_000),
        "connection closed before the end of the file in 3 tries, with 300,000 bytes of the file "
        f"here; expected a file from S. {LATER}",
    ),
    "stalls": (
        Reply(stall_after=50, ignores_range=True),
        "no byte for too long in 3 tries, with 50 bytes of the file here; expected a file from S. "
        f"{LATER}",
    ),
    "trickles": (
        Reply(trickle_s=0.02),
        f"in 3 tries, with {{}} bytes of the file here; expected a file from S. {LATER}",
    ),
    "is busy": (
        Reply(status=503, body=b""),
        f"status 503 Service Unavailable in 3 tries; expected a file from S. {LATER}",
    ),
    "is busy for long": (
        Reply(status=503, body=b"", headers={"Retry-After": "3600"}),
        "status 503 Service Unavailable, which asks to wait 3,600 s; expected a server that "
        f"answers within 5 s. {KEPT} Run the same command again after that time.",
    ),
    "forbids": (
        Reply(status=403, body=b"<Error><Code>AccessDenied</Code></Error>"),
        "status 403 Forbidden (AccessDenied); expected a file that everybody can read. Open the "
        "address in a browser. If it asks for a login, fetch the file yourself and name it by its "
        "path.",
    ),
    "wants a login": (
        Reply(status=401, body=b""),
        "status 401 Unauthorized; expected a file that everybody can read. Open the address in a "
        "browser. If it asks for a login, fetch the file yourself and name it by its path.",
    ),
    "redirects in circles": (
        Reply(status=302, headers={"Location": PATH}, body=b""),
        "more than 3 redirects; expected a file. Open the address in a browser: the source may "
        "have moved.",
    ),
    "redirects nowhere": (
        Reply(status=302, headers={"Location": "ftp://u:secret@a.example/b?s=secret"}, body=b""),
        "an address that cannot be used, or a redirect to one; expected a file. Open the address "
        "in a browser: the source may have moved.",
    ),
    "changes files": (
        Reply(headers={"Content-Encoding": "gzip"}),
        "a file in the encoding gzip; expected the file as it is, as was asked for. The server, or "
        "a proxy before it, changes files: fetch it from another network.",
    ),
    "drops": (
        Reply(drop_after=0),
        f"in 3 tries; expected a file from S. {LATER}",
    ),
}


@pytest.mark.parametrize("fault", LASTING)
def test_a_fault_that_lasts_ends_in_one_clear_error(server, tmp_path, fault):
    reply, message = LASTING[fault]
    server.always[PATH] = reply
    began = time.monotonic()
    found = fails(server, tmp_path)
    message = message.replace("from S", f"from 127.0.0.1:{server.port}")
    begin, _, end = message.partition("{}")
    assert found.startswith(f"S{PATH}: found ")
    assert begin in found
    assert found.endswith(end or begin)
    assert time.monotonic() - began < 5


def test_a_trickle_is_cut_although_bytes_come(server, tmp_path):
    server.always[PATH] = Reply(trickle_s=0.02)
    limits = replace(QUICK, read_s=30)
    assert " bytes in 0 s in 3 tries, with " in fails(server, tmp_path, limits)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_is_left_alone_as_long_as_it_asks(server, tmp_path, form):
    wait = "1" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=2))
    server.next(PATH, Reply(status=503, body=b"", headers={"Retry-After": wait}))
    began = time.monotonic()
    check(get(server, tmp_path / "part"), tmp_path / "part")
    # A date has whole seconds.
    assert 0.9 < time.monotonic() - began < 4


def test_delays_double_up_to_a_limit():
    limits = Limits()
    assert [limits.delay_s(k) for k in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_tries_are_counted_from_the_last_progress(server, tmp_path):
    server.next(PATH, *[Reply(drop_after=20_000) for _ in range(12)])
    check(get(server, tmp_path / "part"), tmp_path / "part")
    assert len(server.gets()) == 13


def test_nobody_listens(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = fails(f"http://127.0.0.1:{port}/a.tif", tmp_path)
    assert message == (
        f"S: found connection refused in 3 tries; expected a file from 127.0.0.1:{port}. {LATER}"
    )


def test_a_host_without_address(tmp_path):
    message = fails("http://none.invalid/a.tif", tmp_path)
    assert message.startswith("S: found no address for this host in 3 tries; expected a file from ")


def test_no_password_and_no_signature_is_shown(server, tmp_path):
    server.always[PATH] = Reply(status=403, body=b"no right to /a.tif?signature=secret")
    address = f"http://user:secret@127.0.0.1:{server.port}{PATH}?signature=secret"
    with pytest.raises(TransferError) as error:
        get(address, tmp_path / "part")
    assert "secret" not in str(error.value)
    assert f"http://127.0.0.1:{server.port}{PATH}: " in str(error.value)


def test_a_transfer_that_is_stopped_keeps_what_it_has(server, tmp_path):
    stop = threading.Event()
    server.next(PATH, Reply(stall_after=100_000))
    limits = replace(QUICK, read_s=0.2, first_delay_s=30, longest_delay_s=30)
    threading.Timer(0.4, stop.set).start()
    with pytest.raises(Stopped):
        get(server, tmp_path / "part", limits, stop)
    check(get(server, tmp_path / "part"), tmp_path / "part")
    assert ranges(server)[-1] == "bytes=100000-"


KILLED = """
import sys, threading
from pathlib import Path
import requests
from snakeshed.transfer import download as module
from snakeshed.transfer.download import download
from snakeshed.transfer.limits import Limits
from snakeshed.transfer.progress import Progress
module._NOTED_BYTES = int(sys.argv[3])
download(sys.argv[1], Path(sys.argv[2]), requests.Session(), Limits(), threading.Event(),
         Progress(None, 1000))
"""

pytestmark = pytest.mark.usefixtures("without_proxy")


@pytest.mark.parametrize("noted_bytes", [1, 4_000_000])
def test_a_process_that_was_killed_is_gone_on_with(server, tmp_path, noted_bytes):
    server.next(PATH, Reply(stall_after=200_000))
    part = tmp_path / "part"
    command = [sys.executable, "-c", KILLED, server.address + PATH, part, str(noted_bytes)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 30
        while not part.exists() or part.stat().st_size < 200_000:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    check(get(server, part), part)
    # What is not noted may not be sound.
    assert ranges(server) == [None, "bytes=200000-" if noted_bytes == 1 else None]


@pytest.mark.parametrize("damage", ["other bytes", "fewer bytes", "no note", "other note"])
def test_a_beginning_that_is_damaged_is_dropped(server, tmp_path, damage):
    part, note = tmp_path / "part", tmp_path / "part.json"
    server.next(PATH, *[Reply(stall_after=100_000)] * 3)
    with pytest.raises(TransferError):
        get(server, part, replace(QUICK, tries=1))
    there = part.read_bytes()
    assert len(there) == 100_000
    if damage == "other bytes":
        part.write_bytes(there[:50_000] + bytes(50_000))
    elif damage == "fewer bytes":
        part.write_bytes(there[:50_000])
    elif damage == "no note":
        note.unlink()
    else:
        note.write_text('{"etag": "x", "last_modified": null, "size": "x", "sha256": ""}')
    server.replies.clear()
    check(get(server, part), part)
    assert ranges(server) == [None, None]


def test_bytes_that_are_not_noted_are_dropped(server, tmp_path):
    part = tmp_path / "part"
    server.next(PATH, Reply(stall_after=100_000))
    with pytest.raises(TransferError):
        get(server, part, replace(QUICK, tries=1))
    with part.open("ab") as file:
        file.write(bytes(1000))
    check(get(server, part), part)
    assert ranges(server) == [None, "bytes=100000-"]


def test_a_beginning_without_its_version_is_dropped(server, tmp_path):
    part = tmp_path / "part"
    part.write_bytes(b"of whatever")
    check(get(server, part), part)
    part.write_bytes(b"of whatever")
    (tmp_path / "part.json").write_text("{")
    check(get(server, part), part)
    assert ranges(server) == [None, None]


def test_a_beginning_that_is_longer_than_the_file_is_dropped(server, tmp_path):
    part = tmp_path / "part"
    part.write_bytes(CONTENT + b"more")
    note = {
        "etag": server.etag(PATH),
        "last_modified": None,
        "size": len(CONTENT) + 4,
        "sha256": hashlib.sha256(CONTENT + b"more").hexdigest(),
    }
    (tmp_path / "part.json").write_text(json.dumps(note))
    check(get(server, part), part)


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.delenv("no_proxy", raising=False)
    check(get(f"http://elsewhere.example{PATH}", tmp_path / "part"), tmp_path / "part")
    assert server.gets()[0].headers["Host"] == "elsewhere.example"


def test_a_certificate_can_be_given(tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine, to make a certificate")
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    folder = tmp_path / "parts"
    folder.mkdir()
    with FileServer({PATH: CONTENT}) as server:
        server.secure(context)
        address = f"https://localhost:{server.port}{PATH}"
        assert fails(address, folder) == (
            f"S: found no secure connection to localhost:{server.port} (certificate verify failed: "
            "self-signed certificate); expected a certificate that this machine trusts. If your "
            "network has a certificate of its own, set REQUESTS_CA_BUNDLE to the file with it."
        )
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        check(get(address, folder / "part"), folder / "part")
