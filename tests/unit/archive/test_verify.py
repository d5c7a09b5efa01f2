"""The command verify: what it says, asks, and returns."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import tiny_archive

from snakeshed.archive import verify as verify_module
from snakeshed.archive.compare import Comparison
from snakeshed.archive.verify import STATUSES
from snakeshed.cli import main
from snakeshed.errors import ArchiveError

EMPTY = hashlib.sha256().hexdigest()
README = Path(__file__).parents[3] / "README.md"


@pytest.fixture
def archive(tmp_path):
    return tiny_archive.write(tmp_path / "tiny.zip")


@pytest.fixture
def stubbed(monkeypatch, tmp_path):
    """Nothing is installed, run, or compared; the calls are kept."""
    calls = []
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(
        "snakeshed.archive.environment.python_for",
        lambda *_: calls.append("packages") or ("python", "the one in use"),
    )
    monkeypatch.setattr("snakeshed.archive.rerun.rerun", lambda *_: calls.append("run"))
    monkeypatch.setattr(
        "snakeshed.archive.compare.compare_apart",
        lambda *_: calls.append("compare") or Comparison(0, []),
    )
    return calls


class Terminal(io.StringIO):
    """Somebody types an answer."""

    def isatty(self):
        return True


def answered(monkeypatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))


def test_before_anything_is_used_it_says_what_will_run_and_asks(
    archive, stubbed, monkeypatch, capsys
):
    answered(monkeypatch, "no\n")
    monkeypatch.setattr("snakeshed.archive.bag.Bag.unpack", lambda *_: stubbed.append("unpack"))
    assert main(["verify", str(archive), "--rerun"]) == 4
    assert stubbed == []
    captured = capsys.readouterr()
    assert "--rerun runs code that came with the archive: the workflow in tiny." in captured.out
    assert "- permissions of user " in captured.out
    assert "- sandbox: " in captured.out
    assert "- packages: " in captured.out
    assert "Run it? [y/N]" in captured.out
    assert "Nothing of the archive was run." in captured.err


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "yess\n", "maybe\n"])
def test_only_yes_is_yes(archive, stubbed, monkeypatch, answer):
    answered(monkeypatch, answer)
    assert main(["verify", str(archive), "--rerun"]) == 4
    assert stubbed == []


@pytest.mark.parametrize("answer", ["y\n", "YES\n", " yes \n"])
def test_after_yes_it_runs(archive, stubbed, monkeypatch, capsys, answer):
    answered(monkeypatch, answer)
    assert main(["verify", str(archive), "--rerun"]) == 0
    assert stubbed == ["packages", "run", "compare"]
    out = capsys.readouterr().out
    assert out.index("- sandbox: ") < out.index("Running the code of the archive")


def test_without_a_terminal_it_takes_a_word(archive, stubbed, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["verify", str(archive), "--rerun"]) == 2
    assert stubbed == []
    assert capsys.readouterr().err == (
        "snakeshed verify: --rerun runs foreign code, and there is no terminal to ask on; add "
        "--yes if you trust the archive\n"
    )
    assert main(["verify", str(archive), "--rerun", "--yes"]) == 0
    assert stubbed == ["packages", "run", "compare"]


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ("auto", "can read your settings of pip, with the passwords in them"),
        ("index", "can read your settings of pip, with the passwords in them"),
        ("wheels", "- packages: pip installs those of the archive, without network\n"),
        ("this", ""),
    ],
)
def test_what_packages_can_do_is_said_before_the_question(
    archive, stubbed, monkeypatch, capsys, environment, named
):
    answered(monkeypatch, "no\n")
    assert main(["verify", str(archive), "--rerun", "--environment", environment]) == 4
    out = capsys.readouterr().out
    assert named in out
    assert ("- packages: " in out) == (environment != "this")


def test_nothing_is_left_of_an_archive(archive, stubbed, tmp_path, monkeypatch):
    """Not even what its code has made unreadable, and no file that a link leads to is changed."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "file").write_text("mine")
    (own / "file").chmod(0o640)

    def run(bag, *_):
        (bag / "closed/more").mkdir(parents=True)
        (bag / "closed/link").symlink_to(own / "file")
        (bag / "link").symlink_to(own)
        (bag / "closed/more").chmod(0)
        (bag / "closed").chmod(0o500)

    monkeypatch.setattr("snakeshed.archive.rerun.rerun", run)
    assert main(["verify", str(archive), "--rerun", "--yes"]) == 0
    assert not list(tmp_path.glob("snakeshed-verify-*"))
    assert (own / "file").read_text() == "mine"
    assert (own / "file").stat().st_mode & 0o777 == 0o640


