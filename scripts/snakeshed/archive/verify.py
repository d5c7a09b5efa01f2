"""The command ``snakeshed verify``: whether an archive is whole, and gives its results again."""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    NOT_RUN: "it was not run again: you said no, an input is missing, no such environment can be "
    "had, or the run or the comparison failed",
    DIFFERENT: "the re-run gave other values",
}
"""What each exit status means."""
_MOST_TOLD = 100
# bubblewrap takes 9,000 words, three for each file.
_MOST_FILES = 500

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
        bag = open_bag(archive)
        faults = bag_faults(bag)
    except ArchiveError as error:
        complain(str(error))
        return UNTRUSTED
    if faults:
        complain(f"{shown(archive)} is not what was archived:")
        for fault in faults[:_MOST_TOLD]:
            complain(f"- {fault}")
        if len(faults) > _MOST_TOLD:
            complain(f"… and {len(faults) - _MOST_TOLD:,} more")
        return CHANGED
    say(f"{shown(archive)}: all {len(bag.entries)} files are as they were archived.")
    if request is None:
        return WHOLE
    try:
        return _run_again(bag, request, say, complain)
    except UntrustedArchive as error:
        complain(str(error))
        return UNTRUSTED
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
            f"- rights: those of {_user()}, without the variables of this environment but for a "
            f"few that are no secrets, and with a home folder of its own below {folder}\n"
            f"- sandbox: {sandbox}"
        )
        if request.environment != "this":
            say(
                "- packages: if those in use are not the ones that the archive asks for, pip "
                "installs its own, and may use the network; packages of the index that are not "
                "built yet run code meanwhile"
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
        prepared = prepare(data, str(bag.path), request.inputs, folder / "archived")
        targets = list(request.targets) or default_targets(prepared)
        if not targets:
            raise UntrustedArchive(str(bag.path), f"no table of the study {prepared.study}")
        environment = folder / "environment"
        python, told = python_for(
            data / "workflow", data / WHEELS, environment, request.environment, surroundings
        )
        say(f"Running the code of the archive; environment: {told}.")
        readable = _folders_of_many(prepared.inputs)
        readable += [environment] if environment.is_dir() else []
        rerun(data, python, targets, request.cores, surroundings, readable)
        found = compare_apart(
            data, prepared.archived, prepared.study, targets, request.tolerance, surroundings
        )
    exact = f"up to {request.tolerance:g} of them" if request.tolerance else "exactly"
    if found.count:
        complain(f"{found.count} values differ (compared {exact}):")
        for line in found.lines():
            complain(f"- {line}")
        return DIFFERENT
    say(f"The re-run gave all values of {len(targets)} tables again, {exact}.")
    return WHOLE


def _folders_of_many(files: list[Path]) -> list[Path]:
    """Return files, or their folders where a sandbox cannot take that many."""
    return files if len(files) <= _MOST_FILES else sorted({file.parent for file in files})


def _user() -> str:
    try:
        return f"user {getpass.getuser()}"
    except (KeyError, OSError):
        return f"user {os.getuid()}"


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder for foreign files, and remove it, whatever their modes are."""
    folder = Path(tempfile.mkdtemp(prefix="snakeshed-verify-")).resolve()
    try:
        yield folder
    finally:
        # tempfile.TemporaryDirectory of Python < 3.11.8 changes the modes of what links lead to.
        for root, folders, _ in os.walk(folder):
            for each in folders:
                path = Path(root, each)
                if stat.S_ISDIR(path.lstat().st_mode):
                    path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
