"""The lock of a study's fetched inputs: what each file was when it was first fetched.

It lies beside the results as ``inputs.lock.json``. It is no output of a rule: Snakemake removes
those before a job, and this one has to outlast it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from snakeshed.atomic import atomic
from snakeshed.errors import ResultError

NAME = "inputs.lock.json"
_FORMAT = 1


@dataclass(frozen=True)
class LockedFile:
    """A file at an address, as it was when it was fetched.

    Attributes
    ----------
    key : str
        What reads it, such as ``dem``.
    address : str
    file : str
        Its name in the folder of the study's inputs.
    fetched : str
        Date and time (UTC) of the transfer, or of the answer that there is no such file.
    length : int or None
        In bytes; None, like all that follows, where the server had no such file.
    sha256, etag, last_modified : str or None
    """

    key: str
    address: str
    file: str
    fetched: str
    length: int | None = None
    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None

    @property
    def is_absent(self) -> bool:
        """Whether the server had no such file."""
        return self.sha256 is None


def read_lock(path: str | Path) -> dict[str, LockedFile]:
    """Return the files of a lock by their addresses; none where there is no lock.

    Raises
    ------
    ResultError
        It cannot be read as one.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        files = [LockedFile(**each) for each in content["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ResultError(
            str(path),
            f"a file that is no lock of inputs ({error})",
            f"what snakeshed wrote, in format {_FORMAT}",
            "Restore it from a backup or from an archive of the study. Without it the files as "
            "they are now are taken: remove it if that is what you want.",
        ) from error
    return {each.address: each for each in files}


def write_lock(path: str | Path, study: str, files: Iterable[LockedFile]) -> None:
    """Write a lock, sorted by key and address."""
    ordered = sorted(files, key=lambda each: (each.key, each.address))
    content = {"format": _FORMAT, "study": study, "files": [asdict(each) for each in ordered]}
    with atomic(path) as part:
        part.write_text(f"{json.dumps(content, indent=1, ensure_ascii=False)}\n", encoding="utf-8")
