"""What an archive says of itself is read without trust: size, depth, types, names."""

from __future__ import annotations

import json
import re

import pytest

from snakeshed.archive.bag import UntrustedArchive
from snakeshed.archive.description import read_inputs, read_links, read_study_name
from snakeshed.archive.write import CONFIGURATION, INPUTS, LINKS, _check_size, _json
from snakeshed.errors import ArchiveError

INPUT = {
    "path": "inputs/a.tif",
    "size": 3,
    "sha256": "0" * 64,
    "url": None,
    "licence": None,
    "included": False,
}


@pytest.fixture
def bag(tmp_path):
    (tmp_path / "inputs").mkdir()
    return tmp_path


def refused(read, bag, name, content) -> str:
    (bag / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UntrustedArchive) as caught:
        read(bag, "tiny.zip")
    message = str(caught.value)
    assert message.startswith("tiny.zip: found ")
    assert message.isprintable()
    assert len(message) < 1000
    return message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"\xff", "codec can't decode"),
        (b"[]", "is not of type 'object'"),
        (b"null", "is not of type 'object'"),
        (b'{"a": 1}', "is not of type 'string'"),
        (b'{"a": ""}', "should be non-empty"),
        (b'{"a": "b", "a": "c"}', "the same key twice"),
        (b'{"a": NaN}', "NaN, which is no number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b"[" * 100_000, "recursion"),
        (b'{"a": ' * 100_000, "recursion"),
        (b"[" + b"0," * 2_600_000 + b"0]", "more than 2,500,000 values"),
        (b'{"a": "' + b"b" * (129 << 20) + b'"}', "more than 134,217,728 bytes"),
    ],
)
def test_links_that_are_no_links_are_refused(bag, content, reason):
    assert reason in refused(read_links, bag, LINKS, content)


def test_without_the_file_it_is_refused(bag):
    with pytest.raises(UntrustedArchive, match="found workflow-links.json that cannot be parsed"):
        read_links(bag, "tiny.zip")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"path": 1}, r"\$\[0\].path: 1 is not of type"),
        ({"path": "inputs/../../evil"}, "leaves its folder"),
        ({"path": "/etc/passwd"}, "leaves its folder"),
        ({"path": "workflow/Snakefile"}, "outside of it"),
        ({"path": "inputs/a\u202eb"}, "direction marks"),
        ({"path": "inputs/\ud800"}, "control characters"),
        ({"size": -1}, "less than the minimum"),
        ({"size": "3"}, "is not of type 'integer'"),
        ({"size": True}, "is not of type 'integer'"),
        ({"sha256": "0"}, "does not match"),
        ({"url": ["x"]}, "is not of type"),
        ({"included": 0}, "is not of type 'boolean'"),
    ],
)
def test_inputs_that_are_none_are_refused(bag, change, reason):
    message = refused(read_inputs, bag, INPUTS, json.dumps([INPUT | change]))
    assert re.search(reason, message)


def test_inputs_without_a_key_or_twice_are_refused(bag):
    short = {key: value for key, value in INPUT.items() if key != "sha256"}
    message = refused(read_inputs, bag, INPUTS, json.dumps([short]))
    assert "'sha256' is a required property" in message
    message = refused(read_inputs, bag, INPUTS, json.dumps([INPUT, INPUT]))
    assert "the input 'inputs/a.tif' twice" in message


def test_an_input_in_the_place_of_a_file_is_refused(bag):
    (bag / "inputs/A.tif").write_bytes(b"")
    message = refused(read_inputs, bag, INPUTS, json.dumps([INPUT]))
    assert "'inputs/A.tif' is the same name on some systems" in message


def test_only_inputs_that_are_not_held_are_read(bag):
    (bag / INPUTS).write_text(json.dumps([INPUT, INPUT | {"path": "inputs/b", "included": True}]))
    (only,) = read_inputs(bag, "tiny.zip")
    assert (only.path, only.size, only.url) == ("inputs/a.tif", 3, None)


@pytest.mark.parametrize(
    "content",
    [
        "study: tiny\n",
        "dem: {path: [a, {study: other}]}\nstudy: tiny\n",
        "? [study]\n: other\nstudy: tiny\n",
        "a: &a [1]\nb: *a\nstudy: tiny\n",
    ],
)
def test_the_name_of_the_study_is_the_value_of_its_key(bag, content):
    (bag / CONFIGURATION).write_text(content)
    assert read_study_name(bag, "tiny.zip") == "tiny"


BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}\n" for k in range(1, 12)
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "does not name its study once"),
        ("- study\n- tiny\n", "a list"),
        ("study: [tiny]\n", "does not name its study once"),
        ("study:\n", "does not name its study once"),
        ("study: ../evil\n", "does not name its study once"),
        ("study: a\nstudy: b\n", "does not name its study once"),
        ("study: a\n---\nstudy: a\n", "does not name its study once"),
        ("study: 'a\\n'\n", "does not name its study once"),
        ("x: " + "[" * 100, "more than 20 levels"),
        ("? " * 100, "more than 20 levels"),
        ("a: [" + "1," * 300_000 + "]", "more than 200,000 values"),
        ("study: \x07\n", "special characters|not allowed|unacceptable|control"),
        ("study: {\n", "while parsing"),
        ("#" * (5 << 20), "more than 4,194,304 bytes"),
    ],
)
def test_a_configuration_without_a_plain_name_is_refused(bag, content, reason):
    assert re.search(reason, refused(read_study_name, bag, CONFIGURATION, content))


def test_a_yaml_bomb_is_not_built(bag):
    (bag / CONFIGURATION).write_text(f"{BOMB}study: tiny\n")
    assert read_study_name(bag, "tiny.zip") == "tiny"


@pytest.mark.slow
def test_as_many_inputs_as_an_archive_may_have_are_read(bag):
    """What the writer takes, the reader takes."""
    names = [f"inputs/dem/tiles/{'n' * 100}/{k:06}.tif" for k in range(62_400)]
    content = _json([INPUT | {"key": "dem", "path": name} for name in names])
    _check_size(INPUTS, content)
    assert len(content) > 16 << 20
    (bag / INPUTS).write_bytes(content)
    assert [each.path for each in read_inputs(bag, "tiny.zip")] == names


@pytest.mark.parametrize("content", [b"," * 2_500_001, b" " * ((128 << 20) + 1)])
def test_what_would_not_be_read_is_not_written(content):
    with pytest.raises(ArchiveError) as caught:
        _check_size(INPUTS, content)
    assert str(caught.value) == (
        f"the archive, inputs.json: found {len(content):,} bytes with {content.count(b','):,} "
        "values; expected at most 134,217,728 bytes with 2,500,000 values. Use fewer files, such "
        "as a DEM and layers in larger tiles."
    )