def test_differences_are_counted_and_named(archive, stubbed, monkeypatch, capsys):
    monkeypatch.setattr(
        "snakeshed.archive.compare.compare_apart", lambda *_: Comparison(102, ["one", "two"])
    )
    assert main(["verify", str(archive), "--rerun", "--yes"]) == 5
    assert capsys.readouterr().err == ("102 values differ:\n- one\n- two\n- … and 100 more\n")


def test_numbers_that_differ_by_more_than_the_tolerance_are_counted(
    archive, stubbed, monkeypatch, capsys
):
    tolerance = ["--tolerance", "1e-9"]
    assert main(["verify", str(archive), "--rerun", "--yes", *tolerance]) == 0
    assert capsys.readouterr().out.endswith(
        "The re-run reproduced all values of 1 files (relative tolerance 1e-09).\n"
    )
    monkeypatch.setattr("snakeshed.archive.compare.compare_apart", lambda *_: Comparison(1, ["x"]))
    assert main(["verify", str(archive), "--rerun", "--yes", *tolerance]) == 5
    assert capsys.readouterr().err == "1 values differ (relative tolerance 1e-09):\n- x\n"


def test_a_re_run_that_fails_is_told(archive, stubbed, monkeypatch, capsys):
    def fail(*_):
        raise ArchiveError("the re-run", "a fault", "none", "Look.")

    monkeypatch.setattr("snakeshed.archive.rerun.rerun", fail)
    assert main(["verify", str(archive), "--rerun", "--yes"]) == 4
    assert capsys.readouterr().err == "the re-run: found a fault; expected none. Look.\n"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"workflow-links.json": b"[]"}, "workflow-links.json that cannot be parsed"),
        ({"workflow-links.json": b'{"x": "../evil"}'}, "which leaves the workflow"),
        ({"inputs.json": b"{}"}, "inputs.json that cannot be parsed"),
        ({"inputs.json": None}, "inputs.json that cannot be parsed"),
        ({"configuration.yaml": b"study: other\n"}, "no results of the study other"),
        ({"configuration.yaml": b"\x00"}, "configuration.yaml that cannot be parsed"),
        ({"results/tiny/features.parquet": None, "results/tiny/a": b""}, "no table of the study"),
    ],
)
def test_an_archive_that_snakeshed_did_not_make_is_not_run(
    tmp_path, stubbed, capsys, changes, reason
):
    archive = tiny_archive.write(tmp_path / "tiny.zip", changes)
    assert main(["verify", str(archive)]) == 0
    assert main(["verify", str(archive), "--rerun", "--yes"]) == 3
    assert reason in capsys.readouterr().err
    assert stubbed == []


@pytest.mark.parametrize(
    ("lock", "reason"),
    [
        (b"numpy==2.0\n--index-url https://evil.example\n", "line 2"),
        (b"numpy @ https://evil.example/numpy.whl\n", "line 1"),
        (b"numpy==2.0 ; os_name ==\n", "condition"),
        (b"numpy==2.0 ; " + b"(" * 2000 + b"\n", "condition"),
        (b"\xff", "cannot be read"),
        (b"x" * (9 << 20), "more than 8,388,608 bytes"),
        (b"\n".join([b"a==1" + b" " * 4100]), "line 1"),
    ],
)
def test_a_lock_file_that_is_none_reaches_no_pip(tmp_path, capsys, lock, reason):
    archive = tiny_archive.write(tmp_path / "tiny.zip", {"workflow/envs/requirements.lock": lock})
    assert main(["verify", str(archive), "--rerun", "--yes", "--environment", "index"]) == 4
    message = capsys.readouterr().err
    assert reason in message
    assert len(message) < 1000


