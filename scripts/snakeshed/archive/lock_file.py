"""The lock file of an environment: one version of each package, and what each is there for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

DEVELOPMENT = "envs/development.in"
"""What asks for packages that no run needs."""

_ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)\s*(?:;\s*([^\\]+?))?\s*(?:\\|$)")
_VIA = re.compile(r"^    #(?: via)?(?: +(-r \S+|\S+))?$", re.MULTILINE)


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
        """Whether it is for this Python on this machine."""
        from packaging.markers import Marker

        return not self.marker or Marker(self.marker).evaluate()


def read_lock(text: str) -> list[Pin]:
    """Read a lock file.

    Parameters
    ----------
    text : str
        As ``uv pip compile --generate-hashes`` writes it.
    """
    pins = []
    for entry in _ENTRY.split(text):
        if (found := _PINNED.match(entry)) is None:
            continue
        told = frozenset(who for who in _VIA.findall(entry) if who)
        lines = [line for line in entry.splitlines() if line and not line.lstrip().startswith("#")]
        pins.append(Pin(found[1], found[2], found[3] or "", told, "\n".join(lines)))
    return pins


def needed_to_run(pins: Sequence[Pin]) -> list[Pin]:
    """Those that are not there for development alone, of this Python on this machine."""
    # Downwards from what is asked for; a package of which nothing is told is as good as asked for.
    kept = {
        pin.name
        for pin in pins
        if not pin.wanted_by
        or any(who.startswith("-r ") and who != f"-r {DEVELOPMENT}" for who in pin.wanted_by)
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
