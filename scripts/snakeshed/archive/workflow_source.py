"""The workflow as an archive holds it: as committed, or, without git, as it stands there.

An archive is published, so only files that are known to belong to the workflow go into it, and
none that is an input of the study.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from snakeshed.archive.inputs import FBFM40, ArchivedInput
from snakeshed.errors import ArchiveError

# The files of the workflow; a * stands for folders, too. Data and studies of one's own are not
# among them, wherever they lie. A test compares this with the source distribution and the context
# of the image.
_FILES = (
    "Snakefile",
    "rules/*.smk",
    "rules/captions/*.rst",
    "scripts/*.py",
    *(f"scripts/snakeshed/report/pages/*.{suffix}" for suffix in ("css", "html", "js")),
    "scripts/snakemake_executor_plugin_kubernetes_pvc/README.md",
    "scripts/snakemake_executor_plugin_kubernetes_pvc/pyproject.toml",
    "config/README.md",
    "config/config.yaml",
    "config/roten2022.yaml",
    "config/fbfm40.csv",
    "config/fbfm40.md",
    "config/schema/study.schema.yaml",
    "config/staley2016.yaml",
    "envs/Dockerfile",
    *(f"envs/*.{suffix}" for suffix in ("in", "lock", "yaml")),
    *(f"profiles/{profile}/*.yaml" for profile in ("default", "cloud", "dask", "nautilus")),
    "profiles/dask/results.ipynb",
    "docs/confidence.md",
    "docs/confidence.png",
    "docs/faults.md",
    "docs/studies.md",
    *("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE"),
    *("pyproject.toml", "Makefile", ".dockerignore", ".gitignore"),
)
_FOLDERS = sorted({pattern.split("/")[0] for pattern in _FILES if "/" in pattern})
# Where a file that is not in the list may be code all the same, and missing in the archive.
_CODE = ("rules/", "scripts/", "envs/", "profiles/")


@dataclass(frozen=True)
class WorkflowSource:
    """The files of a workflow.

    Attributes
    ----------
    files : dict of str to bytes
        Contents by path.
    links : dict of str to str
        Where its symbolic links lead, by path; each to files of the workflow.
    commit : str or None
        None without git.
    changed : bool
        Whether it differs from its commit.
    difference : bytes
        Of the committed files from the commit, as ``git diff`` writes it.
    executable : frozenset of str
        Those files that are programs.
    left_out : tuple of str
        Other files beside its code.
    """

    files: dict[str, bytes]
    links: dict[str, str]
    commit: str | None
    changed: bool
    difference: bytes
    executable: frozenset[str]
    left_out: tuple[str, ...]


def workflow_source(
    folder: str | Path, changed: bool = False, inputs: Sequence[ArchivedInput] = ()
) -> WorkflowSource:
    """Read the workflow that is in a folder.

    Parameters
    ----------
    folder : str or Path
        With the Snakefile.
    changed : bool
        Whether it may differ from its commit; then the files are taken as they are.
    inputs : sequence of ArchivedInput
        Of the study. They are no part of the workflow, wherever they lie. Of those that may not
        be passed on, neither is a copy under another name.

    Raises
    ------
    ArchiveError
        It differs from its commit, and may not.
    """
    folder = Path(folder)
    members = _Membership(folder, inputs)
    commit = _git(folder, "rev-parse", "HEAD")
    # A copy that lies in some other repository is not that one's workflow.
    if commit is None or _git(folder, "ls-files", "--", "Snakefile") == b"":
        return _standing(members, _walked(folder), None, False, b"")
    name = commit.decode().strip()
    known = _names(_git(folder, "diff", "--name-only", "-z", "--relative", "--no-renames", "HEAD"))
    new = _names(_git(folder, "ls-files", "-z", "--others", "--exclude-standard"))
    differing = [each for each in sorted({*known, *new}) if members.is_of_workflow(each)]
    if not differing:
        return _committed(members, name)
    if not changed:
        shown = ", ".join(differing[:5]) + (", …" if len(differing) > 5 else "")
        raise ArchiveError(
            str(folder),
            f"files that differ from commit {name[:12]} ({shown})",
            "the workflow as it was committed",
            "Commit or remove them; or set archive.changed (snakemake archive --config "
            "'archive={changed: true}'), and the archive holds them with the difference.",
        )
    listed = _names(_git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard"))
    difference = _difference(members, [each for each in known if members.is_of_workflow(each)])
    return _standing(members, listed, name, True, difference)


class _Membership:
    """What belongs to the workflow in a folder."""

    def __init__(self, folder: Path, inputs: Iterable[ArchivedInput]) -> None:
        self.folder = folder
        self._paths = {Path(each.source).resolve() for each in inputs if each.sha256 != FBFM40}
        # An empty file gives nothing away, and may be anything.
        self._digests = {each.sha256 for each in inputs if not each.included and each.size}

    def is_of_workflow(self, name: str) -> bool:
        """Whether a file is in the list, and no input by its path."""
        hidden = any(part.startswith(".") for part in name.split("/")[:-1])
        return (
            not hidden
            and any(fnmatchcase(name, pattern) for pattern in _FILES)
            and (self.folder / name).resolve() not in self._paths
        )

    def is_withheld(self, content: bytes) -> bool:
        """Whether this is the content of an input that may not be passed on."""
        return hashlib.sha256(content).hexdigest() in self._digests

    def source(
        self,
        names: Iterable[str],
        files: dict[str, bytes],
        links: dict[str, str],
        executable: set[str],
        **state,
    ) -> WorkflowSource:
        """Take what belongs to the workflow of all that was found."""
        files = {
            name: content
            for name, content in files.items()
            if self.is_of_workflow(name) and not self.is_withheld(content)
        }
        places = {*files, *(str(parent) for name in files for parent in Path(name).parents)} - {"."}
        links = {
            name: target
            for name, target in links.items()
            if posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) in places
        }
        left_out = sorted(
            name for name in names if name.startswith(_CODE) and name not in {*files, *links}
        )
        programs = frozenset(executable & files.keys())
        return WorkflowSource(
            files=files, links=links, executable=programs, left_out=tuple(left_out), **state
        )


def _committed(members: _Membership, commit: str) -> WorkflowSource:
    names, wanted = [], []
    for entry in (_git(members.folder, "ls-tree", "-r", "-z", "HEAD") or b"").split(b"\0")[:-1]:
        facts, _, name = entry.partition(b"\t")
        names.append(os.fsdecode(name))
        if facts.startswith(b"120000") or members.is_of_workflow(names[-1]):
            wanted.append(names[-1])
    files, links, executable = {}, {}, set()
    # Named one by one: a commit may hold gigabytes of data.
    command = ("--literal-pathspecs", "archive", "--format=tar", "HEAD", "--", *wanted)
    with tarfile.open(fileobj=io.BytesIO(_git(members.folder, *command) or b"")) as tar:
        for member in tar:
            if member.issym():
                links[member.name] = member.linkname
            elif (file := tar.extractfile(member)) is not None:
                files[member.name] = file.read()
                if member.mode & stat.S_IXUSR:
                    executable.add(member.name)
    return members.source(
        names, files, links, executable, commit=commit, changed=False, difference=b""
    )


def _standing(
    members: _Membership, names: Sequence[str], commit: str | None, changed: bool, difference: bytes
) -> WorkflowSource:
    files, links, executable = {}, {}, set()
    for name in names:
        path = members.folder / name
        if path.is_symlink():
            links[name] = os.readlink(path)
        elif members.is_of_workflow(name) and path.is_file():
            files[name] = path.read_bytes()
            if path.stat().st_mode & stat.S_IXUSR:
                executable.add(name)
    return members.source(
        names, files, links, executable, commit=commit, changed=changed, difference=difference
    )


def _walked(folder: Path) -> list[str]:
    """Names of files and links where the workflow has some."""
    names = [path.name for path in folder.iterdir() if path.is_symlink() or path.is_file()]
    for top in _FOLDERS:
        for where, folders, files in os.walk(folder / top):
            folders[:] = [each for each in folders if each != "__pycache__"]
            links = [each for each in folders if Path(where, each).is_symlink()]
            names += [Path(where, each).relative_to(folder).as_posix() for each in files + links]
    return sorted(names)


def _difference(members: _Membership, names: Iterable[str]) -> bytes:
    """Of some files from the commit, except those with content that may not be passed on."""
    named = []
    for name in names:
        path = members.folder / name
        contents = [
            _git(members.folder, "cat-file", "blob", f"HEAD:./{name}"),
            path.read_bytes() if path.is_file() else None,
        ]
        if not any(content and members.is_withheld(content) for content in contents):
            named.append(name)
    if not named:
        return b""
    # As git writes it by default, whatever the user has set.
    plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--relative")
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/")
    command = ("--literal-pathspecs", "diff", "--binary", *plain, *prefixes, "HEAD", "--", *named)
    return _git(members.folder, *command) or b""


def _names(listed: bytes | None) -> list[str]:
    return [os.fsdecode(name) for name in (listed or b"").split(b"\0") if name]


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
