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
from snakemake.script import PythonScript

from snakemake_warm_scripts import runs
from snakemake_warm_scripts.runs import NoProcessError, Script, WarmScripts, run_warm

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def warm(monkeypatch) -> Iterator[WarmScripts]:
    """A server, whose scripts can import the library."""
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    made = WarmScripts(list)
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
    except FileNotFoundError:
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
    warm = WarmScripts(lambda: [str(tmp_path / "gone.py"), str(tmp_path / "later.py")])
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
    warm = WarmScripts(lambda: ["ovens:burn", "ovens:heat"])
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
    assert run(warm, script(WRITE_PID)) == 0
    second = script(f"import sys\nimport of_the_second\n{WRITE_PID}", "second.py")
    second = replace(second, search=(str(tmp_path),))
    assert run(warm, second) == 0
    first, other = pids_in(tmp_path)
    assert first != other
    # The other has the imports of both.
    assert run(warm, second) == run(warm, script(WRITE_PID)) == 0
    assert set(pids_in(tmp_path)[2:]) == {other}
    until(lambda: not is_alive(first))


def test_a_server_that_was_killed_is_replaced(warm, script, tmp_path):
    kills = "import signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(os.getpid(), 9)"
    assert run(warm, script(kills)) == -9
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


def test_all_processes_end_with_close(warm, script, tmp_path):
    assert run(warm, script(f"{WRITE_PID}open('out.txt', 'a').write(str(os.getppid()))")) == 0
    both = pids_in(tmp_path)
    assert all(map(is_alive, both))
    warm.close()
    until(lambda: not any(map(is_alive, both)))


# A Snakemake with a script that waits.
DRIVER = """
import os, pickle, signal, sys
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
warm = WarmScripts(list)
script = Script(source, "piece.py", pickle.dumps(None), os.getcwd(), ())
try:
    code = warm.run(script, dict(os.environ))
except KeyboardInterrupt:
    code = "driver interrupted"
print(code)
"""


@pytest.fixture
def driver(tmp_path) -> Iterator[Callable[..., tuple[subprocess.Popen, list[int]]]]:
    started = []

    def start(on_interrupt: str = "default_int_handler") -> tuple[subprocess.Popen, list[int]]:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, on_interrupt],
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
def job(tmp_path) -> SimpleNamespace:
    """What Snakemake knows of a script."""
    file = tmp_path / "piece.py"
    folder = SimpleNamespace(get_path_or_uri=lambda secret_free: str(tmp_path))
    none = ("cache_path", "conda_env", "container_img", "env_modules", "shadow_dir", "bench_record")
    return SimpleNamespace(
        **dict.fromkeys(none),
        input=InputFiles(),
        output=OutputFiles(),
        params=Params(),
        wildcards=Wildcards(),
        log=Log(),
        path=SimpleNamespace(get_basedir=lambda: folder),
        local_path=str(file),
        source="import os, sys\nsys.exit(int(os.environ['OMP_NUM_THREADS']))",
        threads=3,
        resources=ResourceList(fromdict={"tmpdir": "/tmp"}),
        config={},
        rulename="piece",
        bench_iteration=0,
        is_local=True,
        cleanup_scripts=True,
    )


def test_a_job_of_snakemake_runs_warm(cold, job, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    warm = run_warm(list)
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
    ],
    ids=lambda needs: next(iter(needs)),
)
def test_a_job_that_needs_more_runs_as_ever(cold, job, needs, monkeypatch):
    def start(*_, **more):
        raise AssertionError

    monkeypatch.setattr(subprocess, "Popen", start)
    run_warm(list)
    vars(job).update(needs)
    PythonScript.evaluate(job)
    assert cold == [job]


def test_without_a_server_a_job_runs_as_ever(cold, job, monkeypatch):
    monkeypatch.setattr(runs.sys, "executable", "/bin/false")
    run_warm(list)
    PythonScript.evaluate(job)
    assert cold == [job]
