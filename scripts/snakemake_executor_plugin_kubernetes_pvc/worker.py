"""What a warm pod does: it takes tasks from a spool and runs each in a process of its own.

``python -m snakemake_executor_plugin_kubernetes_pvc.worker SPOOL --name NAME`` imports what scripts
import once and forks for each task. So a task begins with everything loaded, and neither sees
nor leaves anything of the others. Everything here runs in one thread: threads do not
survive a fork.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import gc
import importlib
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from snakemake_executor_plugin_kubernetes_pvc.spool import End, Spool, Task, state_of

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
    """

    def __init__(self, spool: Spool, name: str) -> None:
        self._spool = spool
        self._name = name
        self._imported: set[str] = set()
        self._child = 0

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
        self._import_of(task)
        kills = oom_kills()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory() as folder:
            status = self._in_fork(task, output.fileno(), folder)
            seconds = time.monotonic() - began
            said = _last_lines(output)
        reason = _reason(status, task)
        out_of_memory = memory_limit() if reason and oom_kills() > kills else ""
        files: list[list[int]] = []
        if not reason:
            try:
                files = state_of(task.outputs)
            except FileNotFoundError as error:
                reason = f"it ended well but did not make {error.filename}"
        return End(task.content, self._name, reason, out_of_memory, seconds, files, said)

    def _import_of(self, task: Task) -> None:
        """Import what a script imports at its top, once, and run nothing else of it.

        An error is left to the task, which meets it again and has a log for it.
        """
        if task.source in self._imported:
            return
        self._imported.add(task.source)
        # What every task needs of Snakemake.
        from snakemake import benchmark, iocontainers, logging  # noqa: F401

        with _search_path(task), suppress(Exception, SystemExit):
            for node in ast.parse(task.source).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    alone = ast.Module([node], [])
                    with suppress(Exception, SystemExit):
                        exec(compile(alone, task.file, "exec"), {"__name__": "imported"})
        # A collection in a child would copy all that it looks at.
        gc.collect()
        gc.freeze()

    def _in_fork(self, task: Task, output: int, folder: str) -> int:
        """Run a task in a child, and return the status that `os.waitpid` gives; -1: too late."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._child = os.fork()
        if self._child == 0:
            _run_script(task, output, folder)
        with _benchmark(task, self._child):
            return self._wait(task.runtime_s)

    def _wait(self, runtime_s: float | None) -> int:
        """Wait for the child, or kill it when its time is over."""
        try:
            if runtime_s is None:
                status = os.waitpid(self._child, 0)[1]
                self._kill_child()  # what it has left of processes of its own
                return status
            end = time.monotonic() + runtime_s
            while time.monotonic() < end:
                pid, status = os.waitpid(self._child, os.WNOHANG)
                if pid:
                    self._kill_child()
                    return status
                time.sleep(min(0.05, runtime_s))
            self._kill_child()
            os.waitpid(self._child, 0)
            return -1
        finally:
            self._child = 0

    def _kill_child(self) -> None:
        if self._child > 0:
            # It leads a group: processes of its own end with it.
            with suppress(ProcessLookupError):
                os.killpg(self._child, signal.SIGKILL)

    def _terminate(self, *_: object) -> None:
        self._kill_child()
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


@contextmanager
def _search_path(task: Task) -> Iterator[None]:
    before = list(sys.path)
    sys.path.extend(task.search)
    try:
        yield
    finally:
        sys.path[:] = before


def _run_script(task: Task, output: int, folder: str) -> None:
    """Run a script as Snakemake does, in a child that ends here."""
    from snakemake import logging

    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (open(each, "w", closefd=False) for each in (1, 2))  # noqa: SIM115
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        if random := sys.modules.get("numpy.random"):
            random.seed()
        os.chdir(task.directory)
        sys.path.extend(task.search)
        sys.argv = [task.file]
        main = types.ModuleType("__main__")
        main.__file__ = main.__real_file__ = task.file
        sys.modules["__main__"] = main
        main.logger = logging.logger
        main.snakemake = pickle.loads(task.snakemake)
        exec(compile(task.source, task.file, "exec"), main.__dict__)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:  # noqa: BLE001 - the process ends with it
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _benchmark(task: Task, pid: int) -> contextmanager:
    """Measure a child while it runs, and write that down as Snakemake does."""
    return _benchmarked(task.benchmark, pid) if task.benchmark else nullcontext()


@contextmanager
def _benchmarked(path: str, pid: int) -> Iterator[None]:
    from snakemake.benchmark import benchmarked, write_benchmark_records

    # Its thread ends before the next fork.
    with benchmarked(pid) as record:
        yield
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
    if status == -1:
        return f"ran longer than its runtime of {task.runtime_s:.0f} s"
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _last_lines(output) -> str:
    """Copy what a child wrote to the log of the pod, and return its last lines."""
    output.seek(0)
    text = output.read().decode(errors="replace")
    if text:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    return "\n".join(text.splitlines()[-LAST_LINES:])


def _function(name: str) -> Callable[[], object]:
    """Find a function by MODULE:NAME."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def main(arguments: list[str] | None = None) -> int:
    """Work until there is nothing to do, or it is time to end."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spool", type=Path, help="folder with tasks")
    parser.add_argument("--name", required=True, help="name of this worker")
    parser.add_argument("--seconds", type=float, default=900, help="time for beginning tasks")
    parser.add_argument("--idle", type=float, default=30, help="seconds to wait for a task")
    parser.add_argument("--warm-up", metavar="MODULE:FUNCTION", help="called before any task")
    given = parser.parse_args(arguments)
    if given.warm_up:
        began = time.monotonic()
        try:
            _function(given.warm_up)()
        except Exception:  # noqa: BLE001 - tasks can do without it
            traceback.print_exc()
            _say(f"{given.warm_up} failed: tasks start cold")
        else:
            _say(f"warm after {time.monotonic() - began:.1f} s")
    done = Worker(Spool(given.spool), given.name).work(given.seconds, given.idle)
    _say(f"{done} tasks done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
