"""No result is made from an input that changed while the run went on."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from snakeshed.errors import InputChangedError
from snakeshed.jobs.input_record import InputRecord, UnchangedInputs

LARGE = 200_000
RULES = sorted((Path(__file__).parents[3] / "rules").glob("*.smk"))


@pytest.fixture
def run(tmp_path):
    """A run that has begun, of two inputs, one of them small."""
    files = [tmp_path / "tile.tif", tmp_path / "sites.csv"]
    for file, size in zip(files, (LARGE, 100), strict=True):
        file.write_bytes(b"a" * size)
        os.utime(file, (1_000_000, 1_000_000))
    record = InputRecord(tmp_path / "inputs.json")
    record.update(map(str, files), 0)
    record.begin_run()
    return record


def replace(file: Path, letter: bytes, seconds: float) -> None:
    """Put another file of the same size in the place of one, as ``mv`` does."""
    other = file.with_suffix(".new")
    other.write_bytes(letter * file.stat().st_size)
    os.utime(other, (seconds, seconds))
    os.replace(other, file)


def test_inputs_that_stay_are_no_matter(run, tmp_path):
    inputs = UnchangedInputs(map(str, tmp_path.glob("*.[tc]*")), run.of_run)
    inputs.check()


@pytest.mark.parametrize("name", ["tile.tif", "sites.csv"])
def test_one_that_changed_before_the_job_began_is_named(run, tmp_path, name):
    file = tmp_path / name
    replace(file, b"b", 2_000_000)
    with pytest.raises(InputChangedError) as caught:
        UnchangedInputs([str(file)], run.of_run)
    found = re.fullmatch(
        rf"{file}: found ([\d,]+) bytes of 1970-01-24 .*: the file changed during the run; "
        r"expected the file as it was when the run began \(([\d,]+) bytes of 1970-01-12 .*\)\. "
        "Do not change inputs during a run. Run the same command again: it redoes everything that "
        r"read the old file\.",
        str(caught.value),
    )
    assert found
    assert found[1] == found[2]


@pytest.mark.parametrize("name", ["tile.tif", "sites.csv"])
@pytest.mark.parametrize("seconds", [500_000, 1_000_000, 2_000_000])
def test_one_that_is_replaced_during_the_job_is_named(run, tmp_path, name, seconds):
    file = tmp_path / name
    inputs = UnchangedInputs([str(file)], run.of_run)
    replace(file, b"b", seconds)
    with pytest.raises(InputChangedError, match="the file changed during the run"):
        inputs.check()


def test_one_that_is_deleted_during_the_job_is_named(run, tmp_path):
    file = tmp_path / "tile.tif"
    inputs = UnchangedInputs([str(file)], run.of_run)
    file.unlink()
    with pytest.raises(InputChangedError, match="tile.tif: found no such file"):
        inputs.check()


def test_a_small_file_that_was_saved_again_before_the_job_is_the_same(run, tmp_path):
    replace(tmp_path / "sites.csv", b"a", 2_000_000)
    UnchangedInputs([str(tmp_path / "sites.csv")], run.of_run).check()


def test_a_file_system_with_whole_seconds_gives_the_same_times(run, tmp_path):
    # The record of another machine, which sees the fraction.
    run.update([str(tmp_path / "tile.tif")], 0)
    file = tmp_path / "tile.tif"
    os.utime(file, ns=(0, 1_500_000_000_123_456_789))
    record = InputRecord(tmp_path / "other.json")
    record.update([str(file)], 0)
    record.begin_run()
    os.utime(file, ns=(0, 1_500_000_000_000_000_000))
    UnchangedInputs([str(file)], record.of_run).check()
    os.utime(file, ns=(0, 1_500_000_001_000_000_000))
    with pytest.raises(InputChangedError):
        UnchangedInputs([str(file)], record.of_run)


def test_what_is_no_file_here_and_a_job_by_itself_need_no_record(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"a")
    UnchangedInputs([str(tmp_path / "a.tif"), "/vsicurl/http://x/a.tif"], "none.json").check()
    with pytest.raises(TypeError, match="expected a sequence of names"):
        UnchangedInputs("a.tif", "none.json")


@pytest.mark.parametrize("ended", [True, False])
def test_the_next_run_knows_a_file_that_changed_during_this_one(run, tmp_path, ended):
    """Snakemake compares it with what it was when jobs ended, which may be the new content."""
    tile = str(tmp_path / "tile.tif")
    before = run.token([tile])
    replace(tmp_path / "tile.tif", b"b", 2_000_000)
    if ended:
        run.end_run()
        assert not Path(run.of_run).exists()
    following = InputRecord(tmp_path / "inputs.json")
    # Newer than all results: else left to Snakemake.
    following.update([tile], 1_500_000 * 10**9)
    after = following.token([tile])
    assert after != before
    following.begin_run()
    following.end_run()
    assert InputRecord(tmp_path / "inputs.json").token([tile]) == after


def test_another_file_of_the_same_size_and_time_is_another_file(run, tmp_path):
    """``cp -p`` and ``rsync -t`` of a tile that was corrected without a trace."""
    tile = str(tmp_path / "tile.tif")
    before = run.token([tile])
    replace(tmp_path / "tile.tif", b"b", 1_000_000)
    message = "tile.tif: found another file of the same size and time: the file changed during"
    with pytest.raises(InputChangedError, match=message):
        UnchangedInputs([tile], run.of_run)
    run.end_run()
    assert run.token([tile]) != before


def test_file_systems_without_lasting_inodes_change_no_file(run, tmp_path, monkeypatch):
    tile = str(tmp_path / "tile.tif")
    inputs = UnchangedInputs([tile], run.of_run)
    real = os.stat

    def unstable(path, *arguments, **options):
        found = list(real(path, *arguments, **options))
        nanoseconds = real(path, *arguments, **options)
        return type(nanoseconds)(
            [found[0], found[1] + 1, *found[2:]],
            {
                name: getattr(nanoseconds, name)
                for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")
            },
        )

    monkeypatch.setattr(os, "stat", unstable)
    assert os.stat(tile).st_ino != real(tile).st_ino
    inputs.check()
    UnchangedInputs([tile], run.of_run)


def test_looking_at_a_study_does_not_hide_a_change_from_its_run(run, tmp_path):
    tile = tmp_path / "tile.tif"
    replace(tile, b"b", 2_000_000)
    # snakemake -n, while the run goes on.
    InputRecord(tmp_path / "inputs.json").update([str(tile)], 0)
    with pytest.raises(InputChangedError):
        UnchangedInputs([str(tile)], run.of_run)


def test_every_job_that_reads_inputs_compares_them():
    texts = {path.name: path.read_text() for path in RULES}
    with_token = [
        (name, rule)
        for name, text in texts.items()
        for rule in re.split(r"^(?=(?:rule|checkpoint) )", text, flags=re.MULTILINE)
        if "inputs=token_of(" in rule
    ]
    assert len(with_token) == 8
    for name, rule in with_token:
        assert "inputs_of_run=INPUTS.of_run" in rule, name
        script = Path(RULES[0].parent, re.search(r'"(\.\./scripts/\w+\.py)"', rule)[1])
        code = script.read_text()
        assert "unchanged = UnchangedInputs(inputs, inputs_of_run)" in code, script.name
        assert re.search(r"unchanged\.check(\(\)\n| *\))", code), script.name
