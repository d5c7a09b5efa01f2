"""Scripts run in processes that a server forks, as if Python had been started for each."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.benchmark import BenchmarkRecord
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, ResourceList, Wildcards
from snakemake.script import HyScript, PythonScript

from snakemake_warm_scripts import runs
from snakemake_warm_scripts.runs import NoProcessError, Script, WarmScripts, run_warm

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def warm(monkeypatch) -> Iterator[WarmScripts]:
    """A server, whose scripts can import the library."""
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    made = WarmScripts()
    yield made
    made.close()


@pytest.fixture
def script(tmp_path) -> Callable[..., Script]:
    """Make a script that works in a folder of its own."""

    def make(source: str, name: str = "piece.py") -> Script:
        given = pickle.dumps(SimpleNamespace(output=["out.txt"]))
        return Script(f"import os\n{source}", str(tmp_path / name), given, str(tmp_path), ())

    return make


def run(warm: WarmScripts, script: Script, **more) -> int:
    return warm.run(script, dict(os.environ), **more)


def until(reached: Callable[[], bool]) -> None:
    late = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < late
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


WRITE_PID = "open(snakemake.output[0], 'a').write(f'{os.getpid()}\\n')\n"


def pids_in(folder: Path) -> list[int]:
    path = folder / "out.txt"
    return list(map(int, path.read_text().split())) if path.exists() else []


def test_scripts_run_in_one_process_one_after_the_other(warm, script, tmp_path):
    for _ in range(3):
        assert run(warm, script(WRITE_PID)) == 0
    (pid,) = set(pids_in(tmp_path))
    assert pid != os.getpid()


def test_scripts_of_several_threads_run_at_once(warm, script, tmp_path):
    meets = f"import time\n{WRITE_PID}late = time.time() + 20\n" + (
        "while len(open('out.txt').read().split()) < 2:\n"
        "    assert time.time() < late\n    time.sleep(0.01)"
    )
    codes = []
    threads = [
        threading.Thread(target=lambda: codes.append(run(warm, script(meets)))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert len(set(pids_in(tmp_path))) == 2


@pytest.mark.parametrize(
    ("statements", "code"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('no such tile')", 1),
        ("os._exit(0)", 0),
        ("os.kill(os.getpid(), 9)", -9),
    ],
)
def test_the_status_of_a_script_is_that_of_its_process(warm, script, tmp_path, statements, code):
    assert run(warm, script(WRITE_PID + statements)) == code
    assert run(warm, script(WRITE_PID)) == 0
    # A process in which a script has failed runs no other.
    assert len(set(pids_in(tmp_path))) == 2


def test_what_a_script_says_goes_where_snakemake_does(warm, script, capfd):
    assert run(warm, script("print('so far')\nraise ValueError('no such tile')")) == 1
    out, err = capfd.readouterr()
    assert out == "so far\n"
    assert "ValueError: no such tile" in err


def test_each_script_has_its_environment(warm, script):
    expects = script("assert os.environ['PIECE'] == '1'\nos.environ['LEFT'] = '1'")
    assert warm.run(expects, {**os.environ, "PIECE": "1"}) == 0
    assert run(warm, script("assert not {'PIECE', 'LEFT'} & {*os.environ}")) == 0


def test_temporary_files_go_where_the_job_says(warm, script, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        expects = script(f"import tempfile\nassert tempfile.gettempdir().endswith('{name}')")
        assert warm.run(expects, {**os.environ, "TMPDIR": str(tmp_path / name)}) == 0


def test_a_module_in_the_working_directory_takes_no_other_place(
    warm, script, tmp_path, monkeypatch
):
    (tmp_path / "json.py").write_text("raise ValueError")
    monkeypatch.chdir(tmp_path)
    assert run(warm, script("import json; json.dumps")) == 0


def test_a_benchmark_is_filled_in(warm, script):
    record = BenchmarkRecord()
    spends = "import time\nwhile time.process_time() < 0.2: pass"
    assert run(warm, script(spends), record=record) == 0
    assert record.running_time > 0
    assert record.cpu_time > 0
    assert record.max_rss > 1


def test_no_pipe_of_another_process_is_left_in_one(warm, script, tmp_path):
    counts = "open('count', 'a').write(f'{len(os.listdir(\"/proc/self/fd\"))}\\n')\n"
    for name in ("1.py", "2.py", "3.py"):
        assert run(warm, script(counts + "raise SystemExit(1)", name)) == 1
    first, second, third = (tmp_path / "count").read_text().split()
    assert first == second == third


def test_imports_of_scripts_to_come_are_done_meanwhile(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    (tmp_path / "needed_later.py").write_text(
        f"open({str(tmp_path / 'imported')!r}, 'a').write('i')"
    )
    (tmp_path / "later.py").write_text("import needed_later\nraise ValueError\n")
    warm = WarmScripts([str(tmp_path / "gone.py"), str(tmp_path / "later.py")])
    try:
        assert run(warm, script("")) == 0
        until((tmp_path / "imported").exists)
        later = script("import sys; assert 'needed_later' in sys.modules", "later.py")
        assert run(warm, later) == 0
    finally:
        warm.close()
    assert (tmp_path / "imported").read_text() == "i"


def test_a_function_that_warms_up_is_called_once_and_may_fail(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{SCRIPTS}:{tmp_path}")
    notes = f"open({str(tmp_path / 'heated')!r}, 'a').write('i')"
    (tmp_path / "ovens.py").write_text(f"def heat(): {notes}\ndef burn(): 1 / 0\n")
    warm = WarmScripts(["ovens:burn", "ovens:heat"])
    try:
        assert run(warm, script("")) == 0
        until((tmp_path / "heated").exists)
        other = script("import sys; assert 'ovens' in sys.modules", "other.py")
        assert run(warm, other) == 0
    finally:
        warm.close()
    assert (tmp_path / "heated").read_text() == "i"


def test_a_script_with_other_imports_has_a_new_process(warm, script, tmp_path):
    (tmp_path / "of_the_second.py").touch()
    first_script = replace(script(WRITE_PID), search=(str(tmp_path),))
    assert run(warm, first_script) == 0
    second = script(f"import sys\nimport of_the_second\n{WRITE_PID}", "second.py")
    second = replace(second, search=(str(tmp_path),))
    assert run(warm, second) == 0
    first, other = pids_in(tmp_path)
    assert first != other
    # The other has the imports of both.
    assert run(warm, second) == run(warm, first_script) == 0
    assert set(pids_in(tmp_path)[2:]) == {other}
    until(lambda: not is_alive(first))


def test_a_server_that_was_killed_is_replaced(warm, script, tmp_path):
    # What the script itself does still counts.
    kills = "import signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(0.3)\n"
    assert run(warm, script(kills)) == 0
    assert run(warm, script(f"{kills}os.kill(os.getpid(), 9)")) == -9
    for _ in range(3):  # it may not be known to have ended yet
        try:
            assert run(warm, script(WRITE_PID)) == 0
            break
        except NoProcessError:
            time.sleep(0.1)
    assert len(pids_in(tmp_path)) == 1


def test_a_process_that_was_killed_between_two_scripts_is_replaced(warm, script, tmp_path):
    assert run(warm, script(WRITE_PID)) == 0
    (first,) = pids_in(tmp_path)
    os.kill(first, signal.SIGKILL)
    until(lambda: not is_alive(first))
    assert run(warm, script(WRITE_PID)) == 0
    assert pids_in(tmp_path)[1] != first


def test_scripts_of_another_folder_are_not_run_with_the_modules_of_the_first(warm, script):
    assert run(warm, replace(script(""), search=("/one",))) == 0
    with pytest.raises(NoProcessError, match="searched in \\('/one',\\)"):
        run(warm, replace(script(""), search=("/two",)))


def test_a_large_script_runs(warm, script):
    assert run(warm, script("x = 1\n" * 300_000)) == 0


def test_a_script_is_compiled_by_itself(warm, script):
    says = "class A:\n    x: int = 1\nassert A.__annotations__['x'] is int"
    assert run(warm, script(says)) == 0


def test_a_script_finds_what_snakemake_puts_before_it(warm, script):
    assert run(warm, script("sys, pickle, Snakemake, logger, snakemake")) == 0


def test_files_that_a_module_holds_open_are_written(warm, script, tmp_path):
    holds = "import string\nstring.held = open('held.txt', 'w')\nstring.held.write('table')"
    assert run(warm, script(f"{holds}\n{WRITE_PID}")) == 0
    assert (tmp_path / "held.txt").read_text() == "table"
    assert run(warm, script(WRITE_PID)) == 0
    assert len(set(pids_in(tmp_path))) == 2


@pytest.mark.parametrize(
    "changes",
    [
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])",
        "import gc; gc.disable()",
        "import logging; logging.disable()",
        "os.nice(1)",
    ],
)
def test_a_process_that_a_script_has_changed_runs_no_other(warm, script, tmp_path, changes):
    assert run(warm, script(WRITE_PID + changes)) == run(warm, script(WRITE_PID)) == 0
    assert len(set(pids_in(tmp_path))) == 2


def test_a_script_may_become_another_program_or_close_its_files(warm, script, tmp_path):
    assert run(warm, script("os.execvp('sh', ['sh', '-c', 'sleep 0.2; exit 3'])")) == 3
    closes = "import time\nos.closerange(3, 100)\ntime.sleep(0.2)\nos._exit(4)"
    assert run(warm, script(closes)) == 4


def test_idle_processes_are_few(warm, script, tmp_path):
    waits = f"import time\n{WRITE_PID}while not os.path.exists('go'): time.sleep(0.01)"
    threads = [threading.Thread(target=run, args=(warm, script(waits))) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(pids_in(tmp_path)) == 4)
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join()
    until(lambda: sum(map(is_alive, pids_in(tmp_path))) == 1)


@pytest.fixture
def slow_import(tmp_path) -> Iterator[str]:
    """A step of the server that takes until there is a file "go"."""
    (tmp_path / "slow_to_import.py").write_text(
        "import os, time\n"
        f"open({str(tmp_path / 'begun')!r}, 'w').write(str(os.getpid()))\n"
        f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n"
    )
    (tmp_path / "later.py").write_text("import slow_to_import\n")
    yield str(tmp_path / "later.py")
    (tmp_path / "go").touch()


def test_the_end_of_a_script_is_known_while_the_server_imports(
    script, slow_import, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    warm = WarmScripts([slow_import])
    try:
        # The server begins with that only after this request.
        assert run(warm, script(WRITE_PID)) == 0
        until((tmp_path / "begun").exists)
        assert run(warm, script("os.kill(os.getpid(), 9)")) == -9
        assert not (tmp_path / "go").exists()
    finally:
        (tmp_path / "go").touch()
        warm.close()


def test_an_idle_process_that_was_killed_is_known_while_the_server_imports(
    script, slow_import, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    warm = WarmScripts([slow_import])
    try:
        assert run(warm, script(WRITE_PID)) == 0
        until((tmp_path / "begun").exists)
        (first,) = pids_in(tmp_path)
        os.kill(first, signal.SIGKILL)
        until(lambda: not is_alive(first))
        threading.Timer(0.3, (tmp_path / "go").touch).start()
        assert run(warm, script(WRITE_PID)) == 0
    finally:
        warm.close()
    assert len(set(pids_in(tmp_path))) == 2


@pytest.mark.parametrize("gone", [FileNotFoundError, ProcessLookupError])
def test_a_process_that_ends_while_it_is_looked_at_has_ended(
    warm, script, tmp_path, monkeypatch, gone
):
    class Ended(type(Path())):
        """A path in /proc: the process is not there, or it ends while its file is read."""

        def read_text(self, *arguments, **more):
            raise gone

    assert run(warm, script(f"{WRITE_PID}open('out.txt', 'a').write(str(os.getppid()))")) == 0
    # Its server is killed, and it ends with nobody to say so.
    process, server = pids_in(tmp_path)
    for pid in server, process:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(process))
    monkeypatch.setattr(runs, "Path", Ended)
    assert run(warm, script(WRITE_PID)) == 0
    assert len(set(pids_in(tmp_path)) - {process, server}) == 1


def test_a_step_that_ends_the_server_harms_no_script(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    (tmp_path / "crashes.py").write_text("import os\nos._exit(9)\n")
    (tmp_path / "later.py").write_text("import crashes\n")
    warm = WarmScripts([str(tmp_path / "later.py")])
    try:
        outlives = f"import time\n{WRITE_PID}time.sleep(0.5)\n{WRITE_PID}"
        assert run(warm, replace(script(outlives), search=(str(tmp_path),))) == 0
        assert len(pids_in(tmp_path)) == 2
        # Another server does without the step.
        assert run(warm, replace(script(WRITE_PID, "other.py"), search=(str(tmp_path),))) == 0
    finally:
        warm.close()


def test_all_processes_end_with_close(warm, script, tmp_path):
    assert run(warm, script(f"{WRITE_PID}open('out.txt', 'a').write(str(os.getppid()))")) == 0
    both = pids_in(tmp_path)
    assert all(map(is_alive, both))
    warm.close()
    until(lambda: not any(map(is_alive, both)))


# A Snakemake with a script that waits.
DRIVER = """
import os, pickle, signal, sys, time
from types import SimpleNamespace
from snakemake_warm_scripts.runs import Script, WarmScripts
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
source = '''
import os, signal, time
def note(text):
    with open("out.txt", "a") as file:
        file.write(text)
def end(*_):
    note("cleaned up")
    os._exit(1)
signal.signal(signal.SIGTERM, end)
note(f"{os.getpid()} {os.getppid()}\\\\n")
try:
    time.sleep(60)
except KeyboardInterrupt:
    note("interrupted")
    raise SystemExit(130)
'''
warm = WarmScripts(sys.argv[2:])
script = Script(source, "piece.py", pickle.dumps(None), os.getcwd(), ())
try:
    code = warm.run(script, dict(os.environ))
