"""The layout of a ZIP file: every byte belongs to an entry or to the directory at its end.

``zipfile`` reads the whole directory, finds it behind foreign bytes, and ignores gaps. Here the
records are walked first, in bounded memory, so that two readers cannot see two archives in one
file. https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT has the records.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import BinaryIO

from snakeshed.archive.entry_names import quoted

MOST_ENTRIES = 250_000
LARGEST_DIRECTORY = 64 << 20
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_DIRECTORY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_HAS_DESCRIPTOR, _UTF_8 = 1 << 3, 1 << 11
# A size that needs 8 bytes, and so another place.
_IN_EXTRA = 0xFFFF_FFFF
_SIZES_64 = struct.Struct("<2Q")
# CRC and sizes behind the content, after a signature or without, with sizes of 4 or 8 bytes. There
# can be none, although the flag says so.
_DESCRIPTORS = {12: "<3L", 16: "<4s3L", 20: "<L2Q", 24: "<4sL2Q"}
_SIZES = 1
# Sizes of 8 bytes; times and users of files, which change no content. Others could change the name.
_EXTRAS = frozenset({_SIZES, 0x5455, 0x7875, 0x000A})
_LONGEST_COMMENT = 0xFFFF
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,  # and NotImplementedError
    ValueError,
    LookupError,
    OverflowError,
)
"""What ``zipfile`` raises on ZIP files that are damaged or use what it does not know."""


def directory_faults(file: BinaryIO) -> list[str]:
    """Compare the end record of a ZIP file with its directory, before anything else is read.

    Parameters
    ----------
    file : BinaryIO

    Returns
    -------
    list of str
        Bytes before or after the ZIP, or more entries than any study has; empty if all is well.

    Raises
    ------
    zipfile.BadZipFile
        It is no whole ZIP file.
    """
    size = file.seek(0, 2)
    at = _end_record(file, size)
    file.seek(at)
    _, disk, first_disk, here, count, length, offset, comment = _END.unpack(file.read(_END.size))
    if after := size - at - _END.size:
        hidden = "a comment" if comment == after else "bytes"
        return [f"{hidden} after the ZIP ({after:,} bytes)"]
    if comment:
        raise zipfile.BadZipFile("its end is missing")
    stop = at
    if at >= _LOCATOR.size:
        file.seek(at - _LOCATOR.size)
        signature, end_disk, end_at, disks = _LOCATOR.unpack(file.read(_LOCATOR.size))
        if signature == b"PK\6\7":
            stop = at - _LOCATOR.size - _END_64.size
            if stop < 0:
                raise zipfile.BadZipFile("its end record is cut off")
            file.seek(stop)
            record = _END_64.unpack(file.read(_END_64.size))
            if record[0] != b"PK\6\6" or record[1] != _END_64.size - 12 or disks > 1:
                raise zipfile.BadZipFile("its end record is damaged")
            if before := stop - end_at:
                return [_before(before)]
            disk, first_disk, here, count, length, offset = record[4:]
            disk |= end_disk
    if disk or first_disk or here != count:
        raise zipfile.BadZipFile("it is one of several parts")
    if count > MOST_ENTRIES or length > LARGEST_DIRECTORY:
        return [f"{count:,} entries, with {length:,} bytes of names"]
    if before := stop - length - offset:
        return [_before(before)]
    file.seek(offset)
    directory = file.read(length)
    at = found = 0
    while at < length and found <= count:
        if directory[at : at + 4] != b"PK\1\2" or at + _DIRECTORY.size > length:
            raise zipfile.BadZipFile("its directory is damaged")
        lengths = _DIRECTORY.unpack_from(directory, at)[10:13]
        at += _DIRECTORY.size + sum(lengths)
        found += 1
    if at != length or found != count:
        raise zipfile.BadZipFile(f"its directory does not have the {count:,} entries it should")
    return []


def entry_faults(file: BinaryIO, entries: Sequence[zipfile.ZipInfo], start: int) -> list[str]:
    """Walk the entries of a ZIP file, each of which begins where the one before ends.

    Parameters
    ----------
    file : BinaryIO
    entries : sequence of ZipInfo
        Its directory.
    start : int
        Where the directory starts.

    Returns
    -------
    list of str
        The first gap, overlap, or entry that the directory describes otherwise; empty if all is
        well.
    """
    at, before = 0, None
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if fault := _gap(file, at, entry.header_offset, before):
            return [fault]
        file.seek(entry.header_offset)
        header = file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != b"PK\3\4":
            return [f"the entry {quoted(entry.filename)} without its header"]
        _, _, flags, method, _, _, crc, packed, size, length, more = _LOCAL.unpack(header)
        name = file.read(length).decode("utf-8" if flags & _UTF_8 else "cp437", "replace")
        extras, of_directory = _extras(file.read(more)), _extras(entry.extra)
        if extras is None or of_directory is None:
            return [f"the entry {quoted(entry.filename)} with bytes that are not known"]
        same = name == entry.orig_filename == entry.filename and method == entry.compress_type
        same &= flags == entry.flag_bits
        if _SIZES in extras:
            if len(extras[_SIZES]) != _SIZES_64.size:
                same = False
            else:
                large_size, large_packed = _SIZES_64.unpack(extras[_SIZES])
                size = large_size if size in {large_size, _IN_EXTRA} else -1
                packed = large_packed if packed in {large_packed, _IN_EXTRA} else -1
        stated = (crc, packed, size)
        right = (entry.CRC, entry.compress_size, entry.file_size)
        # The descriptor has what was not known before the content.
        later = bool(flags & _HAS_DESCRIPTOR)
        same &= all(a == b or (later and a == 0) for a, b in zip(stated, right, strict=True))
        if not same:
            return [f"the entry {quoted(entry.filename)}, whose header differs from the directory"]
        at = entry.header_offset + _LOCAL.size + length + more + entry.compress_size
        before = entry if later else None
    fault = _gap(file, at, start, before)
    return [fault] if fault else []


def _extras(content: bytes) -> dict[int, bytes] | None:
    """Read the extra fields of an entry; None if there is another one than those that are known."""
    fields, at = {}, 0
    while at < len(content):
        if at + 4 > len(content):
            return None
        kind, length = struct.unpack_from("<2H", content, at)
        at += 4 + length
        if kind not in _EXTRAS or kind in fields or at > len(content):
            return None
        fields[kind] = content[at - length : at]
    return fields


def _end_record(file: BinaryIO, size: int) -> int:
    """Find the end record: at the very end, or before a comment or foreign bytes."""
    start = max(size - _END.size - _LONGEST_COMMENT, 0)
    file.seek(start)
    tail = file.read(size - start)
    at = tail.rfind(b"PK\5\6", 0, max(len(tail) - _END.size + 4, 0))
    if at < 0:
        raise zipfile.BadZipFile("File is not a zip file")
    return start + at


def _before(count: int) -> str:
    if count < 0:
        raise zipfile.BadZipFile("its beginning is missing")
    return f"bytes before the ZIP or within it that belong to no entry ({count:,} bytes)"


def _gap(file: BinaryIO, at: int, stop: int, before: zipfile.ZipInfo | None) -> str:
    """Judge the bytes between entries, which can be the descriptor of the one before."""
    count = stop - at
    if count < 0:
        return "entries that overlap"
    if not count:
        return ""
    if before is None or count not in _DESCRIPTORS:
        return f"bytes that belong to no entry ({count:,} bytes)"
    file.seek(at)
    stated = struct.unpack(_DESCRIPTORS[count], file.read(count))
    signature = (b"PK\7\x08",) if isinstance(stated[0], bytes) else ()
    if stated != (*signature, before.CRC, before.compress_size, before.file_size):
        return f"the entry {quoted(before.filename)}, whose descriptor differs from the directory"
    return ""
