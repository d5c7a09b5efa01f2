"""Layers of polygons and points in a run: their numbers, and what a change of a file re-runs."""

from __future__ import annotations

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from tiny_study import CELL_M, NORTH, TILE_CELLS, TILES_ACROSS, TILES_DOWN, WEST

pytestmark = pytest.mark.workflow

LAYERS_READ = {"index_layers": 1, "split_shards": 1}
FEATURES = {"extract_features": 3, "gather": 1, "dataset": 1, "summarise": 1, "report": 1}
WIDTH, HEIGHT = TILES_ACROSS * TILE_CELLS * CELL_M, TILES_DOWN * TILE_CELLS * CELL_M
TEXTS = ("Igneous, volcanic", "Igneous and Water", "Unknown")


def rocks() -> geopandas.GeoDataFrame:
    """Stripes of 700 m with the north-western corner missing, in longitude and latitude."""
    stripes = [
        shapely.box(WEST + left, NORTH - HEIGHT, WEST + left + 700, NORTH)
        for left in range(700, WIDTH, 700)
    ]
    texts = [TEXTS[k % len(TEXTS)] for k in range(len(stripes))]
    frame = geopandas.GeoDataFrame({"kind": texts, "age": 5.0}, geometry=stripes, crs=32611)
    # Straight lines of the DEM's CRS are bent in another one.
    frame.geometry = frame.segmentize(30)
    return frame.to_crs(4326)


def basins() -> geopandas.GeoDataFrame:
    rng = np.random.default_rng(3)
    x, y = WEST + rng.uniform(0, WIDTH, 20_000), NORTH - rng.uniform(0, HEIGHT, 20_000)
    # On corners of cells, in part.
    x[::2], y[::2] = (np.round(each[::2] / CELL_M) * CELL_M + 10 for each in (x, y))
    return geopandas.GeoDataFrame(geometry=shapely.points(x, y), crs=32611)


@pytest.fixture(scope="module")
def mapped(finished, once):
    """The study with a layer of polygons and one of points, finished; never changed."""

    def make(folder):
        study = finished.copy(folder / "study")
        rocks().to_file(study.folder / "rock.gpkg", layer="units")
        basins().to_file(study.folder / "basins.shp")
        rock = {"name": "rock", "type": "polygons", "path": "rock.gpkg", "attribute": "kind"}
        rock |= {"text_up_to": ",", "text_split": " and ", "at_site": True}
        rock["classes"] = {"Igneous": "igneous", "Water": "water"}
        study.config["layers"] += [rock, {"name": "basins", "type": "points", "path": "basins.shp"}]
        study.write()
        study.second = study.run()
        assert study.second.code == 0, study.second.text
        return study

    return once("mapped", make)


def features_of(study) -> pd.DataFrame:
    return pd.read_parquet(study.results / "features.parquet").set_index("site_id")


def test_shares_and_counts_are_those_of_a_plain_look_at_all_of_them(mapped):
    assert mapped.second.jobs == LAYERS_READ | FEATURES
    features = features_of(mapped)
    catchments = geopandas.read_parquet(mapped.results / "catchments.parquet").set_index("site_id")
    rock = rocks().to_crs(32611)
    points = basins().geometry.values
    assert features.loc["g", ["rock_dominant", "rock_coverage", "basins_count"]].isna().all()
    done = catchments[catchments["status"] == "ok"]
    assert len(done) == 6
    for site, row in done.iterrows():
        found = features.loc[site]
        parts = rock.geometry.intersection(row.geometry).area
        whole = parts.sum()
        by_text = {text: parts[rock["kind"] == text].sum() / whole for text in TEXTS}
        igneous, both, unknown = by_text.values()
        assert found["rock_share_igneous"] == pytest.approx(igneous + both / 2, abs=1e-5)
        assert found["rock_share_water"] == pytest.approx(both / 2, abs=1e-5)
        assert found["rock_share_unlabelled"] == pytest.approx(unknown, abs=1e-5)
        assert found["rock_coverage"] == pytest.approx(whole / row.geometry.area, abs=1e-5)
        site_point = shapely.Point(row["site_x"], row["site_y"])
        (under,) = rock["kind"][rock.intersects(site_point)]
        assert found["rock_at_site"] == under
        assert found["basins_count"] == np.count_nonzero(shapely.contains(row.geometry, points))
    assert features["basins_count"].sum() > 20
    assert "Layer rock has codes that are not declared: Unknown" in mapped.second.text


def test_a_file_counts_by_what_shards_need_of_it(mapped, tmp_path):
    study = mapped.copy(tmp_path / "study")
    before = study.contents()
    assert not study.run().jobs
    # Another attribute, and polygons far away.
    frame = rocks()
    frame["age"] = 7.0
    far = geopandas.GeoDataFrame({"kind": ["x"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326)
    pd.concat([frame, far]).to_file(study.folder / "rock.gpkg", layer="units")
    run = study.run()
    assert run.jobs == LAYERS_READ | {"summarise": 1, "report": 1}, run.text
    for name in ("features.parquet", "layers/rock.parquet"):
        assert study.contents()[name][0] == before[name][0]

    frame.loc[frame["kind"] == "Unknown", "kind"] = "Water"
    frame.to_file(study.folder / "rock.gpkg", layer="units")
    run = study.run()
    assert run.jobs == LAYERS_READ | FEATURES, run.text
    was, now = features_of(mapped), features_of(study)
    water = was["rock_share_water"] + was["rock_share_unlabelled"]
    assert water.max() > 0.9
    assert now["rock_share_water"].tolist() == pytest.approx(water.tolist(), abs=1e-6, nan_ok=True)
    assert now["basins_count"].equals(was["basins_count"])


def test_more_points_re_run_the_shards(mapped, tmp_path):
    study = mapped.copy(tmp_path / "study")
    doubled = pd.concat([basins(), basins()])
    doubled.to_file(study.folder / "basins.shp")
    assert study.run().jobs == LAYERS_READ | FEATURES
    was, now = features_of(mapped), features_of(study)
    assert (now["basins_count"].dropna() == 2 * was["basins_count"].dropna()).all()


def test_another_number_of_shards_gives_the_same_bytes(mapped, tmp_path):
    study = mapped.copy(tmp_path / "study")
    study.config["shards"] = 2
    study.write()
    run = study.run()
    assert run.code == 0, run.text
    assert run.jobs["extract_features"] > 0
    for name in ("features.parquet", "catchments.parquet"):
        assert study.contents()[name][0] == mapped.contents()[name][0]


def test_what_was_prepared_is_made_again_where_it_is_lost(mapped, tmp_path):
    study = mapped.copy(tmp_path / "study")
    before = study.contents()
    (study.results / "layers/rock.parquet").unlink()
    run = study.run()
    assert run.code == 0, run.text
    assert "results/tiny/layers/rock.parquet is missing: the sites are split again." in run.text
    assert (run.jobs["index_layers"], run.jobs["extract_features"]) == (1, 0)
    after = study.contents()
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in before.items()
    }
    assert not study.run().jobs


def test_a_card_draws_polygons(mapped, tmp_path):
    study = mapped.copy(tmp_path / "study")
    run = study.run("results/tiny/cards/a.html")
    assert run.code == 0, run.text
    assert run.jobs == {"site_card": 1}
    assert "rock_share_igneous" in (study.results / "cards/a.html").read_text()
