"""Which runs in a working directory are alive: each holds a lock on a file of its own.

Snakemake's lock tells one run from none, if it is used at all, and outlives a driver that was
killed. The kernel drops these with the process that holds them, on any node of a shared file system
that has flock (CephFS, NFS, Lustre with -o flock).
"""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import TextIO

_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class LiveRuns:
    """The runs that send Jobs from one working directory.

    Parameters
    ----------
    folder
        For the files, one for each run that lives or was killed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: TextIO | None = None

    def begin(self, run: str) -> bool:
        """Count a run among the living until its process ends, and return False if that fails.

        It fails on file systems without such locks.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # It gets its name when it is locked: in between it would pass for that of a dead run.
        unnamed = self._folder / f"{run}.new"
        file = open(unnamed, "w", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            unnamed.unlink()
            if error.errno in _NO_FLOCK:
                return False
            raise
        unnamed.rename(self._folder / run)
        self._own = file
        for other in list(self._folder.iterdir()):
            if other.suffix != ".new":
                self.lives(other.name)  # takes it off if it is dead
        return True

    def end(self) -> None:
        """Take the own run off."""
        if self._own is not None:
            Path(self._own.name).with_suffix("").unlink(missing_ok=True)
            self._own.close()
            self._own = None

    def lives(self, run: str) -> bool:
        """Tell whether a run is alive; of one that is not, no trace is kept."""
        path = self._folder / run
        try:
            file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        except FileNotFoundError:
            return False
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                    return True
                raise
            path.unlink(missing_ok=True)
        return False
