"""No damaged or hostile archive ends in anything but a documented exit status and a message."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_archive
import yaml
from examples import share_of

from snakeshed.archive.compare import Comparison
from snakeshed.archive.sandbox import Sandbox
from snakeshed.archive.verify import STATUSES
from snakeshed.archive.write import CONFIGURATION, INPUTS, LINKS
from snakeshed.cli import main

LOCK = "workflow/envs/requirements.lock"
NUMBERS = (0, 1, 2, 7, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFE, 0xFFFF_FFFF)
NAMES = (
    "../evil", "../../evil", "/tmp/evil", "tiny/../evil", "tiny/data/../../evil", "evil", "",
    "tiny", "tiny/", "tiny//x", "tiny/data", "tiny/data/", "tiny/data/.", "tiny\\..\\evil",
    "C:\\evil", "tiny/data/nul", "tiny/data/a.", "tiny/data/\u202ea", "tiny/data/a\u2028b",
    "tiny/data/a\nb", "tiny/data/\x1b[2J", "tiny/data/README.MD", "tiny/data/README.md/x",
    "tiny/data/" + "x" * 300, "tiny/data/" + "x/" * 2000, "tiny/data/\ufeff", "tiny/data/e\u0301",
    "tiny/data/\u00e9", "tiny/bagit.txt", "tiny/manifest-sha256.txt", "TINY/data/x", "\0", "\x00a",
)  # fmt: skip
LINES = (
    "", "\r", "\u2028", "\x85", "x", "0" * 64, "0" * 64 + "  ", "0" * 64 + "  data/../evil",
    "0" * 64 + "  data/a\rb", "0" * 64 + "  data/a\u2028b", "0" * 64 + "  data/%0A%0d%25%",
    "0" * 63 + "g  data/x", "0" * 64 + " *data/x", "0" * 64 + "  " + "x" * 9000, "\0", "\ufeff",
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 1.5, 1e308, 10**18, 10**30, "", "x", "../evil", "/etc/passwd", "a\nb",
    "\u202e", "\ud800", "\0", [], {}, [[]], [None], {"x": None}, {"": ""}, "x" * 5000,
)  # fmt: skip
TEXTS = (
    b"", b"\0", b"\xff\xfe", b"null", b"[]", b"{}", b'""', b"1", b"NaN", b"-", b"[" * 5000,
    b'{"a":' * 5000, b"9" * 5000, b'{"a": 1, "a": 2}', b"&a [*a]", b"*a", b"a: &a {<<: *a}",
    b"? ", b"- " * 3000, b"study: *x", b"%YAML 9.9\n---\n", b"!!python/object:os.system x",
    b"study: tiny\nstudy: tiny", b"\xef\xbb\xbfstudy: tiny\n", b"numpy==1 \\", b"--index-url x",
    b"numpy==1 ; " + b"(" * 500, b"a==1\n" * 100, b"numpy", b"x" * 5000, b"\n" * 5000,
)  # fmt: skip


class Mutations:
    """Endless ways to damage an archive, the same ones for the same seed."""

    def __init__(self, seed: int, archive: Path) -> None:
        self.random = random.Random(seed)
        self.bytes = archive.read_bytes()
        self.contents = tiny_archive.contents_of(archive)

    def spoiled_bytes(self, path: Path) -> None:
        """Damage the file as a disk, a network, or somebody with an editor does."""
        content = bytearray(self.bytes)
        ways = (self._flip, self._cut, self._put, self._splice, self._record, self._rename)
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            self.random.choice(ways)(content)
        path.write_bytes(content)

    def _flip(self, content: bytearray) -> None:
        for _ in range(self.random.choice((1, 2, 8, 64))):
            if content:
                content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)

    def _cut(self, content: bytearray) -> None:
        start, stop = sorted(self.random.randrange(len(content) + 1) for _ in range(2))
        if self.random.random() < 0.5:
            del content[start:]
        else:
            del content[start : min(stop, start + 50)]

    def _put(self, content: bytearray) -> None:
        at = self.random.choice((0, len(content), self.random.randrange(len(content) + 1)))
        content[at:at] = self.random.randbytes(self.random.choice((1, 4, 22, 1000)))

    def _splice(self, content: bytearray) -> None:
        start, stop = sorted(self.random.randrange(len(self.bytes)) for _ in range(2))
        at = self.random.randrange(len(content) + 1)
        content[at : at + self.random.choice((0, stop - start))] = self.bytes[start:stop]

    def _record(self, content: bytearray) -> None:
        """Set a field of an entry's header, the directory, or its end to an unlikely value."""
        signature = self.random.choice((b"PK\3\4", b"PK\1\2", b"PK\1\2", b"PK\5\6"))
        places = _places(content, signature)
        if places:
            at = self.random.choice(places) + 4 + 2 * self.random.randrange(21)
            kind = self.random.choice("HL")
            number = self.random.choice((*NUMBERS, self.random.getrandbits(32)))
            number &= 0xFFFF if kind == "H" else 0xFFFF_FFFF
            if at + 4 <= len(content):
                struct.pack_into(f"<{kind}", content, at, number)

    def _rename(self, content: bytearray) -> None:
        name = self.random.choice(list(self.contents)).encode()
        other = self.random.choice((*NAMES, "tiny/data/x")).encode("utf-8", "surrogatepass")
        other = other[: len(name)].ljust(len(name), b"x")
        places = _places(content, name)
        if self.random.random() < 0.3:
            places = places[:1]
        for at in places:
            content[at : at + len(name)] = other

    def packed_again(self, path: Path) -> None:
        """Pack other entries, and other manifests, into a ZIP file without a fault."""
        contents = dict(self.contents)
        for _ in range(self.random.choice((1, 1, 2, 3))):
            name = self.random.choice([*contents, "tiny/manifest-sha256.txt"])
            way = self.random.randrange(5)
            if way == 0:
                contents.pop(name, None)
            elif way == 1:
                contents[self.random.choice(NAMES)] = contents.pop(name, b"")
            elif way == 2:
                contents[name] = self.random.choice(TEXTS)
            elif name in contents:
                lines = contents[name].decode("utf-8", "replace").split("\n")
                at = self.random.randrange(len(lines))
                lines[at : at + self.random.randrange(2)] = [self.random.choice(LINES)]
                contents[name] = "\n".join(lines).encode("utf-8", "surrogatepass")
        with zipfile.ZipFile(path, "w") as file:
            for name, content in contents.items():
                entry = zipfile.ZipInfo("x")
                entry.filename = name
                entry.compress_type = self._rarely(zipfile.ZIP_DEFLATED, (0, 12, 14))
                entry.create_system = self._rarely(3, (0, 255))
                entry.external_attr = self._rarely(0o100644, (0, 0o120777, 0o10644, 0o177777)) << 16
                entry.extra = self._rarely(b"", (b"\1\0\4\0abcd", b"x", b"up\1\0x"))
                entry.comment = self._rarely(b"", (b"comment",))
                file.writestr(entry, content)

    def _rarely(self, usual: object, others: tuple) -> object:
        return usual if self.random.random() < 0.98 else self.random.choice(others)

    def described_otherwise(self, path: Path) -> None:
        """Make an archive whose manifests are right, and whose descriptions are not."""
        included = self.random.random() < 0.5
        held = tiny_archive.payload(included)
        names = (INPUTS, LINKS, CONFIGURATION, LOCK)
        changes: dict[str, bytes | None] = {}
        for _ in range(self.random.choice((1, 1, 2))):
            name = self.random.choice((*names, *names, *held))
            way = self.random.randrange(6)
            if f"{name}/more" in changes:
                continue
            if way == 0:
                changes[name] = None
            elif way == 1:
                changes[name] = self.random.choice(TEXTS)
            elif way == 2:
                changes[f"{name}/more"] = b""
                changes[name] = None
            elif name in (INPUTS, LINKS, CONFIGURATION):
                value = self._changed_value(yaml.safe_load(held[name]))
                text = json.dumps(value, ensure_ascii=self.random.random() < 0.5)
                changes[name] = text.encode("utf-8", "surrogatepass")
            else:
                content = bytearray(held[name])
                self._flip(content)
                changes[name] = bytes(content)
        tiny_archive.write(path, changes, included)

    def _changed_value(self, value: object) -> object:
        """Change one value, key, or element somewhere in a structure."""
        other = self.random.choice(VALUES)
        if isinstance(value, dict) and value and self.random.random() < 0.9:
            key = self.random.choice(list(value))
            way = self.random.randrange(4)
            if way == 0:
                return {each: value[each] for each in value if each != key}
            if way == 1:
                return {**value, self.random.choice(("x", "", "../evil", "a/b", key)): other}
            return {**value, key: self._changed_value(value[key])}
        if isinstance(value, list) and value and self.random.random() < 0.9:
            at = self.random.randrange(len(value))
            return [*value[:at], self._changed_value(value[at]), *value[at:]]
        return other


