"""An archive as a file: a BagIt bag (RFC 8493) in a ZIP, written byte for byte the same each time.

Reading trusts nothing: names, kinds and sizes of all entries are judged before a byte of them is
unpacked, every file is read in pieces, and nothing of an archive is run here.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from snakeshed.archive.entry_names import collisions, quoted, shown, unportable, unsafe
from snakeshed.archive.zip_layout import (
    DAMAGED,
    LARGEST_DIRECTORY,
    MOST_ENTRIES,
    directory_faults,
    entry_faults,
)
from snakeshed.errors import ArchiveError

_BLOCK = 1 << 20
_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_MANIFEST, _TAG_MANIFEST = "manifest-sha256.txt", "tagmanifest-sha256.txt"
_TAGS = ("bagit.txt", "bag-info.txt", _MANIFEST)
# ZIP has no earlier date.
_FIRST_DATE = 315_532_800
# Deflate packs no more bytes than this in one.
_MOST_RATIO = 1032
_MANIFEST_LINE = re.compile(rb"([0-9a-f]{64})  ([^\r\n]+)")
# What a manifest may take: as many entries as a ZIP may have, with names of ordinary length. Its
# tags are few and short.
_LARGEST = {
    _MANIFEST: LARGEST_DIRECTORY,
    _TAG_MANIFEST: 1 << 20,
    "bagit.txt": 1 << 10,
    "bag-info.txt": 1 << 20,
}
_LONGEST_LINE, _LINES_BLOCK = 8 << 10, 64 << 10
_BYTES_PER_FILE = 80
# RFC 8493, 2.1.3: these characters of a name, and no others, are written as %XX.
_WRITTEN = {"%": "%25", "\n": "%0A", "\r": "%0D"}
# Compression options, sizes behind the content, and names in UTF-8.
_KNOWN_FLAGS = 0x806 | 0x8
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

    Raises
    ------
    ArchiveError
        A name cannot be unpacked everywhere, or there are more files than an archive can have.
    """
    _check_names(root, payload)
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
        tag_values = {
            **info,
            "Bagging-Date": moment.date().isoformat(),
            "Payload-Oxum": f"{size}.{len(payload)}",
        }
        tags = {
            "bagit.txt": _DECLARATION,
            "bag-info.txt": "".join(
                f"{key}: {tag_values[key]}\n" for key in sorted(tag_values)
            ).encode(),
            _MANIFEST: _manifest(digests),
        }
        tags[_TAG_MANIFEST] = _manifest({name: add(name, tags[name])[0] for name in _TAGS})
        add(_TAG_MANIFEST, tags[_TAG_MANIFEST])


def _check_names(root: str, payload: Collection[str]) -> None:
    """Refuse what `open_bag` would refuse."""
    found = ""
    for name in (root, *payload):
        if fault := unsafe(name) or unportable(name):
            found = f"{quoted(name)}, {fault}"
            break
    else:
        found = next(iter(collisions(payload)), "")
    # What the directory and the manifest have of each file.
    size = sum(len(name.encode(errors="replace")) + len(root) + _BYTES_PER_FILE for name in payload)
    if not found and (len(payload) + len(_TAGS) + 1 > MOST_ENTRIES or size > LARGEST_DIRECTORY):
        found = f"{len(payload):,} files with {size:,} bytes of names"
    if found:
        raise ArchiveError(
            f"the archive {root}",
            found,
            f"at most {MOST_ENTRIES:,} files with names that every system can unpack",
            "Rename the file or the study.",
        )


class UntrustedArchive(ArchiveError):
    """An archive that snakeshed did not make, or not like this; nothing of it may be used.

    Parameters
    ----------
    archive : str
        The file.
    found : str
        What is wrong with it.
    """

    def __init__(self, archive: str, found: str) -> None:
        super().__init__(
            shown(archive),
            found,
            "an archive as snakeshed makes it: plain files within one folder",
            "Nothing in it was run or kept. Do not trust this archive.",
        )


