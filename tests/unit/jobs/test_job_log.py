"""The log of a job, and how the job ends."""

from __future__ import annotations

import errno
import logging
import signal
import time
from pathlib import Path

import pytest

from snakeshed.atomic import atomic
from snakeshed.errors import LayerError
from snakeshed.jobs.log import job_log, seconds_in


def lines(path) -> list[str]:
    """Lines without their times."""
    return [line[9:] for line in path.read_text().splitlines()]


def test_what_a_job_did(tmp_path):
    path = tmp_path / "job.log"
    with job_log(str(path), "delineating shard 07") as logger:
        logger.info("%d sites", 3)
        logging.getLogger("snakeshed.delineation.delineate").info("patch L0_R1_C2")
    first, *said, last = lines(path)
    assert first == "delineating shard 07"
    assert said == ["3 sites", "patch L0_R1_C2"]
    assert last.startswith("done in ")


def test_the_log_of_a_finished_job_has_its_seconds(tmp_path):
    path = tmp_path / "job.log"
    with job_log(str(path), "delineating shard 07"):
        time.sleep(0.02)
        # What a job is doing is not what it took.
        assert seconds_in(path) is None
    assert 0.02 <= seconds_in(path) < 10
    with pytest.raises(SystemExit), job_log(str(path), "delineating shard 07"):
        raise LayerError("layer kf", "no CRS", "one", "Assign it.")
    assert seconds_in(path) is None
    assert seconds_in(tmp_path / "missing.log") is None


def test_an_error_of_the_user_ends_the_job_with_its_message_alone(tmp_path, capsys):
    path = tmp_path / "job.log"
    error = LayerError("layer kf", "no CRS", "one", "Assign it.")
    with pytest.raises(SystemExit) as end, job_log(str(path), "extracting"):
        raise error
    assert end.value.code == 1
    assert lines(path) == ["extracting", "error: layer kf: found no CRS; expected one. Assign it."]
    assert capsys.readouterr().err == ""


def test_any_other_error_leaves_its_traceback_in_the_log(tmp_path):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit, match="1"), job_log(str(path), "extracting"):
        1 / 0  # noqa: B018
    text = path.read_text()
    assert "failed after " in text
    assert "ZeroDivisionError: division by zero" in text
    assert "Traceback" in text


def test_an_error_of_the_machine_is_told_in_a_sentence(tmp_path, capsys):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit, match="1"), job_log(str(path), "gathering"):
        raise OSError(errno.ENOSPC, "No space left on device", "features.parquet")
    _, told = lines(path)
    assert told.startswith("error: features.parquet: found no space left on its disk; expected")
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit, match="1"), job_log(str(path), "gathering all"):
        raise MemoryError
    assert lines(path)[1].startswith("error: gathering all: found no memory left; expected enough")


def test_a_job_that_is_interrupted_shows_no_traceback(tmp_path, capsys):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit, match="130"), job_log(str(path), "gathering"):
        raise KeyboardInterrupt
    assert lines(path) == ["gathering", "error: interrupted (Ctrl-C)."]
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_opened_hides_no_error(tmp_path, capsys):
    path = tmp_path / "folder"
    path.mkdir()
    with job_log(str(path), "extracting") as logger:
        logger.info("3 sites")
    told = capsys.readouterr().err
    assert told == f"extracting: error: {path}: [Errno 21] Is a directory: '{path}'\n"
    with pytest.raises(SystemExit, match="1"), job_log(str(path), "extracting"):
        raise LayerError("layer kf", "no CRS", "one", "Assign it.")
    *_, told = capsys.readouterr().err.splitlines()
    assert told == "extracting: error: layer kf: found no CRS; expected one. Assign it."


def test_a_log_that_was_removed_hides_no_error(tmp_path, capsys):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit, match="1"), job_log(str(path), "extracting"):
        path.unlink()
        raise FileNotFoundError(errno.ENOENT, "gone", "features.parquet")
    told = capsys.readouterr().err
    assert told == (
        "extracting: error: features.parquet: found no such file, or folder for it; expected a "
        "file that stays in place during a run. Restore it if it was an input, and run the same "
        "command again.\n"
    )


def test_a_job_that_is_asked_to_end_says_so_and_removes_what_is_half_written(tmp_path):
    path, table = tmp_path / "job.log", tmp_path / "table"
    end = pytest.raises(SystemExit, match="143")
    with end, job_log(str(path), "gathering"), atomic(table) as part:
        part.write_text("half")
        signal.raise_signal(signal.SIGTERM)
    told = "error: the process was terminated (SIGTERM)."
    assert lines(path) == ["gathering", told]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this machine")
def test_a_log_without_room_hides_no_error(capsys):
    with pytest.raises(SystemExit, match="1"), job_log("/dev/full", "extracting") as logger:
        logger.info("3 sites")
        raise LayerError("layer kf", "no CRS", "one", "Assign it.")
    told = capsys.readouterr().err
    assert told == "extracting: error: layer kf: found no CRS; expected one. Assign it.\n"
    with pytest.raises(SystemExit, match="1"), job_log("/dev/full", "extracting"):
        1 / 0  # noqa: B018
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_one_job_does_not_write_into_the_log_of_another(tmp_path):
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    with job_log(str(first), "one"):
        pass
    with pytest.raises(SystemExit), job_log(str(second), "two"):
        raise LayerError("a", "b", "c", "d")
    with job_log(str(first), "three"):
        pass
    assert lines(first)[0] == "three"
    assert lines(second)[0] == "two"
    assert len(lines(first)) == len(lines(second)) == 2
