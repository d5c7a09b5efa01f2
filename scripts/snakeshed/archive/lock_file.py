"""The lock file of an environment: one version of each package, and what each is there for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from snakeshed.errors import ArchiveError

NOT_FOR_RUNS = {"-r envs/build.in", "-r envs/development.in"}
"""Who asks for packages that no run needs; in older archives, the lock file has the latter, too."""

LARGEST_LOCK = 8 << 20
_LONGEST_LINE, _MOST_PINS = 4096, 20_000
# A name and version, where they apply, and checksums in the lines that follow. Nothing else may
# reach pip: a line such as --index-url would send it elsewhere.
_PINNED = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[A-Za-z0-9._,-]*\])?==([A-Za-z0-9.!+_-]+)"
)
_CHECKSUM = re.compile(r"    --hash=sha256:[0-9a-f]{2,64}")
_VIA = re.compile(r"\s+#(?: via)?(?: +(-r .+|[^\s-]\S*))?")
# A project that asks for a package, and the file where it does.
_VIA_PROJECT = re.compile(r"\s+#(?: via)? +\S+ \((.+)\)")
_COMMENT = re.compile(r"\s*#.*")


@dataclass(frozen=True)
class Pin:
    """A package of a lock file.

    Attributes
    ----------
    name, version : str
    marker : str
        Where it is installed, as PEP 508 says it; empty for everywhere.
    wanted_by : frozenset of str
        Packages that need it, and files that ask for it (``-r envs/requirements.in``); empty
        where the lock file does not tell.
    text : str
        The entry with its checksums, as pip reads it.
    """

    name: str
    version: str
    marker: str
    wanted_by: frozenset[str]
    text: str

    def applies(self) -> bool:
        """Whether it is for this Python on this machine.

        Raises
        ------
        ArchiveError
            The marker is none.
        """
        from packaging.markers import InvalidMarker, Marker, UndefinedComparison

        try:
            return not self.marker or Marker(self.marker).evaluate()
        except (InvalidMarker, UndefinedComparison, ValueError, KeyError, RecursionError):
            raise ArchiveError(
                f"the lock file, {self.name}",
                f"the condition {self.marker[:100]!r}",
                "one of PEP 508, such as python_full_version < '3.12'",
                "Write the lock file with the command at its top.",
            ) from None


def read_lock(text: str) -> list[Pin]:
    """Read a lock file.

    Parameters
    ----------
    text : str
        As ``uv pip compile --generate-hashes`` writes it.

    Raises
    ------
    ArchiveError
        A line is none that it writes.
    """
    entries: list[tuple[str, str, str, set[str], list[str]]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r")
        bare = line.removesuffix("\\").rstrip(" ")
        if len(line) > _LONGEST_LINE or len(entries) > _MOST_PINS:
            raise _no_lock(number, line)
        if not bare or line.startswith("#"):
            continue
        if entries and _CHECKSUM.fullmatch(bare):
            entries[-1][4].append(line)
        elif entries and (via := _VIA.fullmatch(bare)):
            entries[-1][3].update({via[1]} - {None})
        elif entries and (via := _VIA_PROJECT.fullmatch(bare)):
            entries[-1][3].add(f"-r {via[1]}")
        elif _COMMENT.fullmatch(bare):
            continue
        else:
            pinned, _, marker = bare.partition(";")
            if (found := _PINNED.fullmatch(pinned.rstrip(" "))) is None:
                raise _no_lock(number, line)
            entries.append((found[1], found[2], marker.strip(), set(), [line]))
    return [
        Pin(name, version, marker, frozenset(wanted_by), "\n".join(lines))
        for name, version, marker, wanted_by, lines in entries
    ]


def _no_lock(number: int, line: str) -> ArchiveError:
    return ArchiveError(
        f"the lock file, line {number}",
        repr(line[:100]),
        "a package with one version, its checksums, or a comment",
        "Write the lock file with the command at its top.",
    )


def needed_to_run(pins: Sequence[Pin]) -> list[Pin]:
    """Those that a run needs, of this Python on this machine."""
    # Downwards from what is asked for; one without such comments counts as asked for.
    kept = {
        pin.name
        for pin in pins
        if not pin.wanted_by
        or any(who.startswith("-r ") and who not in NOT_FOR_RUNS for who in pin.wanted_by)
    }
    while more := {pin.name for pin in pins if pin.wanted_by & kept} - kept:
        kept |= more
    return [pin for pin in pins if pin.name in kept and pin.applies()]


def unlocked(pins: Sequence[Pin]) -> list[str]:
    """Compare the packages of this process's environment with a lock file.

    Parameters
    ----------
    pins : sequence of Pin
        From :func:`needed_to_run`.

    Returns
    -------
    list of str
        What differs, a package each; none if the environment satisfies the lock file.
    """
    different = []
    for pin in pins:
        try:
            found = version(pin.name)
        except PackageNotFoundError:
            found = "none"
        if found != pin.version:
            different.append(f"{pin.name} {found} instead of {pin.version}")
    return different