except KeyboardInterrupt:
    code = "driver interrupted"
    # Snakemake waits for its jobs.
    while "interrupted" not in open("out.txt").read():
        time.sleep(0.01)
print(code)
"""


@pytest.fixture
def driver(tmp_path) -> Iterator[Callable[..., tuple[subprocess.Popen, list[int]]]]:
    started = []

    def start(
        on_interrupt: str = "default_int_handler", *steps: str
    ) -> tuple[subprocess.Popen, list[int]]:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, on_interrupt, *steps],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        until(lambda: len(said(tmp_path).split()) >= 2)
        return process, list(map(int, said(tmp_path).split()[:2]))

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(folder: Path) -> str:
    path = folder / "out.txt"
    return path.read_text() if path.exists() else ""


def test_scripts_end_in_good_order_with_a_snakemake_that_is_killed(driver, tmp_path):
    process, others = driver()
    process.kill()
    until(lambda: not any(map(is_alive, others)))
    assert said(tmp_path).endswith("cleaned up")


def test_all_end_with_a_snakemake_that_is_killed_while_the_server_imports(
    driver, slow_import, tmp_path
):
    process, others = driver("default_int_handler", slow_import)
    until((tmp_path / "begun").exists)
    process.kill()
    until(lambda: not any(map(is_alive, others)))
    assert said(tmp_path).endswith("cleaned up")
    assert not (tmp_path / "go").exists()


TWO_SCRIPTS = """
import os, pickle, signal, threading
from snakemake_warm_scripts.runs import Script, WarmScripts
needs = "import slow_to_import\\nopen('ran', 'w')"
script = Script(needs, "later.py", pickle.dumps(None), os.getcwd(), (os.getcwd(),))
warm = WarmScripts()
codes = []
run = lambda: codes.append(warm.run(script, dict(os.environ)))
threads = [threading.Thread(target=run) for _ in range(2)]
# As Snakemake does, which goes on to wait for its jobs; Ctrl-C may come while threads start.
signal.signal(signal.SIGINT, lambda *_: None)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(codes)
"""


def test_no_script_begins_after_ctrl_c(slow_import, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", TWO_SCRIPTS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    until((tmp_path / "begun").exists)
    os.killpg(process.pid, signal.SIGINT)
    shown, _ = process.communicate(timeout=20)
    assert shown == "[-2, -2]\n"
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "go").exists()


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.2])
def test_ctrl_c_while_the_server_starts_leaves_no_traceback(tmp_path, after_s):
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(1)")
    started = TWO_SCRIPTS.replace("warm = ", "print('!', flush=True)\nwarm = ")
    process = subprocess.Popen(
        [sys.executable, "-c", started],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "!\n"
    until(lambda: "server" in children_of(process.pid))
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    shown, complaints = process.communicate(timeout=20)
    assert (shown, complaints) == ("[-2, -2]\n", "")


def children_of(pid: int) -> str:
    """Command lines of the children of a process."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += read_if_there(task / "children").split()
    return " ".join(read_if_there(Path(f"/proc/{each}/cmdline")) for each in found)


