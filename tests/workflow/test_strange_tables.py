"""Hostile names and reserved columns go through a whole run; numbers without end stop it."""

from __future__ import annotations

import csv
import unicodedata

import geopandas
import pandas as pd
import yaml

from snakeshed.sites.file_names import site_file

NAMES = ["\x1b[31mred\x07", "two\nlines", "bidi\u202eevil", "line\u2028end"]


def harmless(text: str) -> bool:
    return all(
        character.isprintable() or character == "\n" or unicodedata.category(character) == "Zs"
        for character in text
    )


def test_hostile_names_and_reserved_columns_go_through_a_run(fresh):
    study = fresh
    rows = [
        (name, *row[1:4], "POINT (1 2)", k, 1000.0 + k)
        for k, (name, row) in enumerate(zip([*NAMES, "nul\0"], study.rows, strict=False))
    ]
    # The last one lies beside the DEM, so that its name is told at the end of the run.
    rows[3] = (rows[3][0], *study.rows[-1][1:4], *rows[3][4:])
    header = ["site", "x", "y", "area_km2", "geometry", "row", "input_row"]
    study.config["compare"] = [
        {"column": name, "feature": "relief_m", "relation": "at_most"}
        for name in ("row", "input_row")
    ]
    (study.folder / "study.yaml").write_text(yaml.safe_dump(study.config))
    with (study.folder / "sites.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    targets = [f"results/tiny/{name}" for name in ("catchments.gpkg", "observations.csv")]
    card = f"results/tiny/cards/{site_file(NAMES[0])}.html"
    done = study.run("all", *targets, card)
    assert done.code == 0, done.text
    assert harmless(done.text)
    assert "line\\u2028end" in done.text

    ids = sorted(NAMES)
    for table in ("catchments", "features"):
        assert pd.read_parquet(study.results / f"{table}.parquet")["site_id"].tolist() == ids
    assert geopandas.read_file(study.results / "catchments.gpkg")["site_id"].tolist() == ids
    rejected = pd.read_csv(study.results / "rejected.csv")
    assert rejected["reason"].tolist() == [
        "the site_id has a NUL character, at which GeoPackages end it"
    ]
    observations = pd.read_parquet(study.results / "observations.parquet")
    pd.testing.assert_frame_equal(
        pd.read_csv(study.results / "observations.csv"), observations, check_dtype=False
    )
    assert observations["site_id"].tolist() == NAMES
    assert observations["input_geometry"].tolist() == ["POINT (1 2)"] * 4
    assert observations["input_input_row"].tolist() == [0, 1, 2, 3]
    summary = (study.results / "summary.json").read_text()
    compared = {each["column"]: each for each in yaml.safe_load(summary)["compared"]}
    # Rows 0 to 2 are less than the relief of any catchment, 1,000 and more are not.
    assert (compared["row"]["sites"], compared["row"]["contradicting"]) == (3, [])
    assert sorted(compared["input_row"]["contradicting"]) == sorted(NAMES[:3])
    for page in (study.results / "report.html", study.folder / card):
        assert harmless(page.read_text(encoding="utf-8"))
    logs = [path.read_text(encoding="utf-8") for path in study.results.rglob("*.log")]
    assert len(logs) > 5
    assert all(map(harmless, logs))


def test_a_patch_far_larger_than_the_dem_stops_a_run_before_any_shard(fresh):
    study = fresh
    study.config["patches"] |= {"core_m": 1e9}
    study.config["network"] = {"min_area_km2": 1e9}
    study.write()
    done = study.run()
    assert done.code != 0
    assert "patches.core_m: found 1e+09 m on a DEM that is 42,000 m long" in done.text
    assert "network.min_area_km2: found 1e+09 km2 on a DEM that is 42,000 m long" in done.text
    assert "Traceback" not in done.text
    assert not {"delineate", "extract_features"} & set(done.jobs)
