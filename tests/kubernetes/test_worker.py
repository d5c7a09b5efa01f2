"""A warm worker runs each script as Snakemake does, and says how it went."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_workflow import until

from snakemake_executor_plugin_kubernetes_pvc import worker as worker_module
from snakemake_executor_plugin_kubernetes_pvc.spool import Spool, Task, state_of
from snakemake_executor_plugin_kubernetes_pvc.worker import Worker
from snakemake_warm_scripts.process import ForkedProcess

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def task(tmp_path) -> Task:
    """A task that writes its own process id and name of its output."""
    source = (
        "import os\n"
        "if __name__ == '__main__':\n"
        "    with open(snakemake.output[0], 'w') as file:\n"
        "        file.write(str(os.getpid()))\n"
    )
    given = SimpleNamespace(output=["deep/out.txt"])
    return Task(
        "p1",
        "c1",
        "piece 1",
        source,
        str(tmp_path / "piece.py"),
        pickle.dumps(given, protocol=4),
        str(tmp_path),
        outputs=(str(tmp_path / "deep/out.txt"),),
        logs=(str(tmp_path / "log/1.log"),),
    )


@pytest.fixture
def run(spool, monkeypatch, tmp_path):
    """Run a task in a worker of this process."""
    monkeypatch.chdir(tmp_path)
    return Worker(spool, "w1").run


def does(task: Task, statements: str) -> Task:
    return replace(task, source=task.source + "".join(f"    {s}\n" for s in statements.split("\n")))


def has_ended(pid: int) -> bool:
    """Whether a process has ended. Nobody may be there to wait for it: then it is a zombie."""
    try:
        return "(zombie)" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_script_runs_in_a_process_of_its_own(run, task, tmp_path):
    end = run(task)
    made = tmp_path / "deep/out.txt"
    assert (end.reason, end.content, end.worker) == ("", "c1", "w1")
    assert int(made.read_text()) != os.getpid()
    assert end.files == state_of((str(made),))
    assert (tmp_path / "log").is_dir()


def test_old_output_is_removed_before(run, task, tmp_path):
    Path(tmp_path / "deep").mkdir()
    Path(tmp_path / "deep/out.txt").write_text("old")
    looks = replace(task, source="import os, sys\nsys.exit(os.path.exists(snakemake.output[0]))\n")
    end = run(looks)
    assert end.reason.startswith("it ended well but did not make ")


@pytest.mark.parametrize(
    ("statements", "reason", "said"),
    [
        ("raise SystemExit(3)", "exit code 3", ""),
        ("raise SystemExit('no such tile')", "exit code 1", "no such tile"),
        ("print('so far'); raise ValueError('no such tile')", "exit code 1", "no such tile"),
        ("raise SystemExit(2**40 + 3)", "exit code 3", ""),
        ("os.kill(os.getpid(), 15)", "killed by SIGTERM", ""),
        ("os.kill(os.getpid(), 40)", "killed by signal 40", ""),
        (
            "import sys; print('so far', file=sys.stderr); os.kill(os.getpid(), 9)",
            "killed by SIGKILL",
            "so far",
        ),
        ("os.remove(snakemake.output[0])", "it ended well but did not make ", ""),
    ],
)
def test_a_failure_is_named_with_what_was_said(run, task, statements, reason, said):
    end = run(does(task, statements))
    assert end.reason.startswith(reason)
    assert said in end.said
    assert end.files == []


def test_a_task_neither_sees_nor_leaves_anything(run, task, tmp_path):
    leaves = does(
        task, "import builtins; builtins.left = 1; os.chdir('/'); os.environ['LEFT'] = '1'"
    )
    sees = does(
        task,
        "import builtins\nassert not hasattr(builtins, 'left')\nassert 'LEFT' not in os.environ",
    )
    assert run(leaves).reason == ""
    assert run(sees).reason == ""
    assert os.getcwd() == str(tmp_path)


def test_imports_of_a_script_are_done_once_and_nothing_else_of_it(run, task, tmp_path):
    (tmp_path / "lib").mkdir()
    counting = "with open({!r}, 'a') as file:\n    file.write({!r})\n"
    counter = str(tmp_path / "count")
    (tmp_path / "lib/counts_imports.py").write_text(counting.format(counter, "i"))
    source = "import counts_imports\n" + counting.format(counter, "s") + task.source
    counted = replace(task, source=source, search=(str(tmp_path / "lib"),))
    for _ in range(3):
        assert run(counted).reason == ""
    # The script itself needs no main guard.
    assert (tmp_path / "count").read_text() == "isss"


def test_processes_that_a_task_leaves_end_with_it(run, task, tmp_path):
    leaves = (
        "import subprocess\n"
        "left = subprocess.Popen(['sleep', '100'])\n"
        "open('left', 'w').write(str(left.pid))\n"
        "os._exit(3)"
    )
    assert run(does(task, leaves)).reason == "exit code 3"
    left = int((tmp_path / "left").read_text())
    until(lambda: has_ended(left), 10)


@pytest.mark.parametrize("per_process", [1, 3])
def test_what_a_script_has_not_written_yet_is_in_its_output(spool, task, tmp_path, per_process):
    opens = "file = open(snakemake.output[0], 'w')\nfile.write('all rows')\ndef f(): pass\n"
    worker = Worker(spool, "w1", per_process)
    end = worker.run(replace(task, source=opens))
    assert (tmp_path / "deep/out.txt").read_text() == "all rows"
    assert end.files == state_of((str(tmp_path / "deep/out.txt"),))


@pytest.mark.parametrize("per_process", [1, 3])
def test_threads_of_a_script_are_waited_for(spool, task, tmp_path, per_process):
    leaves = (
        "import time\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def write():\n"
        "    time.sleep(0.3)\n"
        "    open(snakemake.output[0], 'w').write('all rows')\n"
        "ThreadPoolExecutor(1).submit(write)\n"
    )
    assert Worker(spool, "w1", per_process).run(replace(task, source=leaves)).reason == ""
    assert (tmp_path / "deep/out.txt").read_text() == "all rows"


def test_a_traceback_goes_where_the_script_has_its_errors_go(run, task, tmp_path):
    redirects = "import sys; sys.stderr = open('own.log', 'w'); raise ValueError('no such tile')"
    assert run(does(task, redirects)).reason == "exit code 1"
    assert "ValueError: no such tile" in (tmp_path / "own.log").read_text()


def test_the_thread_of_a_benchmark_has_ended_before_a_process_is_forked(
    run, task, tmp_path, monkeypatch
):
    measured = replace(
        does(task, "import time; time.sleep(0.6)"), benchmark=str(tmp_path / "b.tsv")
    )
    threads, fork = [], os.fork

    def counted_fork() -> int:
        threads.append({*threading.enumerate()})
        return fork()

    monkeypatch.setattr(os, "fork", counted_fork)
    for _ in range(5):
        assert run(measured).reason == ""
    assert len(threads) == 5
    # pytest-xdist has some of its own.
    assert all(each == threads[0] for each in threads)


def test_a_task_has_a_folder_for_temporary_files_of_its_own(run, task, tmp_path):
    leaves = "import tempfile; open('where', 'w').write(tempfile.mkdtemp())"
    assert run(does(task, leaves)).reason == ""
    where = Path((tmp_path / "where").read_text())
    assert not where.exists()
    assert where.parent != Path("/tmp")


def test_random_numbers_differ_between_tasks(run, task, tmp_path):
    draws = "open('drawn', 'a').write(f'{numpy.random.random()}\\n')"
    drawing = replace(does(task, draws), source="import numpy.random\n" + does(task, draws).source)
    for _ in range(3):
        assert run(drawing).reason == ""
    assert len(set((tmp_path / "drawn").read_text().split())) == 3


def test_a_seed_is_that_of_one_task(shared, task):
    draws = "import random\nopen('drawn', 'a').write(f'{random.random()}\\n')\nrandom.seed(1)"
    pids(shared, task, *3 * [draws])
    assert len(set(Path("drawn").read_text().split())) == 3


def test_a_folder_in_the_place_of_an_output_is_named(run, task, tmp_path):
    (tmp_path / "deep/out.txt").mkdir(parents=True)
    assert str(tmp_path / "deep/out.txt") in run(task).reason


def test_modules_beside_the_script_are_found(run, task, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/beside_the_script.py").write_text("x = 5\n")
    uses = does(task, "import beside_the_script\nassert beside_the_script.x == 5")
    assert "No module named 'beside_the_script'" in run(uses).said
    assert run(replace(uses, search=(str(tmp_path / "lib"),))).reason == ""
    assert str(tmp_path / "lib") not in sys.path


def test_a_benchmark_is_that_of_snakemake(run, task, tmp_path):
    measured = replace(
        does(task, "import time; time.sleep(0.3)"), benchmark=str(tmp_path / "b.tsv")
    )
    assert run(measured).reason == ""
    header, values = (tmp_path / "b.tsv").read_text().splitlines()
    assert header.split("\t")[:3] == ["s", "h:m:s", "max_rss"]
    assert 0.3 <= float(values.split("\t")[0]) < 60


def test_a_task_ends_with_its_runtime(run, task):
    began = time.monotonic()
    end = run(replace(does(task, "import time; time.sleep(60)"), runtime_s=0.4))
    assert end.reason == "ran longer than its runtime of 0 s"
    assert time.monotonic() - began < 30


def test_missing_inputs_are_waited_for_and_named(run, task, tmp_path):
    end = run(replace(task, inputs=(str(tmp_path / "dem.tif"),), latency_s=0.5))
    assert end.reason == (
        f"the input {tmp_path / 'dem.tif'} is not there, 0 s after the job was sent "
        "(--latency-wait)"
    )


def test_want_of_memory_is_told_by_the_counter_of_the_container(run, task, monkeypatch, tmp_path):
    counter, limit = tmp_path / "memory.events", tmp_path / "memory.max"
    counter.write_text("low 0\noom 1\noom_kill 1\n")
    limit.write_text("2200000000\n")
    monkeypatch.setattr(worker_module, "_OOM_COUNTERS", (str(tmp_path / "none"), str(counter)))
    monkeypatch.setattr(worker_module, "_MEMORY_LIMITS", (str(limit),))
    killed = "os.kill(os.getpid(), 9)"
    end = run(does(task, killed))
    assert (end.reason, end.out_of_memory) == ("killed by SIGKILL", "")
    counts = f"open({str(counter)!r}, 'w').write('oom_kill 2'); {killed}"
    end = run(does(task, counts))
    assert (end.reason, end.out_of_memory) == ("killed by SIGKILL", "2200M")


def start(spool: Spool, *options: str, **more: object) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", worker_module.__name__, str(spool.folder), "--name", "w1"),
            *options,
        ],
        cwd=spool.folder.parent,
        env={**os.environ, "PYTHONPATH": f"{CHECKOUT / 'scripts'}:{spool.folder.parent}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    )


def test_a_worker_takes_all_tasks_and_ends_when_there_are_no_more(spool, task):
    for each in range(5):
        spool.put(replace(task, product=f"p{each}"))
    worker = start(spool, "--idle", "0.5")
    said, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0, said
    assert "5 tasks done" in said
    assert "piece 1: done" in said
    assert set(spool.look().ends) == {f"p{each}" for each in range(5)}


def test_a_worker_begins_no_task_after_its_time(spool, task):
    for each in range(3):
        spool.put(replace(does(task, "import time; time.sleep(0.4)"), product=f"p{each}"))
    said, _ = start(spool, "--seconds", "0.1").communicate(timeout=60)
    assert "1 tasks done" in said
    assert len(spool.look().ends) == 1


def test_a_worker_warms_up_and_says_if_that_failed(spool, task, tmp_path):
    (tmp_path / "ovens.py").write_text("def heat():\n    print('warm')\n")
    said, _ = start(spool, "--idle", "0", "--warm-up", "ovens:heat").communicate(timeout=60)
    assert "warm\n" in said
    assert "warm after" in said
    spool.put(task)
    said, _ = start(spool, "--idle", "0.2", "--warm-up", "ovens:burn").communicate(timeout=60)
    assert "ovens:burn failed: tasks start cold" in said
    assert "1 tasks done" in said


def test_a_worker_that_is_asked_to_end_takes_its_task_with_it(spool, task, tmp_path):
    spool.put(does(task, "import time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"))
    worker = start(spool)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 30)
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=30)
    assert worker.returncode == 143
    child = int((tmp_path / "pid").read_text())
    until(lambda: has_ended(child), 10)
    # The driver sees a claim without an end.
    stand = spool.look()
    assert (stand.claims, stand.ends) == ({"p1": "w1"}, {})


def pids(run, task: Task, *statements: str) -> list[int]:
    """Run tasks, and return the process of each."""
    found = []
    for each in statements:
        assert run(does(task, each)).reason == ""
        found.append(int(Path(task.outputs[0]).read_text()))
    return found


@pytest.fixture
def shared(spool, monkeypatch, tmp_path):
    """Run a task in a worker whose processes run up to three."""
    monkeypatch.chdir(tmp_path)
    worker = Worker(spool, "w1", per_process=3)
    yield worker.run
    if worker._process is not None and worker._process.lives:
        worker._process.end()


def test_a_process_runs_as_many_tasks_as_it_may(shared, task):
    first, second, third, fourth = pids(shared, task, *4 * ["pass"])
    assert first == second == third != fourth


def test_a_task_finds_what_can_be_set_back(shared, task, tmp_path):
    changes = (
        "import sys, signal, warnings\n"
        "os.chdir('/'); os.environ['LEFT'] = '1'; sys.path.append('/left')\n"
        "signal.signal(15, signal.SIG_IGN); left = 1\n"
        "warnings.showwarning = lambda *_: print('warned')\n"
        "warnings.warn('of the same line')"
    )
    sees = (
        "import sys, signal, warnings\n"
        f"assert os.getcwd() == {str(tmp_path)!r}\n"
        "assert 'LEFT' not in os.environ and '/left' not in sys.path\n"
        "assert signal.getsignal(15) == signal.SIG_DFL\n"
        "assert 'left' not in globals()"
    )
    first, second = pids(shared, task, changes, sees)
    assert first == second
    # A warning is given once, but to each task.
    assert shared(does(task, changes)).said == "warned"


def test_signals_timers_and_the_umask_are_set_back(shared, task):
    leaves = (
        "import signal\n"
        "signal.signal(signal.SIGALRM, lambda *_: 1 / 0)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "os.umask(0o077)"
    )
    sees = (
        "import signal, time\n"
        "time.sleep(0.4)\n"
        "assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL\n"
        "assert os.umask(0) != 0o077"
    )
    first, second = pids(shared, task, leaves, sees)
    assert first == second


@pytest.mark.parametrize(
    "redirects",
    [
        "import sys\nwith open('1.log', 'w') as log: sys.stdout = sys.stderr = log",
        "import sys\nsys.stdout = sys.stderr = open('1.log', 'w'); print('of the first')",
        "log = os.open('1.log', os.O_WRONLY | os.O_CREAT)\n"
        "os.dup2(log, 1); os.dup2(log, 2); os.close(log)",
        "import sys; sys.stdout.close(); sys.stderr.close()",
        "import sys; sys.stdout.close(); sys.stderr = None",
    ],
    ids=["closed file", "file", "descriptor", "closed", "nothing"],
)
def test_a_task_that_redirects_its_output_takes_no_output_of_others(
    shared, task, tmp_path, redirects
):
    first, second = pids(shared, task, redirects, "print('of the second')")
    assert first == second
    assert "no such tile" in shared(does(task, "raise ValueError('no such tile')")).said
    log = tmp_path / "1.log"
    assert not log.exists() or "no such tile" not in log.read_text()


@pytest.mark.parametrize(
    "ends", ["import sys; sys.exit(0)", "pass"], ids=["by itself", "at the end of the script"]
)
def test_the_end_of_a_child_that_a_script_forks_is_not_its_own(shared, task, ends):
    forks = (
        f"if os.fork() == 0:\n    {ends}\n"
        "else:\n    import time; time.sleep(0.5); raise ValueError('no such tile')"
    )
    end = shared(does(task, forks))
    assert end.reason == "exit code 1"
    assert "no such tile" in end.said


def test_a_child_that_a_script_forks_leaves_the_folder_for_temporary_files(shared, task):
    forks = (
        "import sys, tempfile\n"
        "if not (child := os.fork()): sys.exit(0)\n"
        "os.waitpid(child, 0)\n"
        "tempfile.TemporaryFile()"
    )
    assert shared(does(task, forks)).reason == ""


def test_every_task_has_its_folder_for_temporary_files(shared, task):
    uses = (
        "import tempfile, multiprocessing.util as util\n"
        "assert os.path.isdir(util.get_temp_dir())\n"
        "assert util.get_temp_dir().startswith(tempfile.gettempdir())"
    )
    pids(shared, task, uses, uses)


def test_what_a_task_writes_is_said_of_it_alone(shared, task):
    assert shared(does(task, "print('of the first')")).said == "of the first"
    assert shared(does(task, "print('2nd')")).said == "2nd"


@pytest.mark.parametrize(
    "leaves",
    [
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import subprocess; subprocess.Popen(['sleep', '9'])",
        "os.system('sleep 9 > /dev/null 2>&1 &')",
        "import logging; logging.getLogger().addHandler(logging.NullHandler())",
        "import atexit; atexit.register(print, 'at the end')",
        "import builtins; builtins.left = bytes(range(256)) * 600_000",
    ],
    ids=["thread", "process", "orphan", "log handler", "exit function", "memory"],
)
def test_a_task_that_leaves_something_is_the_last_of_its_process(shared, task, leaves):
    began = time.monotonic()
    first, second = pids(shared, task, leaves, "pass")
    assert first != second
    assert time.monotonic() - began < 5


def test_a_thread_that_has_just_ended_is_not_left(shared, task):
    waits = "import threading\nthreading.Thread(target=threading.Event().wait, args=[0.01]).start()"
    first, second = pids(shared, task, waits, "pass")
    assert first == second


def test_what_is_to_be_done_at_exit_is_done_before_a_task_counts_as_ended(shared, task, tmp_path):
    writes = f"import atexit; atexit.register(open({str(tmp_path / 'late')!r}, 'w').write, 'x')"
    assert shared(does(task, writes)).reason == ""
    assert (tmp_path / "late").exists()


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import time; time.sleep(60)", "ran longer than its runtime of 0 s"),
    ],
)
def test_a_failed_task_takes_no_other_with_it(shared, task, statements, reason):
    (first,) = pids(shared, task, "pass")
    assert shared(replace(does(task, statements), runtime_s=0.4)).reason == reason
    (second,) = pids(shared, task, "pass")
    assert first != second


def test_a_process_that_dies_between_tasks_is_seen(shared, task):
    (first,) = pids(shared, task, "pass")
    os.kill(first, signal.SIGKILL)
    until(lambda: "(zombie)" in Path(f"/proc/{first}/status").read_text(), 10)
    (second,) = pids(shared, task, "pass")
    assert first != second


def test_a_new_script_finds_its_imports_in_a_new_process(shared, task, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/of_the_second_script.py").touch()
    (first,) = pids(shared, task, "pass")
    other = replace(
        task,
        source="import of_the_second_script\n" + task.source,
        search=(str(tmp_path / "lib"),),
    )
    (second,) = pids(shared, other, "import sys; assert 'of_the_second_script' in sys.modules")
    assert first != second
    (third,) = pids(shared, other, "pass")
    assert third == second


def test_a_script_that_ends_its_process_itself_has_a_benchmark(shared, task, tmp_path):
    path = tmp_path / "b.tsv"
    ends = "os._exit(0)"
    assert shared(replace(does(task, ends), benchmark=str(path))).reason == ""
    header, values = path.read_text().splitlines()
    assert dict(zip(header.split("\t"), values.split("\t"), strict=True))["max_rss"] == "NA"


def test_an_answer_that_comes_when_nobody_looks_is_not_lost(shared, task, tmp_path, monkeypatch):
    # The process has answered and ended before it is seen to have ended.
    has_ended = ForkedProcess._has_ended

    def late(process: ForkedProcess) -> bool:
        time.sleep(1)
        return has_ended(process)

    monkeypatch.setattr(ForkedProcess, "_has_ended", late)
    path = tmp_path / "b.tsv"
    slow = does(task, "import time, atexit; atexit.register(print); time.sleep(0.8)")
    assert shared(replace(slow, benchmark=str(path))).reason == ""
    assert "NA" not in path.read_text()


def test_the_benchmark_of_a_task_is_its_own(shared, task, tmp_path):
    def benchmark_of(statements: str) -> dict[str, float]:
        path = tmp_path / "b.tsv"
        assert shared(replace(does(task, statements), benchmark=str(path))).reason == ""
        header, values = path.read_text().splitlines()
        return dict(zip(header.split("\t"), values.split("\t"), strict=True))

    large = benchmark_of("for _ in range(5): bytes(range(256)) * 400_000")
    busy = benchmark_of("import time\nwhile time.process_time() < 2: pass")
    small = benchmark_of("pass")
    assert float(large["max_rss"]) > float(small["max_rss"]) + 80
    assert float(busy["cpu_time"]) > 0.3 > float(small["cpu_time"])
    # Looked at while it runs, with its child processes.
    child = "import sys, subprocess\nsubprocess.run([sys.executable, '-c', {!r}])"
    holds = "import time; held = bytes(range(256)) * 600_000; time.sleep(2.5)"
    with_child = benchmark_of(child.format(holds))
    assert float(with_child["max_rss"]) > float(small["max_rss"]) + 100
