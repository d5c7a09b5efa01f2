"""What runs again after a change is what depends on it, counted in jobs of real runs."""

from __future__ import annotations

import shutil
from collections import Counter

import pandas as pd
from tiny_study import copy_workflow

from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.terrain.index import TerrainIndex, tiles_under

ONE_SHARD = {"delineate": 1, "extract_features": 1, "gather": 2, "summarise": 1, "report": 1}
TABLE_READ = {"prepare_sites": 1, "split_shards": 1}
FEATURES = {"extract_features": 4, "gather": 1, "summarise": 1, "report": 1}
LAYERS_READ = {"index_layers": 1, "split_shards": 1}
TERRAIN_READ = {"index_terrain": 1} | LAYERS_READ


def test_first_run_makes_every_table(finished):
    assert finished.first.jobs == {
        "prepare_sites": 1,
        "index_terrain": 1,
        "index_layers": 1,
        "split_shards": 1,
        "delineate": 4,
        "extract_features": 4,
        "gather": 2,
        "summarise": 1,
        "report": 1,
    }
    assert "Study tiny: 7 sites, 6 delineated; not delineated: 1 outside_dem (g)." in (
        finished.first.text
    )
    for table in ("sites", "catchments", "features"):
        ids = pd.read_parquet(finished.results / f"{table}.parquet")["site_id"]
        assert list(ids) == list("abcdefg")
    observations = pd.read_parquet(finished.results / "observations.parquet")
    assert list(observations["storm"].astype(str)) == [row[4] for row in finished.rows]


def test_second_run_does_nothing(study, record_property):
    before = study.contents()
    run = study.run()
    record_property("seconds", run.seconds)
    assert run.code == 0
    assert not run.jobs
    assert "Nothing to be done" in run.text
    assert study.contents() == before


def test_files_written_again_with_the_same_content_re_run_no_shard(study):
    study.write()
    study.write_tile(0, 3)
    study.write_layer(1.0)
    run = study.run()
    assert run.code == 0
    assert not run.jobs


def test_row_added_re_runs_its_shard(study):
    shard = study.shard_of("a")
    study.rows.append(("h", 401_225, 3_799_100, 0.3, "2006-01-01"))
    study.write()
    run = study.run()
    assert run.jobs == TABLE_READ | ONE_SHARD
    assert run.shards("delineate") == {shard} == {study.shard_of("h")}


def test_row_removed_re_runs_its_shard(study):
    shard = study.shard_of("d")
    study.rows = [row for row in study.rows if row[0] != "d"]
    study.write()
    run = study.run()
    assert run.jobs == TABLE_READ | ONE_SHARD
    assert run.shards("delineate") == {shard}
    assert "d" not in set(pd.read_parquet(study.results / "catchments.parquet")["site_id"])


def test_row_changed_in_place_re_runs_its_shard(study):
    shard = study.shard_of("a")
    study.rows[0] = ("a", 401_125, 3_799_000, 0.31, "2005-01-07")
    study.write()
    run = study.run()
    assert run.jobs == TABLE_READ | ONE_SHARD
    assert run.shards("delineate") == {shard}


def test_row_moved_to_another_patch_re_runs_its_old_and_its_new_shard(study):
    old = study.shard_of("d")
    study.rows = [("d", *study.rows[0][1:]) if row[0] == "d" else row for row in study.rows]
    study.write()
    run = study.run()
    new = study.shard_of("d")
    assert new != old
    assert run.shards("delineate") == run.shards("extract_features") == {old, new}


def test_column_of_observations_re_runs_no_shard(study):
    study.rows[0] = (*study.rows[0][:4], "2009-12-31")
    study.write()
    before = study.contents()
    run = study.run()
    assert run.jobs == TABLE_READ
    changed = {
        name for name, (content, _) in study.contents().items() if content != before[name][0]
    }
    assert changed == {"observations.parquet"}


def test_far_tile_re_runs_only_the_shard_of_the_promoted_site_that_reaches_it(study):
    # Site c has no reported area, so it starts at level 0; it ends at level 1.
    catchments = pd.read_parquet(study.results / "catchments.parquet").set_index("site_id")
    assert catchments.loc["c", "patch_level"] == 1
    index = TerrainIndex.from_json((study.results / "terrain.json").read_text())
    pyramid = PatchPyramid(index.lattice, 1500, 1500, 2, 2.5)
    cell = index.lattice.cell_of(*catchments.loc["c", ["site_x", "site_y"]])
    near, far = (
        set(tiles_under(index, *pyramid.window(pyramid.patch_of(*cell, level)))) for level in (0, 1)
    )
    tile = "dem/tile_0_13.tif"
    assert tile in far - near
    assert study.readers(tile) == {study.shard_of("c")}

    before = pd.read_parquet(study.results / "features.parquet").set_index("site_id")
    study.write_tile(0, 13, raised_m=500.0)
    run = study.run()
    assert run.jobs == TERRAIN_READ | ONE_SHARD
    assert run.shards("delineate") == run.shards("extract_features") == {study.shard_of("c")}
    after = pd.read_parquet(study.results / "features.parquet").set_index("site_id")
    pd.testing.assert_frame_equal(before.drop("c"), after.drop("c"), check_exact=True)
    risen = after.loc["c", "elevation_max_m"] - before.loc["c", "elevation_max_m"]
    assert 100 < risen < 500


