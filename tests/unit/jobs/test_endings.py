"""Whatever ends a run, its jobs and their workers end with it."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from snakeshed.jobs.endings import share_locks_with_handlers

JOB = """
import os, time
from snakeshed.jobs.log import job_log
with job_log({log!r}, "waiting"):
    print(os.getpid(), flush=True)
    time.sleep(120)
"""
SNAKEMAKE = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]])
"""
POOL = """
import os, time
from snakeshed.backends.local import Backend
if __name__ == "__main__":
    with Backend("process", 2) as backend:
        for pid in backend.map(eval, ["__import__('os').getpid()"] * 4):
            print(pid, flush=True)
        list(backend.map(time.sleep, [0.2] * 1000))
"""


def ends(pid: int) -> bool:
    """Whether a process that is no child of this one ends within some seconds."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            # One that nobody has waited for is a zombie.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return False


def test_a_job_ends_with_the_snakemake_that_started_it(tmp_path):
    job = JOB.format(log=str(tmp_path / "job.log"))
    snakemake = subprocess.Popen(
        [sys.executable, "-c", SNAKEMAKE, job], stdout=subprocess.PIPE, text=True
    )
    pid = int(snakemake.stdout.readline())
    snakemake.kill()
    assert ends(pid)
    snakemake.communicate()


def test_a_job_ends_with_snakemake_though_a_shell_stands_between_them(tmp_path):
    """As an old bash does, which does not become its last command."""
    job = JOB.format(log=str(tmp_path / "job.log"))
    between = "import subprocess, sys; subprocess.run(['sh', '-c', sys.argv[1]])"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(job)}; exit 0"
    snakemake = subprocess.Popen(
        [sys.executable, "-c", between, command], stdout=subprocess.PIPE, text=True
    )
    pid = int(snakemake.stdout.readline())
    snakemake.kill()
    # The shell lives on, and keeps the job's parent.
    assert ends(pid)
    snakemake.communicate()


INTERRUPTED = """
import signal, sys, time
from snakeshed.jobs.endings import interrupt_once
interrupt_once()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("stopping", flush=True)
    time.sleep(60)
"""


def test_a_later_interrupt_ends_a_run_whose_jobs_do_not_react():
    run = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout.readline() == "ready\n"
    run.send_signal(signal.SIGINT)
    assert run.stdout.readline() == "stopping\n"
    # Part of the first.
    run.send_signal(signal.SIGINT)
    time.sleep(2.5)
    assert run.poll() is None
    run.send_signal(signal.SIGINT)
    _, shown = run.communicate(timeout=20)
    assert run.returncode == 130
    assert shown == "Stopped at once. Run the same command again for the rest.\n"


def test_a_run_in_the_background_of_a_script_ignores_an_interrupt():
    run = subprocess.Popen(
        ["sh", "-c", f"{shlex.quote(sys.executable)} -c {shlex.quote(INTERRUPTED)} & wait"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert run.stdout.readline() == "ready\n"
    os.killpg(run.pid, signal.SIGINT)
    time.sleep(1)
    os.killpg(run.pid, signal.SIGTERM)
    assert run.communicate(timeout=20)[0] == ""


@pytest.mark.slow
def test_workers_end_with_the_job_that_was_killed(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(POOL)
    job = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    workers = {int(job.stdout.readline()) for _ in range(4)}
    job.kill()
    assert [ends(pid) for pid in workers] == [True] * len(workers)
    job.communicate()


def test_a_process_that_was_asked_to_end_twice_ends_in_good_order():
    ends = (
        "import os, signal, time\n"
        "from snakeshed.jobs.endings import Terminated, in_good_order\n"
        "try:\n"
        "    with in_good_order():\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(9)\n"
        "except Terminated:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('written')\n"
    )
    done = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "written\n")


def test_a_handler_takes_the_locks_that_its_own_thread_holds():
    # As Snakemake makes them, and as it handles SIGTERM.
    scheduler = object.__new__(JobScheduler)
    scheduler._lock, scheduler._open_jobs = threading.Lock(), threading.Semaphore(0)
    share_locks_with_handlers(scheduler)

    def handle() -> None:
        with scheduler._lock, scheduler._open_jobs._cond:
            scheduler.exit_gracefully()

    thread = threading.Thread(target=handle, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert scheduler._user_kill == "graceful"
    assert scheduler._open_jobs.acquire(timeout=1)
    assert not scheduler._open_jobs.acquire(blocking=False)


def test_snakemake_keeps_its_locks_where_they_are_looked_for():
    made = inspect.getsource(JobScheduler.__init__)
    assert "self._lock = threading.Lock()" in made
    assert "self._open_jobs = threading.Semaphore(0)" in made
    assert "with self._lock" in inspect.getsource(JobScheduler.exit_gracefully)
