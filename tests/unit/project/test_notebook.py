"""The notebook of the results: its cells run as they stand."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import matplotlib
import pandas as pd
from shapely import box

from snakeshed.delineation.table import CATCHMENTS

NOTEBOOK = Path(__file__).parents[3] / "profiles/dask/results.ipynb"


def code_cells() -> list[dict]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_it_shows_the_tables_of_a_study(tmp_path, monkeypatch):
    results = tmp_path / "results/demo"
    results.mkdir(parents=True)
    (tmp_path / "Snakefile").touch()
    table = {
        "site_id": ["a", "b"],
        "status": ["ok", "no_stream"],
        "confidence": ["high", None],
        "area_km2": [1.0, float("nan")],
    }
    assert table.keys() <= set(CATCHMENTS)
    frame = geopandas.GeoDataFrame(table, geometry=[box(0, 0, 1, 1), None], crs=4326)
    frame.to_parquet(results / "catchments.parquet")
    pd.DataFrame({"site_id": ["a", "b"]}).to_parquet(results / "features.parquet")
    # Where JupyterLab starts what it opens: the notebook's own folder.
    (tmp_path / "profiles/dask").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "profiles/dask")
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    matplotlib.use("Agg")
    names: dict = {}
    for cell in code_cells():
        exec("".join(cell["source"]), names)
    assert list(names["shown"]["site_id"]) == ["a"]
    assert list(names["features"]["site_id"]) == ["a", "b"]


def test_it_holds_nothing_that_was_run():
    for cell in code_cells():
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