def _places(content: bytearray, wanted: bytes) -> list[int]:
    places, at = [], content.find(wanted)
    while at >= 0:
        places.append(at)
        at = content.find(wanted, at + 1)
    return places


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Let this process take some more bytes than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """A folder in memory, where there is one: ten thousand archives make many files."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


@pytest.fixture
def fuzz(folder, tmp_path, monkeypatch, capsys) -> Callable[[int, int], Counter]:
    """Verify damaged archives, and run them again up to where foreign code would start."""
    scratch = folder / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr("snakeshed.archive.sandbox.find_sandbox", lambda: Sandbox("none"))
    monkeypatch.setattr("snakeshed.archive.rerun.rerun", lambda *_: None)
    monkeypatch.setattr("snakeshed.archive.compare.compare_apart", lambda *_: Comparison(0, []))
    (folder / "own/inputs/dem").mkdir(parents=True)
    (folder / "own/inputs/dem/a.tif").write_bytes(tiny_archive.DEM)
    path = tiny_archive.write(folder / "tiny.zip")
    rerun = ["--rerun", "--yes", "--inputs", str(folder / "own"), "--environment"]

    def run(count: int, seed: int) -> Counter:
        mutations = Mutations(seed, path)
        # Libraries that are imported on the way take memory, too.
        assert main(["verify", str(path), *rerun, "this"]) == 0
        capsys.readouterr()
        before = sorted(folder.rglob("*"))
        ways = (mutations.spoiled_bytes, mutations.packed_again, mutations.described_otherwise)
        found: Counter = Counter()
        for number in range(count):
            way = ways[number % len(ways)]
            way(path)
            # The environment in use needs no lock file; one of wheels does, and there are none.
            environment = ("this", "this", "wheels")[number // len(ways) % 3]
            arguments = ["verify", str(path), *rerun, environment]
            try:
                with limited_memory(512 << 20):
                    status = main(arguments)
            except BaseException as error:
                kept = tmp_path / f"seed-{seed}-number-{number}.zip"
                kept.write_bytes(path.read_bytes())
                raise AssertionError(f"{way.__name__}, {kept}: {error!r}") from error
            said = capsys.readouterr()
            assert status in STATUSES, (way.__name__, number)
            assert (status == 0) == (not said.err), (way.__name__, number, said.err)
            assert all(line.isprintable() for line in said.err.splitlines())
            assert "Traceback" not in said.err
            assert len(said.err) < 20_000
            assert sorted(folder.rglob("*")) == before, (way.__name__, number)
            found[way.__name__, status] += 1
        return found

    return run


def check(found: Counter) -> None:
    """Whether all kinds of ends were reached, so that no way stops at the first check."""
    assert {status for way, status in found if way == "spoiled_bytes"} >= {0, 1, 3}
    assert {status for way, status in found if way == "packed_again"} >= {1, 3}
    assert {status for way, status in found if way == "described_otherwise"} >= {0, 3, 4}


def test_three_hundred_damaged_archives(fuzz):
    check(fuzz(300, seed=1))


@pytest.mark.slow
def test_ten_thousand_damaged_archives(fuzz):
    count = share_of(10_000)
    found = fuzz(count, seed=2)
    check(found)
    assert found.total() == count
