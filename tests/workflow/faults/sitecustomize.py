"""Brings a fault upon one job of a run, at a point that is always the same.

Python imports this module in every process whose PYTHONPATH leads here. FAULT names the rule, or
"any", and what happens to its jobs; AT is the file that some faults are about. A process hears of
its own files through an audit hook.
"""

import errno
import os
import resource
import shutil
import signal
import sys
import time

RULE, _, FAULT = os.environ.get("FAULT", "").partition(":")
AT = os.environ.get("AT", "")


def end_the_whole_run() -> None:
    os.killpg(0, signal.SIGKILL)


def interrupt_the_whole_run() -> None:
    """As Ctrl-C does on a terminal."""
    os.killpg(0, signal.SIGINT)


def end_the_job() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold_the_job() -> None:
    """Work on until someone says so."""
    while not os.path.exists("go"):
        time.sleep(0.02)


def take_its_memory() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use, in_use))


def limit_its_memory() -> None:
    """Join a group of processes (cgroup) that has a limit."""
    with open(os.path.join(AT, "cgroup.procs"), "w", encoding="ascii") as file:
        file.write(str(os.getpid()))


def fill_its_disk() -> None:
    with open("results/filler", "ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def fail_its_disk() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO), sys.modules["__main__"].fault_at)


def truncate_a_file() -> None:
    os.truncate(AT, os.path.getsize(AT) // 2)


def delete_a_file() -> None:
    os.unlink(AT)


def replace_a_file() -> None:
    """Another file, that has been there before the run, takes its place."""
    os.link(f"{AT}.other", f"{AT}.new")
    os.rename(f"{AT}.new", AT)


def delete_the_results() -> None:
    # Other jobs write there meanwhile.
    while os.path.exists("results"):
        shutil.rmtree("results", ignore_errors=True)


FAULTS = {
    "whole-run-killed": ("os.rename", ".part.", end_the_whole_run),
    "interrupted": ("os.rename", ".part.", interrupt_the_whole_run),
    "killed": ("os.rename", ".part.", end_the_job),
    "held": ("os.rename", ".part.", hold_the_job),
    "no-memory": ("open", ".log", take_its_memory),
    "little-memory": ("open", ".log", limit_its_memory),
    "full-disk": ("open", ".log", fill_its_disk),
    "full-disk-for-tiles": ("open", "/.tiles-", fill_its_disk),
    "failing-disk": ("open", ".part.", fail_its_disk),
    "failing-index": ("open", "/terrain.json", fail_its_disk),
    "truncated": ("open", "/terrain.json", truncate_a_file),
    "deleted": ("open", "/terrain.json", delete_a_file),
    "replaced": ("open", "/terrain.json", replace_a_file),
    "results-deleted": ("os.rename", ".part.", delete_the_results),
}
CLOCKS = {"clock-ahead": 3600, "clock-back": -3600}


def watch(event: str, arguments: tuple) -> None:
    """Bring the fault at the first event of a job that it waits for."""
    awaited, path, bring = FAULTS[FAULT]
    if event == awaited and path in str(arguments[0]) and is_job_of_rule():
        # Each job has another, also in a process that runs several.
        main = sys.modules["__main__"].__dict__
        if "fault_at" not in main:
            main["fault_at"] = str(arguments[0])  # before its own files are heard of
            bring()


def is_job_of_rule() -> bool:
    if not hasattr(sys.modules["__main__"], "snakemake"):
        return False
    # delineate.py, or what Snakemake makes of it: tmpabcdefgh.delineate.py
    return RULE in ("any", sys.argv[0].removesuffix(".py").replace("/", ".").rpartition(".")[2])


def move_the_clock(seconds: int) -> None:
    """Have another time, and give it to what is written."""
    now, replace = time.time, os.replace

    def replace_then(source, target, **options) -> None:
        replace(source, target, **options)
        if is_job_of_rule():
            os.utime(target, (time.time(), time.time()))

    time.time = lambda: now() + seconds * is_job_of_rule()
    os.replace = replace_then


if FAULT in CLOCKS:
    move_the_clock(CLOCKS[FAULT])
elif RULE:
    sys.addaudithook(watch)
