"""An archive as a file: a BagIt bag (RFC 8493) in a ZIP, written byte for byte the same each time.

Reading trusts nothing: names, kinds and sizes of all entries are judged before a byte of them is
unpacked, and nothing of an archive is run here.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from snakeshed.errors import ArchiveError

_BLOCK = 1 << 20
_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_MANIFEST, _TAG_MANIFEST = "manifest-sha256.txt", "tagmanifest-sha256.txt"
_TAGS = ("bagit.txt", "bag-info.txt", _MANIFEST)
# ZIP has no earlier date.
_FIRST_DATE = 315_532_800
_MOST_ENTRIES = 1_000_000
# No study packs better than this as a whole; small archives may.
_MOST_RATIO, _SMALL = 200, 1 << 30
_MANIFEST_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Of Unix, where ZIP keeps the kind of a file; that of DOS has the low bits.
_UNIX, _KIND_SHIFT = 3, 16


def write_bag(
    path: str | Path,
    payload: Mapping[str, Path | bytes],
    info: Mapping[str, str],
    when: int,
    root: str,
    executable: Collection[str] = (),
) -> None:
    """Write a bag.

    Parameters
    ----------
    path : str or Path
        The ZIP file.
    payload : mapping of str to Path or bytes
        Contents by their names in ``data/``, parts separated by ``/``.
    info : mapping of str to str
        Labels and values of ``bag-info.txt``, beside Bagging-Date and Payload-Oxum.
    when : int
        The time of all entries, in seconds since 1970 (UTC). The same arguments give the same
        bytes.
    root : str
        The one folder in it.
    executable : collection of str
        Names of those that are programs.
    """
    moment = datetime.fromtimestamp(max(when, _FIRST_DATE), UTC)
    digests: dict[str, str] = {}
    size = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:

        def add(name: str, content: Path | bytes) -> tuple[str, int]:
            entry = zipfile.ZipInfo(f"{root}/{name}", moment.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = _UNIX
            mode = 0o755 if name.removeprefix("data/") in executable else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << _KIND_SHIFT
            digest, length = hashlib.sha256(), 0
            with archive.open(entry, "w", force_zip64=True) as into:
                for block in _blocks(content):
                    digest.update(block)
                    length += len(block)
                    into.write(block)
            return digest.hexdigest(), length

        for name in sorted(payload):
            digests[f"data/{name}"], length = add(f"data/{name}", payload[name])
            size += length
        told = {
            **info,
            "Bagging-Date": moment.date().isoformat(),
            "Payload-Oxum": f"{size}.{len(payload)}",
        }
        tags = {
            "bagit.txt": _DECLARATION,
            "bag-info.txt": "".join(f"{key}: {told[key]}\n" for key in sorted(told)).encode(),
            _MANIFEST: _manifest(digests),
        }
        tags[_TAG_MANIFEST] = _manifest({name: add(name, tags[name])[0] for name in _TAGS})
        add(_TAG_MANIFEST, tags[_TAG_MANIFEST])


@dataclass(frozen=True)
class Bag:
    """A bag whose entries may be unpacked, if not yet one whose content is right.

    Attributes
    ----------
    path : Path
        The ZIP file.
    root : str
        The folder in it.
    entries : mapping of str to int
        Sizes of all files in bytes, by name in that folder.
    """

    path: Path
    root: str
    entries: Mapping[str, int]

    def read(self, name: str) -> bytes:
        """Read a file of the bag whole."""
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(f"{self.root}/{name}")

    def unpack(self, folder: Path) -> None:
        """Unpack all files into a folder that is there."""
        needed, free = sum(self.entries.values()), shutil.disk_usage(folder).free
        if needed > free:
            raise ArchiveError(
                str(self.path),
                f"{needed:,} bytes to unpack",
                f"at most the {free:,} that are free in {folder}",
                "Make room, or set TMPDIR to a folder with more.",
            )
        with zipfile.ZipFile(self.path) as archive:
            for name in self.entries:
                mode = archive.getinfo(f"{self.root}/{name}").external_attr >> _KIND_SHIFT
                target = folder.joinpath(*PurePosixPath(name).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(f"{self.root}/{name}") as source, target.open("xb") as into:
                    shutil.copyfileobj(source, into, _BLOCK)
                if mode & stat.S_IXUSR:
                    target.chmod(0o755)


def open_bag(path: str | Path) -> Bag:
    """Judge the entries of an archive, without unpacking any.

    Raises
    ------
    ArchiveError
        It is no whole ZIP file, or has an entry that leaves its folder, is a link, is there
        twice, or is larger than any study's.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ArchiveError(
            str(path),
            f"no whole ZIP file ({error})",
            "an archive that snakeshed made",
            "It may have been cut off on its way: fetch it again, and compare its size.",
        ) from None
    for fault in _faults(entries, path.stat().st_size):
        raise ArchiveError(
            str(path),
            fault,
            "plain files within one folder",
            "Nothing of it was unpacked. Snakeshed makes no such archive: do not trust this one.",
        )
    root = entries[0].filename.split("/")[0] if entries else ""
    files = {
        entry.filename.removeprefix(f"{root}/"): entry.file_size
        for entry in entries
        if not entry.is_dir()
    }
    return Bag(path, root, files)


