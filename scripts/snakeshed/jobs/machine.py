"""What a machine does to a job, in one sentence: full disks, missing rights, want of memory."""

from __future__ import annotations

import errno
import os
import tempfile
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from snakeshed.errors import MachineError

_AGAIN = "run the same command again"
_NO_RIGHT = (
    "no permission to use it",
    "a file of one's own",
    f"Have its owner grant it (chmod, chown), or work in a folder of your own, and {_AGAIN}.",
)
_TOO_MANY_FILES = (
    "too many open files",
    "fewer than the machine allows",
    f"Allow more (ulimit -n) or run with fewer --cores, and {_AGAIN}.",
)
_BAD_DISK = (
    "an error of its disk or of the network to it",
    "a disk that reads and writes",
    f"Look at the disk (dmesg, quota, mount), and {_AGAIN}.",
)
# By what the operating system says: what was found, what is expected, what to do.
_FAULTS = {
    errno.ENOSPC: (
        "no space left on its disk",
        "room for it",
        f"Make room or move the study's folder to a larger disk, and {_AGAIN}.",
    ),
    errno.EDQUOT: (
        "no space left in the user's quota",
        "room for it",
        f"Make room or ask for more, and {_AGAIN}.",
    ),
    errno.EFBIG: (
        "a file larger than may be written here",
        "a higher limit",
        f"Raise the limit (ulimit -f), and {_AGAIN}.",
    ),
    errno.EROFS: (
        "a read-only file system",
        "one that can be written to",
        f"Mount it for writing or work in another folder, and {_AGAIN}.",
    ),
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EMFILE: _TOO_MANY_FILES,
    errno.ENFILE: _TOO_MANY_FILES,
    errno.ENOENT: (
        "no such file, or folder for it",
        "a file that stays in place during a run",
        f"Restore it if it was an input, and {_AGAIN}.",
    ),
    errno.EIO: _BAD_DISK,
    errno.ESTALE: _BAD_DISK,
    errno.ENODEV: _BAD_DISK,
}
# Less room takes no table, and not the log of a run.
_ROOM_BYTES = 65536
_MORE_MEMORY = f"Run with fewer --cores or where there is more memory: {_AGAIN}."


def machine_error(error: BaseException, work: str) -> MachineError | None:
    """Tell an exception that the machine caused as an error that a user can mend.

    Parameters
    ----------
    error : BaseException
        What ended a job.
    work : str
        What the job did, where the exception names no file.

    Returns
    -------
    MachineError or None
        None if the machine is not known to be the cause.
    """
    if isinstance(error, BrokenProcessPool):
        return MachineError(
            work,
            "one of its processes ended from outside, most likely for want of memory",
            "processes that come to their end",
            _MORE_MEMORY,
        )
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return MachineError(work, "no memory left", "enough for it", _MORE_MEMORY)
    if isinstance(error, OSError) and error.errno in _FAULTS:
        where = os.fsdecode(error.filename) if _is_name(error.filename) else work
        return MachineError(where, *_FAULTS[error.errno])
    return None


def check_writable(folder: str | Path) -> None:
    """Make a folder, and see that its disk takes files, and has room for a small one.

    Raises
    ------
    OSError
        They cannot; it names the folder.
    """
    os.makedirs(folder, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM_BYTES))
            file.flush()
            # Network file systems tell only here that a disk is full.
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(folder)
        raise


def _is_name(filename: object) -> bool:
    # Of a descriptor, Python gives the number.
    return isinstance(filename, str | bytes)
