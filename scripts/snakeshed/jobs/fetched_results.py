"""Results that were fetched from a cluster: which files, and of which configuration they are.

Snakemake's history here knows nothing of them. It would take them for those of the last run here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from snakeshed.atomic import atomic
from snakeshed.errors import ResultError


@dataclass
class FetchedResults:
    """Those of one study.

    Attributes
    ----------
    study : str
        Its name.
    configuration : str
        Digest of the configuration that the cluster has; empty if it is not known.
    files : dict of str to list of int
        Sizes in bytes and times of change in ns, by path.
    """

    study: str
    configuration: str = ""
    files: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, study: str) -> FetchedResults:
        """Return what is known here of a study; a file that cannot be read counts as none."""
        made = cls(study)
        try:
            known = json.loads(made._path.read_text(encoding="utf-8"))
            return cls(study, known["configuration"], known["files"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return made

    def write(self) -> None:
        """Keep it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"configuration": self.configuration, "files": self.files})
        with atomic(self._path) as part:
            part.write_text(text, encoding="utf-8")

    def has(self, path: str) -> bool:
        """Tell whether a file is here as it was fetched."""
        known = self.files.get(path)
        if known is None:
            return False
        try:
            state = os.stat(path)
        except OSError:
            return False
        # Some file systems keep whole seconds only.
        times = {known[1], known[1] // 10**9 * 10**9}
        return state.st_size == known[0] and state.st_mtime_ns in times

    @property
    def _path(self) -> Path:
        return Path(f".snakemake/snakeshed/{self.study}.pulled")


def configuration_digest(study: Mapping) -> str:
    """Return a digest of a completed configuration."""
    text = json.dumps(study, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def check_fetched(study: Mapping) -> None:
    """See that fetched results, where there are any, are of a study's configuration.

    Parameters
    ----------
    study : mapping
        The completed configuration, without what only an archive needs.

    Raises
    ------
    ResultError
        They are not, or that is not known.
    """
    name = study["study"]
    fetched = FetchedResults.of(name)
    if fetched.configuration == configuration_digest(study):
        return
    here = next((path for path in fetched.files if fetched.has(path)), None)
    if here is not None:
        raise ResultError(
            here,
            "a result that was fetched from a cluster for another configuration",
            f"results of the present configuration of study {name}",
            f"Delete results/{name} (what is in it can be fetched again), or change the name of "
            "the study.",
        )
