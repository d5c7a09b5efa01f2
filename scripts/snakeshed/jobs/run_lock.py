"""One run of a study at a time: a lock that ends with the process that holds it.

Snakemake's own lock is a set of files that a killed run leaves behind, so that the next one stops
until a person removes them. The kernel drops this one with the process, however that ends, on any
node of a shared file system that has flock (CephFS, NFS, Lustre with -o flock).
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import os
import shlex
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from snakeshed.errors import RunningError

_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class RunLock:
    """The lock of a study in a folder; nothing happens before it is taken.

    Parameters
    ----------
    path : str or Path
        The file that is locked. It says who holds it, and stays when the lock is gone.
    study : str
        Name of the study, for the message.
    """

    def __init__(self, path: str | Path, study: str) -> None:
        self._path = Path(path)
        self._study = study
        self._file: TextIO | None = None

    def take(self) -> bool:
        """Take the lock; it is held until this object or its process ends.

        Returns
        -------
        bool
            False if the file system has no such locks, and nothing was taken.

        Raises
        ------
        RunningError
            Another process holds it.
        OSError
            The file cannot be opened.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Not inherited by the jobs' processes: one that outlives the run does not hold the lock.
        file = open(self._path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with file:
                if error.errno in _NO_FLOCK:
                    return False
                if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise
                file.seek(0)
                raise self._held_by(file.readline().strip()) from None
        # A full disk keeps nobody from holding the lock without a name.
        with suppress(OSError):
            file.truncate(0)
            file.write(f"{_this_run()}\n")
            file.flush()
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock up, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _held_by(self, holder: str) -> RunningError:
        return RunningError(
            f"study {self._study}",
            f"another run of it at work ({holder or 'it has not said which'})",
            "one run of a study at a time in a folder",
            "Wait until it is done, or end it, and run the same command again.",
        )


def _this_run() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user on this machine, as in many containers
        user = str(os.getuid())
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return f"process {os.getpid()} of {user} on {socket.gethostname()} since {since}: {command}"
