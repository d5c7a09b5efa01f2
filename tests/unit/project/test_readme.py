"""What the README shows: commands in the form that Snakemake understands, and code that runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import reference
from numba import config
from rasters import write_raster

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


def test_nothing_follows_the_configuration_file():
    # --configfile takes every word up to the next option, targets too.
    commands = re.findall(r"^snakemake .*--configfile .*$", README, flags=re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        assert re.search(r"--configfile \S+( --|$)", command), command


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="pysheds' own views need compilation")
def test_the_grid_does_what_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_raster(tmp_path / "elevation.tif", reference.jacksboro()[100:145, 50:105], nodata=-9999.0)
    [code] = re.findall(r"^```python\n(from snakeshed .*?)^```$", README, flags=re.M | re.S)
    shown: dict = {}
    exec(code, shown)
    outlets = shown["outlets"]
    # The second gauge is on a brook that grows by a quarter from one cell to the next.
    assert outlets.confidence.tolist() == ["high", "medium"]
    assert (outlets.area_ratio.between(0.95, 1.05)).all()
    assert [mask.sum() for mask in shown["catchments"]] == outlets.area.tolist()
    assert set(np.unique(shown["numbers"])) == {-1, 0, 1}
    assert shown["mask"].dtype == bool
    assert len(shown["rivers"]["features"]) > 3
    assert np.nanmax(shown["hand"]) > 100
    for name in re.findall(r"`grid\.(\w+)", README):
        assert hasattr(shown["grid"], name)
