"""Every byte of a ZIP file belongs to an entry: what else is in it is reported."""

from __future__ import annotations

import struct
import zipfile

import pytest
import tiny_archive

from snakeshed.archive.bag import UntrustedArchive, bag_faults, open_bag
from snakeshed.archive.zip_layout import directory_faults, entry_faults
from snakeshed.errors import ArchiveError


@pytest.fixture
def archive(tmp_path):
    return tiny_archive.write(tmp_path / "tiny.zip")


def refused(path) -> str:
    with pytest.raises(UntrustedArchive) as caught:
        open_bag(path)
    return caught.value.found


def faults(path) -> list[str]:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        return directory_faults(file) or entry_faults(file, archive.infolist(), archive.start_dir)


def test_bytes_before_the_zip_are_reported(archive):
    content = archive.read_bytes()
    archive.write_bytes(b"#!/bin/sh\nrm -rf ~\n" + content)
    assert refused(archive) == (
        "bytes before the ZIP or within it that belong to no entry (19 bytes)"
    )


def test_bytes_before_the_zip_are_reported_where_its_records_know_of_them(archive, tmp_path):
    other = tmp_path / "other.zip"
    other.write_bytes(b"#!/bin/sh\n")
    with zipfile.ZipFile(other, "a") as file:
        for name, content in tiny_archive.contents_of(archive).items():
            file.writestr(name, content)
    assert refused(other) == "bytes that belong to no entry (10 bytes)"


@pytest.mark.parametrize("count", [1, 100, 60_000])
def test_bytes_after_the_zip_are_reported(archive, count):
    with archive.open("ab") as file:
        file.write(b"x" * count)
    assert refused(archive) == f"bytes after the ZIP ({count:,} bytes)"


def test_more_bytes_after_the_zip_make_it_no_zip(archive):
    with archive.open("ab") as file:
        file.write(b"x" * 70_000)
    with pytest.raises(ArchiveError, match="no whole ZIP file"):
        open_bag(archive)


def test_a_comment_is_reported(archive):
    with zipfile.ZipFile(archive, "a") as file:
        file.comment = b"more"
    assert refused(archive) == "a comment after the ZIP (4 bytes)"


def test_an_entry_that_the_directory_forgets_is_reported(archive, tmp_path):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as file:
        for name, content in tiny_archive.contents_of(archive).items():
            file.writestr(name, content)
            if name.endswith("Snakefile"):
                file.writestr("tiny/hidden", b"hidden")
                file.filelist.pop()
    assert refused(other) == f"bytes that belong to no entry ({30 + 11 + 6} bytes)"


def test_entries_that_share_bytes_are_reported(archive, tmp_path):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("tiny/a", b"x" * 100)
        file.writestr("tiny/b", b"x" * 100)
        file.filelist[1].header_offset = 0
    assert refused(other) == "entries that overlap"


def test_an_entry_that_is_called_otherwise_in_its_header_is_reported(archive):
    content = archive.read_bytes()
    at = content.index(b"tiny/data/workflow/Snakefile")
    archive.write_bytes(content[:at] + b"TINY" + content[at + 4 :])
    assert refused(archive) == (
        "the entry 'tiny/data/workflow/Snakefile', whose header differs from the directory"
    )


def test_a_directory_with_another_number_of_entries_is_no_zip(archive):
    content = bytearray(archive.read_bytes())
    at = content.rindex(b"PK\5\6")
    count = struct.unpack_from("<H", content, at + 8)[0]
    struct.pack_into("<2H", content, at + 8, count - 1, count - 1)
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match=f"does not have the {count - 1} entries it should"):
        open_bag(archive)


def test_more_entries_than_any_study_has_are_not_read(archive, monkeypatch):
    monkeypatch.setattr("snakeshed.archive.zip_layout.MOST_ENTRIES", 3)
    assert refused(archive).startswith("13 entries, with ")


class Pipe:
    """A file that cannot seek, so that sizes are written behind each entry."""

    def __init__(self, file):
        self.file = file

    def write(self, block):
        return self.file.write(block)

    def flush(self):
        self.file.flush()


