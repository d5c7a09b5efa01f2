"""The map: outlines and points where they are, and pictures only of ground near sites."""

from __future__ import annotations

import re

import numpy as np
import pytest
import shapely
from small_study import small_study

from snakeshed.report import site_map as module
from snakeshed.report.site_map import site_map

NAMES = list("abcdefg")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("map"), NAMES)


@pytest.fixture(scope="module")
def drawn(study):
    with study.terrain() as terrain:
        return site_map(study.results.catchments, terrain)


def polygon(path: str) -> shapely.Geometry:
    parts = []
    for x, y, steps in re.findall(r"M(-?\d+),(-?\d+)l([^z]+)z", path):
        moves = np.array([step.split(",") for step in steps.split()], int)
        nodes = np.vstack([[int(x), int(y)], moves]).cumsum(axis=0)
        parts.append(shapely.Polygon(nodes))
    return shapely.union_all(parts)


def test_outlines_have_the_catchments_areas(study, drawn):
    done = study.results.catchments["status"] == "ok"
    assert [site.outline is not None for site in drawn.sites] == list(done)
    for site, cells in zip(drawn.sites, study.results.catchments["cells"], strict=True):
        if site.outline:
            assert polygon(site.outline).area == pytest.approx(int(cells), rel=0.02)


def test_points_lie_on_their_outlines(study, drawn):
    assert drawn.unit_m == pytest.approx(30, rel=1e-3)
    assert drawn.aspect == 1
    for site, row in zip(drawn.sites, study.results.catchments.itertuples(), strict=True):
        assert site.point is not None
        if row.status == "ok":
            assert polygon(site.outline).distance(shapely.Point(site.outlet)) < 1
            apart = shapely.Point(site.outlet).distance(shapely.Point(site.point)) * 30
            assert apart == pytest.approx(row.snap_distance_m, abs=0.5)


def test_the_first_view_is_of_catchments_and_the_other_of_all_sites(drawn):
    def box(view):
        x, y, width, height = view
        return shapely.box(x, y, x + width, y + height)

    points = [shapely.Point(site.point) for site in drawn.sites]
    assert box(drawn.everything).buffer(0.1).contains(shapely.MultiPoint(points))
    far = NAMES.index("f")
    assert not box(drawn.view).contains(points[far])
    assert all(
        box(drawn.view).contains(polygon(site.outline)) for site in drawn.sites if site.outline
    )


def test_pictures_cover_the_catchments_and_nothing_far_from_sites(drawn):
    pictures = shapely.union_all(
        [shapely.box(p.x, p.y, p.x + p.width, p.y + p.height) for p in drawn.pictures]
    )
    outlines = shapely.union_all([polygon(site.outline) for site in drawn.sites if site.outline])
    assert pictures.contains(outlines)
    assert not pictures.contains(shapely.Point(drawn.sites[NAMES.index("f")].point))


def test_a_site_without_a_place_has_nothing_drawn(study):
    catchments = study.results.catchments.copy()
    lost = catchments["site_id"] == "f"
    catchments.loc[lost, ["site_x", "site_y"]] = np.nan
    with study.terrain() as terrain:
        drawn = site_map(catchments, terrain)
        only = site_map(catchments[lost], terrain)
    assert drawn.sites[NAMES.index("f")].point is None
    assert drawn.sites[NAMES.index("f")].box is None
    assert only.pictures == ()
    assert only.view == only.everything == (0.0, 0.0, 1.0, 1.0)


def test_a_map_that_would_be_too_large_is_drawn_more_coarsely(study, drawn, monkeypatch):
    def size(drawing) -> tuple[int, int]:
        pictures = sum(len(each.source) for each in drawing.pictures)
        return pictures, sum(len(site.outline or "") for site in drawing.sites)

    pictures, outlines = size(drawn)
    monkeypatch.setattr(module, "_MOST_PICTURES", pictures // 2)
    monkeypatch.setattr(module, "_MOST_OUTLINES", outlines // 2)
    with study.terrain() as terrain:
        coarse = site_map(study.results.catchments, terrain)
    assert 0 < size(coarse)[0] <= pictures // 2
    assert 0 < size(coarse)[1] <= outlines // 2
    for fine, rough in zip(drawn.sites, coarse.sites, strict=True):
        if fine.outline:
            both = polygon(fine.outline).intersection(polygon(rough.outline))
            assert both.area > 0.7 * polygon(fine.outline).area
