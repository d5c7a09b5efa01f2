"""An input that was replaced is found by its token, whatever its time of change."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from snakeshed.errors import MachineError
from snakeshed.jobs import input_record
from snakeshed.jobs.input_record import InputRecord, settle, times_of

LARGE = b"x" * 200_000
SECOND = 10**9


@pytest.fixture
def look(tmp_path):
    """Look at one file as the next run does; return its token."""

    def token(file, newest=0) -> str:
        record = InputRecord(tmp_path / "record.json")
        record.update([str(file)], newest)
        assert InputRecord(tmp_path / "record.json").token([str(file)]) == record.token([str(file)])
        return record.token([str(file)])

    return token


def write(path, content: bytes, seconds: float) -> None:
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))


@pytest.mark.parametrize("size", [1, len(LARGE)])
def test_another_content_has_another_token_however_old(tmp_path, look, size):
    file = tmp_path / "a"
    write(file, b"a" * size, 2000)
    first = look(file)
    assert look(file) == first
    write(file, b"b" * size, 1000)
    second = look(file, 3000 * SECOND)
    assert second != first
    assert look(file, 3000 * SECOND) == second


def test_the_same_small_content_has_the_same_token(tmp_path, look):
    file = tmp_path / "a"
    write(file, b"a", 2000)
    first = look(file)
    for seconds in (1000, 4000, time.time() + 9e6):
        write(file, b"a", seconds)
        assert look(file, 3000 * SECOND) == first


def test_a_file_that_cannot_be_read_for_now_is_what_it_was(tmp_path, look, monkeypatch):
    file = tmp_path / "a"
    write(file, b"a", 2000)
    first = look(file)
    write(file, b"a", 4000)

    def fail(*_: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(input_record, "_token", fail)
        assert look(file) == first
    assert look(file) == first
    write(file, b"b", 4000)
    assert look(file) != first


def test_an_error_of_reading_names_the_file(tmp_path, monkeypatch):
    file = tmp_path / "a"
    write(file, b"a", 2000)

    def fail(_: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        input_record._token(str(file), os.stat(file))
    assert caught.value.filename == str(file)


def test_of_large_files_those_newer_than_the_results_are_left_to_snakemake(tmp_path, look):
    file = tmp_path / "a"
    write(file, LARGE, 2000)
    first = look(file)
    write(file, LARGE, 4000)
    assert look(file, 3000 * SECOND) == first
    # Times that a copy has cut to whole seconds.
    os.utime(file, ns=(0, 4000 * SECOND + 5))
    assert look(file, 5000 * SECOND) == first
    write(file, LARGE[1:], 4000)
    assert look(file, 5000 * SECOND) != first


def test_tokens_are_of_names_and_contents_but_for_what_jobs_make(tmp_path):
    for name in "ab":
        write(tmp_path / name, b"same", 1000)
    record = InputRecord(tmp_path / "record.json")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert record.token([a]) != record.token([b])
    assert record.token([a, b]) == record.token([b, a])
    assert record.token([a, b], made=[b]) == record.token([a])
    assert record.token([a, str(tmp_path / "none")]) == record.token([a])


def test_a_damaged_record_counts_as_none(tmp_path, look):
    file = tmp_path / "a"
    write(file, b"a", 1000)
    first = look(file)
    for content in ("", "[1]", "\x00", '{"a": 1', '{"a": 1}', f'{{"{file}": [1]}}'):
        (tmp_path / "record.json").write_text(content)
        assert look(file) == first


def test_inputs_from_the_future_are_brought_back_with_a_warning(tmp_path):
    file, other = tmp_path / "a", tmp_path / "b"
    write(file, LARGE, 4102444800)
    write(other, LARGE, 1000)
    record = InputRecord(tmp_path / "record.json")
    files = [str(file), str(other), str(tmp_path / "none")]
    record.update(files, 0)
    before = record.token(files)
    (warning,) = record.bring_back(files)
    assert warning.startswith(f"{file}: its time of change was in the future (2")
    assert warning.endswith("; it is now")
    assert abs(file.stat().st_mtime - time.time()) < 60
    assert other.stat().st_mtime == 1000
    again = InputRecord(tmp_path / "record.json")
    again.update(files, time.time_ns() + SECOND)
    assert again.token(files) == before
    assert again.bring_back(files) == []


def test_one_that_belongs_to_others_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a", b"a", 4102444800)

    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    with pytest.raises(MachineError) as caught:
        InputRecord(tmp_path / "record.json").bring_back([str(tmp_path / "a")])
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'a'}: found a time of change in the future (2")
    assert "which cannot be set (Operation not permitted); expected an input" in message
    assert message.endswith("or have the owner run touch on it.")


def test_results_from_the_future_keep_their_order_before_now(tmp_path):
    results = tmp_path / "results"
    (results / "logs").mkdir(parents=True)
    now = time.time()
    ages = {"old": -5000, "late": 9000, "later": 9001, "same": 9001, "logs/job.log": 7000}
    for name, age in ages.items():
        write(results / name, b"", now + age)
    times = times_of(results)
    assert {os.path.basename(name) for name in times} == {"old", "late", "later", "same"}
    newest = settle(times)
    after = {os.path.basename(name): at for name, at in times_of(results).items()}
    assert times_of(results)[str(results / "old")] == times[str(results / "old")]
    assert after["old"] < after["late"] < after["later"] == after["same"] <= time.time_ns()
    assert after["same"] <= newest <= time.time_ns()
    assert settle({}) == 0
    assert times_of(tmp_path / "none") == {}