@pytest.fixture
def many(tmp_path, stubbed, monkeypatch):
    """Verify an archive of many inputs; return the status and what its code can read."""

    def run(count: int) -> tuple[int, list[Path]]:
        names = [f"inputs/dem/{k}/a.tif" for k in range(count)]
        inputs = [
            {"path": name, "size": 0, "sha256": EMPTY, "url": None, "included": False}
            for name in names
        ]
        for name in names:
            (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "own" / name).touch()
        readable = []
        monkeypatch.setattr(
            "snakeshed.archive.rerun.rerun", lambda *arguments: readable.extend(arguments[-1])
        )
        changes = {"inputs.json": json.dumps(inputs).encode()}
        archive = tiny_archive.write(tmp_path / "tiny.zip", changes)
        arguments = ["verify", str(archive), "--rerun", "--yes", "--inputs", str(tmp_path / "own")]
        return main(arguments), readable

    monkeypatch.setattr(verify_module, "_MOST_FILES", 5)
    return run


def test_some_inputs_are_readable_and_nothing_beside_them(many, tmp_path):
    status, readable = many(5)
    assert status == 0
    assert readable == [tmp_path / f"own/inputs/dem/{k}/a.tif" for k in range(5)]


def test_of_many_inputs_their_folder_is_readable_as_was_said(many, tmp_path, capsys):
    assert many(6) == (0, [tmp_path / "own"])
    out = capsys.readouterr().out
    assert "files that the archive names stay readable; if they are more than 5, all of" in out
    assert out.index(f"all of {tmp_path}/own") < out.index("Running the code of the archive")


def test_the_home_folder_does_not_become_readable(many, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "own/me"))
    assert many(6) == (4, [])
    assert capsys.readouterr().err == (
        f"--inputs {tmp_path}/own: found 6 inputs in a folder with other files; expected at most "
        "5, or a folder with inputs alone, all of which a run can read. Move the inputs to a "
        "folder of their own, and name that.\n"
    )


def test_of_many_faults_the_first_hundred_are_told(archive, capsys):
    def forget(contents):
        for k in range(150):
            contents[f"tiny/data/more{k:03}"] = b""

    tiny_archive.changed(archive, forget)
    assert main(["verify", str(archive)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 102
    assert lines[-1] == "… and 50 more"


def test_names_reach_no_terminal_as_they_stand(archive, capsys):
    def rename(contents):
        contents["tiny/manifest-sha256.txt"] += f"{'0' * 64}  data/\x1b[2J\u202e\n".encode()

    tiny_archive.changed(archive, rename)
    assert main(["verify", str(archive)]) == 1
    assert "- data/\\x1b[2J\\u202e: missing\n" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"PK"])
def test_not_even_the_name_of_the_archive_does(archive, stubbed, capsys, content):
    other = archive.rename(archive.with_name("a\x1b[2J.zip"))
    if content is not None:
        other.write_bytes(content)
    assert main(["verify", str(other), "--rerun", "--yes"]) == (0 if content is None else 3)
    captured = capsys.readouterr()
    assert "a\\x1b[2J.zip" in captured.out + captured.err
    assert "\x1b" not in captured.out + captured.err


