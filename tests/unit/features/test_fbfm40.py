"""config/fbfm40.csv against what Scott & Burgan (2005) say of their fuel models."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

TABLE = Path(__file__).parents[3] / "config" / "fbfm40.csv"

# LANDFIRE numbers of each group.
CODES = {
    "NB": [91, 92, 93, 98, 99],
    "GR": list(range(101, 110)),
    "GS": list(range(121, 125)),
    "SH": list(range(141, 150)),
    "TU": list(range(161, 166)),
    "TL": list(range(181, 190)),
    "SB": list(range(201, 205)),
}

FUEL_CLASSES = ["1h", "10h", "100h", "live_herb", "live_woody"]
LOADS = [f"load_{fuel}_ton_per_acre" for fuel in FUEL_CLASSES]


@pytest.fixture(scope="module")
def fuel_models() -> pd.DataFrame:
    return pd.read_csv(TABLE).set_index("code")


@pytest.mark.parametrize("group", CODES)
def test_each_group_has_its_codes_in_order(fuel_models, group):
    assert fuel_models.index[fuel_models["group"] == group].to_list() == CODES[group]


def test_forty_models_burn_and_five_do_not(fuel_models):
    assert fuel_models.groupby("burnable").size().to_dict() == {"yes": 40, "no": 5}
    assert set(fuel_models.loc[fuel_models["burnable"] == "no", "group"]) == {"NB"}


def test_model_is_group_and_last_digit_of_code(fuel_models):
    expected = fuel_models["group"] + (fuel_models.index % 10).astype(str)
    assert fuel_models["model"].to_list() == expected.to_list()


def test_nonburnable_types_have_no_parameters(fuel_models):
    parameters = fuel_models.loc[fuel_models["burnable"] == "no"].select_dtypes("number")
    assert parameters.shape == (5, 11)
    assert parameters.isna().all(axis=None)


def test_burnable_models_have_all_loads_depth_moisture_and_heat(fuel_models):
    burnable = fuel_models[fuel_models["burnable"] == "yes"]
    needed = burnable[[*LOADS, "depth_ft", "extinction_moisture_percent"]]
    assert needed.notna().all(axis=None)
    assert (needed >= 0).all(axis=None)
    assert (burnable["depth_ft"] > 0).all()
    assert set(burnable["heat_content_btu_per_lb"]) == {8000, 9000}
    assert burnable.index[burnable["heat_content_btu_per_lb"] == 9000].to_list() == [106]


@pytest.mark.parametrize("fuel", ["1h", "live_herb", "live_woody"])
def test_a_fuel_has_a_surface_where_it_has_a_load(fuel_models, fuel):
    has_load = fuel_models[f"load_{fuel}_ton_per_acre"] > 0
    surface = fuel_models[f"sav_{fuel}_per_ft"]
    assert surface.notna().to_list() == has_load.to_list()
    assert surface.dropna().between(500, 2500).all()


def test_models_with_live_herbs_are_the_dynamic_ones(fuel_models):
    dynamic = fuel_models["dynamic"] == "yes"
    assert dynamic.to_list() == (fuel_models["load_live_herb_ton_per_acre"] > 0).to_list()
    assert dynamic.sum() == 17


@pytest.mark.parametrize(
    ("model", "loads", "depth_ft", "extinction_moisture_percent"),
    [
        ("GR1", [0.10, 0, 0, 0.30, 0], 0.4, 15),
        ("GS4", [1.90, 0.30, 0.10, 3.40, 7.10], 2.1, 40),
        ("SH5", [3.60, 2.10, 0, 0, 2.90], 6.0, 15),
        ("TU2", [0.95, 1.80, 1.25, 0, 0.20], 1.0, 30),
        ("TL8", [5.80, 1.40, 1.10, 0, 0], 0.3, 35),
        ("SB1", [1.50, 3.00, 11.00, 0, 0], 1.0, 25),
    ],
)
def test_published_values(fuel_models, model, loads, depth_ft, extinction_moisture_percent):
    row = fuel_models.set_index("model").loc[model]
    assert row[LOADS].to_list() == loads
    assert row["depth_ft"] == depth_ft
    assert row["extinction_moisture_percent"] == extinction_moisture_percent
