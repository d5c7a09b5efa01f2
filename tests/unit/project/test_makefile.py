"""What make does, with stand-ins for Python, uv, and the programs of the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
LOCK, DEVELOPMENT = "envs/requirements.lock", "envs/development.lock"
SOURCE = "scripts/snakeshed/precompile.py"

STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
[ "$(basename "$0")" != "$FAILING" ] || { echo broken >&2; exit 1; }
"""
# Makes an environment of stand-ins.
PYTHON = """#!/bin/sh
[ "$1" != -c ] || exit 0
echo "$(basename "$0") $*" >> "$CALLS"
mkdir -p .venv/bin
rm -f .venv/.[a-z]*
for program in python snakeshed snakemake pytest ruff lint-imports snakefmt; do
    cp "$STAND_IN" .venv/bin/$program
done
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


class Checkout:
    """A folder with the Makefile, and what it has called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", LOCK, DEVELOPMENT, SOURCE):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, folder / name)
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.add("stand-in", STAND_IN)
        self.add("my-python", PYTHON)
        # Nothing else of this machine is found, such as its uv.
        for tool in ("basename", "cp", "echo", "find", "make", "mkdir", "rm", "touch"):
            (self.programs / tool).symlink_to(shutil.which(tool))

    def add(self, name: str, text: str = STAND_IN) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def make(self, *words: str, **environment: str) -> tuple[list[str], str, int]:
        """Return the calls, what was shown, and the exit status."""
        calls = self.folder / "calls"
        calls.write_text("")
        run = subprocess.run(
            [self.programs / "make", *words, f"PYTHON={self.programs}/my-python"],
            cwd=self.folder,
            env={
                "PATH": str(self.programs),
                "CALLS": str(calls),
                "STAND_IN": str(self.programs / "stand-in"),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return calls.read_text().splitlines(), run.stdout, run.returncode


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path)


PIP = "python -m pip install --quiet --disable-pip-version-check --no-compile"
UV = "uv pip install --quiet --python .venv/bin/python"
EDITABLE = "--no-deps --no-build-isolation --editable ."
VENV = "my-python -m venv --clear .venv"


def test_a_demo_installs_what_runs_need_and_compiles_it(checkout):
    calls, shown, status = checkout.make("demo")
    assert calls == [
        VENV,
        f"{PIP} --require-hashes -r {LOCK}",
        f"{PIP} {EDITABLE}",
        "snakemake --version",
        "snakeshed compile",
        "snakemake --cores all",
    ]
    assert status == 0
    assert shown.splitlines() == [
        f"Installing the packages of {LOCK} into .venv with pip (about 40 s) ...",
        "Compiling the kernels of a run (about 15 s if none is there yet) ...",
        ".venv/bin/snakemake --cores all",
    ]


def test_uv_is_taken_where_it_is(checkout):
    checkout.add("uv")
    calls, shown, _ = checkout.make("environment")
    assert calls == [
        VENV,
        f"{UV} --require-hashes -r {LOCK}",
        f"{UV} {EDITABLE}",
        "snakemake --version",
        "snakeshed compile",
    ]
    assert "into .venv with uv (about 15 s)" in shown


def test_pip_can_be_chosen(checkout):
    checkout.add("uv")
    calls, _, _ = checkout.make("environment", "UV=")
    assert calls[1:3] == [f"{PIP} --require-hashes -r {LOCK}", f"{PIP} {EDITABLE}"]


def test_where_uv_fails_it_says_how_to_take_pip(checkout):
    checkout.add("uv")
    calls, shown, status = checkout.make("test", FAILING="uv")
    assert status == 2
    assert calls == [VENV, f"{UV} --require-hashes -r {LOCK}"]
    assert "broken\nuv failed; to take pip instead: make test UV=\n" in shown
    # The next attempt begins anew.
    calls, _, status = checkout.make("test", "UV=")
    assert status == 0
    assert calls[0] == VENV


@pytest.mark.parametrize("failing", ["python", "snakeshed"])
def test_what_fails_is_done_again(checkout, failing):
    _, shown, status = checkout.make("demo", FAILING=failing)
    assert status == 2
    assert "broken" in shown
    assert "uv" not in shown
    again, _, status = checkout.make("demo")
    assert status == 0
    assert again[0] == (VENV if failing == "python" else "snakeshed compile")


def test_where_nothing_is_to_be_done_nothing_is_said(checkout):
    checkout.make("environment")
    assert checkout.make("environment") == ([], "", 0)


def test_tests_add_what_they_need(checkout):
    checkout.make("environment")
    calls, shown, _ = checkout.make("test")
    *added, pytest_call = calls
    assert added == [f"{PIP} --require-hashes -r {DEVELOPMENT}", "snakeshed compile --all"]
    assert pytest_call.startswith("pytest ")
    assert shown.splitlines()[:2] == [
        f"Adding the packages of {DEVELOPMENT} to .venv (a few seconds) ...",
        "Compiling all kernels (about 30 s if none is there yet) ...",
    ]
    # All that the demo needs is among it.
    assert checkout.make("environment") == ([], "", 0)
    calls, _, _ = checkout.make("test")
    assert calls == [pytest_call]


def test_lint_compiles_nothing(checkout):
    calls, _, _ = checkout.make("lint")
    assert calls[4:] == [
        f"{PIP} --require-hashes -r {DEVELOPMENT}",
        "ruff check .",
        "ruff format --check .",
        "lint-imports --no-cache",
        "snakefmt --check Snakefile rules",
        "snakemake --lint",
    ]


def later(path: Path) -> None:
    now = path.stat().st_mtime
    os.utime(path, (now + 3600, now + 3600))


def test_changed_sources_are_compiled_again_and_a_changed_lock_is_installed_anew(checkout):
    checkout.make("test")
    later(checkout.folder / SOURCE)
    assert checkout.make("environment")[0] == ["snakeshed compile"]
    later(checkout.folder / LOCK)
    assert checkout.make("environment")[0][0] == VENV


def test_bytecode_is_written_whatever_is_set(checkout):
    """Nothing is compiled when it is installed: without bytecode, each job would do so."""
    text = STAND_IN + 'echo "bytecode: ${PYTHONDONTWRITEBYTECODE-yes}" >> "$CALLS"\n'
    checkout.add("stand-in", text)
    calls, _, _ = checkout.make("environment", PYTHONDONTWRITEBYTECODE="1")
    assert "bytecode: 1" not in calls
    assert "bytecode: yes" in calls
