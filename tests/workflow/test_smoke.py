"""The whole workflow once, from a site table, a DEM and a layer to tables, summary and report."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import rasterio
from pyproj import Proj
from tiny_study import CELL_M, NORTH, TILE_CELLS, TILES_ACROSS, TILES_DOWN, WEST, TinyStudy

# N, NE, E, SE, S, SW, W, NW
NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def whole_dem(study: TinyStudy) -> np.ndarray:
    z = np.zeros((TILES_DOWN * TILE_CELLS, TILES_ACROSS * TILE_CELLS))
    for path in study.folder.glob("dem/*.tif"):
        row, column = (int(number) * TILE_CELLS for number in path.stem.split("_")[1:])
        with rasterio.open(path) as raster:
            z[row : row + TILE_CELLS, column : column + TILE_CELLS] = raster.read(1)
    return z


def upslope_cells(z: np.ndarray, outlet: tuple[int, int]) -> int:
    """Cells that drain through one, by steepest descent alone: the terrain has no depressions."""
    rim = np.pad(z, 1, constant_values=np.inf)
    height, width = z.shape
    slopes = [
        (z - rim[1 + i : 1 + i + height, 1 + j : 1 + j + width]) / np.hypot(i, j)
        for i, j in NEIGHBOURS
    ]
    steepest = np.argmax(slopes, axis=0)
    found = [outlet]
    for row, column in found:
        for k, (i, j) in enumerate(NEIGHBOURS):
            cell = row - i, column - j
            if 0 <= cell[0] < height and 0 <= cell[1] < width and steepest[cell] == k:
                found.append(cell)
    return len(found)


def test_a_whole_run_keeps_every_site_and_a_second_has_nothing_to_do(workflow, tmp_path):
    study = TinyStudy(tmp_path / "study", workflow)
    study.config["shards"] = 2
    study.rows.append(("h", "nowhere", 3_796_000, 0.4, "2005-02-22"))
    study.write()
    run = study.run()
    assert run.code == 0, run.text

    catchments = pd.read_parquet(study.results / "catchments.parquet")
    features = pd.read_parquet(study.results / "features.parquet")
    assert list(catchments["site_id"]) == list(features["site_id"]) == list("abcdefg")
    expected = dict.fromkeys("abcdef", "ok") | {"g": "outside_dem"}
    for table in (catchments, features):
        assert dict(zip(table["site_id"], table["status"], strict=True)) == expected
    rejected = pd.read_csv(study.results / "rejected.csv")
    assert list(rejected["site_id"]) == ["h"]

    z = whole_dem(study)
    found = catchments.set_index("site_id")
    for site in "ad":
        x, y = found.loc[site, "outlet_x"], found.loc[site, "outlet_y"]
        cells = upslope_cells(z, (int((NORTH - y) // CELL_M), int((x - WEST) // CELL_M)))
        assert cells > 100
        assert found.loc[site, "cells"] == cells
        place = found.loc[site, "outlet_lon"], found.loc[site, "outlet_lat"]
        scale = Proj("EPSG:32611").get_factors(*place).areal_scale
        on_ground = cells * CELL_M**2 / scale / 1e6
        assert found.loc[site, "area_km2"] == pytest.approx(on_ground, rel=1e-5)

    summary = json.loads((study.results / "summary.json").read_text())
    assert summary["study"] == study.config["study"]
    assert (study.results / "report.html").read_text().count("<tr data-site=") == 7

    before = study.contents()
    again = study.run()
    assert again.code == 0
    assert not again.jobs
    assert study.contents() == before
