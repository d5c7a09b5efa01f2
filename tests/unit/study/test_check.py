"""A study is looked at as a whole before it is run, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import yaml
from rasters import write_raster, write_tiles
from vectors import write_vector

from snakeshed.cli import main
from snakeshed.delineation.roten2022.published import WARNING
from snakeshed.errors import SeveralProblems
from snakeshed.raster.crs import transformer
from snakeshed.study.check import check_study, preview_text

LEFT, TOP = 500_000, 4_000_000


@pytest.fixture
def study(tmp_path, monkeypatch) -> dict:
    """A study of four sites and two tiles in the working directory, not yet written."""
    monkeypatch.chdir(tmp_path)
    ground = np.add.outer(np.arange(60), np.arange(60)).astype(np.float32)
    write_tiles(tmp_path / "dem", ground, [np.s_[:, :30], np.s_[:, 30:]])
    write_raster(tmp_path / "rain.tif", ground)
    (tmp_path / "sites.csv").write_text(
        "name,x,y,area\n"
        f"a,{LEFT + 100},{TOP - 100},0.01\n"
        f"b,{LEFT + 500},{TOP - 300},-1\n"
        f"far,{LEFT + 50_000},{TOP},0.01\n"
        f"west,,{TOP},0.01\n"
        "degrees,-117,36,0.01\n"
        "lost,,,\n"
    )
    return {
        "study": "mine",
        "shards": 4,
        "sites": {
            "path": "sites.csv",
            "crs": "EPSG:32611",
            "columns": {"site_id": "name", "x": "x", "y": "y", "area": "area"},
        },
        "dem": {"path": "dem/*.tif"},
        "layers": [{"name": "rain", "path": "rain.tif", "type": "numeric"}],
    }


def write(study) -> str:
    with open("mine.yaml", "w", encoding="utf-8") as file:
        yaml.safe_dump(study, file)
    return "mine.yaml"


def problems(study) -> list[str]:
    with pytest.raises(SeveralProblems) as caught:
        check_study(write(study))
    return [str(problem) for problem in caught.value.problems]


def contents(folder) -> dict:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_it_says_what_a_run_would_do_and_writes_nothing(study, tmp_path, capsys):
    path = write(study)
    before = contents(tmp_path)
    assert main(["check", path]) == 0
    said = capsys.readouterr()
    assert contents(tmp_path) == before
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0] == "Study mine: nothing found that would stop a run."
    assert lines[1] == (
        "Sites: 3 from 3 rows of sites.csv; 3 rows rejected, 1 remarks on other rows."
    )
    assert lines[2] == ("  2 x the coordinates are not finite numbers (row 4: x = an empty cell)")
    assert lines[3].startswith("  1 x the coordinates look like degrees")
    assert lines[4] == "  1 x the reported area is not positive (row 2: '-1')"
    assert lines[5] == "Farther than 100 m from the DEM, and so outside_dem: 1 sites."
    assert lines[6] == "DEM: 2 tiles, EPSG:32611, cells of 10 x 10 m."
    assert lines[7] == f"Jobs: {check_study(path).shards_with_sites} of 4 shards have sites."
    assert lines[8] == "Layers: rain."
    assert lines[9].startswith("Assumed: 2 of 2 files: neither the CRS nor the band names a vert")
    assert len(lines) == 10


def test_it_looks_at_the_cells_of_layers(study, tmp_path, capsys):
    study["layers"] = [{"name": "rain", "path": "rain.tif", "type": "numeric", "scale": 0.1}]
    with rasterio.open(tmp_path / "rain.tif", "r+") as file:
        file.scales = (0.1,)
    assert main(["check", write(study)]) == 0
    note = "Note: layer rain (rain.tif): the file has a scale of 0.1 and the configuration one of"
    assert note in capsys.readouterr().out
    with rasterio.open(tmp_path / "rain.tif", "r+") as file:
        cells = file.read(1)
        cells[3, 3] = -9999
        file.write(cells, 1)
    (problem,) = problems(study)
    assert problem.startswith("layer rain (rain.tif): found the cell value -9999 in 1 of ")


def test_it_looks_at_polygons_and_writes_nothing_of_them(study, tmp_path, capsys):
    crossed = shapely.Polygon(
        [(LEFT, TOP), (LEFT + 90, TOP - 90), (LEFT + 90, TOP), (LEFT, TOP - 90)]
    )
    write_vector(tmp_path / "rock.gpkg", [crossed], kind=["Igneous"])
    rock = {"name": "rock", "path": "rock.gpkg", "type": "polygons", "attribute": "kind"}
    study["layers"] = [rock]
    path = write(study)
    before = contents(tmp_path)
    assert main(["check", path]) == 0
    assert contents(tmp_path) == before
    assert (
        "Note: layer rock (rock.gpkg): features near the DEM that are not valid, such as polygons "
        "that cross themselves, and used as GEOS makes them valid: 1."
    ) in capsys.readouterr().out.splitlines()
    study["layers"] = [rock | {"attribute": "kinds"}]
    (problem,) = problems(study)
    assert problem.startswith("layer rock (rock.gpkg): found no attribute 'kinds'; expected one ")


def test_a_crs_that_is_not_true_to_scale_is_said(study, tmp_path):
    for path in (tmp_path / "dem").iterdir():
        path.unlink()
    ground = np.ones((30, 30), np.float32)
    where = transformer("EPSG:32611", "EPSG:3857").transform(LEFT, TOP)
    write_raster(
        tmp_path / "dem" / "dem.tif", ground, left=where[0], top=where[1], dx=40, crs="EPSG:3857"
    )
    said = preview_text(check_study(write(study))).splitlines()
    (note,) = [line for line in said if line.startswith("Note: EPSG:3857")]
    assert note.startswith(
        "Note: EPSG:3857 shows areas 1.54 times as large as they are over this DEM. Areas, lengths,"
    )
    assert note.endswith("set dem.target_crs to the UTM zone of the sites.")


def test_a_recipe_is_noted(study):
    told = f"Note: {WARNING}"
    assert told not in preview_text(check_study(write(study))).splitlines()
    study["recipe"] = "roten2022"
    assert told in preview_text(check_study(write(study))).splitlines()


def test_every_problem_of_the_configuration_is_named_with_status_1(study, capsys):
    study |= {"shards": 0, "layer": []}
    study["sites"]["crs"] = 4326
    assert main(["check", write(study)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert [line.split(": found")[0] for line in lines] == [
        "mine.yaml: layer",
        "mine.yaml: shards",
        "mine.yaml: sites.crs",
    ]


def test_every_problem_of_the_files_is_named(study, tmp_path):
    (tmp_path / "sites.csv").write_text("name;x;y\n")
    (tmp_path / "dem/tile_0.tif").write_bytes(b"no raster")
    (tmp_path / "rain.tif").unlink()
    study["layers"].append({"name": "a", "path": "b.tif", "type": "fbfm40", "table": "none.csv"})
    found = problems(study)
    assert [problem.split(": found")[0] for problem in found[:3]] == [
        "layers[rain].path",
        "layers[a].path",
        "layers[a].table",
    ]
    assert found[3].startswith("sites.csv: found columns separated by semicolons")
    assert found[4].startswith("dem/tile_0.tif: found ")
    assert len(found) == 5


def test_comparisons_with_what_is_not_there_are_named(study, capsys):
    study["compare"] = [
        {"column": "relief", "feature": "relief_m"},
        {"column": "x", "feature": "share_steeper_25deg"},
    ]
    feature, column = problems(study)
    assert feature.startswith("compare[1].feature: found no feature share_steeper_25deg; expected")
    assert "Did you mean share_steeper_23deg?" in feature
    assert column.startswith("sites.csv: found no column 'relief'; expected one of 'name', 'x'")
    assert column.endswith("Correct compare[0].column.")
    study["compare"] = []
    study["observations"] = {"response": {"column": "xx"}}
    (column,) = problems(study)
    assert column.endswith("Correct observations.response.column.")
    study["observations"] = {}
    study["compare"] = [{"column": "x", "feature": "share_steeper_23deg"}]
    assert main(["check", write(study)]) == 0


def test_models_that_lack_something_are_named(study, capsys):
    study["models"] = [
        {"name": "swb", "inputs": {"fire": "rain_men"}},
        {"name": "gartner2014_emergency"},
    ]
    study["storms"] = [{"name": "gauge", "duration_min": 15, "column": "rain", "unit": "mm"}]
    fire, burned, column = problems(study)
    assert fire.startswith("models[swb].inputs.fire: found no numeric column rain_men; expected")
    assert "Did you mean rain_mean?" in fire
    assert burned.startswith("models[gartner2014_emergency].inputs.moderate_high_km2: found no")
    assert column.startswith("sites.csv: found no column 'rain'; expected one of 'name', 'x'")
    assert column.endswith("Correct storms[gauge].column.")
    study["models"] = [{"name": "swb", "inputs": {"fire": "rain_mean"}}]
    study["storms"][0]["column"] = "area"
    capsys.readouterr()
    assert main(["check", write(study)]) == 0
    assert "\nModels: swb; storms: 1.\n" in capsys.readouterr().out


def test_files_that_are_missing_are_named_once(study, tmp_path):
    (tmp_path / "sites.csv").unlink()
    for tile in (tmp_path / "dem").iterdir():
        tile.unlink()
    first, second = problems(study)
    assert first.startswith("sites.path: found no file sites.csv")
    assert second.startswith("dem.path: dem/*.tif: found no raster")


def test_layers_that_lie_elsewhere_and_sites_that_do_are_named(study, tmp_path):
    study["sites"]["crs"] = "EPSG:32612"
    write_raster(tmp_path / "rain.tif", np.ones((60, 60), np.float32), left=600_000)
    layer, sites = problems(study)
    assert layer.startswith("layer rain (rain.tif): found ")
    assert "beside all of the DEM" in layer
    assert sites.startswith("sites.path and dem.path: found not one of 3 sites within 100 m")


def test_columns_of_one_name_are_found(study):
    study["layers"] = [{"name": "slope", "path": "rain.tif", "type": "numeric", "unit": "deg"}]
    (problem,) = problems(study)
    assert problem.startswith("layers[slope]: found ")
    assert "slope_mean_deg" in problem


def test_what_is_far_too_large_for_the_dem_is_named_all_at_once(study):
    study |= {
        "shards": 10_000,
        "patches": {"core_m": 1e9, "buffer_m": 1e9},
        "snap": {"radius_m": 1e9, "min_area_km2": 1e9},
        "network": {"min_area_km2": 1e9},
    }
    assert [problem.split(": found")[0] for problem in problems(study)] == [
        "shards",
        "patches.core_m",
        "patches.buffer_m",
        "snap.radius_m",
        "snap.min_area_km2",
        "network.min_area_km2",
    ]
    for key in ("patches", "snap", "network"):
        del study[key]
    study |= {"shards": 100}
    study["dem"] |= {"target_crs": "EPSG:32611", "resolution": 1e-6}
    (problem,) = problems(study)
    assert problem.startswith("dem.resolution: found 1e-06, which is cells of 1e-06 m from a DEM ")


def test_a_file_that_is_no_yaml_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "mine.yaml"]) == 1
    assert capsys.readouterr().err.startswith("mine.yaml: found a file that cannot be read (No su")
    (tmp_path / "mine.yaml").write_text("study: a\nstudy: b\n")
    assert main(["check", "mine.yaml"]) == 1
    assert capsys.readouterr().err.startswith("mine.yaml, line 2, column 1: found the key 'study'")


def test_a_geographic_dem_and_one_in_feet_are_told_in_their_units(study, tmp_path):
    ground = np.ones((60, 60), np.float32)
    study["layers"] = []
    study["dem"]["path"] = write_raster(
        tmp_path / "deg.tif", ground, left=-117, top=36.1447, dx=1 / 3600, crs="EPSG:4326"
    )
    line = preview_text(check_study(write(study))).splitlines()[6]
    assert line == "DEM: 1 tile, EPSG:4326, cells of 1 x 1 arc-seconds, 30.9 m from north to south."
    study["dem"] |= {"target_crs": "EPSG:32611", "resolution": 30}
    line = preview_text(check_study(write(study))).splitlines()[6]
    assert line == "DEM: 1 tile, EPSG:32611, cells of 30 x 30 m, resampled from EPSG:4326."


def test_what_a_person_should_look_at_in_the_dem_is_noted(study, capsys):
    ground = 500 + np.add.outer(np.arange(60), np.arange(60)).astype(np.float32)
    ground[20:30, 40:50] = -99
    write_tiles(Path("dem"), ground, [np.s_[:, :30], np.s_[:, 31:]])
    assert main(["check", write(study)]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]
    assert [note[:60] for note in notes] == [
        "Note: dem/tile_1.tif: 100 of 1,740 cells (0.057 of them) are",
        "Note: dem/tile_0.tif and dem/tile_1.tif: a gap of 1 column b",
    ]
    study["dem"]["nodata"] = -99
    assert main(["check", write(study)]) == 0
    assert "are exactly" not in capsys.readouterr().out


def test_tiles_that_differ_where_they_overlap_are_told(study, capsys):
    ground = np.add.outer(np.arange(60), np.arange(60)).astype(np.float32)
    write_tiles(Path("dem"), ground, [np.s_[:, :36]])
    write_raster(Path("dem/tile_1.tif"), ground[:, 24:] + 0.5, left=LEFT + 240)
    study["dem"]["path"] = ["dem/tile_1.tif", "dem"]
    assert main(["check", write(study)]) == 0
    assert (
        "Assumed: dem/tile_1.tif and dem/tile_0.tif overlap, and the first of them counts: they "
        "differ by 0.5 m (median) and 0.5 m at most, in 720 cells compared."
    ) in capsys.readouterr().out.splitlines()
    study["dem"]["max_step_m"] = 0.4
    assert main(["check", write(study)]) == 1
    assert "a difference of at most 0.4 m where tiles overlap" in capsys.readouterr().err


def test_what_the_study_goes_without_is_listed_and_need_not_be_there(study, tmp_path):
    (tmp_path / "rain.tif").unlink()
    study["without"] = ["rain"]
    lines = preview_text(check_study(write(study))).splitlines()
    assert lines[0] == "Study mine: nothing found that would stop a run."
    assert "Left out, as `without` says: rain." in lines
    assert not [line for line in lines if line.startswith("Layers:")]


def test_without_its_dem_a_study_is_its_site_table(study, tmp_path):
    for tile in (tmp_path / "dem").iterdir():
        tile.unlink()
    study["without"] = ["dem"]
    lines = preview_text(check_study(write(study))).splitlines()
    assert lines[0] == "Study mine: nothing found that would stop a run."
    assert lines[1].startswith("Sites: 3 from ")
    assert (
        "Left out, as `without` says: dem, rain; with them: the tables catchments, features."
        in lines
    )
    assert not [line for line in lines if line.startswith(("DEM:", "Jobs:"))]


def test_a_missing_dem_is_named_once_with_its_place(study, tmp_path):
    for tile in (tmp_path / "dem").iterdir():
        tile.unlink()
    study["dem"]["url"] = "https://dem.example"
    (problem,) = problems(study)
    assert problem.startswith("dem.path: dem/*.tif: found no ")
    assert "Get it from https://dem.example. " in problem


def test_what_a_run_goes_without_can_be_said_here_as_for_the_run(study, tmp_path, capsys):
    (tmp_path / "rain.tif").unlink()
    path = write(study)
    assert main(["check", path]) == 1
    assert "Or add rain to `without`" in capsys.readouterr().err
    assert main(["check", path, "--without", "rain"]) == 0
    assert "Left out, as `without` says: rain." in capsys.readouterr().out
    assert main(["check", path, "--without", "rian"]) == 1
    assert "without[0]: found no layer rian" in capsys.readouterr().err


def test_without_the_dem_the_site_table_still_gives_what_is_fitted_to_it(study, tmp_path):
    for tile in (tmp_path / "dem").iterdir():
        tile.unlink()
    study["observations"] = {
        "response": {"column": "area"},
        "classifiers": {"columns": ["x"]},
    }
    (problem,) = problems(study)
    assert problem.endswith(
        " Or add dem to `without`: only what follows from the site table is made."
    )


def test_a_feature_of_a_layer_whose_file_is_missing_is_no_wrong_column(study, tmp_path):
    study["layers"] = [
        {"name": "rock", "path": "rock.gpkg", "type": "polygons", "attribute": "kind"}
        | {"classes": {"Igneous": "igneous"}}
    ]
    study["observations"] = {
        "response": {"column": "area"},
        "classifiers": {"columns": ["rock_share_igneous"]},
    }
    (problem,) = problems(study)
    assert problem.startswith("layers[rock].path: found no file rock.gpkg")
