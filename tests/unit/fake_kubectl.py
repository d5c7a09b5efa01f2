"""A program in place of kubectl: it runs what is for the access pod in a folder, the volume.

All else it answers from a script, or as an idle cluster would, and it notes how it was called.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakeshed.cluster.kubectl import Kubectl

NAME = "snakeshed-mine-1"
MINE = ("--configfile", "config/mine.yaml")

# What was copied is imported from where it comes from, compiled already.
INSTEAD = {
    "PYTHONPATH=scripts": f"PYTHONPATH={Path(__file__).parents[2] / 'scripts'}",
    "PYTHONPYCACHEPREFIX=/tmp/pycache": "PYTHONDONTWRITEBYTECODE=",
}

PROGRAM = """#!{python}
import json, pathlib, re, subprocess, sys, time
home = pathlib.Path({home!r})
words = sys.argv[1:]
line = " ".join(words)
script = json.loads((home / "script").read_text())
given = sys.stdin.buffer.read() if "-i" in words or "-" in words else b""
order = next(iter(re.findall(rb'^{{"do": "(\\w+)"', given, re.MULTILINE)), b"").decode()
with open(home / "calls", "a") as calls:
    calls.write(json.dumps([*words, order]) + "\\n")
if words[-2:] == ["-f", "-"]:
    (home / "given").write_bytes(given)
cut = None
for answer in script:
    there = answer["words"] in line and answer.get("order", order) == order
    if answer["times"] and there:
        passes = bool(answer.get("skip"))
        answer["skip" if passes else "times"] -= 1
        (home / "script").write_text(json.dumps(script))
        if passes:
            continue
        cut = answer.get("cut")
        if cut is None:
            sys.stdout.write(answer.get("stdout", ""))
            sys.stdout.flush()
            time.sleep(answer.get("sleep", 0))
            sys.stderr.write(answer.get("stderr", ""))
            sys.exit(answer.get("code", 1 if answer.get("stderr") else 0))
        break
if "exec" in words:
    done = subprocess.run(
        [{instead!r}.get(word, word) for word in words[words.index("--") + 1 :]],
        cwd=home / "volume", input=given[:cut], capture_output=True
    )
    if cut is not None and not answer.get("well"):
        sys.exit("error: unexpected EOF")
    sys.stdout.buffer.write(done.stdout)
    sys.stderr.buffer.write(done.stderr)
    if done.returncode:
        sys.stderr.write(f"command terminated with exit code {{done.returncode}}\\n")
    sys.exit(done.returncode)
if "current-context" in words:
    print("test")
elif "get deployment" in line:
    counts = ("observedGeneration", "replicas", "updatedReplicas", "availableReplicas")
    status = dict.fromkeys(counts, 1)
    print(json.dumps({{"metadata": {{"generation": 1}}, "status": status}}))
elif "get persistentvolumeclaim" in line:
    print(json.dumps({{"metadata": {{}}}}))
elif " get " in f" {{line}}" and "-o json" in line:
    print(json.dumps({{"items": []}}))
"""


@dataclass
class FakeKubectl:
    """The program, first on the PATH, and what it knows.

    Parameters
    ----------
    home
        For the program, and for the volume.
    """

    home: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.volume = self.home / "volume"
        self.volume.mkdir(parents=True)
        self.bin = self.home / "bin"
        self.bin.mkdir()
        program = self.bin / "kubectl"
        program.write_text(
            PROGRAM.format(python=sys.executable, home=str(self.home), instead=INSTEAD)
        )
        program.chmod(0o755)
        python = self.bin / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        self.answers()

    def answers(self, *script: dict[str, Any]) -> None:
        """Set what calls with some words are answered, each so many times, or always."""
        script = [{"times": -1, **one} for one in script]
        (self.home / "script").write_text(json.dumps(script))

    def calls(self, *words: str) -> list[list[str]]:
        """The calls so far that hold all of some words."""
        path = self.home / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if set(words) <= set(call)]

    def given(self) -> str:
        """The last objects that kubectl was given."""
        return (self.home / "given").read_text()

    def kubectl(self, sleep: Callable[[float], None] = lambda _: None) -> Kubectl:
        """What calls it, and waits for nothing."""
        return Kubectl("mine", self.said.append, sleep=sleep)


def run_python(folder: Path, code: str, *words: str) -> str:
    """Run Python code in a folder, and return what it says."""
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def job(*arguments: str, name: str = NAME, ended: str = "", made: str = "01") -> dict:
    """A driver's Job."""
    conditions = [{"type": ended, "status": "True", "message": "its reason"}] if ended else []
    container = {"name": "driver", "args": list(arguments)}
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": f"2026-01-01T00:00:{made}Z"},
        "spec": {"template": {"spec": {"containers": [container]}}},
        "status": {"conditions": conditions},
    }


def pod(name: str, phase: str, made: int, **status) -> dict:
    """A pod of a driver."""
    metadata = {"name": name, "uid": name, "creationTimestamp": f"2026-01-01T00:00:{made:02}Z"}
    return {"metadata": metadata, "status": {"phase": phase, **status}}


def said(words: str, answer: dict | list | str, times: int = -1, **more) -> dict:
    """What kubectl says to some words."""
    if isinstance(answer, list):
        answer = {"items": answer}
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return {"words": words, "stdout": text, "times": times, **more}