@dataclass(frozen=True)
class Bag:
    """A bag whose entries may be unpacked, if not yet one whose content is right.

    It is open: whatever takes the place of the file meanwhile is not read.

    Attributes
    ----------
    path : Path
        The ZIP file.
    archive : ZipFile
        The same, open.
    root : str
        The folder in it.
    entries : mapping of str to int
        Sizes of all files in bytes, by name in that folder.
    digests : dict of str to str
        Checksums by name, once `bag_faults` has compared them.
    """

    path: Path
    archive: zipfile.ZipFile
    root: str
    entries: Mapping[str, int]
    digests: dict[str, str] = field(default_factory=dict)

    def close(self) -> None:
        """Close the file."""
        file = self.archive.fp
        self.archive.close()
        if file is not None:
            file.close()

    def unpack(self, folder: Path) -> None:
        """Unpack all files into a folder that is there.

        Raises
        ------
        ArchiveError
            There is no room for them, or the folder does not take one.
        UntrustedArchive
            A file is not the one that `bag_faults` has read.
        """
        needed, free = sum(self.entries.values()), shutil.disk_usage(folder).free
        if needed > free:
            raise ArchiveError(
                shown(self.path),
                f"{needed:,} bytes to unpack",
                f"at most the {free:,} that are free in {folder}",
                "Make room, or set TMPDIR to a folder with more.",
            )
        name = self.root
        try:
            for name in self.entries:
                mode = self.archive.getinfo(f"{self.root}/{name}").external_attr >> _KIND_SHIFT
                target = folder.joinpath(*PurePosixPath(name).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with self.archive.open(f"{self.root}/{name}") as source, target.open("xb") as into:
                    while block := source.read(_BLOCK):
                        digest.update(block)
                        into.write(block)
                if self.digests.get(name, digest.hexdigest()) != digest.hexdigest():
                    raise UntrustedArchive(
                        str(self.path), f"{shown(name)}, which has changed since it was verified"
                    )
                if mode & stat.S_IXUSR:
                    target.chmod(0o755)
        except DAMAGED as error:
            raise ArchiveError(
                shown(self.path),
                f"{shown(name)}, which cannot be unpacked ({shown(error)})",
                f"a folder for files of any name, with room for them: {folder}",
                "Set TMPDIR to another folder.",
            ) from None


def open_bag(path: str | Path) -> Bag:
    """Judge the entries of an archive, without unpacking any.

    Raises
    ------
    ArchiveError
        There is no such file, or it is no whole ZIP file.
    UntrustedArchive
        It has an entry that leaves its folder, is a link, is there twice, has a name that means
        another file elsewhere, or is larger than its bytes can hold; or bytes that belong to no
        entry.
    """
    path = Path(path)
    if not path.is_file():
        raise ArchiveError(
            shown(path),
            "another kind of file" if path.exists() else "no such file",
            "a ZIP file that snakeshed made",
            "Correct the path.",
        )
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            if faults := directory_faults(file):
                raise UntrustedArchive(str(path), faults[0])
            archive = stack.enter_context(zipfile.ZipFile(file))
            entries = archive.infolist()
            faults = list(islice(_faults(entries, file.seek(0, 2)), 1))
            faults = faults or entry_faults(file, entries, archive.start_dir)
        except DAMAGED as error:
            raise _not_whole(path, error) from None
        if faults:
            raise UntrustedArchive(str(path), faults[0])
        root = entries[0].filename.split("/")[0] if entries else ""
        files = {
            entry.filename.removeprefix(f"{root}/"): entry.file_size
            for entry in entries
            if not entry.is_dir()
        }
        for name, largest in _LARGEST.items():
            if files.get(name, 0) > largest:
                raise UntrustedArchive(
                    str(path), f"{files[name]:,} bytes in {name}, which takes {largest:,} at most"
                )
        stack.pop_all()
    return Bag(path, archive, root, files)


def bag_faults(bag: Bag) -> list[str]:
    """Compare a bag with its manifests; nothing is unpacked.

    Returns
    -------
    list of str
        A sentence for each file that is missing, too many, or not what it was; none if all is
        well.

    Raises
    ------
    UntrustedArchive
        A manifest cannot be read as one.
    """
    faults = [f"{name}: missing" for name in (*_TAGS, _TAG_MANIFEST) if name not in bag.entries]
    if faults:
        return faults
    promised = _promised(bag)
    for name in sorted(promised.keys() | bag.entries.keys() - {_TAG_MANIFEST}):
        if name not in bag.entries:
            faults.append(f"{shown(name)}: missing")
        elif name not in promised:
            faults.append(f"{shown(name)}: in no manifest")
        elif fault := _content_fault(bag, name, promised[name]):
            faults.append(f"{shown(name)}: {fault}")
    bag.digests.update(promised)
    return faults


def _promised(bag: Bag) -> dict[str, str]:
    """Read checksums by name from both manifests."""
    promised: dict[str, str] = {}
    for manifest in (_TAG_MANIFEST, _MANIFEST):
        try:
            with bag.archive.open(f"{bag.root}/{manifest}") as file:
                for digest, name in _promises(file, manifest):
                    if promised.setdefault(name, digest) != digest:
                        raise ValueError(f"two checksums for {name}")
        except DAMAGED as error:
            raise UntrustedArchive(
                str(bag.path), f"no manifest in {manifest} ({shown(error)})"
            ) from None
    return promised


def _content_fault(bag: Bag, name: str, promised: str) -> str:
    try:
        with bag.archive.open(f"{bag.root}/{name}") as file:
            digest = _digest(file)
    except DAMAGED as error:
        return f"cannot be read ({shown(error)})"
    return "" if digest == promised else "not the bytes that were archived"


def _not_whole(path: Path, error: Exception) -> ArchiveError:
    return ArchiveError(
        shown(path),
        f"no whole ZIP file ({shown(error)})",
        "an archive that snakeshed made",
        "It may have been cut off on its way: fetch it again, and compare its size.",
    )


def _promises(file: BinaryIO, manifest: str) -> Iterator[tuple[str, str]]:
    """Yield checksum and name of each line of a manifest, which need not be a valid one."""
    of_payload = manifest == _MANIFEST
    for number, line in enumerate(lines(file), 1):
        found = _MANIFEST_LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"line {number}: {line[:100]!r} is no checksum with a name")
        name = _read_name(found[2].decode())
        if name.startswith("data/") != of_payload:
            raise ValueError(f"line {number}: {name} belongs to another manifest")
        if number > MOST_ENTRIES:
            raise ValueError(f"more than {MOST_ENTRIES:,} lines")
        yield found[1].decode(), name


