"""The small study, finished once and copied for each test."""

from __future__ import annotations

import shutil

import pytest
import yaml
from tiny_study import STUDY, TinyStudy


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> TinyStudy:
    """The study after its first run; never changed."""
    study = TinyStudy(tmp_path_factory.mktemp("finished") / "study")
    study.first = study.run()
    assert study.first.code == 0, study.first.text
    return study


@pytest.fixture
def study(finished, tmp_path) -> TinyStudy:
    """A copy of the finished study, with its history, for a test to change."""
    shutil.copytree(finished.folder, tmp_path / "study")
    copy = TinyStudy.__new__(TinyStudy)
    copy.__dict__.update(finished.__dict__)
    copy.rows, copy.config = list(finished.rows), yaml.safe_load(yaml.safe_dump(finished.config))
    copy.folder = tmp_path / "study"
    copy.results = copy.folder / "results" / STUDY
    return copy
