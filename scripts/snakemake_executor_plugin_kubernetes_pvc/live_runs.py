"""Which runs in a working directory are alive: each holds a lock on a file of its own.

Snakemake's lock tells one run from none, if it is used at all, and outlives a driver that was
killed. The kernel drops these with the process that holds them, on any node of a shared file system
that has flock (CephFS, NFS, Lustre with -o flock). What a file says lets the next driver take up a
run whose driver was killed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True)
class Session:
    """A run, as one driver or several have it in turn.

    Attributes
    ----------
    run
        Its name.
    purpose
        What it is for: a driver takes up a run only with the same one.
    owner
        What keeps starting drivers for it (a Job, by its uid); empty: a person.
    drivers
        How many drivers it has had with this one.
    same_owner
        True if the driver before had the same owner: this one goes on with the same arguments.
    locks
        False if the file system has no locks.
    """

    run: str
    purpose: str = ""
    owner: str = ""
    drivers: int = 1
    same_owner: bool = False
    locks: bool = True


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

    def begin(self, run: str, purpose: str, owner: str = "") -> Session:
        """Count a run among the living until its process ends.

        A dead run with the same purpose is taken up, under its own name. Of the others that are
        dead no trace is kept.

        Parameters
        ----------
        run
            Name for a new run.
        purpose, owner
            As in `Session`.
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
                return Session(run, purpose, owner, locks=False)
            raise
        session = self._take_up(purpose, owner)
        if session is None:
            session = Session(run, purpose, owner)
            unnamed.rename(self._folder / run)
            self._own = file
        else:
            file.close()
            unnamed.unlink()
        self._note(session)
        for other in self._others():
            self.lives(other.name)  # takes it off if it is dead
        return session

    def held_by_another(self, owner: str) -> bool:
        """Tell whether a living run has an owner; no owner has any."""
        if not owner or not self._folder.exists():
            return False
        for other in self._others():
            file = self._lock_of_dead(other.name)
            if file is not None:
                file.close()
                continue
            with suppress(OSError), open(other, encoding="utf-8") as file:
                if _said_in(file).get("owner") == owner:
                    return True
        return False

    def end(self) -> None:
        """Take the own run off."""
        if self._own is not None:
            self._path_of_own().unlink(missing_ok=True)
            self._own.close()
            self._own = None

    def leave(self) -> None:
        """Let another driver take up the own run."""
        if self._own is not None:
            self._own.close()
            self._own = None

    def lives(self, run: str) -> bool:
        """Tell whether a run is alive; of one that is not, no trace is kept."""
        file = self._lock_of_dead(run)
        if file is None:
            return (self._folder / run).exists()
        with file:
            (self._folder / run).unlink(missing_ok=True)
        return False

    def _take_up(self, purpose: str, owner: str) -> Session | None:
        """Take the place of the driver of a dead run with the same purpose, if there is one."""
        for other in self._others():
            file = self._lock_of_dead(other.name)
            if file is None:
                continue
            said = _said_in(file)
            if said.get("purpose") == purpose:
                self._own = file
                return Session(
                    other.name,
                    purpose,
                    owner,
                    said["drivers"] + 1,
                    bool(owner) and said["owner"] == owner,
                )
            file.close()
        return None

    def _lock_of_dead(self, run: str) -> TextIO | None:
        """Lock the file of a run, unless it lives or is gone."""
        path = self._folder / run
        try:
            file = open(path, "r+", encoding="utf-8", opener=_no_link)  # noqa: SIM115
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                return None
            raise
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        file.close()  # another run took it off meanwhile
        return None

    def _note(self, session: Session) -> None:
        """Write down what the next driver has to know."""
        said = {key: getattr(session, key) for key in ("purpose", "owner", "drivers")}
        self._own.seek(0)
        self._own.truncate()
        json.dump(said, self._own)
        self._own.flush()

    def _others(self) -> list[Path]:
        """Files of the other runs, the latest first."""
        own = self._path_of_own() if self._own is not None else None
        paths = [
            path for path in self._folder.iterdir() if path.is_file() and path.suffix != ".new"
        ]
        found = []
        for path in paths:
            try:
                found.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:
                continue
        return [path for _, path in sorted(found, reverse=True) if path != own]

    def _path_of_own(self) -> Path:
        return Path(self._own.name).with_suffix("")


def _no_link(path: str, flags: int) -> int:
    """Open a file, but no link: jobs can write here, too."""
    return os.open(path, flags | os.O_NOFOLLOW)


def _said_in(file: TextIO) -> dict:
    """What the last driver of a run wrote down; nothing if it was killed before that."""
    try:
        said = json.load(file)
    except ValueError:
        return {}
    kinds = {"purpose": str, "owner": str, "drivers": int}
    ours = isinstance(said, dict) and all(
        isinstance(said.get(key), kind) for key, kind in kinds.items()
    )
    return said if ours else {}
