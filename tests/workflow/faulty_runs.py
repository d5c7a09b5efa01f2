"""Runs that something happens to, and what has to hold after them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

FAULTS = Path(__file__).parent / "faults"


def fault_in(rule: str, fault: str) -> dict[str, str]:
    """Variables that bring a fault upon each job of a rule, see faults/sitecustomize.py."""
    path = os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "FAULT": f"{rule}:{fault}"}


def run_with_fault(study, rule: str, fault: str, *targets: str, within: Sequence[str] = (), **more):
    """Run the study while each job of this rule meets a fault."""
    return study.run(*targets, within=within, **fault_in(rule, fault), **more)


def bytes_of(study) -> dict[str, bytes]:
    """All result files but the hidden ones, which are half-written."""
    return {
        name: content
        for name, (content, _) in study.contents().items()
        if not Path(name).name.startswith(".")
    }


def parts_of(study) -> list[Path]:
    return list(study.results.rglob(".*.part*"))


def remove(study, *patterns: str) -> None:
    removed = [path for pattern in patterns for path in study.results.glob(pattern)]
    assert len(removed) >= len(patterns)
    for path in removed:
        path.unlink()


def completes(study, undisturbed: dict[str, bytes]) -> None:
    """Run the same command again: all is there, equal, and nothing else."""
    run = study.run()
    assert run.code == 0, run.text
    assert bytes_of(study) == undisturbed
    assert not parts_of(study)


def until_none_is_left(study) -> None:
    """Wait until all processes of a study's runs have ended; soon, or not by themselves."""
    end = time.monotonic() + 20
    while left := study.processes():
        assert time.monotonic() < end, left
        time.sleep(0.1)


def wait_until(reached: Callable[[], bool], process: subprocess.Popen) -> None:
    while not reached():
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.02)


class Surroundings:
    """A mount namespace of its own: what is mounted in it, nobody else sees."""

    def __init__(self) -> None:
        # Without being root, one is root in a namespace of users of one's own.
        self._unshare = ["unshare", "--mount", "--propagation", "private"]
        self._enter = ["--mount"]
        if os.geteuid() != 0:
            self._unshare += ["--user", "--map-root-user"]
            self._enter += ["--user", "--preserve-credentials"]
        self._keeper = subprocess.Popen(
            [*self._unshare, "sh", "-c", "echo ready; exec sleep 600"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def ready(self) -> str:
        """Say why there are none, if so."""
        if self._keeper.stdout.readline() == b"ready\n":
            return ""
        return self._keeper.communicate()[1].decode().strip()

    def within(self, folder: Path) -> list[str]:
        """The start of a command that runs here, in a folder."""
        enter = ["nsenter", "--target", str(self._keeper.pid), *self._enter]
        return [*enter, "env", f"--chdir={folder}"]

    def do(self, *command: str | Path) -> str:
        done = subprocess.run(
            [*self.within(Path("/")), *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout

    def seen(self, path: Path) -> Path:
        """Where a path of these surroundings is seen from outside."""
        return Path(f"/proc/{self._keeper.pid}/root{path}")

    def close(self) -> None:
        self._keeper.kill()
        self._keeper.communicate()
