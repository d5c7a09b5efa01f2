"""Links of an archive's workflow never lead out of it, alone or together."""

from __future__ import annotations

import os

import pytest

from snakeshed.archive.links import link_faults

FILES = ["Snakefile", "profiles/far/config.yaml", "a/b/c/file"]


def faults(**links: str) -> list[str]:
    return list(link_faults(links, FILES))


@pytest.mark.parametrize(
    "links",
    [
        {"far": "profiles/far"},
        {"a/up": "../profiles"},
        {"a/up": "../profiles", "more": "a/up/far"},
        {"self": "."},
        {"one": "two", "two": "three", "three": "a"},
        {"nowhere": "not/there/yet"},
    ],
)
def test_links_that_stay_inside_are_taken(links, tmp_path):
    assert faults(**links) == []
    for name, target in links.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(target)
    for name in links:
        assert os.path.realpath(tmp_path / name).startswith(str(tmp_path))


@pytest.mark.parametrize(
    "links",
    [
        {"x": "../evil"},
        {"x": "/etc"},
        {"a/x": "../../evil"},
        # Each stays inside by its text alone, and the two of them leave.
        {"a/b/c/up": "../../..", "x": "a/b/c/up/.."},
        {"deep": "a/b/c", "x": "deep/../../../../evil"},
        {"d": "a/b", "e": "d/..", "x": "e/../.."},
        {"top": ".", "x": "top/.."},
        # On a file system that ignores case.
        {"Top": ".", "x": "tOP/.."},
    ],
)
def test_links_that_leave_together_are_refused(links):
    assert any("which leaves the workflow" in fault for fault in faults(**links))


def test_links_in_a_circle_are_refused():
    assert faults(x="y", y="x") == [
        "the link 'x' to 'y', which leads nowhere",
        "the link 'y' to 'x', which leads nowhere",
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x", "leaves its folder"),
        ("/x", "leaves its folder"),
        ("x\x1b", "control characters"),
        ("nul", "a device on Windows"),
        ("Snakefile", "twice"),
        ("SNAKEFILE", "twice"),
        ("profiles", "twice"),
        ("Snakefile/x", "within the file"),
    ],
)
def test_links_without_a_place_of_their_own_are_refused(name, reason):
    assert any(reason in fault for fault in link_faults({name: "a"}, FILES))


def test_a_link_within_a_link_is_refused():
    assert any("within the file 'x'" in fault for fault in link_faults({"x": "a", "x/y": "b"}, []))


def test_a_target_with_a_control_character_is_refused():
    (fault,) = faults(x="a\nb")
    assert fault == "the link 'x' to 'a\\nb', which contains control characters or direction marks"


@pytest.mark.parametrize("part", list("℀℁℅℆／"))
def test_a_target_whose_characters_contain_a_slash_is_refused(part):
    """In some forms of Unicode they are two parts of a path, so one `..` more would stay inside."""
    (fault,) = faults(x=f"{part}/../../evil")
    assert "leaves" in fault
    assert faults(**{part: "a"})
