"""The command ``snakeshed verify``: check an archive, and reproduce its results."""

from __future__ import annotations

import getpass
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from snakeshed.archive.bag import Bag, UntrustedArchive, bag_faults, open_bag
from snakeshed.archive.entry_names import shown
from snakeshed.errors import ArchiveError

WHOLE, CHANGED, UNTRUSTED, NOT_RUN, DIFFERENT = 0, 1, 3, 4, 5
STATUSES = {
    WHOLE: "all is well",
    CHANGED: "a file is missing, too many, or not what was archived",
    2: "wrong arguments, or --rerun without a terminal and without --yes",
    UNTRUSTED: "no whole archive, or one that snakeshed did not make and that must not be unpacked",
    NOT_RUN: "it was not run again: you declined, an input is missing, no suitable environment is "
    "available, or the run or the comparison failed",
    DIFFERENT: "the re-run gave other values",
}
"""What each exit status means."""
_MOST_SHOWN = 100
# bubblewrap takes 9,000 words, three for each file.
_MOST_FILES = 2500

Say = Callable[[str], None]


@dataclass(frozen=True)
class RerunRequest:
    """How an archive is to be run again.

    Attributes
    ----------
    targets : sequence of str
        Tables to make and compare; all if there are none.
    inputs : Path or None
        A folder with inputs that the archive only names.
    fetches : bool
        Whether such inputs are fetched, where the archive says from where.
    environment : str
        As for `snakeshed.archive.environment.python_for`.
    tolerance : float
        As for `snakeshed.archive.compare.differences`.
    cores : int
    agreed : callable
        Ask whether to run it; called after it was said what would run.
    """

    targets: Sequence[str]
    inputs: Path | None
    fetches: bool
    environment: str
    tolerance: float
    cores: int
    agreed: Callable[[], bool]


def verify(archive: Path, request: RerunRequest | None, say: Say, complain: Say) -> int:
    """Verify an archive.

    Parameters
    ----------
    archive : Path
        The ZIP file.
    request : RerunRequest or None
        None compares the files with the manifest, and runs nothing.
    say, complain : callable
        Show a line; `complain` is for what is wrong.

    Returns
    -------
    int
        A key of `STATUSES`.
    """
    try:
        with _ending_in_order(), closing(open_bag(archive)) as bag:
            return _verify(bag, request, say, complain)
    except BrokenPipeError:
        raise
    except ArchiveError as error:
        # Of the archive itself: `_verify` answers for a run that fails.
        complain(str(error))
        return UNTRUSTED
    except (OSError, RecursionError) as error:
        problem = ArchiveError(
            f"the re-run of {shown(archive)}",
            f"an error of the system ({shown(error)})",
            "a folder for temporary files, with room in it",
            "Make room, or set TMPDIR to another folder.",
        )
        complain(str(problem))
        return NOT_RUN


def _verify(bag: Bag, request: RerunRequest | None, say: Say, complain: Say) -> int:
    faults = bag_faults(bag)
    if faults:
        complain(f"{shown(bag.path)} is not what was archived:")
        for fault in faults[:_MOST_SHOWN]:
            complain(f"- {fault}")
        if len(faults) > _MOST_SHOWN:
            complain(f"… and {len(faults) - _MOST_SHOWN:,} more")
        return CHANGED
    say(f"{shown(bag.path)}: all {len(bag.entries)} files match the manifest.")
    if request is None:
        return WHOLE
    try:
        return _run_again(bag, request, say, complain)
    except UntrustedArchive:
        raise
    except ArchiveError as error:
        complain(str(error))
        return NOT_RUN


def _run_again(bag: Bag, request: RerunRequest, say: Say, complain: Say) -> int:
    from snakeshed.archive.compare import compare_apart
    from snakeshed.archive.environment import python_for
    from snakeshed.archive.rerun import default_targets, prepare, rerun
    from snakeshed.archive.sandbox import Surroundings, find_sandbox
    from snakeshed.archive.write import WHEELS

    sandbox = find_sandbox()
    with _scratch() as folder:
        say(
            f"--rerun runs code that came with the archive: the workflow in {shown(bag.root)}.\n"
            f"- permissions of {_user()}; environment variables are removed, except a few without "
            f"secrets; its home folder is below {folder}\n"
            f"- sandbox: {sandbox}"
        )
        if request.inputs is not None:
            say(
                "- inputs: files that the archive names stay readable; if they are more than "
                f"{_MOST_FILES:,}, all of {shown(request.inputs)}"
            )
        if request.fetches:
            say("- inputs: files that the archive only names are fetched from where it says")
        if request.environment == "wheels":
            say("- packages: pip installs those of the archive, without network")
        elif request.environment != "this":
            say(
                "- packages: if those in use are not the ones that the archive asks for, pip "
                "installs its own, and may use the network; source packages from the index run "
                "code while they are built, which can read your settings of pip, with the "
                "passwords in them"
            )
        if not request.agreed():
            complain("Nothing of the archive was run.")
            return NOT_RUN
        surroundings = Surroundings(sandbox, folder / "own")
        surroundings.folder.mkdir()
        unpacked = folder / "bag"
        unpacked.mkdir()
        bag.unpack(unpacked)
        data = unpacked / "data"
        prepared = prepare(
            data, str(bag.path), request.inputs, folder / "archived", request.fetches
        )
        targets = list(request.targets) or default_targets(prepared)
        if not targets:
            raise UntrustedArchive(str(bag.path), f"no table of the study {prepared.study}")
        environment = folder / "environment"
        python, description = python_for(
            data / "workflow", data / WHEELS, environment, request.environment, surroundings
        )
        say(f"Running the code of the archive; environment: {description}.")
        readable = _readable(prepared.inputs, request.inputs)
        readable += [environment] if environment.is_dir() else []
        rerun(data, python, targets, request.cores, surroundings, readable)
        found = compare_apart(
            data, prepared.archived, prepared.study, targets, request.tolerance, surroundings
        )
    exact = "" if request.tolerance else " exactly"
    within = f" (relative tolerance {request.tolerance:g})" if request.tolerance else ""
    if found.count:
        complain(f"{found.count} values differ{within}:")
        for line in found.lines():
            complain(f"- {line}")
        return DIFFERENT
    say(f"The re-run reproduced all values of {len(targets)} files{exact}{within}.")
    return WHOLE


def _readable(files: list[Path], folder: Path | None) -> list[Path]:
    """Return files, or the folder that has them where they are more than a sandbox can take."""
    if folder is None or len(files) <= _MOST_FILES:
        return files
    folder = folder.resolve()
    outside = [file for file in files if not file.is_relative_to(folder)]
    if len(outside) > _MOST_FILES or Path(os.path.expanduser("~")).resolve().is_relative_to(folder):
        raise ArchiveError(
            f"--inputs {shown(folder)}",
            f"{len(files):,} inputs in a folder with other files",
            f"at most {_MOST_FILES:,}, or a folder with inputs alone, all of which a run can read",
            "Move the inputs to a folder of their own, and name that.",
        )
    return [folder, *outside]


def _user() -> str:
    try:
        return f"user {getpass.getuser()}"
    except (KeyError, OSError):
        return f"user {os.getuid()}"


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder for foreign files, and remove it."""
    from snakeshed.archive.sandbox import remove

    folder = Path(tempfile.mkdtemp(prefix="snakeshed-verify-")).resolve()
    try:
        yield folder
    finally:
        remove(folder)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """End with SystemExit on SIGTERM and SIGHUP, so that the run ends and its files are removed."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            # nohup ignores SIGHUP.
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: object) -> None:
    # Another one must not interrupt what this one begins.
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)
