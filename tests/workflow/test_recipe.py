"""A study with the recipe of a paper, from its configuration to its report."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny_study import TinyStudy

from snakeshed.delineation.roten2022.published import WARNING


@pytest.fixture(scope="module")
def published(workflow, tmp_path_factory) -> TinyStudy:
    study = TinyStudy(tmp_path_factory.mktemp("recipe") / "study", workflow)
    del study.config["patches"]
    study.config |= {
        "recipe": "roten2022",
        "compare": [{"column": "area_km2", "feature": "area_km2"}],
    }
    study.write()
    study.first = study.run("all", "results/tiny/cards/a.html", "results/tiny/cards/c.html")
    assert study.first.code == 0, study.first.text
    return study


def test_every_site_is_in_every_table(published):
    catchments = pd.read_parquet(published.results / "catchments.parquet").set_index("site_id")
    assert list(catchments.index) == list("abcdefg")
    assert catchments["status"].to_dict() == {
        **dict.fromkeys("abdef", "ok"),
        "c": "no_reported_area",
        "g": "outside_dem",
    }
    done = catchments[catchments["status"] == "ok"]
    assert done["patch"].isna().all()
    assert done["snap_cost"].isna().all()
    assert set(done["confidence"]) <= {"medium", "low"}
    # Outlets drain more than 0.9 of the reported area, or are within 200 m and 0.5 to 1.6 of it.
    assert (done["area_ratio"] > 0.5).all()
    features = pd.read_parquet(published.results / "features.parquet").set_index("site_id")
    assert features.loc[done.index, "area_km2"].tolist() == done["area_km2"].tolist()
    assert features.loc[done.index, ["rain_mean", "relief_m"]].notna().all(axis=None)
    assert features.loc[["c", "g"], "relief_m"].isna().all()


def test_summary_and_report_know_what_the_recipe_does_not_know(published):
    summary = json.loads((published.results / "summary.json").read_text())
    assert summary["not_delineated"] == {"outside_dem": ["g"], "no_reported_area": ["c"]}
    assert summary["needs_larger_window"] == summary["open_water"] == summary["deep_pit"] == []
    assert summary["patch_level"] == {}
    assert summary["warnings"][0] == WARNING
    assert [each["feature"] for each in summary["compared"]] == ["area_km2"]
    report = (published.results / "report.html").read_text()
    assert "snap.radius_m is" not in report
    assert "no reported area" in report
    card = (published.results / "cards/a.html").read_text()
    assert "The outlet was found with the recipe of a paper, which compares no others." in card
    assert (
        "Not delineated, no reported area: no area is reported"
        in (published.results / "cards/c.html").read_text()
    )


def test_other_shards_give_the_same_tables(published, tmp_path):
    other = published.copy(tmp_path / "study")
    other.config["shards"] = 1
    other.write()
    assert other.run().code == 0
    for name in ("catchments.parquet", "features.parquet", "dataset.parquet"):
        same = (results / name for results in (published.results, other.results))
        one, two = map(Path.read_bytes, same)
        assert one == two, name


def test_what_has_no_effect_stops_the_run(published, tmp_path):
    other = published.copy(tmp_path / "study")
    other.config["snap"] = {"radius_m": 50}
    other.write()
    run = other.run()
    assert run.code == 1
    assert "snap.radius_m: found 50.0, and recipe: roten2022" in run.text


def test_jobs_are_planned_by_their_windows(published):
    shards = json.loads((published.results / "shards/index.json").read_text())["shards"].values()
    # Larger than a tile of 100 x 100 cells; two of the seven sites have none.
    assert sum(shard["patch_cells"] for shard in shards) == 5 * 10_000
    assert {shard["cells"] for shard in shards} <= {0, 10_000}
    assert all(shard["larger"] == [] for shard in shards)
