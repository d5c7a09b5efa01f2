"""What tests with real schedulers and workers share."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """End the tests, and show where they hang, if one takes too long."""
    faulthandler.dump_traceback_later(180, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def notes(tmp_path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder
