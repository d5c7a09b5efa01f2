"""Studies that nobody expects: odd names, no sites, one, very many, and very wide tables."""

from __future__ import annotations

import pandas as pd
import pytest
from examples import share_of
from tiny_study import TinyStudy

ODD = 'it\'s "ö" & $HOME; 日'


def test_names_of_all_kinds_change_no_result(finished, workflow, tmp_path, surroundings):
    study = TinyStudy(tmp_path / f"study {ODD}", workflow)
    (study.folder / "dem").rename(study.folder / f"dem {ODD}")
    (study.folder / "rain.tif").rename(study.folder / f"rain {ODD}.tif")
    study.config["dem"]["path"] = f"dem {ODD}/*.tif"
    study.config["layers"][0]["path"] = f"rain {ODD}.tif"
    study.config["sites"]["path"] = f"sites {ODD}.csv"
    study.write()
    (study.folder / "sites.csv").rename(study.folder / f"sites {ODD}.csv")
    # On another file system, too.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    surroundings.do("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", elsewhere)
    (study.folder / "results").symlink_to(elsewhere)
    run = study.run(within=surroundings.within(study.folder))
    assert run.code == 0, run.text
    seen = surroundings.seen(elsewhere) / "tiny"
    for table in ("catchments.parquet", "features.parquet", "observations.parquet"):
        assert (seen / table).read_bytes() == (finished.results / table).read_bytes()
    again = study.run(within=surroundings.within(study.folder))
    assert again.code == 0, again.text
    assert not again.jobs


def test_a_line_break_is_refused_in_paths_and_no_matter_in_the_folder(finished, workflow, tmp_path):
    study = TinyStudy(tmp_path / "two\nlines", workflow)
    study.config["dem"]["path"] = "two\nlines/*.tif"
    study.write()
    run = study.run()
    assert run.code == 1
    assert not run.jobs
    assert "dem.path: found the text 'two\\nlines/*.tif'; expected text in one line" in run.text
    assert "Traceback" not in run.text

    study.config["dem"]["path"] = "dem/*.tif"
    study.write()
    table = f"shards/{finished.shard_of('a')}/features.parquet"
    run = study.run(f"results/tiny/{table}")
    assert run.code == 0, run.text
    assert (study.results / table).read_bytes() == (finished.results / table).read_bytes()


def test_a_table_without_sites_is_named(fresh):
    fresh.rows.clear()
    fresh.write()
    run = fresh.run()
    assert run.code == 1
    assert run.jobs["prepare_sites"] == 1
    assert "delineate" not in run.jobs
    assert "sites.csv: found no " in run.text, run.text
    assert "Traceback" not in run.text
    assert not list(fresh.results.rglob("*.parquet"))


def test_one_site_with_an_id_of_a_megabyte_and_300_columns(fresh, finished):
    # In the shard of the site, and in three that have none.
    name = "ä" * 500_000
    site = next(row for row in fresh.rows if row[0] == "a")
    columns = [f"column {k}" for k in range(300)]
    table = pd.DataFrame([[name, *site[1:], *range(300)]], columns=[*COLUMNS, *columns])
    table.to_csv(fresh.folder / "sites.csv", index=False)
    run = fresh.run()
    assert run.code == 0, run.text
    assert len(run.text) < 20_000
    for of in ("catchments", "features"):
        one = pd.read_parquet(fresh.results / f"{of}.parquet").set_index("site_id")
        assert list(one.index) == [name]
        known = pd.read_parquet(finished.results / f"{of}.parquet").set_index("site_id")
        pd.testing.assert_series_equal(one.loc[name], known.loc["a"], check_names=False)
    observations = pd.read_parquet(fresh.results / "observations.parquet")
    assert list(observations[columns].iloc[0]) == list(range(300))


COLUMNS = ["site", "x", "y", "area_km2", "storm"]


@pytest.mark.slow
def test_fifty_thousand_sites_at_one_point(fresh, finished):
    site = next(row for row in fresh.rows if row[0] == "a")
    count = share_of(50_000)
    fresh.rows = [(f"a{k}", *site[1:]) for k in range(count)]
    fresh.write()
    run = fresh.run()
    assert run.code == 0, run.text
    for of in ("catchments", "features"):
        # Without the rows that would turn whole numbers into floats.
        alone = [("site_id", "==", "a")]
        known = pd.read_parquet(finished.results / f"{of}.parquet", filters=alone)
        all_ = pd.read_parquet(fresh.results / f"{of}.parquet")
        assert len(all_) == count
        others = ["site_id", "downstream_site_id", "area_incremental_km2"]
        rows = all_.drop(columns=others, errors="ignore").map(repr).drop_duplicates()
        (expected,) = known[rows.columns].map(repr).to_numpy()
        (one,) = rows.to_numpy()
        assert list(one) == list(expected)
