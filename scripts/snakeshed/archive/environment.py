"""The environment that a study is run again in: the one in use, or one of the locked packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from snakeshed.archive.entry_names import shown
from snakeshed.archive.lock_file import LARGEST_LOCK, Pin, needed_to_run, read_lock, unlocked
from snakeshed.archive.sandbox import Surroundings, remove
from snakeshed.errors import ArchiveError

LOCK = "envs/requirements.lock"
_MOST_SHOWN = 5
_PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")
# Wheels that pip builds from sources have a date in them; this is the first that ZIP knows.
_FIRST_DATE = "315532800"


def pack_wheels(lock: str, folder: str | Path) -> list[Path]:
    """Fetch the packages that a run needs, for this Python and machine, as wheels.

    Parameters
    ----------
    lock : str
        Text of the lock file.
    folder : str or Path
        Where to put them; it is there, and empty.

    Raises
    ------
    ArchiveError
        They cannot be had.
    """
    wanted, tools = Path(folder, "wanted.txt"), Path(folder, "tools")
    wanted.write_text(_with_checksums(needed_to_run(read_lock(lock))), encoding="utf-8")
    options = ["--no-deps", "--require-hashes", "--requirement", wanted, "--wheel-dir", folder]
    # With a pip of its own: not every environment has one.
    fault = _run([sys.executable, "-m", "venv", tools]) or _run(
        [_python_of(tools), *_PIP, "wheel", *options], SOURCE_DATE_EPOCH=_FIRST_DATE
    )
    shutil.rmtree(tools)
    wanted.unlink()
    if fault:
        raise ArchiveError(
            "archive.wheels",
            f"packages of {LOCK} that cannot be fetched ({fault})",
            "a Python with venv and ensurepip, and a package index that pip reaches",
            "Make the archive where both are, or without packages: --config "
            "'archive={wheels: false}'.",
        )
    return sorted(Path(folder).glob("*.whl"))


def python_for(
    workflow: Path, wheels: Path, folder: Path, choice: str, surroundings: Surroundings
) -> tuple[str, str]:
    """Find a Python whose packages satisfy a lock file, or make it.

    Parameters
    ----------
    workflow : Path
        Folder of the workflow, with the lock file.
    wheels : Path
        Folder of the packages that came with it; it need not be there.
    folder : Path
        For a new environment; it is not there yet.
    choice : {"auto", "this", "wheels", "index"}
        "this" is the environment of this process, whatever is in it; "auto" is that if it
        satisfies the lock file, else one of the wheels if they suit this Python, else one of the
        package index.
    surroundings : Surroundings
        Where pip runs: source packages from the index run code while they are built.

    Returns
    -------
    python : str
        The executable.
    description : str
        Which it is, and why, for a person.

    Raises
    ------
    ArchiveError
        No suitable environment is available.
    """
    try:
        pins = needed_to_run(read_lock(_lock_text(workflow / LOCK)))
    except ArchiveError:
        if choice != "this":
            raise
        return sys.executable, f"the one in use, {sys.executable}; the archive's {LOCK} is not used"
    different = unlocked(pins)
    if choice == "this" or (choice == "auto" and not different):
        state = (
            f"differs from its lock file: {_few(different)}"
            if different
            else "satisfies its lock file"
        )
        return sys.executable, f"the one in use, {sys.executable}, which {state}"
    tried = []
    if choice == "auto":
        tried.append(f"the one in use differs ({_few(different)})")
    if choice != "index":
        fault = _make(folder, pins, wheels, surroundings) if wheels.is_dir() else "there are none"
        if not fault:
            return _python_of(folder), _because("a new one of the archive's wheels", tried)
        tried.append(f"of the archive's wheels: {fault}")
    if choice != "wheels":
        fault = _make(folder, pins, None, surroundings)
        if not fault:
            return _python_of(folder), _because("a new one of the package index", tried)
        tried.append(f"of the package index: {fault}")
    raise ArchiveError(
        f"the environment for the re-run (--environment {choice})",
        "; ".join(tried),
        f"one that satisfies {LOCK} of the archive",
        "Connect to a package index, use the Python version of the archive's wheels, or use the "
        "current environment: --environment this.",
    )


def _lock_text(path: Path) -> str:
    if not path.is_file():
        raise ArchiveError(
            "the archived workflow",
            f"no file {LOCK}",
            "the lock file of its environment",
            "Make the archive from a whole checkout.",
        )
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_LOCK + 1)
        if len(content) > LARGEST_LOCK:
            raise ValueError(f"more than {LARGEST_LOCK:,} bytes")
        return content.decode()
    except (OSError, ValueError) as error:
        raise ArchiveError(
            "the archived workflow",
            f"a file {LOCK} that cannot be read ({shown(error)})",
            "the lock file of its environment",
            "Unpack the archive, inspect it, and run it by hand.",
        ) from None


def _make(
    folder: Path, pins: Sequence[Pin], wheels: Path | None, surroundings: Surroundings
) -> str:
    """Make an environment; return what went wrong, or nothing."""
    folder.mkdir()
    wanted = folder.with_name(f"{folder.name}.txt")
    if wheels is None:
        text, options = _with_checksums(pins), ["--require-hashes"]
    else:
        # The bag's manifest has their checksums; one that pip built has none in the lock file.
        # Wheels run no code while pip installs them.
        text = "".join(f"{pin.name}=={pin.version}\n" for pin in pins)
        options = ["--no-index", "--only-binary", ":all:", "--find-links", str(wheels)]
    wanted.write_text(text, encoding="utf-8")
    install = [_python_of(folder), *_PIP, "install", "--no-cache-dir", "--no-deps", *options]
    fault = ""
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [*install, "--requirement", str(wanted)],
    ):
        status, output = surroundings.run(
            command,
            start=folder,
            variables=surroundings.variables(for_pip=wheels is None),
            writable=[folder],
            readable=[wanted, *([] if wheels is None else [wheels])],
            network=wheels is None,
        )
        if status:
            fault = _reason(output, status)
            break
    wanted.unlink()
    if fault:
        remove(folder)
    return fault


def _python_of(folder: Path) -> str:
    return str(folder / "bin/python")


def _with_checksums(pins: Sequence[Pin]) -> str:
    return "".join(f"{pin.text}\n" for pin in pins)


def _because(what: str, tried: Sequence[str]) -> str:
    return f"{what}, since {'; '.join(tried)}" if tried else what


def _few(different: Sequence[str]) -> str:
    more = len(different) - _MOST_SHOWN
    return ", ".join(different[:_MOST_SHOWN]) + (f", and {more} more" if more > 0 else "")


def _run(command: Sequence[str | Path], **more: str) -> str:
    """Run a command; return why it failed, as it said it, or nothing."""
    # What is to be installed decides, not what this process happens to import.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | more
    try:
        done = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        return str(error)
    return _reason(done.stderr or done.stdout, done.returncode) if done.returncode else ""


def _reason(output: str, status: int) -> str:
    said = output.strip().splitlines() or [f"status {status}"]
    errors = [line for line in said if line.startswith("ERROR: ")]
    return shown((errors or said)[-1].strip().removeprefix("ERROR: "))
