"""What runs again after a change is what depends on it, counted in jobs, real or planned.

Jobs behind the checkpoint are counted in a real run, or planned when the checkpoint has run: then
the real run is asked for one shard, and the others are planned.
"""

from __future__ import annotations

import os
import shutil
import time
import zipfile

import pandas as pd
import pytest
from tiny_study import copy_workflow

from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.terrain.index import TerrainIndex, tiles_under

TABLE_READ = {"prepare_sites": 1, "split_shards": 1}
GATHERED = {"gather": 2, "dataset": 1, "summarise": 1, "report": 1}
ONE_SHARD = {"delineate": 1, "extract_features": 1} | GATHERED
TWO_SHARDS = {"delineate": 2, "extract_features": 2} | GATHERED
# The fourth one has no sites.
ALL_SHARDS = {"delineate": 3, "extract_features": 3} | GATHERED
FEATURES = {"extract_features": 3, "gather": 1, "dataset": 1, "summarise": 1, "report": 1}
LAYERS_READ = {"index_layers": 1, "split_shards": 1}
TERRAIN_READ = {"index_terrain": 1} | LAYERS_READ


def table_of(study, name: str) -> pd.DataFrame:
    return pd.read_parquet(study.results / f"{name}.parquet").set_index("site_id")


def change(path, old: str, new: str) -> None:
    text = path.read_text()
    path.write_text(text.replace(old, new))
    assert path.read_text() != text


def test_first_run_makes_every_table(finished):
    assert finished.first.jobs == {"prepare_sites": 1} | TERRAIN_READ | ALL_SHARDS
    assert "Study tiny: 7 sites, 6 delineated; not delineated: 1 outside_dem (g)." in (
        finished.first.text
    )
    for table in ("sites", "catchments", "features"):
        ids = pd.read_parquet(finished.results / f"{table}.parquet")["site_id"]
        assert list(ids) == list("abcdefg")
    observations = pd.read_parquet(finished.results / "observations.parquet")
    assert list(observations["storm"].astype(str)) == [row[4] for row in finished.rows]


def test_same_content_other_profile_and_a_remark_in_the_library_re_run_nothing(finished, tmp_path):
    study = finished.copy(tmp_path / "study", copy_workflow(tmp_path, finished.workflow))
    before = study.contents()
    study.write()
    study.write_tile(0, 3)
    study.write_layer(1.0)
    relief = study.workflow / "scripts/snakeshed/features/form_and_relief.py"
    change(relief, '"""The catchment group', '# A remark.\n"""Still the group')
    profile = tmp_path / "other"
    profile.mkdir()
    (profile / "config.yaml").write_text(
        "latency-wait: 9\nset-threads:\n  delineate: 2\nset-resources:\n"
        "  delineate:\n    mem_mb: 4000\n"
    )
    run = study.run("--profile", str(profile))
    assert run.code == 0, run.text
    assert not run.jobs
    assert study.contents() == before

    change(relief, "mean = total(elevation) / count", "mean = low")
    assert study.plan() == FEATURES


def test_rows_added_and_removed_re_run_their_shards_alone(study):
    added, removed, emptied = (study.shard_of(site) for site in "abd")
    assert len({added, removed, emptied}) == 3
    before = {name: table_of(study, name) for name in ("catchments", "features")}
    study.rows.append(("h", 401_225, 3_799_100, 0.3, "2006-01-01"))
    study.rows = [row for row in study.rows if row[0] not in "bd"]
    study.write()
    run = study.run()
    assert run.jobs == TABLE_READ | TWO_SHARDS
    assert run.shards("delineate") == run.shards("extract_features") == {added, removed}
    assert study.shard_of("h") == added
    for name, table in before.items():
        after = table_of(study, name)
        assert list(after.index) == list("acefgh")
        pd.testing.assert_frame_equal(after.drop("h"), table.drop(["b", "d"]), check_exact=True)


def test_row_changed_in_place_re_runs_its_shard(study):
    study.rows[0] = ("a", 401_125, 3_799_000, 0.31, "2005-01-07")
    study.write()
    assert study.split().jobs == TABLE_READ
    planned = study.run("--dry-run")
    assert planned.jobs == ONE_SHARD
    assert planned.shards("delineate") == {study.shard_of("a")}


def test_row_moved_to_another_patch_re_runs_its_old_and_its_new_shard(study):
    old = study.shard_of("b")
    study.rows = [("b", *study.rows[0][1:]) if row[0] == "b" else row for row in study.rows]
    study.write()
    assert study.split().jobs == TABLE_READ
    new = study.shard_of("b")
    assert new != old
    planned = study.run("--dry-run")
    assert planned.jobs == TWO_SHARDS
    assert planned.shards("delineate") == planned.shards("extract_features") == {old, new}