def bag_faults(bag: Bag) -> list[str]:
    """Compare a bag with its manifests; nothing is unpacked.

    Returns
    -------
    list of str
        A sentence for each file that is missing, too many, or not what it was; none if all is
        well.
    """
    faults = [f"{name}: missing" for name in (*_TAGS, _TAG_MANIFEST) if name not in bag.entries]
    if faults:
        return faults
    promised: dict[str, str] = {}
    with zipfile.ZipFile(bag.path) as archive:
        for manifest in (_TAG_MANIFEST, _MANIFEST):
            try:
                text = archive.read(f"{bag.root}/{manifest}").decode()
            except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
                return [f"{manifest}: cannot be read ({error})"]
            for line in text.splitlines():
                found = _MANIFEST_LINE.fullmatch(line)
                if found is None:
                    return [f"{manifest}: {line[:100]!r} is no checksum with a name"]
                promised[found[2]] = found[1]
        for name in sorted(promised.keys() | bag.entries.keys() - {_TAG_MANIFEST}):
            if name not in bag.entries:
                faults.append(f"{name}: missing")
            elif name not in promised:
                faults.append(f"{name}: in no manifest")
            else:
                try:
                    with archive.open(f"{bag.root}/{name}") as file:
                        digest = _digest(file)
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                    faults.append(f"{name}: cannot be read ({error})")
                else:
                    if digest != promised[name]:
                        faults.append(f"{name}: not the bytes that were archived")
    return faults


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return _digest(file)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _blocks(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _manifest(digests: Mapping[str, str]) -> bytes:
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def _faults(entries: list[zipfile.ZipInfo], size: int) -> Iterator[str]:
    """Yield why the entries of a ZIP file of `size` bytes are not to be unpacked."""
    if len(entries) > _MOST_ENTRIES:
        yield f"{len(entries):,} entries"
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        parts = name.removesuffix("/").split("/")
        kind = stat.S_IFMT(entry.external_attr >> _KIND_SHIFT)
        # What ZIP readers of other systems take for a separator, a drive or the name's end.
        if any(part in {"", ".", ".."} for part in parts) or re.search(r"[\\:\x00-\x1f]", name):
            yield f"the entry {name!r}, which leaves its folder or has no plain name"
        if "\0" in entry.orig_filename:
            yield f"the entry {entry.orig_filename!r}, which has no plain name"
        if len(parts) < 2 and not entry.is_dir():
            yield f"the entry {name!r} outside of the one folder"
        if parts[0] != entries[0].filename.split("/")[0]:
            yield f"the entry {name!r} outside of the one folder"
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            yield f"the entry {name!r}, a link or a device"
        if entry.flag_bits & 1 or entry.compress_type not in _METHODS:
            yield f"the entry {name!r}, encrypted or packed in an unusual way"
        if name.casefold() in seen:
            yield f"the entry {name!r} twice"
        seen.add(name.casefold())
    unpacked = sum(entry.file_size for entry in entries)
    if sum(entry.compress_size for entry in entries) > size:
        yield "entries that overlap"
    if unpacked > max(_SMALL, _MOST_RATIO * size):
        yield f"{unpacked:,} bytes packed in {size:,}"
