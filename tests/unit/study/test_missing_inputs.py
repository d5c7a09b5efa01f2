from __future__ import annotations

import pytest

from snakeshed.errors import SeveralProblems
from snakeshed.study.missing_inputs import check_inputs


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sites.csv", "dem.tif", "rain.tif", "fuel.tif", "models.csv"):
        (tmp_path / name).touch()
    return {
        "without": [],
        "sites": {"path": "sites.csv"},
        "dem": {"path": "dem.tif"},
        "layers": [
            {"name": "rain", "path": "rain.tif", "type": "numeric"},
            {"name": "fuel", "path": "fuel.tif", "type": "fbfm40", "table": "models.csv"},
        ],
    }


def test_files_that_are_there(study):
    check_inputs(study)


def test_files_that_the_workflow_makes_need_not_be_there(study, tmp_path):
    (tmp_path / "dem.tif").unlink()
    (tmp_path / "sites.csv").unlink()
    check_inputs(study, made=["dem.tif", "sites.csv"])


def test_addresses_are_not_looked_for(study):
    study["dem"]["path"] = "/vsicurl/https://localhost/dem.tif"
    study["layers"][0]["path"] = "https://localhost/rain.tif"
    check_inputs(study)


def test_folders_in_place_of_files_are_named(study, tmp_path):
    for name in ("sites.csv", "rain.tif"):
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
    with pytest.raises(SeveralProblems) as error:
        check_inputs(study)
    table, layer = str(error.value).splitlines()
    assert table.startswith("- sites.path: found the folder sites.csv; expected a table of sites.")
    assert layer.startswith("- layers[rain].path: found the folder rain.tif; expected a raster.")


def test_all_missing_files_are_named_at_once(study, tmp_path):
    for name in ("sites.csv", "dem.tif", "rain.tif", "models.csv"):
        (tmp_path / name).unlink()
    with pytest.raises(SeveralProblems) as error:
        check_inputs(study)
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    advice = f"Correct the path; it is relative to {tmp_path}."
    assert lines[0] == f"- sites.path: found no file sites.csv; expected a table of sites. {advice}"
    assert lines[1].startswith("- dem.path: dem.tif: found no raster; expected a file, a folder")
    assert lines[2] == (
        f"- layers[rain].path: found no file rain.tif; expected a raster. {advice} Or add rain to "
        "`without`: what needs it is left out, too."
    )
    assert lines[3] == (
        "- layers[fuel].table: found no file models.csv; expected the table of fuel models. "
        f"{advice} Or add fuel to `without`: what needs it is left out, too."
    )


def test_where_a_missing_file_can_be_had_is_said(study, tmp_path):
    for section, name in (
        (study["sites"], "sites.csv"),
        (study["dem"], "dem.tif"),
        (study["layers"][0], "rain.tif"),
    ):
        (tmp_path / name).unlink()
        section["url"] = f"https://{name}.example"
    with pytest.raises(SeveralProblems) as error:
        check_inputs(study)
    table, dem, layer = (problem.next_step for problem in error.value.problems)
    assert table.startswith("Get it from https://sites.csv.example, or correct the path; it is")
    assert dem.startswith("Get it from https://dem.tif.example. ")
    assert layer.startswith("Get it from https://rain.tif.example, or correct the path; it is")


def test_a_dem_that_the_study_goes_without_need_not_be_there(study, tmp_path):
    (tmp_path / "dem.tif").unlink()
    study["without"] = ["dem"]
    check_inputs(study)


def test_files_of_polygons_and_points_that_are_missing_are_named(study):
    study["layers"] = [
        {"name": kind, "path": f"{kind}.gpkg", "type": kind} for kind in ("polygons", "points")
    ]
    with pytest.raises(SeveralProblems) as error:
        check_inputs(study)
    assert [problem.found for problem in error.value.problems] == [
        "no file polygons.gpkg",
        "no file points.gpkg",
    ]
    assert [problem.expected for problem in error.value.problems] == [
        "a file of polygons",
        "a file of points",
    ]


def test_braces_in_paths_are_named(study, tmp_path):
    (tmp_path / "a{b}").mkdir()
    for section, name in ((study["sites"], "sites.csv"), (study["layers"][0], "rain.tif")):
        (tmp_path / name).rename(tmp_path / "a{b}" / name)
        section["path"] = f"a{{b}}/{name}"
    with pytest.raises(SeveralProblems) as error:
        check_inputs(study)
    assert str(error.value).splitlines() == [
        f"- {key}: found the path a{{b}}/{name}; expected one without braces, which Snakemake "
        "takes for wildcards. Rename the file or its folder."
        for key, name in (("sites.path", "sites.csv"), ("layers[rain].path", "rain.tif"))
    ]
