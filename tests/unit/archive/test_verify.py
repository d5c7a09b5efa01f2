"""The command verify: what it says, asks, and returns."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
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
    assert "- rights: those of user " in captured.out
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


def test_without_packages_of_its_own_none_are_named(archive, stubbed, capsys):
    assert main(["verify", str(archive), "--rerun", "--yes", "--environment", "this"]) == 0
    assert "- packages: " not in capsys.readouterr().out


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
    assert capsys.readouterr().err == (
        "102 values differ (compared exactly):\n- one\n- two\n- … and 100 more\n"
    )


def test_a_re_run_that_fails_is_told(archive, stubbed, monkeypatch, capsys):
    def fail(*_):
        raise ArchiveError("the re-run", "a fault", "none", "Look.")

    monkeypatch.setattr("snakeshed.archive.rerun.rerun", fail)
    assert main(["verify", str(archive), "--rerun", "--yes"]) == 4
    assert capsys.readouterr().err == "the re-run: found a fault; expected none. Look.\n"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"workflow-links.json": b"[]"}, "workflow-links.json that cannot be used"),
        ({"workflow-links.json": b'{"x": "../evil"}'}, "which leaves the workflow"),
        ({"inputs.json": b"{}"}, "inputs.json that cannot be used"),
        ({"inputs.json": None}, "inputs.json that cannot be used"),
        ({"configuration.yaml": b"study: other\n"}, "no results of the study other"),
        ({"configuration.yaml": b"\x00"}, "configuration.yaml that cannot be used"),
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


def test_of_many_inputs_their_folders_are_readable(tmp_path, stubbed, monkeypatch):
    names = [f"inputs/dem/{k % 3}/{k}.tif" for k in range(501)]
    told = [
        {"path": name, "size": 0, "sha256": EMPTY, "url": None, "included": False} for name in names
    ]
    for name in names:
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).touch()
    readable = []
    monkeypatch.setattr(
        "snakeshed.archive.rerun.rerun", lambda *arguments: readable.extend(arguments[-1])
    )
    for count, expected in ((500, 500), (501, 3)):
        changes = {"inputs.json": json.dumps(told[:count]).encode()}
        archive = tiny_archive.write(tmp_path / "tiny.zip", changes)
        arguments = ["verify", str(archive), "--rerun", "--yes", "--inputs", str(tmp_path / "own")]
        assert main(arguments) == 0
        assert len(readable) == expected
        readable.clear()


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