def test_observations_and_a_tile_that_no_site_reaches_re_run_no_shard(study):
    assert not study.readers("dem/tile_0_9.tif")
    before = study.contents()
    study.rows[0] = (*study.rows[0][:4], "2009-12-31")
    study.write()
    study.write_tile(0, 9, raised_m=500.0)
    run = study.run()
    assert run.code == 0, run.text
    assert run.jobs == TABLE_READ | TERRAIN_READ | {"dataset": 1}
    after = study.contents()
    assert after.keys() == before.keys()
    assert {name for name in before if after[name][0] != before[name][0]} == {
        "observations.parquet",
        "dataset.parquet",
    }


def test_far_tile_re_runs_only_the_shard_of_the_promoted_site_that_reaches_it(study):
    # Site c has no reported area, so it starts at level 0; it ends at level 1.
    catchment = table_of(study, "catchments").loc["c"]
    assert catchment["patch_level"] == 1
    index = TerrainIndex.from_json((study.results / "terrain.json").read_text())
    pyramid = PatchPyramid(index.lattice, 1500, 1500, 2, 2.5)
    cell = index.lattice.cell_of(*catchment[["site_x", "site_y"]])
    near, far = (
        set(tiles_under(index, *pyramid.window(pyramid.patch_of(*cell, level)))) for level in (0, 1)
    )
    tile = "dem/tile_0_13.tif"
    assert tile in far - near
    assert study.readers(tile) == {study.shard_of("c")}

    shard = f"results/tiny/shards/{study.shard_of('c')}/features.parquet"

    def features() -> pd.DataFrame:
        return pd.read_parquet(study.folder / shard).set_index("site_id")

    before = features()
    assert len(before) > 1
    study.write_tile(0, 13, raised_m=500.0)
    assert study.run(shard).jobs == TERRAIN_READ | {"delineate": 1, "extract_features": 1}
    # Of the other shards, nothing runs again; the catchment is the same on the raised ground.
    assert study.plan() == GATHERED | {"gather": 1}
    after = features()
    pd.testing.assert_frame_equal(before.drop("c"), after.drop("c"), check_exact=True)
    risen = after.loc["c", "elevation_max_m"] - before.loc["c", "elevation_max_m"]
    assert 100 < risen < 500


def test_layer_re_runs_features_and_no_delineation(study):
    study.write_layer(2.0)
    assert study.split().jobs == LAYERS_READ
    assert study.plan() == FEATURES


def test_layer_changed_together_with_snapping_re_runs_both(study):
    study.config["snap"] = {"radius_m": 120}
    study.write()
    # The checkpoint asks whether any site is near enough to the DEM; no table is read again.
    assert study.plan() == {"split_shards": 1} | GATHERED
    study.write_layer(2.0)
    run = study.run("results/tiny/shards/00/features.parquet")
    assert run.jobs == LAYERS_READ | {"delineate": 1, "extract_features": 1}
    assert study.plan() == TWO_SHARDS


def test_layer_and_threshold_added_and_a_table_changed_re_run_features_and_no_delineation(study):
    shard = f"results/tiny/shards/{study.shard_of('d')}/features.parquet"
    rest = FEATURES | {"extract_features": 2}

    def unmapped() -> list[str]:
        return pd.read_parquet(study.folder / shard)["fuel_unmapped_codes"][0].split(";")

    study.write_layer(1.0, dtype="uint8", name="fuel.tif")
    table = study.folder / "models.csv"
    shutil.copy(study.workflow / "config/fbfm40.csv", table)
    fuel = {"name": "fuel", "path": "fuel.tif", "type": "fbfm40", "table": "models.csv"}
    study.config["layers"].append(fuel)
    study.config["features"] = {"steep_degrees": [10]}
    study.write()
    assert study.run(shard).jobs == LAYERS_READ | {"extract_features": 1}
    assert study.plan() == rest

    assert "share_steeper_10deg" in pd.read_parquet(study.folder / shard)

    # A code of the raster that is no fuel model becomes one.
    first, *others = unmapped()
    change(table, "\n91,NB1", f"\n{first},NB1")
    assert study.run(shard).jobs == LAYERS_READ | {"extract_features": 1}
    assert study.plan() == rest
    assert unmapped() == others


@pytest.mark.parametrize("lost", ["terrain.json", "sites.parquet"])
def test_what_the_split_was_made_from_is_made_again_before_jobs_are_planned_from_it(study, lost):
    before = study.contents()
    (study.results / lost).unlink()
    (study.results / "catchments.parquet").unlink()
    run = study.run()
    assert run.code == 0, run.text
    assert f"results/tiny/{lost} is missing: the sites are split again." in run.text
    assert (run.jobs["split_shards"], run.jobs["gather"], run.jobs["delineate"]) == (1, 1, 0)
    assert {name: content for name, (content, _) in study.contents().items()} == {
        name: content for name, (content, _) in before.items()
    }
    assert not study.run().jobs


def test_thresholds_of_features_re_run_features_only(study):
    study.config["features"] = {"steep_degrees": [10]}
    study.write()
    assert study.plan() == FEATURES


