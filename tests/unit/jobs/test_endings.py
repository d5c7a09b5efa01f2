"""Whatever ends a run, its jobs and their workers end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
        except FileNotFoundError:
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


@pytest.mark.slow
def test_workers_end_with_the_job_that_was_killed(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(POOL)
    job = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    workers = {int(job.stdout.readline()) for _ in range(4)}
    job.kill()
    assert [ends(pid) for pid in workers] == [True] * len(workers)
    job.communicate()
