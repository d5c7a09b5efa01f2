"""One run of a study at a time, whatever ended the one before."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys

import pytest

from snakeshed.errors import RunningError
from snakeshed.jobs.run_lock import RunLock

HOLD = """
import sys, time
from snakeshed.jobs.run_lock import RunLock
lock = RunLock(sys.argv[1], "mine")
lock.take()
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run.lock"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def test_who_holds_the_lock_is_told(holder, tmp_path):
    with pytest.raises(RunningError) as told:
        RunLock(tmp_path / "run.lock", "mine").take()
    assert re.fullmatch(
        rf"study mine: found another run of it at work \(process {holder.pid} of \S+ on \S+ since "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}: -c .*run\.lock\); expected one run of a study "
        r"at a time in a folder\. Wait until it is done, or end it, and run the same command "
        r"again\.",
        str(told.value),
    )


def test_a_holder_without_a_name_is_told_too(holder, tmp_path):
    (tmp_path / "run.lock").write_text("")
    with pytest.raises(RunningError, match=r"at work \(it has not said which\)"):
        RunLock(tmp_path / "run.lock", "mine").take()


def test_the_lock_is_free_when_its_holder_was_killed(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    lock = RunLock(tmp_path / "run.lock", "mine")
    assert lock.take()
    assert (tmp_path / "run.lock").read_text().startswith(f"process {os.getpid()} of ")


def test_a_process_that_outlives_the_run_does_not_hold_its_lock(tmp_path):
    first = RunLock(tmp_path / "run.lock", "mine")
    assert first.take()
    orphan = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        first.release()
        assert RunLock(tmp_path / "run.lock", "mine").take()
    finally:
        orphan.kill()
        orphan.wait()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = RunLock(tmp_path / "run.lock", "mine")
    assert not lock.take()
    lock.release()


def test_any_other_fault_is_not_taken_for_a_lock(tmp_path):
    (tmp_path / "run.lock").mkdir()
    with pytest.raises(IsADirectoryError):
        RunLock(tmp_path / "run.lock", "mine").take()
