"""What a warm pod does: it takes tasks from a spool and runs them in processes that it forks.

``python -m snakemake_executor_plugin_kubernetes_pvc.worker SPOOL --name NAME`` imports what scripts
import once and forks. So a task begins with everything loaded. With one task a process, it neither
sees nor leaves anything of the others. Everything here runs in one thread: threads do not survive a
fork.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake_executor_plugin_kubernetes_pvc.spool import End, Spool, Task, state_of
from snakemake_warm_scripts.imports import Imports, function_of
from snakemake_warm_scripts.process import TOO_LATE, ForkedProcess

if TYPE_CHECKING:
    from snakemake.benchmark import BenchmarkRecord

LOOK_EVERY_S = 0.3
LAST_LINES = 20
# The counters of kills for want of memory, of control groups in version 2 and 1.
_OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Worker:
    """Runs tasks of a spool, one after the other.

    Parameters
    ----------
    spool
        Where tasks are.
    name
        The name of this worker in claims and ends; no other has it.
    per_process
        How many tasks a process runs.
    """

    def __init__(self, spool: Spool, name: str, per_process: int = 1) -> None:
        self._spool = spool
        self._name = name
        self._per_process = per_process
        self._imports = Imports()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the worker
        self._process: ForkedProcess | None = None

    def work(self, seconds: float, idle_s: float) -> int:
        """Run tasks, and return how many.

        Parameters
        ----------
        seconds
            No task is begun after this time.
        idle_s
            How long it waits for a task before it ends.
        """
        signal.signal(signal.SIGTERM, self._terminate)
        began = idle_since = time.monotonic()
        done = 0
        while time.monotonic() - began < seconds:
            task = self._spool.claim(self._name)
            if task is None:
                if time.monotonic() - idle_since >= idle_s:
                    break
                time.sleep(LOOK_EVERY_S)
                continue
            end = self.run(task)
            self._spool.end(task.product, end)
            _say(f"{task.title}: {end.reason or 'done'} ({end.seconds:.1f} s)")
            done += 1
            idle_since = time.monotonic()
        if process := self._living:
            process.end()
        return done

    def run(self, task: Task) -> End:
        """Run a task, and say how it went; its own failure raises nothing."""
        _say(f"{task.title}: begun")
        began = time.monotonic()
        if missing := _wait_for(task.inputs, task.latency_s):
            return End(
                task.content,
                self._name,
                f"the input {missing} is not there, {task.latency_s:.0f} s after the job was sent "
                "(--latency-wait)",
            )
        try:
            _prepare(task)
        except OSError as error:
            return End(task.content, self._name, f"{error.strerror}: {error.filename}")
        kills = oom_kills()
        # Before the folder is there: a process that is forked later would delete it at its end.
        process = self._process_for(task)
        with tempfile.TemporaryDirectory() as folder:
            record = _new_record() if task.benchmark else None
            environment = {**os.environ, "TMPDIR": folder}
            status = process.run(task, environment, task.runtime_s, record)
            seconds = time.monotonic() - began
            said = _last_lines(self._output)
        if status == 0 and task.benchmark:
            _write_benchmark(task.benchmark, record)
        reason = _reason(status, task)
        out_of_memory = memory_limit() if reason and oom_kills() > kills else ""
        files: list[list[int]] = []
        if not reason:
            try:
                files = state_of(task.outputs)
            except FileNotFoundError as error:
                reason = f"it ended well but did not make {error.filename}"
        return End(task.content, self._name, reason, out_of_memory, seconds, files, said)

    def _process_for(self, task: Task) -> ForkedProcess:
        """A process that has what a task imports."""
        is_behind = self._imports.add(task)
        if (process := self._living) and is_behind:
            process.end()
            process = None
        self._process = process or ForkedProcess(self._output, self._per_process)
        return self._process

    @property
    def _living(self) -> ForkedProcess | None:
        """The process that can be given a task, if there is one."""
        return self._process if self._process and self._process.lives else None

    def _terminate(self, *_: object) -> None:
        try:
            if process := self._living:
                process.kill()
        finally:
            os._exit(128 + signal.SIGTERM)


def _say(text: str) -> None:
    """Write a line to the log of the pod."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def _wait_for(files: tuple[str, ...], seconds: float) -> str:
    """Wait until files are there, and return one that never was."""
    end = time.monotonic() + seconds
    for file in files:
        while not os.path.exists(file):
            if time.monotonic() >= end:
                return file
            time.sleep(LOOK_EVERY_S)
    return ""


def _prepare(task: Task) -> None:
    """Do what Snakemake does before a job: no old output, and a folder for each file."""
    for file in filter(None, (*task.outputs, *task.logs, task.benchmark)):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    for file in task.outputs:
        Path(file).unlink(missing_ok=True)


def _new_record() -> BenchmarkRecord:
    from snakemake.benchmark import BenchmarkRecord

    return BenchmarkRecord()


def _write_benchmark(path: str, record: BenchmarkRecord) -> None:
    """Write what a task took, in Snakemake's format."""
    from snakemake.benchmark import write_benchmark_records

    write_benchmark_records([record], path, False)


def oom_kills() -> int:
    """Count the processes of this container that were killed for want of memory."""
    for path in _OOM_COUNTERS:
        with suppress(OSError):
            for line in Path(path).read_text(encoding="utf-8").splitlines():
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
    return 0


def memory_limit() -> str:
    """Return how much memory this container may use, as Kubernetes writes it."""
    for path in _MEMORY_LIMITS:
        with suppress(OSError, ValueError):
            return f"{int(Path(path).read_text(encoding='utf-8')) // 10**6}M"
    return "of the node"


def _reason(status: int, task: Task) -> str:
    """Say why a child failed, from the status that `os.waitpid` gives; empty if it did not."""
    if status == 0:
        return ""
    if status == TOO_LATE:
        return f"ran longer than its runtime of {task.runtime_s:.0f} s"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def _last_lines(output) -> str:
    """Copy what a child wrote to the log of the pod, and return its last lines."""
    output.seek(0)
    text = output.read().decode(errors="replace")
    if text:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    return "\n".join(text.splitlines()[-LAST_LINES:])


def main(arguments: list[str] | None = None) -> int:
    """Work until there is nothing to do, or it is time to end."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spool", type=Path, help="folder with tasks")
    parser.add_argument("--name", required=True, help="name of this worker")
    parser.add_argument("--seconds", type=float, default=900, help="time for beginning tasks")
    parser.add_argument("--idle", type=float, default=30, help="seconds to wait for a task")
    parser.add_argument("--per-process", type=int, default=1, help="tasks that a process runs")
    parser.add_argument("--warm-up", metavar="MODULE:FUNCTION", help="called before any task")
    given = parser.parse_args(arguments)
    if given.warm_up:
        began = time.monotonic()
        try:
            function_of(given.warm_up)()
        except Exception:  # noqa: BLE001 - tasks can do without it
            traceback.print_exc()
            _say(f"{given.warm_up} failed: tasks start cold")
        else:
            _say(f"warm after {time.monotonic() - began:.1f} s")
    worker = Worker(Spool(given.spool), given.name, given.per_process)
    done = worker.work(given.seconds, given.idle)
    _say(f"{done} tasks done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