def test_tile_that_no_site_reaches_re_runs_no_shard(study):
    assert not study.readers("dem/tile_0_9.tif")
    before = study.contents()
    study.write_tile(0, 9, raised_m=500.0)
    run = study.run()
    assert run.code == 0
    assert run.jobs == TERRAIN_READ
    assert {name: content for name, (content, _) in study.contents().items()} == {
        name: content for name, (content, _) in before.items()
    }


def test_layer_re_runs_features_and_no_delineation(study):
    before = study.contents()["catchments.parquet"]
    study.write_layer(2.0)
    run = study.run()
    assert run.jobs == LAYERS_READ | FEATURES
    assert study.contents()["catchments.parquet"] == before
    assert not study.run().jobs


def test_layer_changed_together_with_snapping_re_runs_both(study):
    study.write_layer(2.0)
    study.config["snap"] = {"radius_m": 120}
    study.write()
    run = study.run()
    everything = {"delineate": 4, "extract_features": 4, "gather": 2, "summarise": 1, "report": 1}
    assert run.jobs == LAYERS_READ | everything
    assert not study.run().jobs


def test_fuel_table_re_runs_features_and_no_delineation(study):
    study.write_layer(1.0, dtype="uint8", name="fuel.tif")
    table = study.folder / "models.csv"
    shutil.copy(study.workflow / "config/fbfm40.csv", table)
    fuel = {"name": "fuel", "path": "fuel.tif", "type": "fbfm40", "table": "models.csv"}
    study.config["layers"].append(fuel)
    study.write()
    assert study.run().code == 0
    column = "fuel_unmapped_codes"
    before = pd.read_parquet(study.results / "features.parquet").set_index("site_id")[column]
    delineated = study.contents()["catchments.parquet"]

    # Codes of the raster that are no fuel models become some.
    text = table.read_text()
    table.write_text(text.replace("\n91,NB1", "\n2,NB1"))
    assert table.read_text() != text
    run = study.run()
    assert run.jobs == LAYERS_READ | FEATURES
    after = pd.read_parquet(study.results / "features.parquet").set_index("site_id")[column]
    assert not before.equals(after)
    assert study.contents()["catchments.parquet"] == delineated
    assert not study.run().jobs


def test_thresholds_of_features_re_run_features_only(study):
    study.config["features"] = {"steep_degrees": [10]}
    study.write()
    run = study.run()
    assert run.jobs == FEATURES
    columns = pd.read_parquet(study.results / "features.parquet").columns
    assert "share_steeper_10deg" in columns


def test_snapping_re_runs_all_delineations_but_not_the_table(study):
    study.config["snap"] = {"radius_m": 120}
    study.write()
    run = study.run()
    assert Counter(run.jobs) == {
        "split_shards": 1,  # whether any site is near enough to the DEM
        "delineate": 4,
        "extract_features": 4,
        "gather": 2,
        "summarise": 1,
        "report": 1,
    }


def test_another_profile_re_runs_nothing(study, tmp_path):
    profile = tmp_path / "other"
    profile.mkdir()
    (profile / "config.yaml").write_text(
        "latency-wait: 9\nset-threads:\n  delineate: 2\nset-resources:\n"
        "  delineate:\n    mem_mb: 4000\n"
    )
    run = study.run("--profile", str(profile))
    assert run.code == 0, run.text
    assert not run.jobs


def test_fewer_shards_run_those_whose_sites_changed_and_change_no_value(study):
    def split() -> dict[str, list[str]]:
        files = (study.results / f"shards/{shard}/sites.parquet" for shard in ("00", "01"))
        return {path.parent.name: list(pd.read_parquet(path)["site_id"]) for path in files}

    before, sites = pd.read_parquet(study.results / "features.parquet"), split()
    study.config["shards"] = 2
    study.write()
    run = study.run()
    changed = {shard for shard, ids in split().items() if ids != sites[shard]}
    assert changed
    assert run.shards("delineate") == run.shards("extract_features") == changed
    assert run.jobs["split_shards"] == 1
    after = pd.read_parquet(study.results / "features.parquet")
    pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_only_changed_behaviour_of_the_library_re_runs_what_depends_on_it(finished, tmp_path):
    study = finished.copy(tmp_path / "study", copy_workflow(tmp_path, finished.workflow))
    module = study.workflow / "scripts/snakeshed/features/form_and_relief.py"
    text = module.read_text()
    module.write_text(text.replace('"""The catchment group', '# A remark.\n"""Still the group'))
    assert module.read_text() != text
    assert not study.run().jobs

    text = module.read_text()
    module.write_text(text.replace("mean = total(elevation) / cells", "mean = low"))
    assert module.read_text() != text
    assert study.run().jobs == FEATURES
