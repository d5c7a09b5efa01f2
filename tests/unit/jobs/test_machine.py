"""What a machine does to a job is told in one sentence."""

from __future__ import annotations

import errno
import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from snakeshed.jobs.machine import check_writable, machine_error

TABLE = "results/x/features.parquet"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            errno.ENOSPC,
            "found no space left on its disk; expected room for it. "
            "Make room or move the study's folder to a larger disk, and run",
        ),
        (
            errno.EDQUOT,
            "found no space left in the user's quota; expected room for it. "
            "Make room or ask for more, and run",
        ),
        (
            errno.EFBIG,
            "found a file larger than may be written here; expected a higher limit. "
            "Raise the limit (ulimit -f), and run",
        ),
        (
            errno.EROFS,
            "found a read-only file system; expected one that can be written to. "
            "Mount it for writing or work in another folder, and run",
        ),
        (
            errno.EACCES,
            "found no permission to use it; expected a file of one's own. "
            "Have its owner grant it (chmod, chown), or work in a folder of your own, and run",
        ),
        (
            errno.EPERM,
            "found no permission to use it; expected a file of one's own. "
            "Have its owner grant it (chmod, chown), or work in a folder of your own, and run",
        ),
        (
            errno.EMFILE,
            "found too many open files; expected fewer than the machine allows. "
            "Allow more (ulimit -n) or run with fewer --cores, and run",
        ),
        (
            errno.ENOENT,
            "found no such file, or folder for it; expected a file that stays in place during a "
            "run. Restore it if it was an input, and run",
        ),
        (
            errno.EIO,
            "found an error of its disk or of the network to it; expected a disk that reads and "
            "writes. Look at the disk (dmesg, quota, mount), and run",
        ),
    ],
)
def test_faults_of_files(code, message):
    error = OSError(code, os.strerror(code), TABLE)
    assert str(machine_error(error, "gathering")) == (f"{TABLE}: {message} the same command again.")
    # Arrow names no file, and of a descriptor Python tells the number.
    nameless = str(machine_error(OSError(code, os.strerror(code)), "gathering"))
    assert nameless == f"gathering: {message} the same command again."
    assert str(machine_error(OSError(code, os.strerror(code), 3), "gathering")) == nameless


def _no_memory_of_numpy() -> None:
    np.empty(1 << 57)


def _no_memory_of_arrow() -> None:
    pa.allocate_buffer(1 << 60)


@pytest.mark.parametrize("ask", [_no_memory_of_numpy, _no_memory_of_arrow])
def test_want_of_memory(ask):
    with pytest.raises(MemoryError) as end:
        ask()
    assert str(machine_error(end.value, "delineating shards/07/sites.parquet")) == (
        "delineating shards/07/sites.parquet: found no memory left; expected enough for it. "
        "Run with fewer --cores or where there is more memory: run the same command again."
    )


def test_the_system_has_no_memory():
    error = OSError(errno.ENOMEM, "Cannot allocate memory")
    assert "found no memory left" in str(machine_error(error, "delineating"))


def test_a_worker_that_was_killed():
    assert str(machine_error(BrokenProcessPool("x"), "delineating shard 07")) == (
        "delineating shard 07: found one of its processes ended from outside, most likely for want "
        "of memory; expected processes that come to their end. Run with fewer --cores or where "
        "there is more memory: run the same command again."
    )


@pytest.mark.parametrize(
    "error", [FileExistsError(errno.EEXIST, "x"), OSError("odd"), KeyError("x")]
)
def test_anything_else_is_not_put_down_to_the_machine(error):
    assert machine_error(error, "gathering") is None


def test_a_folder_that_can_be_written_to_is_left_as_it_was(tmp_path):
    check_writable(tmp_path / "results" / "mine")
    assert list((tmp_path / "results" / "mine").iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system", "tmpx7z")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OSError, match="Read-only") as told:
        check_writable(tmp_path)
    assert told.value.filename == str(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this machine")
def test_a_folder_on_a_full_disk_is_named(tmp_path, monkeypatch):
    # A full disk still takes an empty file.
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(OSError, match="No space") as told:
        check_writable(tmp_path)
    assert told.value.errno == errno.ENOSPC
    assert told.value.filename == str(tmp_path)
