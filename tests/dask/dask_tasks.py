"""What workers are given to do in these tests; they import it."""

from __future__ import annotations

import os
import time
from pathlib import Path

MIB = 1 << 20


def sign_in(task: tuple[str, int]) -> int:
    """Leave a note of this start in a folder, with its process; return the number."""
    folder, number = task
    (Path(folder) / f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return number


def sleep(task: tuple[str, int]) -> int:
    """Sign in, and take a while."""
    sign_in(task)
    time.sleep(0.3)
    return task[1]


def hold(task: tuple[str, int]) -> int:
    """Sign in, and wait for a file called "go on"."""
    sign_in(task)
    while not (Path(task[0]) / "go on").exists():
        time.sleep(0.02)
    return task[1]


def hog(task: tuple[str, int]) -> int:
    """Sign in; a task with a negative number then takes more and more memory."""
    sign_in(task)
    taken = []
    while task[1] < 0:
        taken.append(bytearray(os.urandom(MIB)) * 20)
        time.sleep(0.02)
    time.sleep(0.1)
    return task[1]


def no_memory(task: tuple[str, int]) -> int:
    """Sign in; a task with a negative number finds no memory."""
    sign_in(task)
    if task[1] < 0:
        raise MemoryError
    return task[1]


def starts(folder: Path, number: int) -> list[int]:
    """The processes in which a task was started, in order."""
    notes = [one.name.rsplit("-", 2) for one in folder.iterdir() if one.name.count("-") >= 2]
    own = [note for note in notes if note[0] == str(number)]
    return [int(pid) for _, pid, _ in sorted(own, key=lambda note: int(note[2]))]