def lines(file: BinaryIO, longest: int = _LONGEST_LINE) -> Iterator[bytes]:
    """Yield the lines of a file, which may be endless, without their ends.

    Only LF and CR LF end a line: characters such as U+2028 can be part of a name.

    Raises
    ------
    ValueError
        A line is longer than `longest` bytes.
    """
    rest = b""
    while block := file.read(_LINES_BLOCK):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")
        if len(rest) > longest:
            raise ValueError(f"a line of more than {longest:,} bytes")
    if rest:
        yield rest.removesuffix(b"\r")


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
    return "".join(f"{digests[name]}  {_written_name(name)}\n" for name in sorted(digests)).encode()


def _written_name(name: str) -> str:
    return "".join(_WRITTEN.get(character, character) for character in name)


def _read_name(written: str) -> str:
    return re.sub("%(25|0[AaDd])", lambda found: bytes.fromhex(found[1]).decode("ascii"), written)


def _faults(entries: Sequence[zipfile.ZipInfo], size: int) -> Iterator[str]:
    """Yield why the entries of a ZIP file of `size` bytes are not to be unpacked."""
    for entry in entries:
        name = entry.filename
        bare = name.removesuffix("/")
        kind = stat.S_IFMT(entry.external_attr >> _KIND_SHIFT)
        if entry.orig_filename != name:
            yield f"the entry {quoted(entry.orig_filename)}, which has no plain name"
        if fault := unsafe(bare) or unportable(bare):
            yield f"the entry {quoted(name)}, {fault}"
        if "/" not in bare and not entry.is_dir():
            yield f"the entry {quoted(name)} outside of the one folder"
        if name.split("/")[0] != entries[0].filename.split("/")[0]:
            yield f"the entry {quoted(name)} outside of the one folder"
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            yield f"the entry {quoted(name)}, a link or a device"
        if entry.flag_bits & ~_KNOWN_FLAGS or entry.compress_type not in _METHODS:
            yield f"the entry {quoted(name)}, encrypted or packed in an unusual way"
        if (entry.is_dir() and entry.file_size) or entry.comment:
            yield f"the entry {quoted(name)} with bytes that are not unpacked"
    for fault in collisions(entry.filename for entry in entries):
        yield f"the entry {fault}"
    unpacked = sum(entry.file_size for entry in entries)
    if sum(entry.compress_size for entry in entries) > size:
        yield "entries that overlap"
    if unpacked > _MOST_RATIO * size:
        yield f"{unpacked:,} bytes packed in {size:,}"
