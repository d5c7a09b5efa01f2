"""The small study, finished once and copied for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_study import TinyStudy, copy_workflow


@pytest.fixture(scope="session")
def workflow(tmp_path_factory) -> Path:
    """A copy of the workflow: what is edited in the checkout meanwhile re-runs nothing here."""
    return copy_workflow(tmp_path_factory.mktemp("workflow"))


@pytest.fixture(scope="session")
def finished(workflow, tmp_path_factory) -> TinyStudy:
    """The study after its first run; never changed."""
    study = TinyStudy(tmp_path_factory.mktemp("finished") / "study", workflow)
    study.first = study.run()
    assert study.first.code == 0, study.first.text
    return study


@pytest.fixture
def study(finished, tmp_path) -> TinyStudy:
    """A copy of the finished study, with its history, for a test to change."""
    return finished.copy(tmp_path / "study")
