"""Several files into a cache that studies share: each once, and never a wrong one."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from file_server import MODIFIED, FileServer, Reply

from snakeshed.errors import SeveralProblems, TransferError
from snakeshed.transfer import batch
from snakeshed.transfer.batch import Wanted, fetch, look
from snakeshed.transfer.download import _Part
from snakeshed.transfer.file_cache import FileCache
from snakeshed.transfer.limits import Limits
from snakeshed.transfer.progress import Progress

QUICK = Limits(
    connect_s=2,
    read_s=0.5,
    tries=3,
    first_delay_s=0.001,
    longest_delay_s=0.002,
    longest_wait_s=5,
)
CONTENTS = {f"/{k}.tif": random.Random(k).randbytes(50_000 + k) for k in range(6)}
SHA256 = {path: hashlib.sha256(content).hexdigest() for path, content in CONTENTS.items()}


@pytest.fixture
def server():
    with FileServer(CONTENTS) as made:
        yield made


@pytest.fixture
def cache(tmp_path) -> FileCache:
    return FileCache(tmp_path / "cache")


def wanted(server: FileServer, *paths: str, known: bool = False) -> list[Wanted]:
    return [
        Wanted(server.address + path, SHA256[path] if known else None) for path in paths or CONTENTS
    ]


def get(
    server: FileServer, cache: FileCache, *paths: str, known: bool = False, limits=QUICK, **options
):
    return fetch(wanted(server, *paths, known=known), cache, limits=limits, **options)


def left_over(cache: FileCache) -> list[str]:
    names = sorted(path.name for path in (cache.folder / "parts").iterdir())
    return [name for name in names if not name.endswith(".lock")]


def test_files_come_in_the_order_in_which_they_are_wanted(server, cache):
    got = get(server, cache)
    assert [each.file.read_bytes() for each in got] == list(CONTENTS.values())
    for each, (path, content) in zip(got, CONTENTS.items(), strict=True):
        assert each.record.sha256 == SHA256[path] == each.file.name
        assert each.record.length == len(content)
        assert each.record.etag == server.etag(path)
        assert each.record.last_modified == MODIFIED
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", each.record.fetched)
        assert each.file.stat().st_mode & 0o777 == 0o444
        # Whenever it is fetched, it has the same date.
        assert each.file.stat().st_mtime == 1772533230
    assert left_over(cache) == []


def test_a_file_of_known_content_needs_no_network(server, cache):
    get(server, cache)
    server.close()
    server.requests.clear()
    got = get(server, cache, known=True)
    assert [each.file.read_bytes() for each in got] == list(CONTENTS.values())
    assert server.requests == []


def test_a_file_that_has_not_changed_is_not_fetched_again(server, cache):
    get(server, cache, "/1.tif", "/2.tif")
    for refresh in (False, True):
        server.requests.clear()
        got = get(server, cache, "/1.tif", "/2.tif", refresh=refresh)
        assert [each.record.sha256 for each in got] == [SHA256["/1.tif"], SHA256["/2.tif"]]
        assert [each.method for each in server.requests] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_has_changed_is_fetched_and_the_old_one_stays(server, cache, etags):
    server.etags = etags
    (old,) = get(server, cache, "/1.tif")
    server.files["/1.tif"], server.modified = b"new", "Wed, 04 Mar 2026 10:20:30 GMT"
    (new,) = get(server, cache, "/1.tif")
    assert new.file.read_bytes() == b"new"
    assert old.file.read_bytes() == CONTENTS["/1.tif"]
    # Who wants the old one gets it.
    (locked,) = get(server, cache, "/1.tif", known=True)
    assert locked.file == old.file


def test_without_a_sign_of_its_version_a_file_is_fetched_again(server, cache):
    server.etags, server.modified = False, None
    get(server, cache, "/1.tif")
    get(server, cache, "/1.tif")
    assert len(server.gets()) == 2


def test_other_content_than_is_wanted_is_refused(server, cache):
    server.files["/1.tif"] = b"new"
    new = hashlib.sha256(b"new").hexdigest()
    with pytest.raises(TransferError) as error:
        get(server, cache, "/1.tif", known=True, advice="Ask for the old one.")
    assert str(error.value) == (
        f"{server.address}/1.tif: found a file that has changed on the server: the SHA-256 {new}, "
        f"of {MODIFIED}; expected the SHA-256 {SHA256['/1.tif']}. Ask for the old one."
    )
    # It is there for who wants it.
    server.requests.clear()
    assert fetch([Wanted(server.address + "/1.tif", new)], cache, limits=QUICK)[0].file.is_file()
    assert server.requests == []


def test_a_damaged_beginning_is_no_change_on_the_server(server, cache):
    server.next("/0.tif", Reply(drop_after=20_000))
    with pytest.raises(TransferError):
        get(server, cache, "/0.tif", limits=replace(QUICK, tries=1))
    (part,) = (cache.folder / "parts" / name for name in left_over(cache) if "." not in name)
    part.write_bytes(bytes(part.stat().st_size))
    (got,) = get(server, cache, "/0.tif", known=True)
    assert got.file.read_bytes() == CONTENTS["/0.tif"]
    assert ["Range" in each.headers for each in server.gets()] == [False, False]
    (again,) = get(server, cache, "/0.tif")
    assert again.file == got.file


def test_two_versions_that_a_server_names_alike_are_never_a_mixture(server, cache):
    etag = {"ETag": server.etag("/0.tif")}
    server.next("/0.tif", Reply(drop_after=20_000))
    with pytest.raises(TransferError):
        get(server, cache, "/0.tif", limits=replace(QUICK, tries=1))
    server.files["/0.tif"] = CONTENTS["/0.tif"][::-1]
    server.always["/0.tif"] = Reply(headers=etag)
    server.modified, server.etags = None, True
    # The beginning of one and the rest of the other have the length that is wanted.
    rest = CONTENTS["/0.tif"][::-1][20_000:]
    ranged = {"Content-Range": "bytes 20000-49999/50000", "Content-Length": "30000"}
    server.next("/0.tif", Reply(status=206, headers=etag | ranged, body=rest))
    other = hashlib.sha256(server.files["/0.tif"]).hexdigest()
    with pytest.raises(TransferError, match=f"the SHA-256 {other}; expected the SHA-256"):
        get(server, cache, "/0.tif", known=True)
    assert ["Range" in each.headers for each in server.gets()] == [False, True, False]


@pytest.mark.parametrize("connections", [1, 4])
def test_an_address_that_is_wanted_twice_is_fetched_once(server, cache, connections):
    first, second = get(server, cache, "/0.tif", "/0.tif", connections=connections)
    assert first == second
    assert len(server.gets()) == 1


def test_another_length_is_refused_before_the_file_is_fetched(server, cache):
    server.files["/1.tif"] = CONTENTS["/2.tif"]
    server.next("/1.tif", Reply(stall_after=0))
    old = Wanted(server.address + "/1.tif", SHA256["/1.tif"], 50_001, "2025-01-02T03:04:05+00:00")
    with pytest.raises(TransferError) as error:
        fetch([old], cache, limits=QUICK, advice="Ask for the old one.")
    assert str(error.value) == (
        f"{server.address}/1.tif: found a file that has changed on the server: 50,002 bytes; "
        "expected 50,001 bytes, as on 2025-01-02T03:04:05+00:00. Ask for the old one."
    )
    assert len(server.gets()) == 1


def test_a_length_that_head_misreports_is_no_change(server, cache):
    server.heads["/1.tif"] = Reply(headers={"Content-Length": "7"})
    old = Wanted(server.address + "/1.tif", SHA256["/1.tif"], 50_001)
    assert fetch([old], cache, limits=QUICK)[0].record.length == 50_001


def test_a_file_that_is_not_there_is_none(server, cache):
    got = get(server, cache, "/1.tif")
    absent = Wanted(server.address + "/none.tif")
    assert fetch([absent, *wanted(server, "/1.tif")], cache, limits=QUICK) == [None, *got]
    # A server may say so only when it is asked for the file.
    server.heads["/none.tif"] = Reply(status=403)
    assert fetch([absent], cache, limits=QUICK) == [None]
    assert left_over(cache) == []


@pytest.mark.parametrize("status", [403, 405, 500, 503])
def test_a_server_that_answers_no_head_gives_the_file(server, cache, status):
    server.heads["/1.tif"] = Reply(status=status)
    (got,) = get(server, cache, "/1.tif")
    assert got.file.read_bytes() == CONTENTS["/1.tif"]


def test_a_length_that_head_misreports_does_not_matter(server, cache):
    server.heads["/1.tif"] = Reply(headers={"Content-Length": "7"})
    (got,) = get(server, cache, "/1.tif")
    assert got.record.length == 50_001


def test_without_network_files_are_as_they_were(server, cache, caplog):
    (old,) = get(server, cache, "/1.tif")
    server.close()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        (got,) = get(server, cache, "/1.tif")
    assert got == old
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        f"{server.address}/1.tif: connection refused, so it is taken as it was fetched on "
        f"{old.record.fetched}"
    ]
    with pytest.raises(TransferError, match="connection refused in 3 tries"):
        get(server, cache, "/1.tif", refresh=True)


def test_a_damaged_file_is_fetched_again(server, cache, caplog):
    (got,) = get(server, cache, "/1.tif")
    got.file.chmod(0o644)
    got.file.write_bytes(b"damaged")
    for known in (True, False):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            (again,) = get(server, cache, "/1.tif", known=known)
        assert again.file.read_bytes() == CONTENTS["/1.tif"]
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == known
    assert len(server.gets()) == 2


def not_a_tiff(path: Path, address: str) -> None:
    if path.read_bytes().startswith(b"<"):
        raise TransferError(address, "a page", "a TIFF", "Log in.")


def test_what_cannot_be_the_file_is_asked_for_once_more(server, cache):
    server.next("/1.tif", Reply(body=b"<html>", headers={"Content-Type": "text/html"}))
    (got,) = get(server, cache, "/1.tif", verify=not_a_tiff)
    assert got.file.read_bytes() == CONTENTS["/1.tif"]


def test_what_cannot_be_the_file_is_not_kept(server, cache):
    server.always["/1.tif"] = Reply(body=b"<html>")
    with pytest.raises(TransferError) as error:
        get(server, cache, "/1.tif", verify=not_a_tiff)
    assert str(error.value) == f"{server.address}/1.tif: found a page; expected a TIFF. Log in."
    assert left_over(cache) == []
    assert cache.record_of(server.address + "/1.tif") is None
    assert list((cache.folder / "sha256").rglob("*")) == []
    assert len(server.gets()) == 2


def test_an_error_ends_the_others_and_finished_files_stay(server, cache):
    server.always["/5.tif"] = Reply(status=403, body=b"")
    with pytest.raises(TransferError, match=r"/5\.tif: found status 403"):
        get(server, cache, connections=1)
    del server.always["/5.tif"]
    server.requests.clear()
    get(server, cache, known=True)
    assert [each.path for each in server.gets()] == ["/5.tif"]


def test_a_host_that_cannot_be_reached_is_one_problem(server, cache):
    server.close()
    with pytest.raises(TransferError, match="connection refused in 3 tries") as error:
        get(server, cache)
    assert not isinstance(error.value, SeveralProblems)


def test_an_address_of_another_kind_is_refused(cache):
    addresses = {
        "ftp://user:secret@a.example/b.tif?s=secret": "ftp://a.example/b.tif",
        "http://user:secret@[a/b.tif?s=secret": "[a/b.tif",
        **{same: same for same in ("/etc/passwd", "file:///etc/passwd", "http:///a", "a.tif", "")},
    }
    for address, shown in addresses.items():
        with pytest.raises(TransferError) as error:
            fetch([Wanted(address)], cache)
        assert str(error.value) == (
            f"{shown}: found no address of a file on the web; expected http:// or https:// and a "
            "host. Correct it."
        )


def test_the_cache_keeps_no_password_and_no_signature(server, cache):
    address = f"http://user:secret@127.0.0.1:{server.port}/1.tif?signature=secret"
    (got,) = fetch([Wanted(address)], cache, limits=QUICK)
    assert got.record.address == f"http://127.0.0.1:{server.port}/1.tif"
    for path in cache.folder.rglob("*.json"):
        assert "secret" not in path.read_text()
    server.requests.clear()
    fetch([Wanted(address)], cache, limits=QUICK)
    assert server.gets() == []


# Each byte comes in time, but there is no end of them.
ENDLESS = {
    "headers": Reply(trickle_s=0.05, trickles_head=True),
    "text of an error": Reply(status=403, body=b"x" * 5000, trickle_s=0.05),
    "text of a redirect": Reply(
        status=302, headers={"Location": "/2.tif"}, body=b"x" * 5000, trickle_s=0.05
    ),
    "length of a chunk": Reply(
        headers={"Transfer-Encoding": "chunked", "Content-Length": None},
        body=b"0" * 5000,
        trickle_s=0.05,
    ),
}


@pytest.mark.parametrize("part", ENDLESS)
def test_nobody_waits_for_the_end_of_an_endless_answer(server, cache, part):
    server.always["/1.tif"] = ENDLESS[part]
    limits = replace(QUICK, stuck_s=0.5)
    began = time.monotonic()
    with pytest.raises(TransferError) as error:
        fetch(wanted(server, "/1.tif"), cache, limits=limits)
    assert time.monotonic() - began < 5
    assert str(error.value).startswith(
        f"{server.address}/1.tif: found no end of an answer in 0 s; expected a file from "
        f"127.0.0.1:{server.port}. What has been fetched is kept."
    )


def test_two_problems_of_one_kind_are_both_named(server, cache):
    both = threading.Barrier(2, timeout=20)
    for path in ("/1.tif", "/2.tif"):
        server.always[path] = Reply(status=403, body=b"", then=lambda server: both.wait())
    with pytest.raises(SeveralProblems) as error:
        get(server, cache, "/1.tif", "/2.tif")
    assert [each.where for each in sorted(error.value.problems, key=str)] == [
        f"{server.address}/1.tif",
        f"{server.address}/2.tif",
    ]


def test_a_file_that_is_forbidden_by_now_is_not_taken_from_the_cache(server, cache):
    get(server, cache, "/1.tif")
    server.heads["/1.tif"] = server.always["/1.tif"] = Reply(status=403, body=b"")
    with pytest.raises(TransferError, match="status 403"):
        get(server, cache, "/1.tif")


def test_the_disk_must_have_room(server, cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 10_000))
    with pytest.raises(TransferError) as error:
        get(server, cache, "/1.tif")
    assert str(error.value) == (
        f"{cache.folder}: found 10.0 kB free on its disk; expected room for 50.0 kB. Make room, or "
        "set SNAKESHED_CACHE to a folder on another disk."
    )
    assert server.gets() == []


def test_what_is_there_of_a_file_needs_no_more_room(server, cache, monkeypatch):
    server.always["/1.tif"] = Reply(close_after=45_000, ignores_range=True)
    with pytest.raises(TransferError):
        get(server, cache, "/1.tif")
    server.always.clear()
    room = 50_000_000 + 10_000
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, room))
    assert get(server, cache, "/1.tif")[0].file.read_bytes() == CONTENTS["/1.tif"]


def test_a_disk_that_fills_up_is_one_error_and_finished_files_stay(server, cache, monkeypatch):
    get(server, cache, "/1.tif")
    append = _Part.append

    def full(self, block):
        if self.size > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        append(self, block[:2000])

    monkeypatch.setattr(_Part, "append", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        get(server, cache)
    assert str(cache.folder) in error.value.filename
    monkeypatch.undo()
    server.requests.clear()
    got = get(server, cache)
    assert [each.file.read_bytes() for each in got] == list(CONTENTS.values())
    assert "/1.tif" not in {each.path for each in server.gets()}


def test_a_cache_that_cannot_be_written_to(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TransferError) as error:
        get(server, FileCache(tmp_path / "file/cache"))
    assert str(error.value) == (
        f"{tmp_path}/file/cache: found a cache that cannot be written to (Not a directory); "
        "expected a folder of your own. Set SNAKESHED_CACHE to a folder on a disk with room for "
        "the files."
    )


def test_the_environment_names_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SNAKESHED_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert FileCache.of_environment().folder == tmp_path / ".cache/snakeshed"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert FileCache.of_environment().folder == Path("/x/snakeshed")
    monkeypatch.setenv("SNAKESHED_CACHE", "~/tiles")
    assert FileCache.of_environment().folder == tmp_path / "tiles"


FETCH = """
import sys
from snakeshed.transfer import download
from snakeshed.transfer.batch import Wanted, fetch
from snakeshed.transfer.file_cache import FileCache
download._NOTED_BYTES = 1
(got,) = fetch([Wanted(sys.argv[1])], FileCache(sys.argv[2]))
print(got.record.sha256)
"""

pytestmark = pytest.mark.usefixtures("without_proxy")


def test_two_processes_fetch_a_file_once(server, cache):
    go = threading.Event()
    server.next("/1.tif", Reply(then=lambda server: go.wait(20)))
    command = [sys.executable, "-c", FETCH, server.address + "/1.tif", cache.folder]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        deadline = time.monotonic() + 20
        while [each.method for each in server.requests].count("HEAD") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1)
        go.set()
        assert [each.communicate(timeout=20)[0].strip() for each in both] == [SHA256["/1.tif"]] * 2
    finally:
        for each in both:
            each.kill()
            each.wait()
    assert len(server.gets()) == 1


def test_ctrl_c_ends_at_once_and_keeps_what_is_there(server, cache):
    server.next("/1.tif", Reply(stall_after=20_000))
    # The process waits for a byte, for up to a minute.
    command = [sys.executable, "-c", FETCH, server.address + "/1.tif", cache.folder]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    part = cache.folder / "parts"
    try:
        deadline = time.monotonic() + 20
        while not any(path.stat().st_size == 20_000 for path in part.glob("*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(2)
        began = time.monotonic()
        assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
        assert time.monotonic() - began < 5
    finally:
        process.kill()
        process.wait()
    get(server, cache, "/1.tif")
    assert server.gets()[-1].headers["Range"] == "bytes=20000-"


def test_a_file_system_without_locks_fetches_all_the_same(server, cache, monkeypatch):
    def no_lock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_lock)
    got = get(server, cache)
    assert [each.file.read_bytes() for each in got] == list(CONTENTS.values())
    assert left_over(cache) == []


def test_what_is_to_come_and_what_came_is_logged(server, cache, caplog):
    get(server, cache, "/1.tif")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        get(server, cache)
    begin, to_come, end = [record.getMessage() for record in caplog.records]
    assert begin == f"1 file (50.0 kB) in {cache.folder}"
    assert to_come == f"5 files (250.0 kB) to fetch from 127.0.0.1:{server.port}"
    assert re.fullmatch(r"fetched 250\.0 kB in \d s.*", end)


def test_progress_says_how_much_is_left(caplog):
    now = [0.0]
    with caplog.at_level(logging.INFO):
        progress = Progress(10_000_000_000, 10, lambda: now[0])
        progress.kept(1_000_000_000)
        for _ in range(4):
            now[0] += 5
            progress.arrived(500_000_000)
    assert [record.getMessage() for record in caplog.records] == [
        "fetched 2.0 GB of 10.0 GB, 100.0 MB/s, about 80 s left",
        "fetched 3.0 GB of 10.0 GB, 100.0 MB/s, about 70 s left",
    ]
    assert progress.end() == "3.0 GB in 20 s, 100.0 MB/s"


def test_a_look_says_what_is_there_and_fetches_nothing(server, cache):
    get(server, cache, "/1.tif")
    server.requests.clear()
    server.heads["/3.tif"] = Reply(status=500)
    looks = look(
        [*wanted(server, "/1.tif", "/2.tif", "/3.tif"), Wanted(server.address + "/none.tif")],
        cache,
        limits=QUICK,
    )
    assert [(bool(each.cached), each.is_absent, each.length) for each in looks] == [
        (True, False, 50_001),
        (False, False, 50_002),
        (False, False, None),
        (False, True, None),
    ]
    assert server.gets() == []


def test_a_host_that_cannot_be_reached_is_asked_once(server, cache, monkeypatch):
    asked = []
    head = requests.Session.head

    def counted(self, address, **options):
        asked.append(address)
        return head(self, address, **options)

    monkeypatch.setattr(requests.Session, "head", counted)
    server.close()
    looks = look(wanted(server), cache, limits=QUICK, connections=1)
    assert {each.problem for each in looks} == {"connection refused"}
    assert len(asked) == 1


def test_more_files_than_connections_are_fetched_some_at_once(server, cache, monkeypatch):
    running, most, lock = [0], [0], threading.Lock()
    one = batch._fetch_one

    def counted(*arguments):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        try:
            return one(*arguments)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(batch, "_fetch_one", counted)
    get(server, cache, connections=3)
    assert most[0] == 3
