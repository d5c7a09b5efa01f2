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
    with zipfile.ZipFile(path) as file:
        return directory_faults(path) or entry_faults(path, file.infolist(), file.start_dir)


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
        "the entry 'tiny/data/workflow/Snakefile', which has two descriptions"
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


def test_an_archive_that_was_packed_again_is_taken(archive, tmp_path):
    """By a writer that cannot seek, and so writes sizes behind each entry."""

    class Pipe:
        def __init__(self, file):
            self.file = file

        def write(self, block):
            return self.file.write(block)

        def flush(self):
            self.file.flush()

    other = tmp_path / "other.zip"
    with other.open("wb") as file, zipfile.ZipFile(Pipe(file), "w", zipfile.ZIP_DEFLATED) as again:
        for name, content in tiny_archive.contents_of(archive).items():
            again.writestr(name, content)
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