def test_a_terminal_of_another_encoding_shows_all_names(archive):
    other = archive.rename(archive.with_name("日本.zip"))
    done = subprocess.run(
        [sys.executable, "-m", "snakeshed.cli", "verify", str(other)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_and_the_help_have_the_same_statuses(capsys):
    rows = re.findall(r"^\| (\d) \| (.+) \|$", README.read_text(encoding="utf-8"), re.M)
    assert {int(status): meaning for status, meaning in rows} == STATUSES
    with pytest.raises(SystemExit, match="^0$"):
        main(["verify", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for status, meaning in STATUSES.items():
        assert f"{status} {meaning}" in shown
    assert set(STATUSES) == {0, 1, 2, 3, 4, 5}
    assert verify_module.WHOLE == 0


def test_without_standard_input_it_takes_a_word(archive, stubbed, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)
    assert main(["verify", str(archive), "--rerun"]) == 2
    assert "there is no terminal to ask on" in capsys.readouterr().err
    assert stubbed == []


@pytest.mark.parametrize("fault", ["folder", "file", "nested"])
def test_a_disk_that_takes_no_file_is_told(archive, stubbed, monkeypatch, capsys, fault):
    def fail(*_, **__):
        if fault == "nested":
            raise RecursionError("maximum recursion depth exceeded")
        raise OSError(errno.ENOSPC, "No space left on device")

    place = "tempfile.mkdtemp" if fault == "folder" else "snakeshed.archive.compare.compare_apart"
    monkeypatch.setattr(place, fail)
    assert main(["verify", str(archive), "--rerun", "--yes"]) == 4
    reason = "maximum recursion" if fault == "nested" else "[Errno 28] No space left on device"
    message = capsys.readouterr().err
    assert message.startswith(f"the re-run of {archive}: found an error of the system ({reason}")
    assert message.endswith(
        "expected a folder for temporary files, with room in it. Make room, or set TMPDIR to "
        "another folder.\n"
    )


def test_of_folders_that_a_run_nests_nothing_is_left(archive, stubbed, tmp_path, monkeypatch):
    code = "import os\nfor _ in range(1200): os.mkdir('x'); os.chdir('x')"
    monkeypatch.setattr(
        "snakeshed.archive.rerun.rerun",
        lambda bag, *_: subprocess.run([sys.executable, "-c", code], cwd=bag, check=True),
    )
    status = main(["verify", str(archive), "--rerun", "--yes"])
    left = list(tmp_path.glob("snakeshed-verify-*"))
    # What is left would stop pytest.
    subprocess.run(["rm", "-rf", *left, tmp_path / "none"], check=True)
    assert (status, left) == (0, [])


def test_the_file_is_opened_once(archive, stubbed, tmp_path, monkeypatch):
    """Another one can take its place while somebody reads the question."""
    evil = tiny_archive.write(tmp_path / "evil.zip", {"workflow/Snakefile": b"evil"})
    found = []

    class Slow(Terminal):
        """Somebody replaces the file before the answer."""

        def readline(self, *_):
            evil.replace(archive)
            return "y\n"

    monkeypatch.setattr("sys.stdin", Slow())
    monkeypatch.setattr(
        "snakeshed.archive.rerun.rerun",
        lambda bag, *_: found.append((bag / "workflow/Snakefile").read_bytes()),
    )
    assert main(["verify", str(archive), "--rerun"]) == 0
    assert not evil.exists()
    assert found == [b"rule all:\n"]


# Its re-run waits for ever, and says so by a file.
WAIT = """
import signal, subprocess, sys
from pathlib import Path

# Tests that nohup has started ignore it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from snakeshed.archive import environment, rerun, sandbox
from snakeshed.cli import main

found = sandbox.find_sandbox()
sandbox.find_sandbox = lambda: sandbox.Sandbox("none") if sys.argv[2] == "none" else found
environment.python_for = lambda *_: (sys.executable, "the one in use")
code = "import time; open('started', 'w').close(); time.sleep(1000)"


def run(bag, python, targets, cores, surroundings, readable):
    surroundings.run(
        [python, "-c", code], start=bag, variables=surroundings.variables(), writable=[bag]
    )


rerun.rerun = run
sys.exit(main(["verify", sys.argv[1], "--rerun", "--yes"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "best"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_run_and_removes_its_files(archive, tmp_path, kind, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with (tmp_path / "messages").open("w") as messages:
        running = subprocess.Popen(
            [sys.executable, "-c", WAIT, str(archive), kind],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(scratch)},
            stdout=messages,
            stderr=messages,
        )
        deadline = time.monotonic() + 300
        while not (started := list(scratch.glob("*/bag/data/started"))):
            assert running.poll() is None, (tmp_path / "messages").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (folder,) = {each.parents[2] for each in started}
        assert processes_in(folder)
        running.send_signal(number)
        status = running.wait(100)
    said = (tmp_path / "messages").read_text()
    assert "Traceback" not in said
    assert status == 128 + number
    assert ("snakeshed: interrupted\n" in said) == (number == signal.SIGINT)
    assert not list(scratch.iterdir())
    while left := processes_in(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def processes_in(folder: Path) -> list[str]:
    """Return the processes that have a home folder below a folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        # It can end meanwhile, or belong to somebody else.
        with suppress(OSError):
            if os.fsencode(folder) in (each / "environ").read_bytes():
                found.append(each.name)
    return found
