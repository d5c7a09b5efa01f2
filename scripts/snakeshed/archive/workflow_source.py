"""The workflow as an archive holds it: as committed, or, without git, as it stands there."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from snakeshed.errors import ArchiveError

# What a run or an installation leaves in a checkout, and no part of the workflow.
_NOT_SOURCE = {
    "__pycache__", ".git", ".snakemake", ".venv", "results", "resources",
    ".pytest_cache", ".ruff_cache", ".hypothesis",
}  # fmt: skip


@dataclass(frozen=True)
class WorkflowSource:
    """The files of a workflow.

    Attributes
    ----------
    files : dict of str to bytes
        Contents by path.
    links : dict of str to str
        Where its symbolic links lead, by path; each within the workflow.
    commit : str or None
        None without git.
    difference : bytes
        Of the files from the commit, as ``git diff`` writes it; empty if there is none.
    executable : frozenset of str
        Those files that are programs.
    """

    files: dict[str, bytes]
    links: dict[str, str]
    commit: str | None
    difference: bytes
    executable: frozenset[str]


def workflow_source(folder: str | Path, changed: bool = False) -> WorkflowSource:
    """Read the workflow that is in a folder.

    Parameters
    ----------
    folder : str or Path
        With the Snakefile.
    changed : bool
        Whether it may differ from its commit; then the files are taken as they are.

    Raises
    ------
    ArchiveError
        It differs from its commit, and may not.
    """
    folder = Path(folder)
    commit = _git(folder, "rev-parse", "HEAD")
    # A copy that lies in some other repository is not that one's workflow.
    if commit is None or _git(folder, "ls-files", "--", "Snakefile") == b"":
        return _standing(folder, None, b"")
    name = commit.decode().strip()
    status = _git(folder, "status", "--porcelain", "--untracked-files=all", "--", ".") or b""
    # Studies of one's own are often beside the demo's: no code, and in the archive anyhow.
    lines = [line for line in status.decode().splitlines() if not line.startswith("?? config/")]
    if not lines:
        return _committed(folder, name)
    if not changed:
        shown = ", ".join(line[3:] for line in lines[:5]) + (", …" if len(lines) > 5 else "")
        raise ArchiveError(
            str(folder),
            f"files that differ from commit {name[:12]} ({shown})",
            "the workflow as it was committed",
            "Commit or remove them; or set archive.changed (snakemake archive --config "
            "'archive={changed: true}'), and the archive holds them with the difference.",
        )
    return _standing(folder, name, _git(folder, "diff", "--binary", "HEAD", ".") or b"")


def _committed(folder: Path, commit: str) -> WorkflowSource:
    files, links, executable = {}, {}, set()
    packed = _git(folder, "archive", "--format=tar", "HEAD")
    with tarfile.open(fileobj=io.BytesIO(packed or b"")) as tar:
        for member in tar:
            if member.issym():
                links[member.name] = member.linkname
            elif (file := tar.extractfile(member)) is not None:
                files[member.name] = file.read()
                if member.mode & stat.S_IXUSR:
                    executable.add(member.name)
    return WorkflowSource(files, links, commit, b"", frozenset(executable))


def _standing(folder: Path, commit: str | None, difference: bytes) -> WorkflowSource:
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed and b"Snakefile\0" in listed:
        paths = [folder / os.fsdecode(name) for name in listed.split(b"\0") if name]
    else:
        paths = [
            Path(where, name)
            for where, folders, names in os.walk(folder)
            for name in [*names, *(each for each in folders if Path(where, each).is_symlink())]
            if not _NOT_SOURCE & set(Path(where, name).relative_to(folder).parts)
            and not where.endswith(".egg-info")
        ]
    files, links, executable = {}, {}, set()
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            links[name] = os.readlink(path)
        elif path.is_file():
            files[name] = path.read_bytes()
            if path.stat().st_mode & stat.S_IXUSR:
                executable.add(name)
    return WorkflowSource(files, links, commit, difference, frozenset(executable))


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git says; None if there is none, or no repository."""
    try:
        done = subprocess.run(
            # --no-optional-locks: looking must not write into somebody's checkout.
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout
