"""How many bytes a TIFF file needs to be complete, by its directories."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

import numpy as np

# TIFF 6.0 and BigTIFF: bytes of a value of each type, and the tags that place blocks in the file.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
_BLOCK_OFFSETS, _BLOCK_SIZES = (273, 324), (279, 325)
_MOST_DIRECTORIES = 10_000


def bytes_needed(path: str) -> int | None:
    """Return how long a TIFF file must be at least for its directories and blocks to lie in it.

    All directories are followed, those of masks and overviews too: a mask that is lost would turn
    missing cells into data. Blocks that were never written (of sparse files) need nothing. The
    time grows with the number of blocks, not with their size.

    Parameters
    ----------
    path : str
        A file of this machine.

    Returns
    -------
    int or None
        A number of bytes; None if the file is no TIFF.

    References
    ----------
    Adobe (1992), TIFF Revision 6.0, section 2; and the BigTIFF design of 2004.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            return None
        magic = struct.unpack_from(order + "H", head, 2)[0]
        if magic not in (42, 43):
            return None
        big = magic == 43
        if big and len(head) < 16:
            return 16
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
        needed, seen = len(head), set()
        while at and at not in seen and len(seen) < _MOST_DIRECTORIES:
            seen.add(at)
            end, at = _directory(file, at, order, big, size)
            needed = max(needed, end)
        return needed


def _directory(file: BinaryIO, at: int, order: str, big: bool, size: int) -> tuple[int, int]:
    """Return the end of what a directory points to, and the place of the next one (0: none)."""
    count_format, entry_format, next_format = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    count_bytes, word = struct.calcsize("<" + count_format), 8 if big else 4
    if at + count_bytes > size:
        return at + count_bytes, 0
    file.seek(at)
    (entries,) = struct.unpack(order + count_format, file.read(count_bytes))
    entry_bytes = struct.calcsize("<" + entry_format) + word
    end = at + count_bytes + entries * entry_bytes + word
    if end > size:
        return end, 0
    table = file.read(entries * entry_bytes)
    (following,) = struct.unpack(order + next_format, file.read(word))
    offsets = sizes = None
    for k in range(entries):
        tag, kind, n = struct.unpack_from(order + entry_format, table, k * entry_bytes)
        value = table[(k + 1) * entry_bytes - word : (k + 1) * entry_bytes]
        n_bytes = n * _TYPE_BYTES.get(kind, 0)
        if n_bytes > word:
            (place,) = struct.unpack(order + next_format, value)
            end = max(end, place + n_bytes)
            if place + n_bytes > size:
                continue
        if tag in _BLOCK_OFFSETS + _BLOCK_SIZES and kind in (3, 4, 16):
            if n_bytes > word:
                file.seek(place)
                value = file.read(n_bytes)
            numbers = np.frombuffer(value[:n_bytes], f"{order}u{_TYPE_BYTES[kind]}")
            if tag in _BLOCK_OFFSETS:
                offsets = numbers
            else:
                sizes = numbers
    if offsets is not None and sizes is not None:
        end = max(end, _end_of_blocks(offsets, sizes, size))
    return end, following


def _end_of_blocks(offsets: np.ndarray, sizes: np.ndarray, size: int) -> int:
    """Return where the last of the blocks ends."""
    n = min(len(offsets), len(sizes))
    offsets, sizes = offsets[:n].astype(np.uint64), sizes[:n].astype(np.uint64)
    written = (offsets > 0) & (sizes > 0)
    if not written.any():
        return 0
    offsets, sizes = offsets[written], sizes[written]
    farthest, largest = int(offsets.max()), int(sizes.max())
    if farthest > size or largest > size:
        return max(farthest, largest)  # the sums below might overflow
    return int((offsets + sizes).max())
