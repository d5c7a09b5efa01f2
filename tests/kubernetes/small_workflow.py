"""A workflow of a few tiny jobs, run by Snakemake with the executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fake_api import FakeApi

SNAKEFILE = """
PIECES = [str(number) for number in range(int(config.get("pieces", 2)))]

rule all:
    input: "all.txt"

rule piece:
    output: "piece/{piece}.txt"
    log: "log/{piece}.log"
    resources: mem_mb=lambda wildcards, attempt: 200 * attempt, disk_mb=100
    shell: "sh piece.sh {wildcards.piece} > {output} 2> {log}"

rule plain:
    output: "plain.txt"
    shell: "sh piece.sh plain > {output}"

rule join:
    input: expand("piece/{piece}.txt", piece=PIECES)
    output: "all.txt"
    resources: mem_mb=200, disk_mb=100
    shell: "cat {input} > {output}"

rule many:
    input: expand("given/{number}.txt", number=range(30))
    output: "many.txt"
    resources: mem_mb=200, disk_mb=100
    shell: "cat {input} > {output}"
"""


@dataclass
class Ran:
    """What one call of Snakemake did."""

    code: int
    text: str


@dataclass
class SmallWorkflow:
    """A folder with the workflow; ``piece.sh`` is what each of its jobs does."""

    folder: Path
    kubeconfig: Path
    mount_path: Path | None = None
    image: str = "busybox:test"
    started: list[subprocess.Popen] = field(default_factory=list)
    umask: int = 0  # pods write there as another user

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
        self.does("echo $1")

    def does(self, script: str) -> None:
        """Set what a job of rule piece does; ``$1`` is the piece.

        That two do the same at once is found out by a lock that ends with its process.
        """
        alone = "exec 9> lock-$1; flock -n 9 || { touch twice-at-once-$1; exit 9; }"
        (self.folder / "piece.sh").write_text(f"{alone}\n{script}\n", encoding="utf-8")

    def start(self, *options: str) -> subprocess.Popen:
        """Start Snakemake, in a group of its own so that it can be killed as a whole."""
        process = subprocess.Popen(
            [
                sys.executable,
                *("-m", "snakemake", "--executor", "kubernetes-pvc", "--jobs", "100"),
                *("--kubernetes-pvc-claim", "shared", "--container-image", self.image),
                *("--kubernetes-pvc-mount-path", str(self.mount_path or self.folder)),
                *("--seconds-between-status-checks", "1", "--latency-wait", "2"),
                *("--shared-fs-usage", "persistence", "input-output", "sources"),
                *("storage-local-copies", "--nocolor", *options),
            ],
            cwd=self.folder,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            umask=self.umask,
        )
        self.started.append(process)
        return process

    def kill(self) -> None:
        """Kill what a test that failed has left running."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def run(self, *options: str, timeout_s: float = 300) -> Ran:
        """Run Snakemake to its end."""
        return ended(self.start(*options), timeout_s)


def at_once(api: FakeApi, job: dict) -> None:
    """Fate of a Job: what Snakemake expects of it is there at once."""
    labels = job["metadata"]["labels"]
    folder = Path(job["spec"]["template"]["spec"]["containers"][0]["workingDir"])
    made = "all.txt"
    if labels["snakemake/rule"] == "piece":
        made = f"piece/{labels['snakemake/wildcard.piece']}.txt"
    (folder / made).parent.mkdir(exist_ok=True)
    (folder / made).write_text("made\n", encoding="utf-8")
    api.end(job, api.add_pod(job), "Succeeded")


def ended(process: subprocess.Popen, timeout_s: float = 300) -> Ran:
    """Wait for the end of a run; one that takes too long is killed."""
    try:
        text, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        raise AssertionError(f"still running after {timeout_s} s:\n{text}") from None
    return Ran(process.returncode, text)


def until(condition: Callable[[], object], seconds: float = 180, every_s: float = 0.1) -> None:
    """Wait until something holds; how often that is asked hangs on what the question costs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(every_s)
