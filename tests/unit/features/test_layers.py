"""Declared layers: their columns, which must differ, and the table of fuel models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from snakeshed.errors import ConfigurationError, LayerError
from snakeshed.features.columns import ReliefRule, number
from snakeshed.features.layer import columns_of
from snakeshed.features.layer_types.classes import ClassLayer
from snakeshed.features.layer_types.fbfm40 import FuelLayer
from snakeshed.features.layer_types.numeric import NumericLayer
from snakeshed.features.layers import declared_columns, feature_columns, layer_of, unknown_codes

TABLE = Path(__file__).parents[3] / "config" / "fbfm40.csv"
RULE = ReliefRule((23.0,), (50.0,))


@pytest.mark.parametrize(
    ("value", "name"),
    [(23.0, "23"), (12.5, "12p5"), (0.0, "0"), (99.9, "99p9"), (-1.5, "minus1p5")],
)
def test_numbers_in_names(value, name):
    assert number(value) == name


def test_layers_of_their_declarations():
    common = {"name": "a", "path": "a.tif"}
    numeric = {"type": "numeric", "scale": 0.5, "unit": "m", "percentiles": [10.0]}
    assert layer_of(common | numeric) == NumericLayer("a", "a.tif", (10.0,), 0.5, "m")
    declared = common | {"type": "classes", "classes": {"3": "high"}}
    assert layer_of(declared) == ClassLayer("a", "a.tif", {3: "high"})
    declared = common | {"type": "fbfm40", "table": "t.csv"}
    assert layer_of(declared) == FuelLayer("a", "a.tif", "t.csv")


def test_columns_come_in_the_order_of_the_layers_and_are_described():
    layers = [
        NumericLayer("kf", "kf.tif", (10.0, 50.0), unit="t_per_ha"),
        ClassLayer("barc", "barc.tif", {4: "high", 1: "low", 2: "low"}),
    ]
    columns = feature_columns(RULE, layers)
    own = [name for name in columns if name.startswith(("kf", "barc"))]
    assert own == [
        "kf_mean_t_per_ha",
        "kf_std_t_per_ha",
        "kf_min_t_per_ha",
        "kf_max_t_per_ha",
        "kf_p10_t_per_ha",
        "kf_p50_t_per_ha",
        "kf_coverage",
        "barc_dominant",
        "barc_share_low",
        "barc_share_high",
        "barc_share_unlabelled",
        "barc_codes",
        "barc_coverage",
    ]
    assert list(columns)[-len(own) :] == own
    assert all(column.description.endswith(".") for column in columns.values())
    assert [name for name in own if columns[name].is_text] == ["barc_dominant", "barc_codes"]


def test_a_unit_does_not_decide_the_type_of_a_column():
    layer = NumericLayer("kf", "kf.tif", (), unit="codes")
    assert not any(column.is_text for column in columns_of(layer))


# ---- collisions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [NumericLayer("slope", "s.tif", (), unit="deg")],
            "layers[slope]: found the column slope_mean_deg that features has too; expected every "
            "column once. Rename the layer, or change its unit or its labels.",
        ),
        (
            [
                ClassLayer("soil", "a.tif", {1: "b_coverage"}),
                NumericLayer("soil_share_b", "b.tif", ()),
            ],
            "layers[soil_share_b]: found the column soil_share_b_coverage that layers[soil] has "
            "too; expected every column once. Rename the layer, or change its unit or its labels.",
        ),
        (
            [ClassLayer("soil", "a.tif", {1: "unlabelled"})],
            "layers[soil]: found the column soil_share_unlabelled twice; expected every column "
            "once. Change one of its labels, models or percentiles.",
        ),
        (
            [NumericLayer("kf", "a.tif", (33.3333333, 33.3333334))],
            "layers[kf]: found the column kf_p33p3333 twice; expected every column once. "
            "Change one of its labels, models or percentiles.",
        ),
    ],
)
def test_columns_of_the_same_name_are_refused(layers, message):
    with pytest.raises(ConfigurationError) as told:
        feature_columns(RULE, layers)
    assert str(told.value) == message


def test_a_column_that_stands_before_the_features_is_refused(tmp_path):
    table = tmp_path / "models.csv"
    table.write_text("code,model,group,burnable,gap\n1,A,G,yes,2\n")
    with pytest.raises(ConfigurationError) as told:
        feature_columns(RULE, [FuelLayer("layer", "a.tif", str(table))])
    assert str(told.value) == (
        "layers[layer]: found the column layer_gap that features has too; expected every column "
        "once. Rename the layer, or change its unit or its labels."
    )


def test_percentiles_that_look_the_same_are_refused():
    with pytest.raises(ConfigurationError) as told:
        declared_columns({"steep_degrees": [30.0, 30.0000001], "percentiles": [], "joint": []}, [])
    assert str(told.value) == (
        "features: found the column share_steeper_30deg twice; expected every column once. "
        "Remove one of two percentiles or slopes that differ by less than six digits."
    )


def test_looking_for_collisions_imports_nothing_heavy():
    code = (
        "import sys, snakeshed.features.layers;"
        "print(sorted({'numpy', 'pandas', 'rasterio', 'numba', 'scipy'} & set(sys.modules)))"
    )
    scripts = str(Path(__file__).parents[3] / "scripts")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": scripts},
    )
    assert done.stdout.strip() == "[]"


# ---- unknown codes ----------------------------------------------------------------------------


def test_codes_that_layers_do_not_know_are_counted_by_site():
    features = pd.DataFrame(
        {
            "barc_codes": ["1=0.5;9=0.5", "2=0.25;9=0.25;-3=0.5", "1=1", None],
            "free_codes": ["5=1", "6=1", None, None],
            "fuel_unmapped_codes": [None, "7;300", "300", None],
            "kf_mean": [1.0, 2.0, 3.0, None],
        }
    )
    layers = [
        NumericLayer("kf", "kf.tif", ()),
        ClassLayer("barc", "barc.tif", {1: "low", 2: "high"}),
        ClassLayer("free", "free.tif"),
        FuelLayer("fuel", "fuel.tif", str(TABLE)),
    ]
    assert unknown_codes(features, layers) == {"barc": {-3: 1, 9: 2}, "fuel": {7: 1, 300: 2}}
    assert list(unknown_codes(features, layers)["barc"]) == [-3, 9]
    assert unknown_codes(features.iloc[3:], layers) == {}


# ---- the table of fuel models ----------------------------------------------------------------


def test_a_table_that_is_edited_is_read_again(tmp_path):
    table = tmp_path / "fuel.csv"
    text = TABLE.read_text(encoding="utf-8")
    table.write_text(text, encoding="utf-8")
    layer = FuelLayer("fuel", "fuel.tif", str(table))
    assert len(layer.models()) == 45
    table.write_text(text.rstrip().rpartition("\n")[0] + "\n", encoding="utf-8")
    assert len(layer.models()) == 44


def test_the_table_of_the_project():
    layer = FuelLayer("fuel", "fuel.tif", str(TABLE))
    models = layer.models()
    assert len(models) == 45
    assert layer.groups() == ["NB", "GR", "GS", "SH", "TU", "TL", "SB"]
    assert [model.model for model in models if not model.burnable] == [
        "NB1",
        "NB2",
        "NB3",
        "NB8",
        "NB9",
    ]
    (gr1,) = (model for model in models if model.code == 101)
    assert gr1.parameters["depth_ft"] == 0.4
    assert models[0].parameters["depth_ft"] is None
    text = {column.name for column in columns_of(layer) if column.is_text}
    assert text == {"fuel_dominant_model", "fuel_dominant_group", "fuel_unmapped_codes"}


# Scott and Burgan (2005), the pages of these models: characteristic SAV, 1/ft, and packing ratio.
@pytest.mark.parametrize(
    ("model", "sav", "packing"),
    [
        ("GR1", 2054, 0.00143),
        ("GS1", 1832, 0.00215),
        ("SH5", 1252, 0.00206),
        ("TU1", 1606, 0.00885),
        ("TL8", 1770, 0.03969),
        ("SB1", 1653, 0.02224),
    ],
)
def test_what_follows_from_the_parameters_of_a_fuel_model(model, sav, packing):
    (found,) = (
        each for each in FuelLayer("f", "f.tif", str(TABLE)).models() if each.model == model
    )
    assert found.parameters["characteristic_sav_per_ft"] == pytest.approx(sav, abs=0.51)
    assert found.parameters["packing_ratio"] == pytest.approx(packing, abs=1e-5)


def test_fine_fuel_is_what_dries_in_an_hour_and_what_lives():
    models = {model.model: model for model in FuelLayer("f", "f.tif", str(TABLE)).models()}
    # TU1 has 0.2 t/acre of 1-h fuel, 0.2 of live herbs, and 0.9 of live wood.
    assert models["TU1"].parameters["fine_fuel_load_ton_per_acre"] == pytest.approx(1.3)
    assert models["NB1"].parameters["fine_fuel_load_ton_per_acre"] is None


HEADER = "code,model,group,burnable,depth_ft\n"


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        (
            "",
            "",
            "found no rows; expected one fuel model a row, with at least code, model, group, "
            "burnable. Write it as config/fbfm40.csv is written.",
        ),
        (
            "code,model,depth_ft\n1,A,2\n",
            "",
            "found no group, burnable; expected one fuel model a row, with at least code, model, "
            "group, burnable. Write it as config/fbfm40.csv is written.",
        ),
        (
            HEADER + "1,A,G,yes,2\nB,B,G,no,\n",
            ", line 3",
            "found code 'B'; expected a whole number. Correct the table.",
        ),
        (
            HEADER + "1,A,G,maybe,2\n",
            ", line 2",
            "found burnable 'maybe'; expected yes or no. Correct the table.",
        ),
        (
            HEADER + "1,A,,yes,2\n",
            ", line 2",
            "found group ''; expected a name. Correct the table.",
        ),
        (
            HEADER + "1,A,G,yes,high\n",
            ", line 2",
            "found depth_ft 'high'; expected a number, or nothing. Correct the table.",
        ),
        (
            HEADER + "1,A,G,yes,nan\n",
            ", line 2",
            "found depth_ft 'nan'; expected a number, or nothing. Correct the table.",
        ),
        (
            HEADER + "1,A,G,yes,2\n1,B,G,yes,2\n",
            "",
            "found the code 1 twice; expected every code once. Remove one row.",
        ),
        (
            HEADER + "1,A,G,yes,2\n2,A,G,yes,2\n",
            "",
            "found the model A twice; expected every model once. Remove one row.",
        ),
    ],
)
def test_a_table_that_cannot_be_understood(tmp_path, text, where, message):
    table = tmp_path / "models.csv"
    table.write_text(text)
    with pytest.raises(LayerError) as told:
        FuelLayer("fuel", "fuel.tif", str(table)).models()
    assert str(told.value) == f"layer fuel ({table}){where}: {message}"


def test_a_missing_table(tmp_path):
    table = str(tmp_path / "none.csv")
    with pytest.raises(LayerError) as told:
        columns_of(FuelLayer("fuel", "fuel.tif", table))
    assert str(told.value) == (
        f"layer fuel ({table}): found no such file; expected the table of fuel models. "
        "Set the layer's table, or restore config/fbfm40.csv."
    )


def test_a_table_that_is_not_text(tmp_path):
    table = tmp_path / "models.csv"
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LayerError, match="expected a CSV table in UTF-8"):
        FuelLayer("fuel", "fuel.tif", str(table)).models()
