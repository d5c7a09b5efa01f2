"""What a look at a large study shows while it works."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import yaml
from rasters import write_raster

from snakeshed import progress
from snakeshed.progress import begin, counted
from snakeshed.study import progress_lines as module
from snakeshed.study.progress_lines import progress_lines

LEFT, TOP = 500_000, 4_000_000


class Clock:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


def test_items_pass_as_they_are(caplog):
    assert list(counted(iter("abc"), "reading")) == ["a", "b", "c"]
    assert caplog.records == []


def test_counts_are_logged_at_times(caplog, monkeypatch):
    monkeypatch.setattr(progress, "time", Clock())
    with caplog.at_level("DEBUG", progress.log.name):
        assert list(counted(range(2500), "reading sites.csv", 1_000_000)) == list(range(2500))
        list(counted(range(1001), "reading sites.xlsx"))
        begin("looking at the DEM")
    assert caplog.messages == [
        "reading sites.csv",
        "reading sites.csv: 0 of 1,000,000 rows",
        "reading sites.csv: 1,000 of 1,000,000 rows",
        "reading sites.csv: 2,000 of 1,000,000 rows",
        "reading sites.csv: done",
        "reading sites.xlsx",
        "reading sites.xlsx: 0 rows",
        "reading sites.xlsx: 1,000 rows",
        "reading sites.xlsx: done",
        "looking at the DEM",
    ]


def test_the_last_record_is_shown_at_times_until_the_work_is_done(capsys, monkeypatch):
    shown = threading.Event()

    class Watched(module._Latest):
        """Notes that its text was looked at after the record."""

        @property
        def text(self) -> str:
            if self.last:
                shown.set()
            return self.last

        last = ""

        def emit(self, record) -> None:
            self.last = record.getMessage()

    monkeypatch.setattr(module, "_Latest", Watched)
    with progress_lines(every_s=0.01):
        list(counted(range(3), "reading sites.csv", 3))
        assert shown.wait(60)
        shown.clear()
        assert shown.wait(60)
    said = capsys.readouterr().err.splitlines()
    assert {line.partition(" (")[0] for line in said} == {"reading sites.csv: done"}
    assert progress.log.handlers == []
    assert not progress.log.isEnabledFor(10)


def test_short_work_shows_nothing(capsys):
    with progress_lines():
        list(counted(range(3), "reading sites.csv", 3))
    assert capsys.readouterr().err == ""


def test_an_error_ends_the_lines(capsys):
    threads = threading.active_count()
    with pytest.raises(ValueError, match="a"), progress_lines(every_s=0.01):
        raise ValueError("a")
    assert threading.active_count() == threads
    assert progress.log.handlers == []


@pytest.mark.slow
def test_a_table_of_a_million_rows_is_answered_or_shows_its_progress(tmp_path):
    write_raster(tmp_path / "dem.tif", np.ones((100, 100), np.float32))
    rng = np.random.default_rng(1)
    east, south = rng.uniform(0, 1000, (2, 1_000_000)).round(2).tolist()
    rows = (
        f"s{k},{LEFT + x},{TOP - y}\n" for k, (x, y) in enumerate(zip(east, south, strict=True))
    )
    with (tmp_path / "sites.csv").open("w") as file:
        file.write("name,x,y\n")
        file.writelines(rows)
    columns = {"site_id": "name", "x": "x", "y": "y"}
    study = {
        "study": "mine",
        "shards": 10_000,
        "sites": {"path": "sites.csv", "crs": "EPSG:32611", "columns": columns},
        "dem": {"path": "dem.tif"},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
    done = subprocess.run(
        [sys.executable, "-m", "snakeshed.cli", "check", "mine.yaml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Sites: 1,000,000 from 1,000,000 rows of sites.csv" in done.stdout
    assert "of 10000 shards have sites." in done.stdout
    # No machine reads a million rows within two seconds, after which the first line comes.
    lines = done.stderr.splitlines()
    assert any(" of 1,000,000 " in line for line in lines), lines
    assert all(line.endswith(" s)") for line in lines), lines
