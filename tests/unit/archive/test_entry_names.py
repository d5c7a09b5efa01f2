"""A name in an archive is the same file on every system, and reaches no terminal as it stands."""

from __future__ import annotations

import sys

import pytest

from snakeshed.archive.entry_names import collisions, folded, quoted, shown, unportable, unsafe


@pytest.mark.parametrize(
    "name",
    ["a.txt", "results/a b/ü.csv", "data/%2F/é.tif", "日本/地図.tif", "می\u200cروم.csv", "CO₂.tif"],
)
def test_plain_names_of_all_scripts_are_taken(name):
    assert unsafe(name) == unportable(name) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "leaves its folder"),
        ("/a", "leaves its folder"),
        ("a//b", "leaves its folder"),
        ("a/./b", "leaves its folder"),
        ("a/../b", "leaves its folder"),
        ("a\\b", "leaves its folder"),
        ("c:a", "leaves its folder"),
        # Fullwidth dots, which some systems take for plain ones.
        ("a/．．/b", "leaves its folder"),
        ("a/.\u200d./b", "leaves its folder"),
        # These contain a slash in some forms of Unicode.
        *((f"a/{each}/b", "leaves its folder") for each in "℀℁℅℆／"),
        ("a\x1b[2Jb", "control characters"),
        ("a\nb", "control characters"),
        ("a\x7fb", "control characters"),
        ("a\u2028b", "control characters"),
        ("a\u2029b", "control characters"),
        ("gpj.\u202ecod", "direction marks"),
        ("a\u200bb", "direction marks"),
        ("a\u2066b", "direction marks"),
        ("a\ufeffb", "direction marks"),
        ("a\ud800b", "control characters"),
        ("a" * 256, "too long"),
        ("ü" * 128, "too long"),
        ("a/" * 1100 + "a", "too long"),
    ],
)
def test_unsafe_names_are_refused(name, reason):
    assert reason in unsafe(name)


@pytest.mark.parametrize("name", ["a.", "a ", "a./b", "b/a /c", "..."])
def test_names_that_windows_shortens_are_refused(name):
    assert unportable(name) == "which ends in a dot or blank, so Windows changes it"


@pytest.mark.parametrize(
    "name",
    ["CON", "nul", "a/aux.tif", "Prn.tar.gz", "com1", "COM9.txt", "lpt0", "com¹.txt", "LPT³",
     "conin$", "CONOUT$.txt", "nul .txt"],
)  # fmt: skip
def test_devices_of_windows_are_refused(name):
    assert unportable(name) == "which is a device on Windows"


@pytest.mark.parametrize("name", ["console", "com", "com10", "null", "auxiliary.tif", "lpt"])
def test_names_that_only_begin_like_a_device_are_taken(name):
    assert unportable(name) == ""


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("a/x", "a/x"),
        ("a/x", "a/X"),
        ("a/x", "A/y"),
        ("é", "e\u0301"),
        ("straße", "STRASSE"),
        ("ﬁle", "file"),
        ("Å", "Å"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a/b/c/d", "a/b"),
        ("a/", "a"),
        ("a/", "A/"),
        # HFS+ ignores joiners.
        ("می\u200cروم", "میروم"),
    ],
)
def test_names_that_are_one_on_some_systems_collide(one, two):
    (found,) = collisions([one, two])
    assert quoted(two) in found
    assert quoted(one).strip("'/").split("/")[0] in found


@pytest.mark.parametrize("number", range(0, sys.maxunicode, 1 << 16))
def test_no_character_gets_or_loses_a_slash_where_names_are_compared(number):
    for code in range(number, number + (1 << 16)):
        assert folded(chr(code)).count("/") == chr(code).count("/")


@pytest.mark.parametrize(("one", "two"), [("CO₂.tif", "CO2.tif"), ("½.tif", "1⁄2.tif")])
def test_names_that_no_system_takes_for_one_do_not_collide(one, two):
    assert list(collisions([one, two])) == []


def test_files_of_one_folder_do_not_collide():
    assert list(collisions(["a/", "a/b/c", "a/b/d", "a/b/", "e", "a/f"])) == []


def test_text_for_a_terminal_is_escaped_and_short():
    assert shown("ü\x1b[31m\u202e\n\ud800") == "ü\\x1b[31m\\u202e\\n\\ud800"
    assert shown("a" * 201) == "a" * 200 + " …"
    assert quoted("\x07") == "'\\x07'"
