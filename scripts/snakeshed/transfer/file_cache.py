"""Files that were fetched, by their content; studies share them.

``sha256/`` has the files, named by their SHA-256 and read-only; ``addresses/`` has what each
address gave last; ``parts/`` has what was interrupted.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from snakeshed.atomic import atomic
from snakeshed.errors import TransferError
from snakeshed.result_files import sha256_of
from snakeshed.transfer.addresses import shown
from snakeshed.transfer.download import Stopped

log = logging.getLogger(__name__)

VARIABLE = "SNAKESHED_CACHE"
"""Environment variable with the folder of the cache."""

_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_POLL_S = 0.2


@dataclass(frozen=True)
class AddressRecord:
    """What an address gave when it was fetched last.

    Attributes
    ----------
    address : str
        Without passwords and signatures.
    sha256 : str
    length : int
        In bytes.
    etag, last_modified : str or None
        As the server had them.
    fetched : str
        Date and time (UTC), ISO 8601.
    """

    address: str
    sha256: str
    length: int
    etag: str | None
    last_modified: str | None
    fetched: str


class FileCache:
    """A folder of files by content.

    Parameters
    ----------
    folder : str or Path
        It is made when the first file comes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def of_environment(cls) -> FileCache:
        """Return the cache that SNAKESHED_CACHE names, or else that of the user."""
        if named := os.environ.get(VARIABLE, "").strip():
            return cls(Path(named).expanduser().absolute())
        own = os.environ.get("XDG_CACHE_HOME", "").strip()
        return cls(Path(own if os.path.isabs(own) else Path.home() / ".cache", "snakeshed"))

    def prepare(self) -> None:
        """Make the folders.

        Raises
        ------
        TransferError
            Nothing can be written there.
        """
        try:
            for name in ("sha256", "addresses", "parts"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder / "parts", os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise TransferError(
                str(self.folder),
                f"a cache that cannot be written to ({error.strerror})",
                "a folder of your own",
                f"Set {VARIABLE} to a folder on a disk with room for the files.",
            ) from error

    def place_of(self, sha256: str) -> Path:
        """Return where a file of this content is, or would be."""
        return self.folder / "sha256" / sha256[:2] / sha256

    def find(self, sha256: str) -> Path | None:
        """Return the file of this content, if it is there; a damaged one is removed."""
        path = self.place_of(sha256)
        try:
            if sha256_of(path) == sha256:
                return path
        except FileNotFoundError:
            return None
        log.warning("%s is damaged, and is fetched again", path)
        path.unlink(missing_ok=True)
        return None

    def add(self, part: Path, sha256: str) -> Path:
        """Give a finished file its place."""
        path = self.place_of(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Studies have links to it: nobody changes it by mistake.
        part.chmod(0o444)
        os.replace(part, path)
        return path

    def record_of(self, address: str) -> AddressRecord | None:
        """Return what an address gave last; None if that is not known."""
        with suppress(OSError, ValueError, TypeError):
            text = self._record_path(address).read_text(encoding="utf-8")
            return AddressRecord(**json.loads(text))
        return None

    def keep_record(self, address: str, record: AddressRecord) -> None:
        """Keep what an address has given."""
        with atomic(self._record_path(address), lasting=False) as part:
            part.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")

    def begun(self, address: str) -> int:
        """Return how many bytes of a file are there after an interruption."""
        try:
            return (self.folder / "parts" / _digest(address)).stat().st_size
        except OSError:
            return 0

    @contextmanager
    def part_of(self, address: str, stop: threading.Event) -> Iterator[Path]:
        """Yield where a file is received, for this process and thread alone.

        Parameters
        ----------
        address : str
        stop : threading.Event
            Once it is set, nobody waits any longer.

        Raises
        ------
        Stopped
            `stop` was set while another process had the file.
        """
        path = self.folder / "parts" / _digest(address)
        with open(path.with_name(f"{path.name}.lock"), "a+b") as lock:
            waited = False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno in _NO_FLOCK:
                        path = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
                        break
                    if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                        raise
                else:
                    break
                if not waited:
                    log.info("waiting for another process that fetches %s", shown(address))
                    waited = True
                if stop.wait(_POLL_S):
                    raise Stopped
            yield path

    def _record_path(self, address: str) -> Path:
        return self.folder / "addresses" / f"{_digest(address)}.json"


def _digest(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:32]
