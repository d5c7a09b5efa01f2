"""A study is checked as a whole, explained in words, and completed in one canonical form."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.features.columns import numeric
from snakeshed.features.layers import declared_columns
from snakeshed.models.configured import StudyModels, hazard_settings
from snakeshed.study.configuration import PUBLICATION, complete, without_publication
from snakeshed.study.yaml_file import load_schema, read_study, typed

CONFIG = Path(__file__).parents[3] / "config"
SCHEMA = load_schema(CONFIG / "schema" / "study.schema.yaml")


def study(**sections) -> dict:
    """Return the least configuration, with some sections replaced."""
    return {
        "study": "mine",
        "sites": {
            "path": "data/sites.csv",
            "columns": {"x": "lon", "y": "lat"},
            "crs": "EPSG:4326",
        },
        "dem": {"path": "data/dem.tif"},
    } | sections


def layer(**keys) -> dict:
    return {"name": "kf", "path": "data/kf.tif", "type": "numeric"} | keys


def problems_of(raw) -> dict[str, ConfigurationError]:
    with pytest.raises(SeveralProblems) as caught:
        complete(raw, SCHEMA, "mine.yaml")
    assert all(isinstance(problem, ConfigurationError) for problem in caught.value.problems)
    found = {p.where.removeprefix("mine.yaml: "): p for p in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    return found


def only_problem_of(raw) -> tuple[str, str]:
    (item,) = problems_of(raw).items()
    return item[0], str(item[1])


def schemas(schema: dict, path: str = ""):
    """Yield every key of the schema with its own schema, and whether it must be given."""
    for key, of_key in schema.get("properties", {}).items():
        yield f"{path}{key}", of_key, key in schema.get("required", [])
        yield from schemas(of_key, f"{path}{key}.")
        yield from schemas(of_key.get("items", {}), f"{path}{key}.")


class TestSchema:
    def test_is_a_schema(self):
        Draft202012Validator.check_schema(SCHEMA)

    def test_every_key_is_described_and_has_a_default_or_is_required(self):
        for name, of_key, required in schemas(SCHEMA):
            assert len(of_key.get("description", "")) > 10, name
            assert required != ("default" in of_key), name

    def test_no_section_takes_unknown_keys(self):
        sections = [SCHEMA, *(of_key for _, of_key, _ in schemas(SCHEMA))]
        sections += [section["items"] for section in sections if "items" in section]
        with_keys = [section for section in sections if "properties" in section]
        assert len(with_keys) == 22
        assert all(section["additionalProperties"] is False for section in with_keys)

    def test_every_key_is_in_the_readme_with_its_default(self):
        readme = (CONFIG / "README.md").read_text()
        rows = {}
        for names, default in re.findall(r"^\| (`[^|]+) \|([^|]*)\|", readme, flags=re.M):
            for name in re.findall(r"`([^`]+)`", names):
                rows[name] = default.strip()
        leaves = {
            name.removeprefix("layers."): of_key
            for name, of_key, _ in schemas(SCHEMA)
            # A source is a name or a section.
            if "properties" not in of_key or "string" in of_key["type"]
        }
        assert sorted(rows) == sorted(leaves)
        for name, of_key in leaves.items():
            expected = yaml.safe_load(rows[name]) if rows[name] else None
            assert expected == of_key.get("default"), name

    def test_the_examples_of_the_readme_are_valid(self):
        blocks = re.findall(r"```yaml\n(.*?)```", (CONFIG / "README.md").read_text(), flags=re.S)
        complete(yaml.safe_load(blocks[0]), SCHEMA, "README")
        sections = [block for block in blocks[1:] if re.match(r"[a-z]+:\n", block)]
        assert len(sections) >= 3
        for section in sections:
            complete(study(**yaml.safe_load(section)), SCHEMA, "README")
        (models,) = [yaml.safe_load(block) for block in blocks if block.startswith("models:")]
        models = complete(study(**models), SCHEMA, "README")
        assert models["features"]["joint"] == ["terrain_m1"]
        columns = numeric(declared_columns(models["features"], models["layers"]))
        StudyModels.of(hazard_settings(models), columns)


class TestDefaults:
    def test_the_least_study_gets_every_default(self):
        done = complete(study(), SCHEMA, "mine.yaml")
        assert done["shards"] == 16
        assert done["sites"]["area_unit"] == "km2"
        assert done["sites"]["columns"] == {
            "site_id": None,
            "x": "lon",
            "y": "lat",
            "utm_zone": None,
            "area": None,
        }
        assert done["dem"] == {
            "path": "data/dem.tif",
            "source": None,
            "nodata": None,
            "max_step_m": 5,
            "target_crs": None,
            "resolution": None,
            "vertical_unit": None,
            "conditioning": "fill",
            "max_void_cells": 64,
            "max_pit_m": 30,
            "redistribute": False,
            "url": None,
            "licence": None,
        }
        assert done["snap"]["radius_m"] == 100
        assert done["layers"] == done["compare"] == []
        bare = {"column": "a", "feature": "area_km2"}
        (compared,) = complete(study(compare=[bare]), SCHEMA, "mine.yaml")["compare"]
        assert compared == bare | {"relation": "same", "tolerance": 0.0, "scale": 1.0}
        assert done["models"] == []
        assert [storm["intensity_mm_per_h"] for storm in done["storms"]] == [16, 20, 24, 40]
        assert done["storms"][0] == {
            "name": None,
            "duration_min": 15,
            "intensity_mm_per_h": 16.0,
            "column": None,
            "unit": None,
        }
        assert done["likelihoods"] == [0.5, 0.75]
        assert done["observations"] == {
            "rainfall": [],
            "response": None,
            "refits": [],
            "classifiers": None,
        }
        bare = {"response": {"column": "Response"}}
        filled = complete(study(observations=bare), SCHEMA, "mine.yaml")["observations"]
        assert filled["response"] == {"column": "Response", "events": [1]}
        assert list(done) == list(SCHEMA["properties"])

    def test_what_is_given_wins(self):
        done = complete(study(shards=3, snap={"radius_m": 30}), SCHEMA, "mine.yaml")
        assert done["shards"] == 3
        assert done["snap"]["radius_m"] == 30
        assert done["snap"]["min_area_km2"] == 0.1
        assert done["snap"]["max_area_mismatch"] is None

    def test_the_schema_may_be_a_path(self):
        path = CONFIG / "schema" / "study.schema.yaml"
        assert complete(study(), path, "a") == complete(study(), str(path), "a")

    def test_a_layer_has_the_keys_of_its_type_only(self):
        done = complete(
            study(
                features={"percentiles": [5]},
                layers=[
                    layer(),
                    layer(name="own", percentiles=[1, 99]),
                    layer(name="none", percentiles=[]),
                    layer(name="barc", type="classes", classes={"3": "high", 1: "low"}),
                    layer(name="fuel", type="fbfm40"),
                ],
            ),
            SCHEMA,
            "mine.yaml",
        )
        for each in done["layers"]:
            assert [each.pop(key) for key in PUBLICATION] == [False, None, None]
        of_all = {"nodata": None, "valid_range": None, "max_missing": None}
        for each in done["layers"]:
            assert {key: each.pop(key) for key in of_all} == of_all
        numeric, own, none, classes, fuel = done["layers"]
        assert numeric.pop("value") is None
        assert numeric == layer(scale=1.0, unit=None, percentiles=[5])
        assert own["percentiles"] == [1, 99]
        assert none["percentiles"] == []
        assert classes == layer(name="barc", type="classes", classes={3: "high", 1: "low"})
        assert fuel == layer(name="fuel", type="fbfm40", table="config/fbfm40.csv")

    def test_of_severity_little_may_be_missing_unless_it_is_declared(self):
        layers = [layer(type="severity"), layer(name="b", type="severity", max_missing=0.4)]
        done = complete(study(layers=layers), SCHEMA, "mine.yaml")
        assert [each["max_missing"] for each in done["layers"]] == [0.05, 0.4]
        assert complete(done, SCHEMA, "mine.yaml") == done

    def test_what_only_an_archive_needs_can_be_left_out(self):
        told = {"redistribute": True, "url": "https://a.example", "licence": "CC0-1.0"}
        bare = study(layers=[layer()])
        full = study(layers=[layer(**told)], archive={"changed": True})
        full["sites"] = full["sites"] | told
        full["dem"] = full["dem"] | told
        assert complete(full, SCHEMA, "a")["dem"]["url"] == "https://a.example"
        one, two = (without_publication(complete(each, SCHEMA, "a")) for each in (bare, full))
        assert one == two
        assert "archive" not in one

    def test_numbers_look_the_same_however_they_are_written(self):
        one = complete(study(shards=4, snap={"radius_m": 100}), SCHEMA, "mine.yaml")
        two = complete(study(shards=4.0, snap={"radius_m": 100.0}), SCHEMA, "mine.yaml")
        assert repr(one) == repr(two)
        assert isinstance(one["shards"], int)
        assert isinstance(one["snap"]["radius_m"], float)

    def test_key_order_and_mapping_type_do_not_matter(self):
        def reversed_and_ordered(value):
            if isinstance(value, dict):
                items = list(value.items())[::-1]
                return OrderedDict((key, reversed_and_ordered(item)) for key, item in items)
            return (
                [reversed_and_ordered(item) for item in value] if isinstance(value, list) else value
            )

        raw = study(layers=[layer(), layer(name="b")], snap={"radius_m": 50, "distance_weight": 0})
        one = complete(raw, SCHEMA, "mine.yaml")
        two = complete(reversed_and_ordered(raw), SCHEMA, "mine.yaml")
        assert repr(one) == repr(two)

    def test_nothing_is_shared_with_the_input_or_the_schema(self):
        raw = study(layers=[layer(percentiles=[50])])
        before, schema_before = copy.deepcopy(raw), copy.deepcopy(SCHEMA)
        done = complete(raw, SCHEMA, "mine.yaml")
        done["layers"][0]["percentiles"].append(1)
        done["features"]["percentiles"].append(1)
        done["sites"]["columns"]["x"] = "other"
        assert raw == before
        assert schema_before == SCHEMA

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "shards": st.integers(1, 10_000),
                "snap": st.fixed_dictionaries(
                    {}, optional={"radius_m": st.floats(0.1, 1e4), "distance_weight": st.just(0)}
                ),
                "features": st.fixed_dictionaries(
                    {}, optional={"percentiles": st.lists(st.integers(0, 100), unique=True)}
                ),
                "layers": st.lists(
                    st.sampled_from(["numeric", "classes", "fbfm40"]).map(
                        lambda kind: layer(type=kind)
                    ),
                    max_size=1,
                ),
            },
        )
    )
    def test_completing_again_changes_nothing(self, sections):
        once = complete(study(**sections), SCHEMA, "mine.yaml")
        assert repr(complete(once, SCHEMA, "mine.yaml")) == repr(once)


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("raw", "key", "nearest"),
        [
            (study(layer=[]), "layer", "layers"),
            (study(snap={"radius": 3}), "snap.radius", "snap.radius_m"),
            (study(dem={"path": "a", "Resolution": 3}), "dem.Resolution", "dem.resolution"),
            (study(layers=[layer(percentile=[1])]), "layers[kf].percentile", "percentiles"),
        ],
    )
    def test_the_nearest_known_key_is_named(self, raw, key, nearest):
        where, message = only_problem_of(raw)
        assert where == key
        assert "found an unknown key; expected one of" in message
        assert f"Did you mean {nearest}" in message or f".{nearest}?" in message

    def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(self):
        _, message = only_problem_of(study(max_void_cells=3))
        assert "Did you mean dem.max_void_cells?" in message
        _, message = only_problem_of(study(min_area_km2=3))
        assert "Did you mean snap.min_area_km2 or network.min_area_km2?" in message

    def test_a_key_like_no_other_is_only_refused(self):
        where, message = only_problem_of(study(quux={"anything": 1}))
        assert where == "quux"
        assert "Remove it" in message

    def test_a_key_that_is_no_text(self):
        assert only_problem_of(study() | {2016: 1})[0] == "2016"


class TestValues:
    @pytest.mark.parametrize(
        ("sections", "key", "found", "expected"),
        [
            ({"study": "a/b"}, "study", "the text 'a/b'", "of the form"),
            ({"study": 2016}, "study", "2016", 'Write it in quotes: "2016"'),
            ({"study": "mine\n"}, "study", r"'mine\n'", "text in one line"),
            ({"study": ".."}, "study", "the text '..'", "of the form"),
            ({"study": "a" * 101}, "study", "the text 'aaa", "at most 100 signs"),
            ({"study": ""}, "study", "the text ''", "of the form"),
            ({"study": "Ñuñoa"}, "study", "the text 'Ñuñoa'", "of the form"),
            ({"dem": {"path": "a\tb"}}, "dem.path", r"'a\tb'", "Write it without |"),
            ({"snap": {"radius_m": 10**20}}, "snap.radius_m", "00000", "at most 18 digits"),
            ({"snap": {"radius_m": "nan"}}, "snap.radius_m", "the text 'nan'", "a number greater"),
            ({"shards": 0}, "shards", "0", "a whole number at least 1"),
            ({"shards": 2.5}, "shards", "2.5", "a whole number"),
            ({"shards": True}, "shards", "true", "a whole number"),
            ({"layers": None}, "layers", "nothing (null)", "a list"),
            ({"dem": {"path": []}}, "dem.path", "an empty list", "at least 1 entry"),
            ({"dem": {"path": ["a", 3]}}, "dem.path[2]", "3", "text"),
            ({"dem": {"path": ""}}, "dem.path", "the text ''", "not empty"),
            ({"dem": "a.tif"}, "dem", "the text 'a.tif'", "keys with values"),
            ({"snap": {"radius_m": "1e2"}}, "snap.radius_m", "'1e2'", "Write 100, without quotes"),
            ({"snap": {"radius_m": -1}}, "snap.radius_m", "-1", "greater than 0"),
            ({"snap": {"radius_m": float("nan")}}, "snap.radius_m", "nan", "a finite number"),
            ({"features": {"percentiles": [101]}}, "features.percentiles[1]", "101", "at most 100"),
            ({"features": {"percentiles": [5, 5]}}, "features.percentiles", "[5, 5]", "once"),
            ({"features": {"steep_degrees": [90]}}, "features.steep_degrees[1]", "90", "less than"),
            ({"layers": [layer(type="clases")]}, "layers[kf].type", "clases", "numeric, classes"),
            ({"layers": [layer(name="KF")]}, "layers[KF].name", "KF", "such as dnbr or kf"),
            ({"layers": [layer(scale=0)]}, "layers[kf].scale", "0", "other than 0"),
            ({"layers": [layer(), {"name": 3}]}, "layers[2].name", "3", "text"),
            (
                {"observations": {"rainfall": [{"duration_min": 15, "column": "R", "unit": "cm"}]}},
                "observations.rainfall[1].unit",
                "the text 'cm'",
                "mm, mm_per_h, in, in_per_h",
            ),
            (
                {
                    "observations": {
                        "rainfall": [{"duration_min": 1.5, "column": "R", "unit": "mm"}]
                    }
                },
                "observations.rainfall[1].duration_min",
                "1.5",
                "a whole number",
            ),
            (
                {"observations": {"response": {"column": "R", "events": []}}},
                "observations.response.events",
                "an empty list",
                "at least 1 entry",
            ),
            (
                {"layers": [layer(type="classes", classes={1: "a b"})]},
                "layers[kf].classes.1",
                "the text 'a b'",
                "such as low",
            ),
        ],
    )
    def test_a_wrong_value_is_named_and_explained(self, sections, key, found, expected):
        problem = problems_of(study(**sections))[key]
        assert found in problem.found
        assert expected in f"{problem.expected}. {problem.next_step}"
        assert "It means: " in problem.next_step

    def test_a_long_value_is_quoted_by_its_beginning(self):
        for raw in (
            study(dem={"path": "a.tif", "vertical_unit": "!" * 100_000}),
            study(layers=[layer(name="!" * 100_000)]),
        ):
            _, message = only_problem_of(raw)
            assert "found the text '!!!" in message
            assert len(message) < 1000
        assert len(only_problem_of(study() | {"!" * 100_000: 1})[1]) < 1000

    def test_values_without_end_are_refused(self):
        endless: list = []
        endless.append(endless)
        where, message = only_problem_of(study(layers=endless))
        assert where == "the whole file"
        assert "found more than 20 levels of values within values" in message
        assert "YAML anchor" in message
        many = [0] * 10
        for _ in range(8):
            many = [many] * 10
        assert "found more than 100,000 values" in only_problem_of(study(layers=many))[1]
        for raw in (study(shards=10**5000), study(layers=[{-(10**5000): 1}])):
            message = only_problem_of(raw)[1]
            assert (
                "found a number of more than 40 digits; expected numbers that are meant" in message
            )

    def test_a_missing_key_is_named_and_explained(self):
        raw = study(sites={"crs": "EPSG:4326"})
        del raw["study"]
        problems = problems_of(raw)
        assert sorted(problems) == ["sites.path", "study"]
        assert "no such key; expected text" in str(problems["study"])
        assert "results/<study>/" in str(problems["study"])

    @pytest.mark.parametrize("raw", [None, [], "study"])
    def test_a_file_that_is_no_mapping(self, raw):
        where, message = only_problem_of(raw)
        assert where == "the whole file"
        assert "expected keys with values" in message

    def test_all_problems_are_reported_at_once_in_order(self):
        raw = study(
            sites={"path": "a.csv"},
            dem={"path": "a", "target_crs": "EPSG:26911"},
            shards=0,
            snap={"radius": 3},
        )
        problems = problems_of(raw)
        assert list(problems) == ["dem.resolution", "shards", "sites.columns", "snap.radius"]
        with pytest.raises(SeveralProblems) as caught:
            complete(raw, SCHEMA, "mine.yaml")
        assert str(caught.value).count("mine.yaml: ") == 4


XY = {"x": "E", "y": "N"}


class TestSourcesOfLayers:
    """A layer has a raster or a constant, and bounds in order."""

    def test_a_constant(self):
        raw = layer(value=1)
        del raw["path"]
        (done,) = complete(study(layers=[raw]), SCHEMA, "mine.yaml")["layers"]
        assert (done["path"], done["value"]) == (None, 1.0)
        assert complete(study(layers=[done]), SCHEMA, "mine.yaml")["layers"] == [done]

    def test_nodata_may_be_one_number_or_several(self):
        layers = [layer(nodata=-9999), layer(name="b", nodata=[-1, 0.5])]
        one, several = complete(study(layers=layers), SCHEMA, "mine.yaml")["layers"]
        assert (one["nodata"], several["nodata"]) == (-9999.0, [-1.0, 0.5])

    @pytest.mark.parametrize(
        ("keys", "key", "message"),
        [
            (
                {"path": None},
                "layers[kf]",
                "no path or value; expected where its values come from. Set path to a raster, or "
                "value to a number for all catchments.",
            ),
            (
                {"path": None, "type": "classes"},
                "layers[kf]",
                "no path; expected where its values come from. Set path to a raster.",
            ),
            (
                {"path": None, "type": "polygons"},
                "layers[kf]",
                "no path; expected where its values come from. Set path to a file of polygons.",
            ),
            (
                {"attribute": "kind"},
                "layers[kf].attribute",
                "this key on a layer of type numeric; expected it on a layer of type polygons "
                "only. Remove it, or set the type to polygons.",
            ),
            (
                {"path": "a.gpkg", "type": "polygons", "summary": "number"},
                "layers[kf].summary",
                "this key on polygons with no attribute; expected only keys that change "
                "something. Remove it. Name the attribute if it is meant.",
            ),
            (
                {"value": 3},
                "layers[kf]",
                "both path and value; expected one of them. Remove one of the two.",
            ),
            (
                {"path": None, "value": 3, "scale": 2},
                "layers[kf].scale",
                "this key beside value; expected it only on a layer with a path. Remove it: a "
                "constant is used as it is.",
            ),
            (
                {"path": None, "value": 3, "nodata": 2},
                "layers[kf].nodata",
                "this key beside value; expected it only on a layer with a path. Remove it: a "
                "constant is used as it is.",
            ),
            (
                {"valid_range": [2, 1]},
                "layers[kf].valid_range",
                "2 before 1; expected the smallest value first, then the largest. Write [1, 2].",
            ),
            (
                {"coding": "mtbs"},
                "layers[kf].coding",
                "this key on a layer of type numeric; expected it on a layer of type severity "
                "only. Remove it, or set the type to severity.",
            ),
            (
                {"type": "classes", "scale": 2},
                "layers[kf].scale",
                "this key on a layer of type classes; expected it on a layer of type numeric or "
                "severity only. Remove it, or set the type to numeric or severity.",
            ),
            (
                {"type": "severity", "scale": 1000},
                "layers[kf].scale",
                "this key with coding barc4; expected it with coding dnbr only. Remove it, or set "
                "coding: dnbr.",
            ),
            (
                {"type": "severity", "perimeter": "p.gpkg", "outside": "unburned"},
                "layers[kf].outside",
                "outside: unburned beside a perimeter; expected one of them. Remove it: outside "
                "the perimeter nothing burned, and inside, gaps are missing.",
            ),
            (
                {"type": "severity", "sheet": "a"},
                "layers[kf].sheet",
                "this key without a perimeter; expected only keys that change something. Remove "
                "it, or set perimeter.",
            ),
            (
                {"type": "severity", "coding": "dnbr", "thresholds": [125, 500, 250]},
                "layers[kf].thresholds",
                "125, 500, 250; expected the thresholds of low, moderate, and high severity, each "
                "above the one before. Sort them.",
            ),
        ],
    )
    def test_contradictions(self, keys, key, message):
        where, said = only_problem_of(study(layers=[layer(**keys)]))
        assert where == key
        assert said.endswith(f": found {message}")

    def test_a_duration_has_one_column_of_rainfall(self):
        rainfall = [
            {"duration_min": minutes, "column": column, "unit": "mm"}
            for minutes, column in ((15, "a"), (30, "b"), (15, "c"))
        ]
        where, said = only_problem_of(study(observations={"rainfall": rainfall}))
        assert where == "observations.rainfall[3].duration_min"
        assert said.endswith(
            ": found 15, as for the column 'a'; expected one column of rainfall for each duration. "
            "Correct the duration, or remove one of 'a' and 'c'."
        )

    @pytest.mark.parametrize("bounds", [[1], [1, 2, 3], 5, ["a", 1]])
    def test_a_range_has_two_numbers(self, bounds):
        (problem,) = problems_of(study(layers=[layer(valid_range=bounds)])).values()
        assert "valid_range" in str(problem)


class TestContradictions:
    @pytest.mark.parametrize(
        ("sites", "key", "message"),
        [
            (
                {"path": "a.csv", "columns": {"x": "E"}, "crs": "EPSG:4326"},
                "sites.columns.y",
                "found no such key, but sites.columns.x",
            ),
            ({"path": "a.XLSX"}, "sites.columns", "neither x nor y for a table in .xlsx"),
            ({"path": "a.tsv"}, "sites.columns", "neither x nor y for a table in .tsv"),
            ({"path": "a.rdb"}, "sites.columns", "neither x nor y for a table in .rdb"),
            (
                {"path": "a.shp", "sheet": "a"},
                "sites.sheet",
                "only XLSX files, GeoPackages, and ZIP files with shapefiles have them",
            ),
            ({"path": "a.gpkg", "crs": "EPSG:4326"}, "sites.crs", "has its own"),
            ({"path": "a.gpkg", "utm": {"datum": "NAD83"}}, "sites.utm", "has its own"),
            ({"path": "a.csv", "columns": XY}, "sites", "found neither crs nor utm"),
            (
                {
                    "path": "a.csv",
                    "columns": XY | {"utm_zone": "Z"},
                    "crs": "EPSG:4326",
                    "utm": {"datum": "NAD83"},
                },
                "sites",
                "found both crs and utm; expected one of them",
            ),
            (
                {"path": "a.csv", "columns": XY, "utm": {"datum": "NAD83"}},
                "sites.columns.utm_zone",
                "expected the name of the column with the UTM zone",
            ),
            (
                {"path": "a.csv", "columns": XY | {"utm_zone": "Z"}, "crs": "EPSG:4326"},
                "sites.columns.utm_zone",
                "found the column 'Z', but no sites.utm",
            ),
            (
                {
                    "path": "a.csv",
                    "columns": XY | {"utm_zone": "Z"},
                    "utm": {"datum": "NAD27", "hemisphere": "south"},
                },
                "sites.utm.hemisphere",
                "found south with the datum NAD27",
            ),
            (
                {"path": "a.csv", "columns": {"x": "E", "y": "E"}, "crs": "EPSG:4326"},
                "sites.columns.y",
                "found the column 'E', which is sites.columns.x too; expected another column",
            ),
            (
                {"path": "a.csv", "columns": XY | {"area": "N"}, "crs": "EPSG:4326"},
                "sites.columns.area",
                "found the column 'N', which is sites.columns.y too",
            ),
            (
                {"path": "a.csv", "sheet": "Data", "columns": XY, "crs": "EPSG:4326"},
                "sites.sheet",
                "found 'Data' for a table in .csv",
            ),
        ],
    )
    def test_in_sites(self, sites, key, message):
        where, text = only_problem_of(study(sites=sites))
        assert where == key
        assert message in text

    @pytest.mark.parametrize(
        "sites",
        [
            {"path": "a.gpkg"},
            {"path": "a.gpkg", "sheet": "points"},
            {"path": "a.geojson", "columns": {"site_id": "name"}},
            {"path": "a.parquet"},
            {"path": "a.parquet", "columns": XY, "crs": "EPSG:26911"},
            {
                "path": "a.xlsx",
                "sheet": "Data",
                "columns": XY | {"utm_zone": "Z"},
                "utm": {"datum": "NAD83", "hemisphere": "north"},
            },
        ],
    )
    def test_every_way_to_give_coordinates_is_accepted(self, sites):
        done = complete(study(sites=sites), SCHEMA, "mine.yaml")["sites"]
        assert done["path"] == sites["path"]

    def test_reprojection_needs_a_resolution_and_the_reverse(self):
        where, message = only_problem_of(study(dem={"path": "a", "target_crs": "EPSG:26911"}))
        assert where == "dem.resolution"
        assert "in units of EPSG:26911" in message
        where, message = only_problem_of(study(dem={"path": "a", "resolution": 10}))
        assert where == "dem.resolution"
        assert "found 10, but no dem.target_crs" in message

    @pytest.mark.parametrize(
        ("raw", "key", "count"),
        [
            (study(features={"percentiles": [k / 1000 for k in range(90_000)]}), None, "90,000"),
            # Entries of several kinds cannot be sorted, and were compared each with each.
            (study(features={"steep_degrees": [1, True, "a"] * 30_000}), None, "90,000"),
            (study(layers=[layer(percentiles=[50] * 1001)]), "layers[kf].percentiles", "1,001"),
            (
                study(layers=[layer(type="classes", classes=dict.fromkeys(range(10001), "low"))]),
                "layers[kf].classes",
                "10,001",
            ),
            (study(layers=[layer()] * 1001), "layers", "1,001"),
            (study(dem={"path": "a", "nodata": list(range(101))}), "dem.nodata", "101"),
        ],
    )
    def test_a_list_without_end_is_refused_before_anything_else(self, raw, key, count):
        where, message = only_problem_of(raw)
        assert where == (key or f"features.{next(iter(raw['features']))}")
        assert f"found {count} entries; expected at most " in message
        assert "Keep those that are needed. It means: " in message

    def test_columns_without_end_are_refused(self):
        many = [k / 20 for k in range(1000)]
        labels = {k: f"l{k % 700}" for k in range(1000)}
        layers = [layer(name=f"l{k}") for k in range(8)]
        layers.append(layer(name="c", type="classes", classes=labels))
        raw = study(features={"percentiles": many, "steep_degrees": []}, layers=layers)
        assert complete(raw, SCHEMA, "mine.yaml")["layers"][0]["percentiles"] == many
        raw["layers"][0]["percentiles"] = raw["layers"][1]["percentiles"] = many[:801]
        raw["layers"].append(layer(name="d", percentiles=many[:698]))
        complete(raw, SCHEMA, "mine.yaml")
        raw["layers"].append(layer(name="e", percentiles=[50]))
        raw["layers"].append(layer(name="f", value=1, path=None, percentiles=many[:400]))
        where, message = only_problem_of(raw)
        assert where == "features"
        assert "found 10,401 columns of percentiles, slopes, and classes in all layers" in message
        assert "expected at most 10,000. Ask for fewer percentiles" in message

    @pytest.mark.parametrize("value", [True, "none", {}])
    def test_examples_that_are_numbers_are_named(self, value):
        _, message = only_problem_of(study(dem={"path": "a", "nodata": value}))
        assert "such as 0 or -10000 or [-999, 0]" in message

    @pytest.mark.parametrize(
        ("sections", "key", "most"),
        [
            ({"patches": {"backwater_m": 1e9}}, "patches.backwater_m", 10_000),
            ({"dem": {"path": "a", "max_void_cells": 10**18}}, "dem.max_void_cells", 1_000_000),
            (
                {"dem": {"path": "a", "target_crs": "EPSG:26911", "resolution": 1e308}},
                "dem.resolution",
                10_000_000,
            ),
        ],
    )
    def test_numbers_beyond_every_dem_are_refused(self, sections, key, most):
        where, message = only_problem_of(study(**sections))
        assert where == key
        assert f"at most {most}" in message

    def test_layers_need_different_names(self):
        where, message = only_problem_of(study(layers=[layer(), layer(type="fbfm40")]))
        assert where == "layers[kf].name"
        assert "found 2 layers of this name" in message

    def test_codes_are_whole_numbers_and_unique(self):
        _, message = only_problem_of(study(layers=[layer(type="classes", classes={1.5: "low"})]))
        assert "found the code 1.5; expected whole numbers" in message
        for code in ("1" * 19, 10**19, True, None):
            with pytest.raises(
                SeveralProblems, match="expected whole numbers of at most 18 digits"
            ):
                complete(study(layers=[layer(type="classes", classes={code: "low"})]), SCHEMA, "a")
        raw = study(layers=[layer(type="classes", classes={1: "low", "01": "high"})])
        assert "found the code 1 twice" in only_problem_of(raw)[1]

    def test_a_section_with_a_wrong_key_is_not_judged_as_a_whole(self):
        where, _ = only_problem_of(study(sites={"path": "a.csv", "column": {"x": "E", "y": "N"}}))
        assert where == "sites.column"


class TestFile:
    """The file of a study, read without Snakemake."""

    def problems(self, path) -> list[str]:
        with pytest.raises(SeveralProblems) as caught:
            read_study(path)
        assert all(isinstance(problem, ConfigurationError) for problem in caught.value.problems)
        return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]

    def problems_of_text(self, tmp_path, text: str | bytes) -> list[str]:
        path = tmp_path / "mine.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.problems(path)

    def test_it_is_what_yaml_says(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text("\ufeffstudy: mine\nbase: &b {x: 1, y: 2}\nown: {<<: *b, x: 3}\n", "utf-8")
        assert read_study(path) == {
            "study": "mine",
            "base": {"x": 1, "y": 2},
            "own": {"x": 3, "y": 2},
        }
        path.write_text("# nothing yet\n")
        assert read_study(path) is None

    def test_a_missing_file_and_a_folder_are_named(self, tmp_path):
        (message,) = self.problems(tmp_path / "mine.yaml")
        assert message.startswith(": found a file that cannot be read (No such file or directory)")
        assert f"Correct the path; it is relative to {Path.cwd()}." in message
        (message,) = self.problems(tmp_path)
        assert "Is a directory" in message

    @pytest.mark.parametrize(
        ("text", "place", "found"),
        [
            ("study: a\n\tshards: 3\n", "line 2, column 1", "'\\t' that cannot start any token"),
            ("study: a\nsites: {path: b\ndem: c\n", "line 3, column 4", "expected ',' or '}'"),
            ("study: 'a\n", "line 2, column 1", "unexpected end of stream"),
            ("study:\n  a: 1\n b: 2\n", "line 3, column 2", "expected <block end>"),
            ("study: a: b\n", "line 1, column 9", "mapping values are not allowed here"),
            ("study: *a\n", "line 1, column 8", "undefined alias 'a'"),
            ("study: !!python/name:os.system x\n", "line 1, column 8", "could not determine"),
            ("? [a]\n: 1\n", "line 1, column 3", "unhashable key"),
            ("a: 1\n---\nb: 2\n", "line 2, column 1", "but found another document"),
        ],
    )
    def test_what_is_no_yaml_is_named_with_line_and_column(self, tmp_path, text, place, found):
        (message,) = self.problems_of_text(tmp_path, text)
        assert message.startswith(f", {place}: found no YAML: ")
        assert found in message
        assert "Mend this line or the one above" in message

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            (b"\xff\xfes", "'utf-8' codec can't decode"),
            (b"study: \x00", "special characters are not allowed"),
            (b"study: 2008-13-45", "month must be in 1..12"),
            (b"study: " + b"1" * 5000, "Exceeds the limit"),
            (b"[" * 5000, "maximum recursion depth exceeded"),
        ],
    )
    def test_what_is_no_text_number_or_date_is_named(self, tmp_path, text, found):
        (message,) = self.problems_of_text(tmp_path, text)
        assert message.startswith(": found no YAML (")
        assert found in message
        assert "put what is no number or date in quotes" in message

    def test_every_repeated_key_is_named_with_both_lines(self, tmp_path):
        text = "study: a\nsites: {path: b, path: c}\nlayers:\n- {name: k, name: l}\nstudy: d\n"
        messages = self.problems_of_text(tmp_path, text)
        assert len(messages) == 3
        assert messages[0].startswith(
            ", line 5, column 1: found the key 'study' again (first in line 1); expected every key"
        )
        assert messages[1].startswith(", line 2, column 18: found the key 'path' again (first in")
        assert messages[2].startswith(", line 4, column 13: found the key 'name' again")

    def test_a_value_within_itself_is_read_and_then_refused(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text("study: &a [*a]\n")
        with pytest.raises(SeveralProblems, match="used within itself"):
            complete(read_study(path), SCHEMA, "mine.yaml")


def test_what_stands_deep_in_an_option_is_read_as_in_a_file():
    given = {
        "shards": 2,
        "archive": {"changed": "true"},
        "dem": {"path": ["a", "1"], "url": "null"},
    }
    config = {"study": "7", "archive": {"changed": "true", "wheels": "true"}} | {
        key: given[key] for key in ("shards", "dem")
    }
    assert typed(config, given) == {
        "study": "7",
        "shards": 2,
        "archive": {"changed": True, "wheels": "true"},
        "dem": {"path": ["a", 1], "url": None},
    }
    assert typed({"a": {"b": "x: ["}}, {"a": {"b": "x: ["}}) == {"a": {"b": "x: ["}}


def test_it_starts_fast_because_it_imports_little():
    code = (
        "import sys, snakeshed.study.configuration as c\n"
        f"c.complete({study()!r}, {str(CONFIG / 'schema' / 'study.schema.yaml')!r}, 'a')\n"
        "assert not {'numpy', 'pandas', 'pyarrow', 'geopandas', 'numba'} & set(sys.modules)"
    )
    env = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


class TestRecipe:
    def with_area(self, **sections) -> dict:
        raw = study(recipe="roten2022", **sections)
        raw["sites"]["columns"]["area"] = "km2"
        return raw

    def test_it_is_off_unless_it_is_named(self):
        assert complete(study(), SCHEMA, "mine.yaml")["recipe"] is None
        done = complete(self.with_area(), SCHEMA, "mine.yaml")
        assert done["recipe"] == "roten2022"
        assert complete(done, SCHEMA, "mine.yaml") == done

    @pytest.mark.parametrize(
        ("where", "section", "found"),
        [
            ("snap.radius_m", {"snap": {"radius_m": 50}}, "50.0"),
            ("snap.max_area_mismatch", {"snap": {"max_area_mismatch": 2}}, "2.0"),
            ("patches.levels", {"patches": {"levels": 3}}, "3"),
            ("dem.conditioning", {"dem": {"path": "a.tif", "conditioning": "carve"}}, "carve"),
            ("dem.max_pit_m", {"dem": {"path": "a.tif", "max_pit_m": 5}}, "5.0"),
            ("dem.max_void_cells", {"dem": {"path": "a.tif", "max_void_cells": 0}}, "0"),
        ],
    )
    def test_what_has_no_effect_on_it_is_refused_beside_it(self, where, section, found):
        key, message = only_problem_of(self.with_area(**section))
        assert key == where
        assert message == (
            f"mine.yaml: {where}: found {found}, and recipe: roten2022; expected no such key, "
            "since it has no effect on the recipe. Remove it; or remove recipe, which only "
            "reproduces a paper."
        )

    def test_a_dem_is_not_reprojected_for_it(self):
        dem = {"path": "a.tif", "target_crs": "EPSG:26911", "resolution": 10}
        assert set(problems_of(self.with_area(dem=dem))) == {"dem.target_crs", "dem.resolution"}

    def test_a_study_without_reported_areas_cannot_have_it(self):
        assert only_problem_of(study(recipe="roten2022")) == (
            "sites.columns.area",
            "mine.yaml: sites.columns.area: found no such key, but recipe: roten2022; expected the "
            "column with the reported area, by which the recipe finds window and outlet. Name it, "
            "or remove recipe.",
        )

    def test_the_study_of_the_paper_is_complete(self):
        done = complete(read_study(CONFIG / "roten2022.yaml"), SCHEMA, "roten2022.yaml")
        assert (done["study"], done["recipe"]) == ("roten2022", "roten2022")
        readme = (CONFIG / "README.md").read_text()
        columns = declared_columns(done["features"], done["layers"])
        (table,) = re.findall(r"\| column of the original .*?\n\n", readme, flags=re.S)
        named = set(re.findall(r"`((?:fuel|rock|age)_[a-z_]+)`", table))
        assert len(named) > 12
        assert named <= set(columns)
