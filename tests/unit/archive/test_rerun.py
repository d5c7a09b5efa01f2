"""What is made ready for the re-run of an archive, and what is refused before it."""

from __future__ import annotations

import hashlib
import json

import pytest
import yaml

from snakeshed.archive.bag import UntrustedArchive
from snakeshed.archive.rerun import prepare, rerun
from snakeshed.archive.sandbox import Sandbox, Surroundings
from snakeshed.archive.write import CONFIGURATION, INPUTS, LINKS
from snakeshed.errors import ArchiveError


@pytest.fixture
def unpacked(tmp_path):
    """An archive without an input that it names, and a folder with it."""
    data, own = tmp_path / "data", tmp_path / "own"
    (data / "workflow/profiles/far").mkdir(parents=True)
    (data / "results/tiny").mkdir(parents=True)
    (own / "inputs/dem").mkdir(parents=True)
    (own / "inputs/dem/a.tif").write_bytes(b"dem")
    told = {
        "key": "dem",
        "path": "inputs/dem/a.tif",
        "size": 3,
        "sha256": hashlib.sha256(b"dem").hexdigest(),
        "url": "https://dem.example/a.tif",
        "licence": None,
        "included": False,
    }
    (data / INPUTS).write_text(json.dumps([told]))
    (data / LINKS).write_text(json.dumps({"far": "profiles/far"}))
    (data / CONFIGURATION).write_text(yaml.safe_dump({"study": "tiny"}))
    return data, own


def test_links_and_inputs_are_there_again(unpacked):
    data, own = unpacked
    prepared = prepare(data, "tiny.zip", own, data.parent / "archived")
    assert prepared.study == "tiny"
    assert prepared.inputs == [own / "inputs/dem/a.tif"]
    assert (data / "workflow/far").readlink().as_posix() == "profiles/far"
    assert (data / "inputs/dem/a.tif").read_bytes() == b"dem"
    assert prepared.archived == data.parent / "archived/tiny"
    assert prepared.archived.is_dir()
    assert not (data / "results").exists()


def test_an_input_that_is_missing_is_named_with_its_origin(unpacked):
    data, own = unpacked
    message = (
        r"^tiny.zip: inputs/dem/a.tif: found an input that is only named; expected 3 bytes with "
        r"SHA-256 [0-9a-f]{64}, from https://dem.example/a.tif. Put it at this path"
    )
    with pytest.raises(ArchiveError, match=message):
        prepare(data, "tiny.zip", None, data.parent / "archived")
    (own / "inputs/dem/a.tif").write_bytes(b"dom")
    with pytest.raises(ArchiveError, match="found another file, .*Fetch the one"):
        prepare(data, "tiny.zip", own, data.parent / "archived")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("far", "../../evil"),
        ("far", "/etc"),
        ("../far", "workflow"),
        ("far/../../x", "workflow"),
        ("profiles", "workflow"),
        ("profiles/far", "workflow"),
    ],
)
def test_links_that_leave_the_workflow_or_take_a_place_are_refused(unpacked, name, target):
    data, own = unpacked
    (data / LINKS).write_text(json.dumps({name: target}))
    reason = "which leaves|twice|cannot be placed"
    with pytest.raises(UntrustedArchive, match=rf"({reason}).*Nothing in it was run"):
        prepare(data, "tiny.zip", own, data.parent / "archived")


def test_an_input_outside_of_the_archive_is_refused(unpacked):
    data, own = unpacked
    told = json.loads((data / INPUTS).read_text())
    told[0]["path"] = "../../evil"
    (data / INPUTS).write_text(json.dumps(told))
    with pytest.raises(UntrustedArchive, match=r"which leaves its folder.*Nothing in it was run"):
        prepare(data, "tiny.zip", own, data.parent / "archived")


def test_no_link_is_created_before_all_of_them_are_judged(unpacked):
    data, own = unpacked
    (data / LINKS).write_text(json.dumps({"far": "profiles/far", "x": "far/../../../evil"}))
    with pytest.raises(UntrustedArchive, match="the link 'x' to 'far/../../../evil', which leaves"):
        prepare(data, "tiny.zip", own, data.parent / "archived")
    assert not (data / "workflow/far").is_symlink()


def test_an_archive_without_results_of_its_study_is_refused(unpacked):
    data, own = unpacked
    (data / "results/tiny").rmdir()
    with pytest.raises(UntrustedArchive, match="no results of the study tiny"):
        prepare(data, "tiny.zip", own, data.parent / "archived")


def test_an_input_in_the_way_of_another_is_refused(unpacked):
    data, own = unpacked
    (data / "inputs").write_text("in the way")
    with pytest.raises(UntrustedArchive, match="links or inputs that cannot be placed"):
        prepare(data, "tiny.zip", own, data.parent / "archived")


def test_an_input_that_cannot_be_read_is_told(unpacked, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("snakeshed.archive.rerun.sha256_of", fail)
    data, own = unpacked
    with pytest.raises(ArchiveError, match=r"a file that cannot be read .*Input/output error"):
        prepare(data, "tiny.zip", own, data.parent / "archived")


def test_a_run_that_fails_shows_its_end_without_control_characters(unpacked, tmp_path):
    data, _ = unpacked
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nprintf 'first\\n\\033[31mred\\n'; exit 7\n")
    python.chmod(0o755)
    with pytest.raises(ArchiveError) as caught:
        rerun(data, str(python), [], 1, Surroundings(Sandbox("none"), tmp_path))
    assert str(caught.value) == (
        "the re-run: found snakemake exit status 7; expected a complete run. Its last lines:\n"
        "first\n\\x1b[31mred"
    )