def read_if_there(path: Path) -> str:
    """Text of a file of a process or thread that may end at any moment."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_ctrl_c_reaches_the_script_and_not_the_server(driver, tmp_path):
    process, (script, server) = driver("SIG_IGN")
    os.killpg(process.pid, signal.SIGINT)
    # A Snakemake that ignores Ctrl-C, as in the background of a shell, has scripts that do.
    time.sleep(0.3)
    assert is_alive(script)
    process.kill()
    until(lambda: not is_alive(server))

    (tmp_path / "out.txt").unlink()
    process, others = driver()
    os.killpg(process.pid, signal.SIGINT)
    until(lambda: not any(map(is_alive, others)))
    assert said(tmp_path).endswith("interrupted")
    assert process.communicate(timeout=20)[0] == "driver interrupted\n"


@pytest.fixture
def cold(monkeypatch) -> list:
    """Scripts that Snakemake runs as ever."""
    found = []
    monkeypatch.setattr(PythonScript, "evaluate", lambda self, edit=False: found.append(self))
    return found


@pytest.fixture
def job(tmp_path) -> PythonScript:
    """What Snakemake knows of a script."""
    file = tmp_path / "piece.py"
    folder = SimpleNamespace(get_path_or_uri=lambda secret_free: str(tmp_path))
    none = ("cache_path", "conda_env", "container_img", "env_modules", "shadow_dir", "bench_record")
    made = PythonScript.__new__(PythonScript)
    vars(made).update(
        **dict.fromkeys(none),
        input=InputFiles(),
        output=OutputFiles(),
        params=Params(),
        wildcards=Wildcards(),
        log=Log(),
        path=SimpleNamespace(
            get_basedir=lambda: folder, get_path_or_uri=lambda secret_free: str(file)
        ),
        source="import os, sys\nsys.exit(int(os.environ['OMP_NUM_THREADS']))",
        threads=3,
        resources=ResourceList(fromdict={"tmpdir": "/tmp"}),
        config={},
        rulename="piece",
        bench_iteration=0,
        is_local=True,
        cleanup_scripts=True,
    )
    return made


def test_a_job_of_snakemake_runs_warm(cold, job, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    warm = run_warm([])
    try:
        with pytest.raises(subprocess.CalledProcessError, match="exit status 3") as failed:
            PythonScript.evaluate(job)
    finally:
        warm.close()
    assert failed.value.cmd.endswith("piece.py")
    assert not cold


@pytest.mark.parametrize(
    "needs",
    [
        {"conda_env": "/envs/1"},
        {"container_img": "image.sif"},
        {"env_modules": "gdal"},
        {"shadow_dir": "/shadow"},
        {"is_local": False},
        {"cleanup_scripts": False},
        {"resources": {"shell_exec": "zsh"}},
        {"__class__": HyScript},
    ],
    ids=lambda needs: next(iter(needs)),
)
def test_a_job_that_needs_more_runs_as_ever(cold, job, needs, monkeypatch):
    def start(*_, **more):
        raise AssertionError

    monkeypatch.setattr(subprocess, "Popen", start)
    run_warm([])
    for name, value in needs.items():
        setattr(job, name, value)
    PythonScript.evaluate(job)
    assert cold == [job]


def test_without_a_server_a_job_runs_as_ever(cold, job, monkeypatch):
    monkeypatch.setattr(runs.sys, "executable", "/bin/false")
    run_warm([])
    PythonScript.evaluate(job)
    assert cold == [job]
