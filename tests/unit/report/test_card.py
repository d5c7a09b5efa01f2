"""The card of a site: all its values, why it is what it is, and a picture."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from PIL import Image
from small_study import small_study

from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule
from snakeshed.errors import LayerError
from snakeshed.features.layers import layer_of
from snakeshed.report import card_figure as module
from snakeshed.report.card import CardValues, card
from snakeshed.report.card_figure import card_figure
from snakeshed.report.site_values import plain_rows

NAMES = ["a", "<script>alert('b')</script>", "c", "d", "e", "far", "dry"]
CATCHMENT = (0xD5, 0x5E, 0x00)
WATER = (0x08, 0x51, 0x9C)
TRICKLE = (0x42, 0x92, 0xC6)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("card"), NAMES)


def values_of(study, name: str) -> CardValues:
    results = study.results
    catchment, features = (
        plain_rows(table[table["site_id"] == name])[0]
        for table in (results.catchments, results.features)
    )
    return CardValues(catchment, features, results.descriptions, results.configuration)


def draw(study, name: str, **changes) -> tuple[bytes, list[str]]:
    results = study.results
    values = values_of(study, name)
    with study.terrain() as terrain:
        return card_figure(
            values.catchment | changes,
            results.catchments.set_index("site_id").geometry[name],
            terrain,
            PatchPyramid(study.index.lattice, **results.configuration["patches"]),
            [layer_of(layer) for layer in results.configuration["layers"]],
            DelineationRule.of(results.configuration),
        )


def pixels(picture: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def has_colour(picture: bytes, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(pixels(picture) - colour).max(axis=2) < 4).any())


def test_the_picture_shows_catchment_and_network_and_is_the_same_each_time(study):
    (name,) = study.results.catchments.query("confidence == 'low'")["site_id"]
    picture, notes = draw(study, name)
    assert notes == []
    assert has_colour(picture, CATCHMENT)
    assert has_colour(picture, WATER)
    # It drains less than what makes a channel.
    assert study.results.catchments.set_index("site_id").area_km2[name] < 0.1
    assert has_colour(picture, TRICKLE)
    assert draw(study, name) == (picture, notes)


@pytest.mark.parametrize("name", ["far", "dry"])
def test_a_site_without_a_catchment_has_a_picture_without_layers(study, name):
    picture, notes = draw(study, name)
    assert notes == []
    assert not any(has_colour(picture, colour) for colour in (CATCHMENT, (0x00, 0x72, 0xB2)))
    done, _ = draw(study, "a")
    assert pixels(picture).shape[0] < pixels(done).shape[0]


def test_a_site_without_a_place_says_so_in_its_picture(study):
    picture, notes = draw(study, "far", site_x=None, site_y=None, patch=None)
    assert notes == ["The site has no place in the CRS of the DEM: there is nothing to draw."]
    assert pixels(picture).min() < 50


def test_a_site_that_no_patch_was_read_for_has_a_picture(study):
    with_patch, _ = draw(study, "dry")
    picture, notes = draw(study, "dry", patch=None)
    assert notes == []
    assert has_colour(with_patch, WATER)
    assert not has_colour(picture, WATER)


@pytest.mark.parametrize("name", ["$x$ {a} \\frac", "黄河", "two\nlines", "n" * 500])
def test_any_name_can_be_written_into_the_picture(study, name, recwarn):
    picture, _ = draw(study, "far", site_id=name)
    assert picture != draw(study, "far")[0]
    assert not recwarn.list


def test_the_network_of_a_huge_patch_is_left_out_and_the_card_says_so(study, monkeypatch):
    monkeypatch.setattr(module, "_MOST_CELLS", 1000)
    picture, notes = draw(study, "a")
    (note,) = notes
    assert re.fullmatch(
        r"The network is not drawn: the patch has [\d,]+ cells, more than 1,000\.", note
    )
    assert note in card(values_of(study, "a"), picture, notes)


def test_a_layer_that_cannot_be_read_is_named(study, tmp_path):
    broken = tmp_path / "rain.tif"
    broken.write_text("no raster")
    declared = study.results.configuration["layers"][0] | {"path": str(broken)}
    values = values_of(study, "a")
    with study.terrain() as terrain, pytest.raises(LayerError) as told:
        card_figure(
            values.catchment,
            study.results.catchments.set_index("site_id").geometry["a"],
            terrain,
            PatchPyramid(study.index.lattice, **study.results.configuration["patches"]),
            [layer_of(declared)],
            DelineationRule.of(study.results.configuration),
        )
    assert str(told.value).startswith(f"layer rain ({broken}): found a file that cannot be")
    assert str(told.value).endswith("complete; fetch it again if not.")


def test_a_layer_is_seen_where_it_is_and_nowhere_else(study):
    layer = layer_of(study.results.configuration["layers"][0])
    tile, lattice = study.index.tiles[0], study.index.lattice
    west, north = tile.column, tile.row
    extent = module.Extent(west - 20, north - 10, west + 30, north + 40)
    cells = module._layer_cells(layer, extent, lattice)
    assert cells.shape == (50, 50)
    assert cells.mask[:10].all()
    assert cells.mask[:, :20].all()
    assert not cells.mask[10:, 20:].any()
    expected = np.broadcast_to((np.arange(30) / 10).astype("float32"), (40, 30))
    assert cells[10:, 20:].filled(-1) == pytest.approx(expected)


def test_the_page_has_every_value_with_its_description(study):
    values = values_of(study, "a")
    text = card(values, b"picture")
    for name in values.catchment | values.features:
        if name not in ("site_id", "layer_gap"):
            assert f'<span class="name">{name}</span>' in text, name
            assert values.descriptions[name] in unescape(text)
    area = f"{values.catchment['area_km2']:.5g}"
    assert f'<span class="name">area_km2</span><b>{area}</b>' in text
    assert "<h2>Layer rain</h2>" in text
    assert "times the reported 13.0 km²: within 10 %." in text
    assert "<code>snakemake 'results/small/cards/a.html'</code>" in text


def test_a_failed_site_has_a_page_with_its_reason_and_no_features(study):
    text = card(values_of(study, "far"), b"picture")
    assert "Not delineated, outside DEM: no tile of the DEM lies within 100 m of the site." in text
    assert "<h2>Layer rain</h2>" not in text


def test_a_catchment_that_is_not_used_has_a_page_without_features(study):
    values = values_of(study, "a")
    refused = dict(values.catchment) | {"status": "area_mismatch", "reason": "too large"}
    text = card(replace(values, catchment=refused), b"picture")
    assert "Delineated, but without features, and not to be used as it is. " in text
    assert '<span class="chip area_mismatch failed">area mismatch</span>' in text
    assert "<h2>Layer rain</h2>" not in text


def test_a_name_is_text(study):
    name = NAMES[1]
    text = card(values_of(study, name), b"picture")
    assert name not in text
    assert "<h1>&lt;script&gt;alert(&#39;b&#39;)&lt;/script&gt;</h1>" in text
    assert "cards/%3Cscript%3Ealert%28%27b%27%29%3C%2Fscript%3E.html" in text


def test_the_note_of_the_study_is_above_the_site(study):
    values = values_of(study, "far")
    assert "Note:" not in card(values, b"", [])
    noted = replace(values, configuration={**values.configuration, "note": "A <b>draft</b>."})
    page = card(noted, b"", [])
    assert "<strong>Note:</strong> A &lt;b&gt;draft&lt;/b&gt;." in page
    assert page.index("Note:") < page.index('class="picture"')