@pytest.mark.parametrize("shards", [2, 12])
def test_another_number_of_shards_runs_those_with_other_sites_and_changes_no_value(study, shards):
    def split() -> dict[str, list[str]]:
        files = sorted(study.results.glob("shards/*/sites.parquet"))[:shards]
        return {path.parent.name: list(pd.read_parquet(path)["site_id"]) for path in files}

    before, sites = study.contents(), split()
    study.config["shards"] = shards
    study.write()
    run = study.run()
    now = split()
    # A shard without sites has no jobs.
    changed = {shard for shard, ids in now.items() if ids and ids != sites.get(shard)}
    assert changed
    assert len(now) == shards
    assert (shards > len(study.rows)) == (not all(now.values()))
    assert run.shards("delineate") == run.shards("extract_features") == changed
    assert run.jobs["split_shards"] == 1
    after = study.contents()
    for table in ("catchments.parquet", "features.parquet"):
        assert after[table][0] == before[table][0]
    assert not study.run().jobs


def test_a_sidecar_file_that_appears_changes_or_vanishes_is_an_input(study):
    """Such as one with nodata; it is found whatever its time of change."""
    shard = f"results/tiny/shards/{study.shard_of('d')}/features.parquet"
    sidecar = study.folder / "rain.tif.aux.xml"
    aux = '<PAMDataset><PAMRasterBand band="1"><NoDataValue>{}</NoDataValue></PAMRasterBand>'
    values = []
    for nodata in (43, 44, None):
        if nodata is None:
            sidecar.unlink()
        else:
            sidecar.write_text(f"{aux.format(nodata)}</PAMDataset>")
            os.utime(sidecar, (1e9, 1e9))
        run = study.run(shard)
        assert run.jobs == LAYERS_READ | {"extract_features": 1}, run.text
        # Without it, the other shards are again as they were made.
        assert study.plan() == ({} if nodata is None else FEATURES | {"extract_features": 2})
        values.append(pd.read_parquet(study.folder / shard)["rain_coverage"].tolist())
    assert values[0] != values[2]

    tile = "dem/tile_0_9.tif"
    assert not study.readers(tile)
    (study.folder / f"{tile}.msk").write_bytes((study.folder / tile).read_bytes())
    assert study.plan() == TERRAIN_READ | GATHERED


def test_an_older_file_in_the_place_of_an_input_and_one_from_the_future_are_seen(study):
    table, tile = study.folder / "sites.csv", study.folder / "dem/tile_0_9.tif"
    future = time.time() + 9e6
    for when in (1e9, future):
        study.rows[0] = (*study.rows[0][:4], str(when))
        study.write()
        study.write_tile(0, 9, raised_m=500.0 + when % 7)
        for file in (table, tile):
            os.utime(file, (when, when))
        run = study.run()
        assert run.code == 0, run.text
        assert run.jobs == TABLE_READ | TERRAIN_READ | {"dataset": 1}
        assert study.plan() == {}
    assert f"{tile.relative_to(study.folder)}: its time of change was in the future" in run.text
    assert table.stat().st_mtime < time.time() + 60
    # The same content with another time is the same input.
    for when in (1e9, future):
        for file in (table, tile):
            os.utime(file, (when, when))
        assert study.plan() == {}


def test_results_from_the_future_keep_no_change_from_being_seen(study):
    late = time.time() + 9e6
    for k, path in enumerate(sorted(study.results.rglob("*.*"), key=lambda p: p.stat().st_mtime)):
        os.utime(path, (late + k, late + k))
    assert study.plan() == {}
    for k, path in enumerate(sorted(study.results.rglob("*.*"), key=lambda p: p.stat().st_mtime)):
        os.utime(path, (late + k, late + k))
    study.rows[0] = ("a", 401_125, 3_799_000, 0.31, "2005-01-07")
    study.write()
    run = study.run()
    assert run.code == 0, run.text
    assert run.jobs == TABLE_READ | ONE_SHARD
    assert run.shards("delineate") == {study.shard_of("a")}


def test_a_dem_in_a_zip_file_and_a_table_with_tabs_give_the_same_and_are_inputs(fresh, finished):
    packed = fresh.folder / "dem.zip"

    def pack() -> None:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for tile in sorted(fresh.folder.glob("dem/*.tif")):
                archive.write(tile, f"tiles/{tile.name}")

    pack()
    table = fresh.folder / "sites.csv"
    table.with_suffix(".tsv").write_text(table.read_text().replace(",", "\t"))
    fresh.config["dem"]["path"] = "dem.zip"
    fresh.config["sites"]["path"] = "sites.tsv"
    fresh.write()
    run = fresh.run()
    assert run.code == 0, run.text
    for name in ("catchments", "features"):
        pd.testing.assert_frame_equal(
            table_of(fresh, name), table_of(finished, name), check_exact=True
        )
    assert fresh.plan() == {}
    fresh.write_tile(0, 9, raised_m=500.0)
    pack()
    os.utime(packed, (1e9, 1e9))
    assert fresh.plan()["index_terrain"] == 1
