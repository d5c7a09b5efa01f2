"""The figure and the measurement of docs/confidence.md."""

from __future__ import annotations

import re
from pathlib import Path

import confidence
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from numba import config
from PIL import Image

DOCUMENT = Path(__file__).parents[3] / "docs/confidence.md"


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="the demo is made by pysheds")
def test_the_figure_is_what_its_script_draws(tmp_path):
    (name,) = re.findall(r"^!\[.+\]\((.+)\)$", DOCUMENT.read_text(encoding="utf-8"), re.M)
    confidence.draw(tmp_path / name)
    drawn, shown = (
        np.asarray(Image.open(folder / name).convert("L"), dtype=np.float64)
        for folder in (tmp_path, DOCUMENT.parent)
    )
    assert drawn.shape == shown.shape
    # Another version of a font moves letters a little.
    assert np.abs(drawn - shown).mean() < 4


def test_the_document_has_the_columns_that_the_table_has():
    found = pd.DataFrame(
        {
            "reported_km2": [0.05, 0.2, 2.0, 0.09],
            "iou": [0.3, 0.9, 0.7, 0.85],
            "before": ["high", "high", "medium", "low"],
            "confidence": ["medium", "high", "medium", "low"],
        }
    )
    lines = confidence.table_of(found).splitlines()
    assert "\n".join(lines[:2]) in DOCUMENT.read_text(encoding="utf-8")
    assert lines[2] == "| high, before | 2 | 0.60 | 50% | 50% | 1 | 0.30 | 0% |"
    assert lines[5] == "| high, now | 1 | 0.90 | 100% | 0% | 0 | nan | nan% |"
    assert lines[6] == "| medium, now | 2 | 0.50 | 0% | 50% | 1 | 0.30 | 0% |"


def test_masks_are_the_cells_upslope():
    # East along each row, then north along the last column.
    directions = np.ones((4, 5), np.int16)
    directions[:, -1] = 3
    known = np.ones(directions.shape, np.bool_)
    counts = confidence.count_upslope(directions)
    assert counts[:, -1].tolist() == [20, 15, 10, 5]
    known = np.pad(known, 1, constant_values=True)
    directions = np.pad(directions, 1)
    mask = confidence.upslope(directions, known, 3, 5)
    assert np.argwhere(mask).tolist() == [[i, j] for i in (3, 4) for j in range(1, 6)]
    known[5, 3] = False
    assert confidence.upslope(directions, known, 3, 5) is None


def test_a_measurement_on_a_valley_of_its_own(tmp_path):
    rows, columns = np.mgrid[:240, :180]
    across = np.abs(columns - 90)
    # The valley falls south between two ridges; beyond them, and in the north, all falls outwards.
    z = 500 - np.abs(rows - 20) + 2.0 * np.minimum(across, 140 - across)
    directions = np.where((columns < 90) == (across <= 70), 1, 5)
    directions[:, 90] = 7
    directions[:20] = 3
    directions = directions.astype(np.int16)
    profile = {"driver": "GTiff", "height": 240, "width": 180, "count": 1, "crs": "EPSG:32611"}
    profile["transform"] = Affine(10, 0, 500_000, 0, -10, 4_000_000)
    for name, values in (("dem", z.astype(np.float32)), ("flow", directions)):
        with rasterio.open(tmp_path / f"{name}.tif", "w", dtype=values.dtype, **profile) as raster:
            raster.write(values, 1)
    found = confidence.measure(tmp_path / "dem.tif", tmp_path / "flow.tif", 1, masks=12)
    assert len(found) >= 6
    assert found["iou"].between(0, 1).all()
    assert found["iou"].max() > 0.8
    assert set(found["confidence"]) <= {"high", "medium", "low"}
    # What is high by the new rule was so by the old one, but for a rival that cost little more.
    assert (found["confidence"] == "high").sum() <= (found["before"] == "high").sum()