def piped(path, contents, large=False):
    with path.open("wb") as file, zipfile.ZipFile(Pipe(file), "w", zipfile.ZIP_DEFLATED) as again:
        for name, content in contents.items():
            with again.open(name, "w", force_zip64=large) as entry:
                entry.write(content)
    return path


@pytest.mark.parametrize("large", [False, True])
def test_an_archive_that_was_packed_again_is_taken(archive, tmp_path, large):
    """By a writer that cannot seek, and so writes sizes behind each entry."""
    other = piped(tmp_path / "other.zip", tiny_archive.contents_of(archive), large)
    assert faults(other) == []
    assert bag_faults(open_bag(other)) == []


def test_an_archive_with_large_records_is_taken(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    other = tmp_path / "other.zip"
    tiny_archive.zipped(other, tiny_archive.contents_of(archive))
    assert b"PK\6\7" in other.read_bytes()
    assert bag_faults(open_bag(other)) == []
    content = other.read_bytes()
    other.write_bytes(b"before" + content)
    assert "(6 bytes)" in refused(other)


def with_extra(path, extra: bytes, header_extra: bytes | None = None):
    """Write a ZIP file of one entry, with extra fields in its directory and its header."""
    entry = zipfile.ZipInfo("tiny/a")
    entry.extra = extra if header_extra is None else header_extra
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(entry, b"content")
        entry.extra = extra
    return path


@pytest.mark.parametrize("kind", [0x7075, 0x6375, 0x9901, 0x0001 | 0x4000])
def test_a_field_that_can_change_the_name_or_content_is_refused(tmp_path, kind):
    path = with_extra(tmp_path / "a.zip", struct.pack("<2H", kind, 4) + b"evil")
    try:
        found = refused(path)
    except ArchiveError as error:
        found = error.found
    # Newer releases of Python refuse a damaged one by themselves.
    by_python = "no whole ZIP file (Corrupt unicode path extra field (0x7075))"
    assert found in {"the entry 'tiny/a' with bytes that are not known", by_python}
    path = with_extra(tmp_path / "a.zip", b"", struct.pack("<2H", kind, 4) + b"evil")
    assert refused(path) == "the entry 'tiny/a' with bytes that are not known"


def test_times_and_users_are_taken(tmp_path):
    fields = struct.pack("<2H", 0x5455, 5) + b"\1time" + struct.pack("<2H", 0x7875, 2) + b"\1\0"
    assert faults(with_extra(tmp_path / "a.zip", fields)) == []


@pytest.mark.parametrize("sizes", [(7, 6), (6, 7), (0, 0)])
def test_large_sizes_in_a_header_are_those_of_the_directory(tmp_path, sizes):
    size = struct.pack("<2H2Q", 1, 16, 7, 7)
    path = with_extra(tmp_path / "a.zip", b"", size)
    assert faults(path) == []
    path = with_extra(tmp_path / "a.zip", b"", struct.pack("<2H2Q", 1, 16, *sizes))
    assert "whose header differs from the directory" in refused(path)


@pytest.mark.parametrize("at", [14, 18, 22])
def test_another_checksum_or_size_in_a_header_is_refused(tmp_path, at):
    path = with_extra(tmp_path / "a.zip", b"")
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert "whose header differs from the directory" in refused(path)


@pytest.mark.parametrize("at", [4, 8, 12])
def test_another_checksum_or_size_behind_the_content_is_refused(tmp_path, at):
    path = piped(tmp_path / "a.zip", {"tiny/a": b"content"})
    assert faults(path) == []
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\7\x08") + at] ^= 1
    path.write_bytes(content)
    assert refused(path) == "the entry 'tiny/a', whose descriptor differs from the directory"


@pytest.mark.parametrize("change", [0, 1])
def test_a_size_in_a_header_before_its_descriptor_is_right_or_zero(tmp_path, change):
    """Info-ZIP writes the size there when it writes to a pipe, and the rest behind the content."""
    path = piped(tmp_path / "a.zip", {"tiny/a": b"content"})
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, 22, len(b"content") + change)
    path.write_bytes(content)
    if change:
        assert "whose header differs from the directory" in refused(path)
    else:
        assert faults(path) == []
