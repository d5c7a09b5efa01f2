"""Archives are written the same each time, and read without trust."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import zipfile
import zlib
from types import SimpleNamespace

import pytest
import tiny_archive

from snakeshed.archive import bag as bag_module
from snakeshed.archive.bag import UntrustedArchive, bag_faults, lines, open_bag, write_bag
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
    assert tiny_archive.read(bag, "data/one.txt") == b"one\n"


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
        ("tiny/DATA/more.txt", stat.S_IFREG, "its folder is 'tiny/data' on some systems"),
        ("tiny/data/one.txt/more", stat.S_IFREG, "within the file"),
        ("tiny/data/b", stat.S_IFREG, "twice"),
        ("tiny/data/more.", stat.S_IFREG, "ends in a dot"),
        ("tiny/data/aux.txt", stat.S_IFREG, "a device on Windows"),
        ("tiny/data/gpj.\u202ecod", stat.S_IFREG, "direction marks"),
        ("tiny/data/a\u2028b", stat.S_IFREG, "control characters"),
        ("tiny/data/\x1b[2J", stat.S_IFREG, "control characters"),
    ],
)
def test_entries_that_would_do_harm_are_refused(archive, name, mode, told):
    with_entry(archive, name, b"/etc/passwd", mode | 0o644)
    with pytest.raises(ArchiveError, match=told) as caught:
        open_bag(archive)
    assert "Nothing in it was run or kept" in str(caught.value)


@pytest.mark.slow
def test_what_packs_well_is_taken(tmp_path):
    """A raster of one value packs about 1,000 to 1."""
    write_bag(tmp_path / "a.zip", {"a.tif": bytes(1100 << 20)}, {}, 0, "tiny")
    bag = open_bag(tmp_path / "a.zip")
    assert bag.entries["data/a.tif"] == 1100 << 20


def test_a_size_that_no_bytes_can_hold_is_refused(archive):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"bomb") + packer.flush()
    other = with_packed(archive, "tiny/data/bomb", packed, 20_000_000)
    with pytest.raises(UntrustedArchive, match=r"found 20,00\d,\d{3} bytes packed in \d,\d{3};"):
        open_bag(other)


def test_more_than_the_disk_holds_is_not_unpacked(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ArchiveError, match="at most the 10 that are free"):
        open_bag(archive).unpack(tmp_path)


def test_an_archive_is_not_written_with_a_name_that_would_be_refused(tmp_path):
    for name, root in (("aux.tif", "tiny"), ("a\nb", "tiny"), ("one.txt", "mine.")):
        with pytest.raises(ArchiveError, match=r"every system can unpack\. Rename the file or the"):
            write_bag(tmp_path / "a.zip", {name: b""}, {}, 0, root)
    with pytest.raises(ArchiveError, match="'a' is the same name on some systems"):
        write_bag(tmp_path / "a.zip", {"a": b"", "A": b""}, {}, 0, "tiny")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", ["MOST_ENTRIES", "LARGEST_DIRECTORY"])
def test_an_archive_is_not_written_with_more_files_than_can_be_read(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(bag_module, limit, 5)
    with pytest.raises(ArchiveError, match="found 2 files with 1.. bytes of names; expected at"):
        write_bag(tmp_path / "a.zip", PAYLOAD, {}, 0, "tiny")


def test_a_percent_sign_in_a_name_is_written_as_the_rfc_says(tmp_path):
    path = tmp_path / "a.zip"
    write_bag(path, {"50%0A.txt": b"half\n"}, {}, 0, "tiny")
    bag = open_bag(path)
    assert tiny_archive.read(bag, "manifest-sha256.txt").endswith(b"  data/50%250A.txt\n")
    assert bag_faults(bag) == []


def test_a_manifest_with_other_ends_of_lines_is_read(archive):
    def change(name, content):
        return (
            content.replace(b"\n", b"\r\n") if name.endswith("tagmanifest-sha256.txt") else content
        )

    assert bag_faults(open_bag(rewritten(archive, change))) == []


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (b"\n" * 1000, "line 1: b'' is no checksum with a name"),
        (b"x" * 100_000, "a line of more than 8,192 bytes"),
        (b"0" * 64 + b"  data/\xff\n", "can't decode byte 0xff"),
        (b"0" * 64 + b"  bagit.txt\n", "bagit.txt belongs to another manifest"),
        (b"0" * 64 + b"  data/a\n" + b"1" * 64 + b"  data/a\n", "two checksums for data/a"),
        (b"0" * 64 + b"  data/a\rb\n", "is no checksum with a name"),
    ],
)
def test_what_is_no_manifest_is_refused(archive, manifest, reason):
    other = rewritten(
        archive, lambda name, old: manifest if name.endswith("/manifest-sha256.txt") else old
    )
    with pytest.raises(UntrustedArchive) as caught:
        bag_faults(open_bag(other))
    assert reason in str(caught.value)


def test_a_line_separator_of_unicode_is_part_of_a_name(archive):
    name = "0" * 64 + "  data/a\u2028b\x85c\n"
    other = rewritten(
        archive, lambda each, old: name.encode() if each.endswith("/manifest-sha256.txt") else old
    )
    assert "data/a\\u2028b\\x85c: missing" in bag_faults(open_bag(other))


def test_more_lines_than_an_archive_has_entries_are_refused(archive, monkeypatch):
    monkeypatch.setattr("snakeshed.archive.bag.MOST_ENTRIES", 1)
    with pytest.raises(UntrustedArchive, match="more than 1 lines"):
        bag_faults(open_bag(archive))


def test_lines_are_read_in_pieces():
    class Endless:
        """A file that never ends."""

        def __init__(self):
            self.read_bytes = 0

        def read(self, size):
            self.read_bytes += size
            return b"x" * size

    endless = Endless()
    with pytest.raises(ValueError, match="a line of more than 8,192 bytes"):
        list(lines(endless))
    assert endless.read_bytes < 1 << 20


@pytest.mark.parametrize("name", ["manifest-sha256.txt", "tagmanifest-sha256.txt", "bagit.txt"])
def test_a_manifest_that_expands_to_more_than_any_is_refused(archive, name, monkeypatch):
    monkeypatch.setitem(bag_module._LARGEST, name, 20)
    with pytest.raises(UntrustedArchive, match=rf"bytes in {name}, which takes 20 at most"):
        open_bag(archive)


EXPAND = """
import resource, sys
from snakeshed.cli import main
resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
sys.exit(main(["verify", sys.argv[1]]))
"""


@pytest.mark.parametrize("declared", [True, False])
def test_a_gigabyte_of_newlines_takes_no_memory(archive, declared):
    """It is refused by its size, or, where that is not told, at its first line."""
    size = 1000 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # After a full flush, the same bytes are packed the same way.
    megabyte = packer.compress(b"\n" * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = megabyte * (size >> 20) + packer.flush()
    other = with_packed(archive, "tiny/manifest-sha256.txt", packed, size if declared else 1000)
    assert other.stat().st_size < 2 << 20
    done = subprocess.run(
        [sys.executable, "-c", EXPAND, str(other)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    reason = "1,048,576,000 bytes in manifest" if declared else "no manifest in manifest-sha256.txt"
    assert reason in done.stderr


def with_packed(archive, name, packed, size):
    """Write the archive again with an entry that is packed already, whatever size it has."""
    other = archive.with_name("packed.zip")
    with zipfile.ZipFile(archive) as before, zipfile.ZipFile(other, "w") as after:
        for entry in before.infolist():
            if entry.filename != name:
                after.writestr(entry.filename, before.read(entry), zipfile.ZIP_DEFLATED)
        entry = zipfile.ZipInfo(name)
        after.writestr(entry, packed)
        # What is written so far counts as stored; the directory says that it is deflated.
        entry.compress_type, entry.file_size = zipfile.ZIP_DEFLATED, size
        after.fp.seek(entry.header_offset)
        after.fp.write(entry.FileHeader(zip64=False))
        after.fp.seek(after.start_dir)
    return other


@pytest.mark.parametrize("damage", ["entry", "manifest"])
def test_a_stream_that_ends_early_is_told(archive, damage):
    """Python raises EOFError there."""
    name = "tiny/data/b/two.txt" if damage == "entry" else "tiny/manifest-sha256.txt"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(os.urandom(4000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    bag = open_bag(with_packed(archive, name, packed, 8000))
    if damage == "manifest":
        with pytest.raises(UntrustedArchive, match="no manifest in manifest-sha256.txt"):
            bag_faults(bag)
    else:
        assert any(fault.startswith("data/b/two.txt: cannot be read") for fault in bag_faults(bag))


def test_a_file_that_is_replaced_meanwhile_is_not_read(archive, tmp_path):
    bag = open_bag(archive)
    other = rewritten(archive, lambda name, content: b"evil" if "one.txt" in name else content)
    other.replace(archive)
    assert bag_faults(bag) == []
    folder = tmp_path / "unpacked"
    folder.mkdir()
    bag.unpack(folder)
    assert (folder / "data/one.txt").read_bytes() == b"one\n"


def test_a_file_that_is_changed_in_place_after_it_was_verified_is_refused(tmp_path):
    path = tmp_path / "tiny.zip"
    # Stored, so that other bytes can take the place of these.
    old, new = b"one\n" * 50_000, b"evil" * 50_000
    contents = {"tiny/data/one.txt": old, "tiny/bagit.txt": bag_module._DECLARATION}
    contents["tiny/bag-info.txt"] = b""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents["tiny/manifest-sha256.txt"] = (
        f"{digests['tiny/data/one.txt']}  data/one.txt\n".encode()
    )
    tags = ("bagit.txt", "bag-info.txt", "manifest-sha256.txt")
    contents["tiny/tagmanifest-sha256.txt"] = "".join(
        f"{hashlib.sha256(contents[f'tiny/{tag}']).hexdigest()}  {tag}\n" for tag in tags
    ).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in contents.items():
            file.writestr(name, content)
    bag = open_bag(path)
    assert bag_faults(bag) == []
    with path.open("r+b") as file:
        file.write(path.read_bytes().replace(old, new))
    # Bytes with a given CRC are easily found; here the CRC is changed instead.
    bag.archive.getinfo("tiny/data/one.txt").CRC = zlib.crc32(new)
    with pytest.raises(UntrustedArchive) as caught:
        bag.unpack(tmp_path)
    assert caught.value.found == "data/one.txt, which has changed since it was verified"


def test_a_folder_that_takes_no_file_is_told(archive, tmp_path):
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / "data").write_text("in the way")
    with pytest.raises(
        ArchiveError, match=r"data/b/two.txt, which cannot be unpacked .*Set TMPDIR"
    ):
        open_bag(archive).unpack(folder)


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe"])
def test_what_is_no_file_is_told(tmp_path, kind):
    path = tmp_path / "a.zip"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ArchiveError) as caught:
        open_bag(path)
    found = "no such file" if kind == "nothing" else "another kind of file"
    assert str(caught.value) == (
        f"{path}: found {found}; expected a ZIP file that snakeshed made. Correct the path."
    )
