"""The log of a job, and how the job ends."""

from __future__ import annotations

import logging

import pytest

from snakeshed.errors import LayerError
from snakeshed.job_log import job_log


def lines(path) -> list[str]:
    """Lines without their times."""
    return [line[9:] for line in path.read_text().splitlines()]


def test_what_a_job_did(tmp_path):
    path = tmp_path / "job.log"
    with job_log(str(path), "delineating shard 07") as logger:
        logger.info("%d sites", 3)
        logging.getLogger("snakeshed.delineate").info("patch L0_R1_C2")
    first, *said, last = lines(path)
    assert first == "delineating shard 07"
    assert said == ["3 sites", "patch L0_R1_C2"]
    assert last.startswith("done in ")


def test_an_error_of_the_user_ends_the_job_with_its_message_alone(tmp_path, capsys):
    path = tmp_path / "job.log"
    error = LayerError("layer kf", "no CRS", "one", "Assign it.")
    with pytest.raises(SystemExit) as end, job_log(str(path), "extracting"):
        raise error
    assert end.value.code == 1
    assert lines(path) == ["extracting", "layer kf: found no CRS; expected one. Assign it."]
    assert capsys.readouterr().err == ""


def test_any_other_error_leaves_its_traceback_in_the_log(tmp_path):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit, match="1"), job_log(str(path), "extracting"):
        1 / 0  # noqa: B018
    text = path.read_text()
    assert "failed after " in text
    assert "ZeroDivisionError: division by zero" in text
    assert "Traceback" in text


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
