"""Archives are written the same each time, and read without trust."""

from __future__ import annotations

import os
import stat
import zipfile
from types import SimpleNamespace

import pytest

from snakeshed.archive.bag import bag_faults, open_bag, write_bag
from snakeshed.errors import ArchiveError

PAYLOAD = {"b/two.txt": b"two\n" * 1000, "one.txt": b"one\n"}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "tiny.zip"
    write_bag(path, PAYLOAD, {"External-Identifier": "tiny"}, 1_700_000_000, "tiny")
    return path


def rewritten(archive, change):
    """Write the archive again, its contents changed by a function of name and content."""
    with zipfile.ZipFile(archive) as before:
        contents = {entry.filename: before.read(entry) for entry in before.infolist()}
    other = archive.with_name("other.zip")
    with zipfile.ZipFile(other, "w") as after:
        for name, content in contents.items():
            if (new := change(name, content)) is not None:
                after.writestr(name, new)
    return other


def with_entry(archive, name, content=b"", mode=stat.S_IFREG | 0o644):
    entry = zipfile.ZipInfo("tiny/plain")
    entry.filename, entry.external_attr, entry.create_system = name, mode << 16, 3
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return archive


def test_a_bag_is_whole_and_the_same_each_time(archive, tmp_path):
    again = tmp_path / "again.zip"
    write_bag(again, dict(reversed(PAYLOAD.items())), {"External-Identifier": "tiny"},
              1_700_000_000, "tiny")  # fmt: skip
    assert again.read_bytes() == archive.read_bytes()
    bag = open_bag(archive)
    assert bag_faults(bag) == []
    assert bag.read("data/one.txt") == b"one\n"


def test_the_readers_of_others_open_it(archive, tmp_path):
    bagit = pytest.importorskip("bagit", reason="bagit is not installed")
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path)
    bag = bagit.Bag(str(tmp_path / "tiny"))
    bag.validate()
    assert bag.info["External-Identifier"] == "tiny"


def test_programs_stay_programs(tmp_path):
    write_bag(tmp_path / "a.zip", PAYLOAD, {}, 0, "tiny", {"b/two.txt"})
    open_bag(tmp_path / "a.zip").unpack(tmp_path)
    assert os.access(tmp_path / "data/b/two.txt", os.X_OK)
    assert not (tmp_path / "data/one.txt").stat().st_mode & 0o111


def test_unpacked_it_is_what_was_packed(archive, tmp_path):
    folder = tmp_path / "unpacked"
    folder.mkdir()
    open_bag(archive).unpack(folder)
    found = {
        path.relative_to(folder / "data").as_posix(): path.read_bytes()
        for path in (folder / "data").rglob("*")
        if path.is_file()
    }
    assert found == PAYLOAD


@pytest.mark.parametrize("name", ["data/one.txt", "data/b/two.txt", "bag-info.txt"])
def test_a_changed_byte_is_named(archive, name):
    other = rewritten(
        archive, lambda each, content: b"X" + content[1:] if each.endswith(name) else content
    )
    assert bag_faults(open_bag(other)) == [f"{name}: not the bytes that were archived"]


def test_what_is_missing_or_too_many_is_named(archive):
    other = rewritten(archive, lambda name, content: None if name.endswith("one.txt") else content)
    assert bag_faults(open_bag(other)) == ["data/one.txt: missing"]
    with_entry(archive, "tiny/data/more.txt", b"more")
    assert bag_faults(open_bag(archive)) == ["data/more.txt: in no manifest"]
    other = rewritten(archive, lambda name, content: None if "manifest" in name else content)
    assert bag_faults(open_bag(other)) == [
        "manifest-sha256.txt: missing",
        "tagmanifest-sha256.txt: missing",
    ]


def test_a_byte_spoilt_in_the_file_is_named(archive):
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        entry = file.getinfo("tiny/data/b/two.txt")
    # Behind the local header: 30 bytes, the name, and the sizes of ZIP64.
    at = entry.header_offset + 30 + len(entry.filename) + 20
    content[at + entry.compress_size // 2] ^= 0xFF
    archive.write_bytes(content)
    (fault,) = bag_faults(open_bag(archive))
    assert fault.startswith("data/b/two.txt: ")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_archive_is_told(archive, share):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArchiveError, match=r"found no whole ZIP file .* fetch it again"):
        open_bag(archive)


@pytest.mark.parametrize(
    ("name", "mode", "told"),
    [
        ("../evil", stat.S_IFREG, "leaves its folder"),
        ("tiny/../../evil", stat.S_IFREG, "leaves its folder"),
        ("/etc/evil", stat.S_IFREG, "leaves its folder"),
        ("tiny\\..\\evil", stat.S_IFREG, "leaves its folder"),
        ("C:/evil", stat.S_IFREG, "leaves its folder"),
        ("other/evil", stat.S_IFREG, "outside of the one folder"),
        ("evil", stat.S_IFREG, "outside of the one folder"),
        ("tiny/data/link", stat.S_IFLNK, "a link or a device"),
        ("tiny/data/pipe", stat.S_IFIFO, "a link or a device"),
        ("tiny/data/ONE.txt", stat.S_IFREG, "twice"),
    ],
)
def test_entries_that_would_do_harm_are_refused(archive, name, mode, told):
    with_entry(archive, name, b"/etc/passwd", mode | 0o644)
    with pytest.raises(ArchiveError, match=told) as caught:
        open_bag(archive)
    assert "Nothing of it was unpacked" in str(caught.value)


def test_a_bomb_is_refused(archive, monkeypatch):
    with_entry(archive, "tiny/data/bomb", bytes(20_000_000))
    open_bag(archive)
    monkeypatch.setattr("snakeshed.archive.bag._SMALL", 10_000_000)
    with pytest.raises(ArchiveError, match=r"found 20,00\d,\d{3} bytes packed in 2\d,\d{3};"):
        open_bag(archive)


def test_more_than_the_disk_holds_is_not_unpacked(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ArchiveError, match="at most the 10 that are free"):
        open_bag(archive).unpack(tmp_path)
