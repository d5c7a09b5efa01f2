"""The errors that a user can cause or mend.

Each names where the problem is (a file, a site or a key), what was found there, what was
expected, and what to do next, so that its text alone is enough to mend the input.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

# What a message quotes of a value.
_LONGEST_QUOTE = 200


def printable(text: str, keep: str = "") -> str:
    r"""Return a text that can do nothing to a terminal or a log but be read.

    Names come from tables and files of other people. Control characters, line breaks, marks that
    turn the direction of writing, invisible characters, and lone surrogates are written as in
    Python, such as ``\x1b``.

    Parameters
    ----------
    text : str
    keep : str
        Characters that stay as they are, such as line breaks between lines.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        # A space of any width is a space.
        if character.isprintable() or character in keep or unicodedata.category(character) == "Zs"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def shown(value: Any) -> str:
    """Return a value as it is quoted in a message."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"keys ({shortened(', '.join(map(str, value))) or 'none'})"
    if isinstance(value, list) and not value:
        return "an empty list"
    if isinstance(value, str):
        return f"the text {shortened(repr(value))}"
    return shortened(repr(value))


def shortened(text: str) -> str:
    """Return the beginning of a text that is too long to be quoted."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]} …"


class SnakeshedError(Exception):
    """A problem in the user's input, told in one sentence.

    Parameters
    ----------
    where : str
        File, site or configuration key.
    found : str
        What stands there.
    expected : str
        What should stand there.
    next_step : str
        What the user can do about it.
    """

    def __init__(self, where: str, found: str, expected: str, next_step: str) -> None:
        super().__init__(where, found, expected, next_step)
        self.where = where
        self.found = found
        self.expected = expected
        self.next_step = next_step

    def __str__(self) -> str:
        facts = f"{self.where}: found {self.found}; expected {self.expected}."
        # Advice may quote several lines of another program.
        return f"{printable(facts)} {printable(self.next_step, keep=chr(10))}"


class ConfigurationError(SnakeshedError):
    """A key of the study's configuration is unknown, missing or contradictory."""


class TableError(SnakeshedError):
    """A site table cannot be read as one."""


class ResultError(SnakeshedError):
    """A file of results is missing or damaged."""


class InputChangedError(SnakeshedError):
    """A file that jobs read has changed while a run went on."""


class TerrainError(SnakeshedError):
    """A DEM, or a tile of it, cannot be used."""


class TransferError(SnakeshedError):
    """A file cannot be fetched, or is not the one that was expected."""


class UnreachableError(TransferError):
    """A server does not answer, or breaks off again and again."""


class LayerError(SnakeshedError):
    """A layer cannot be summarised over catchments."""


class MachineError(SnakeshedError):
    """A disk, the memory or the rights of the machine do not let a job do its work."""


class ClusterError(SnakeshedError):
    """A Dask cluster does not do the work that it is given."""


class KubernetesError(SnakeshedError):
    """A Kubernetes cluster, its volume, or kubectl does not do what is asked of it."""


class RunningError(SnakeshedError):
    """Another run is at work on the same study."""


class CheckoutError(SnakeshedError):
    """A process has the library of another checkout than the workflow's."""


class ArchiveError(SnakeshedError):
    """An archive of a study cannot be made, trusted or run again."""


class SeveralProblems(SnakeshedError):
    """All problems of one file at once, so that a user need not find them one run at a time."""

    def __init__(self, problems: list[SnakeshedError]) -> None:
        Exception.__init__(self, problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(f"- {problem}" for problem in self.problems)
