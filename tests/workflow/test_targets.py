"""Parts of a study by name, and runs that fail in part or before anything runs."""

from __future__ import annotations

import geopandas
import pandas as pd


def test_exports_by_name(exported):
    study = exported
    assert study.export.jobs == {"export_geopackage": 1, "export_csv": 1}

    kept = geopandas.read_parquet(study.results / "catchments.parquet")
    exported = geopandas.read_file(study.results / "catchments.gpkg")
    assert list(exported["site_id"]) == list(kept["site_id"])
    assert exported.crs == kept.crs
    assert exported["area_km2"].equals(kept["area_km2"])
    drawn = kept["status"] == "ok"
    assert exported.geometry[drawn].geom_equals(kept.geometry[drawn]).all()
    assert exported.geometry[~drawn].isna().all()

    features = pd.read_parquet(study.results / "features.parquet")
    exported = pd.read_csv(study.results / "features.csv")
    assert list(exported.columns) == list(features.columns)
    numbers = features.select_dtypes("float64").columns
    pd.testing.assert_frame_equal(exported[numbers], features[numbers], check_exact=True)


def test_damaged_tile_fails_only_its_shard_and_its_repair_completes_the_run(study):
    before = study.contents()
    damaged, other = study.shard_of("c"), study.shard_of("d")
    assert study.readers("dem/tile_0_13.tif") == {damaged}
    assert study.readers("dem/tile_0_3.tif") == {other} != {damaged}
    # Complete by its length, and not read before the shards start: only the shard that meets the
    # block finds it.
    study.damage_tile(0, 13)
    study.write_tile(0, 3, raised_m=500.0)

    run = study.run()
    assert run.code != 0
    assert run.shards("delineate") == {damaged, other}
    assert run.shards("extract_features") == {other}
    assert not {"gather", "summarise"} & set(run.jobs)
    assert "dem/tile_0_13.tif: found" in run.text
    assert "The file is damaged or truncated: fetch it again." in run.text
    assert "Traceback" not in run.text
    assert not (study.results / f"shards/{damaged}/catchments.parquet").exists()

    study.write_tile(0, 13)
    run = study.run()
    assert run.code == 0, run.text
    assert run.shards("delineate") == run.shards("extract_features") == {damaged}
    assert run.jobs["gather"] == 2
    for table in ("catchments", "features"):
        path = f"shards/{damaged}/{table}.parquet"
        assert (study.results / path).read_bytes() == before[path][0]
    assert len(pd.read_parquet(study.results / "features.parquet")) == 7


def test_truncated_tile_and_bad_layer_stop_the_run_before_any_shard(study):
    before = study.contents()
    tile = study.folder / "dem/tile_0_13.tif"
    tile.write_bytes(tile.read_bytes()[: tile.stat().st_size // 2])
    study.write_tile(0, 3, raised_m=500.0)
    run = study.run()
    assert run.code != 0
    assert run.jobs == {"index_terrain": 1}
    assert "dem/tile_0_13.tif: found 20," in run.text
    assert "It was truncated or partly downloaded: fetch it again." in run.text
    assert "Traceback" not in run.text

    study.write_tile(0, 13)
    layer = study.folder / "rain.tif"
    layer.write_bytes(layer.read_bytes()[: layer.stat().st_size // 2])
    run = study.run()
    assert run.code != 0
    assert run.jobs == {"index_terrain": 1, "index_layers": 1}
    assert "layer rain (rain.tif): found" in run.text
    assert "It was truncated or partly downloaded: fetch it again." in run.text
    assert "Traceback" not in run.text

    study.write_tile(0, 3)
    study.write_layer(1.0)
    run = study.run()
    assert run.code == 0, run.text
    assert not run.shards("delineate") | run.shards("extract_features")
    after = study.contents()
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in before.items()
    }


def test_unknown_keys_and_a_missing_table_are_named_before_any_job(study):
    before = study.contents()
    study.config["sitse"] = study.config.pop("sites")
    study.config["snap"] = {"radius": 100}
    study.write()
    lines = refused(study, before)
    for wrong, meant in (("sitse", "sites"), ("snap.radius", "snap.radius_m")):
        (line,) = [line for line in lines if f"{wrong}: found an unknown key" in line]
        assert f"study.yaml: {wrong}: found an unknown key; expected one of" in line
        assert line.endswith(f"Did you mean {meant}?")

    study.config = {"sites": study.config.pop("sitse"), **study.config} | {"snap": {}}
    study.write()
    (study.folder / "sites.csv").rename(study.folder / "sites_2005.csv")
    assert any("sites.csv" in line and "found no file" in line for line in refused(study, before))


def refused(study, before: dict) -> list[str]:
    """Run a study that cannot start, and return the lines that its user reads."""
    run = study.run()
    assert run.code != 0
    assert not run.jobs
    assert "Traceback" not in run.text
    assert study.contents() == before
    return run.text.splitlines()
