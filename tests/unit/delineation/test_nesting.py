"""Which site lies next downstream, and what drains through no other site's outlet first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference
import shapely
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from rasters import write_raster

from snakeshed.backends.local import Backend
from snakeshed.delineation import nesting as module
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.nesting import NESTING, with_nesting
from snakeshed.delineation.patch import failed
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.delineation.table import CATCHMENTS, write_catchments
from snakeshed.grid.snap import SnapRule
from snakeshed.tables.geoparquet import GEOMETRY, read_arrow, read_descriptions, write_table
from snakeshed.terrain.dem import index_terrain

LEFT, TOP, CELL, SIDE = 500_000.0, 4_000_000.0, 10.0, 24
# On the central meridian of a UTM zone a kilometer of the grid is 1 / 0.9996 km of ground.
CELL_KM2 = (CELL / 0.9996) ** 2 / 1e6
RULE = DelineationRule(SnapRule(1.0, 0.05, 1e-9), max_void_cells=0, channel_km2=0.001)


def nested(catchments: list[Catchment], folder) -> dict[str, tuple]:
    """The two columns by site."""
    path = folder / "catchments.parquet"
    write_catchments(sorted(catchments, key=lambda done: done.site_id), path, "EPSG:32611")
    table = with_nesting(read_arrow(path))
    rows = table.select(["site_id", *NESTING]).to_pylist()
    return {row["site_id"]: tuple(row[name] for name in NESTING) for row in rows}


def square(name: str, left: int, top: int, side: int, outlet: tuple[int, int] | None = None):
    """A catchment of cells of 1 km2 whose outlet is its south-western cell, or another."""
    column, row = outlet or (left, top + side - 1)
    done = failed(Site(name, 0.0, 0.0, 0), None, "ok", "")
    cells = shapely.box(left * 1000, -(top + side) * 1000, (left + side) * 1000, -top * 1000)
    return replace(
        done,
        outlet_x=(column + 0.5) * 1000,
        outlet_y=-(row + 0.5) * 1000,
        area_km2=float(side * side),
        geometry=shapely.MultiPolygon([cells]),
    )


def test_nested_sites_by_hand(tmp_path):
    river = square("river", 0, 0, 10)
    brook, source = square("brook", 1, 1, 4), square("source", 2, 2, 1)
    other = square("other", 6, 6, 2)
    apart = square("apart", 20, 0, 3)
    assert nested([river, brook, source, other, apart], tmp_path) == {
        "river": (None, 100.0 - 16.0 - 4.0),
        "brook": ("river", 15.0),
        "source": ("brook", 1.0),
        "other": ("river", 4.0),
        "apart": (None, 9.0),
    }


def test_sites_at_one_outlet_share_what_is_downstream(tmp_path):
    sites = [square("b", 1, 1, 4), square("a", 1, 1, 4), square("river", 0, 0, 10)]
    above = square("above", 2, 2, 2)
    assert nested([*sites, above], tmp_path) == {
        "a": ("river", 12.0),
        "above": ("a", 4.0),
        "b": ("river", 12.0),
        "river": (None, 84.0),
    }


def test_only_sites_that_are_ok_count(tmp_path):
    refused = replace(square("refused", 1, 1, 4), status="area_mismatch")
    lost = failed(Site("lost", 0.0, 0.0, 0), None, "outside_dem", "none")
    assert nested(
        [square("river", 0, 0, 10), refused, square("source", 2, 2, 1), lost], tmp_path
    ) == {
        "lost": (None, None),
        "refused": (None, None),
        "river": (None, 99.0),
        "source": ("river", 1.0),
    }
    assert nested([lost], tmp_path) == {"lost": (None, None)}
    assert nested([], tmp_path) == {}


def test_the_columns_are_described_and_the_geometry_stays_the_last(tmp_path):
    assert nested([square("a", 0, 0, 1)], tmp_path)
    path = tmp_path / "catchments.parquet"
    write_table(with_nesting(read_arrow(path)), path)
    assert list(read_descriptions(path)) == [*CATCHMENTS, *NESTING, GEOMETRY]
    assert all(read_descriptions(path).values())
    assert b"geo" in read_arrow(path).schema.metadata


places = st.lists(
    st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)), min_size=1, max_size=30
)


@examples(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.floats(0, 30), places)
def test_the_nesting_is_that_of_the_flow_paths(tmp_path, seed, relief, chosen):
    random = np.random.default_rng(seed)
    z = 1000 - 5.0 * np.arange(SIDE)[:, None] + random.uniform(0, relief, (SIDE, SIDE))
    z = z.astype(np.float32)
    index = index_terrain([write_raster(tmp_path / "dem.tif", z, left=LEFT, top=TOP, dx=CELL)])
    pyramid = PatchPyramid(index.lattice, 300.0, 300.0, 1, 2.5)
    sites = [
        Site(f"s{k:02}", LEFT + (column + 0.5) * CELL, TOP - (row + 0.5) * CELL, 0)
        for k, (row, column) in enumerate(chosen)
    ]
    done = delineate(sites, index, pyramid, RULE, Backend("serial"))
    found = nested(done, tmp_path)

    padded, sizes = reference.pad(z), np.full(SIDE + 2, CELL)
    border = reference.beside_nodata(padded)
    directions = reference.route(reference.priority_flood(padded, border), border, sizes, sizes)
    cells = [(row + 1, column + 1) for row, column in chosen]
    firsts = {cell: f"s{cells.index(cell):02}" for cell in cells}
    for k, cell in enumerate(cells):
        path = reference.flow_path(directions, cell)[1:]
        expected = next((firsts[each] for each in path if each in firsts), None)
        upslope = reference.upslope(directions, cell)
        above = set().union(
            *(reference.upslope(directions, each) for each in set(cells) & upslope - {cell})
        )
        into, own_km2 = found[f"s{k:02}"]
        assert into == expected
        assert own_km2 == pytest.approx(len(upslope - above) * CELL_KM2, rel=1e-6)


def test_neither_the_number_searched_at_a_time_nor_the_order_matters(tmp_path, monkeypatch):
    random = np.random.default_rng(4)
    catchments = []
    for k in range(60):
        # Squares within squares: each quarter again has quarters.
        side = 2 ** random.integers(0, 6)
        left, top = (int(n) * side for n in random.integers(0, 64 // side, 2))
        catchments.append(square(f"s{k:02}", left, top, int(side)))
    whole = nested(catchments, tmp_path)
    assert sum(into is not None for into, _ in whole.values()) > 20
    monkeypatch.setattr(module, "_ABREAST", 7)
    assert nested(catchments[::-1], tmp_path) == whole
