"""Brings a fault upon one job of a run, at a point that is always the same.

Python imports this module in every process whose PYTHONPATH leads here. FAULT names the rule, or
"any", and what happens to its jobs. A process hears of its own files through an audit hook.
"""

import os
import resource
import signal
import sys

RULE, _, FAULT = os.environ.get("FAULT", "").partition(":")


def end_the_whole_run() -> None:
    os.killpg(0, signal.SIGKILL)


def interrupt_the_whole_run() -> None:
    """As Ctrl-C does on a terminal."""
    os.killpg(0, signal.SIGINT)


def end_the_job() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def take_its_memory() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use, in_use))


def fill_its_disk() -> None:
    with open("results/filler", "ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


FAULTS = {
    "whole-run-killed": ("os.rename", ".part.", end_the_whole_run),
    "interrupted": ("os.rename", ".part.", interrupt_the_whole_run),
    "killed": ("os.rename", ".part.", end_the_job),
    "no-memory": ("open", ".log", take_its_memory),
    "full-disk": ("open", ".log", fill_its_disk),
}


def watch(event: str, arguments: tuple) -> None:
    """Bring the fault at the first event that it waits for."""
    awaited, path, bring = FAULTS[FAULT]
    if event == awaited and path in str(arguments[0]) and is_job_of_rule() and not brought:
        brought.append(event)  # before its own files are heard of
        bring()


def is_job_of_rule() -> bool:
    script = sys.argv[0]
    return script.endswith(f".{RULE}.py") or (RULE == "any" and ".snakemake/scripts/" in script)


brought: list[str] = []
if RULE:
    sys.addaudithook(watch)
