"""What the benchmarks tell is so: water that is lost, passes that are timed, targets met."""

import json
import subprocess
import sys
from pathlib import Path

import kernels
import numpy as np
import passes
import peers
import planning
import pytest
import scaling
import side
import tiled
from made_terrain import fractal
from rasterio import open as open_raster
from record import with_table

from snakeshed.kernels import filling


def test_water_is_trapped_where_it_ends_inside():
    counts = np.array([[1, 1, 1, 1], [1, 5, 1, 1], [1, 1, 2, 3], [1, 1, 1, 1.0]])
    ends = np.zeros((4, 4), bool)
    ends[1, 1] = ends[2, 3] = True
    assert side.water(counts, ends) == {"trapped": 5 / 16, "largest": 5.0}


def test_water_ends_on_the_rim_and_where_no_neighbour_is_lower():
    z = np.array([[9, 9, 9, 9], [9, 5, 6, 9], [9, 6, 6, 1], [9, 9, 9, 9.0]])
    ends = side.without_lower_neighbour(z)
    assert ends[1:-1, 1:-1].tolist() == [[True, False], [False, False]]
    assert ends.sum() == 12 + 1


@pytest.mark.parametrize("name", ["snakeshed", "snakeshed carve"])
def test_our_sides_lose_no_water(name, tmp_path):
    path = tmp_path / "terrain.npy"
    np.save(path, fractal(80, 1))
    for threads in (1, 2):
        found = side.measure(name, path, threads, repeats=2, seconds=60)
        assert found["trapped"] == 0
        assert found["repeats"] == 2
        assert list(found["steps"])[-1] == "accumulation"
        assert all(step["s"] > 0 for step in found["steps"].values())


def test_a_side_says_json_and_nothing_else(tmp_path):
    path = tmp_path / "terrain.npy"
    np.save(path, fractal(80, 1))
    done = subprocess.run(
        [sys.executable, side.__file__, "pysheds", str(path), "--repeats", "1"],
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["cells"] == 6400
    assert {"fill_pits", "resolve_flats", "accumulation"} < set(found["steps"])


def row_of(name, **values):
    return {"terrain": "eroded", "cells": 16_000_000, "side": name} | values


def measured(name, chain_ns):
    times = {"condition_ns": chain_ns - 10, "accumulation_ns": 10, "chain_ns": chain_ns}
    return row_of(name, **times, memory_bytes=20, trapped=0.25)


def test_what_would_take_too_long_or_too_much_is_not_run(monkeypatch):
    side_of_it = kernels.Contender("richdem", 1, None, "0.3.4")

    def reason(row, cells=100_000_000, limit=600):
        return kernels._too_much(side_of_it, "eroded", cells, [row], limit)

    monkeypatch.setattr(kernels, "available", lambda: 8e9)
    quick = measured("richdem", 500) | {"memory_bytes": 60}
    assert reason(quick) == ""
    assert reason(quick, limit=40) == "not run: it would take 50 s or more"
    assert reason(quick | {"memory_bytes": 240}) == "not run: it needs 25 GB"
    stopped = row_of("richdem", missing="stopped: not done after 600 s")
    assert reason(stopped) == "not run, as with 16,000,000 cells: not done after 600 s"
    assert reason(measured("pysheds", 1e9)) == ""


def test_peers_are_targets_and_one_on_all_cores_beside_two_threads():
    rows = [measured("snakeshed", 20), measured("snakeshed, 2 threads", 12)]
    rows += [measured("richdem", 190), measured("whitebox-workflows", 132)]
    rows += [row_of("topotoolbox", missing="not run: it needs 25 GB")]
    found = {check["what"]: check for check in kernels.targets(rows)}
    assert (found["chain"]["found"], found["chain"]["met"]) == (20, True)
    richdem, whitebox = (found[f"times faster than {rows[k]['side']}"] for k in (2, 3))
    assert (richdem["found"], richdem["met"]) == (9.5, False)
    assert (whitebox["found"], whitebox["met"]) == (11, True)
    assert "times faster than topotoolbox" not in found


def test_what_threads_do_at_once_counts_once():
    assert passes.union([(0, 2), (1, 3), (5, 6), (5.5, 5.8)]) == 4


def test_passes_add_up_to_the_chain():
    before = dict(vars(filling))
    found = passes.time_passes(fractal(120, 1), threads=1, repeats=2)
    assert vars(filling) == before
    chain = found.pop("chain")
    assert sum(found.values()) == pytest.approx(chain)
    assert len(found) > 3
    assert 0 < found["rest"] < chain


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_a_side_whose_packages_are_pinned(peer):
    assert peer.name in side.SIDES
    lines = peer.pins.read_text(encoding="ascii").splitlines()
    assert lines[0] == f"{peer.name}=={peer.version}"
    assert all(line.count("==") == 1 for line in lines)


def test_a_peer_without_a_python_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    peer = peers.Peer("pyflwdir", 98, 99, "")
    message = "no Python of 3.98 to 3.99 found: name one with --python"
    with pytest.raises(peers.PeerMissingError, match=message):
        peers.environment(peer, tmp_path, [sys.executable])


def test_islands_are_laid_out_square_by_square():
    assert scaling.square_by_square(1) == [(0, 0)]
    assert set(scaling.square_by_square(4)) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert set(scaling.square_by_square(9)[:4]) == set(scaling.square_by_square(4))


@pytest.fixture(scope="module")
def island(tmp_path_factory):
    return scaling.Island(tmp_path_factory.mktemp("island"), 900)


def test_tiles_of_an_island_meet_and_islands_do_not(island, tmp_path):
    files = island.write_tiles((0, 0), tmp_path) + island.write_tiles((0, 1), tmp_path)
    bounds = []
    for file in files:
        with open_raster(file) as raster:
            assert raster.shape == (450, 450)
            bounds.append(raster.bounds)
    first = bounds[0]
    assert bounds[1].left == first.right
    assert bounds[2].top == first.bottom
    assert bounds[4].left == bounds[1].right + scaling.GAP_CELLS * scaling.CELL_M


def test_sites_lie_where_their_areas_are(island):
    sites = island.sites_at((0, 1))
    assert len(sites) == island.sites == 9
    assert sites["x"].is_monotonic_increasing
    assert sites.equals(island.sites_at((0, 1)))
    assert not sites["area_km2"].equals(island.sites_at((0, 0))["area_km2"])
    west = scaling.WEST + (900 + scaling.GAP_CELLS) * scaling.CELL_M
    margin = (scaling.MARGIN_CELLS - 4) * scaling.CELL_M
    assert sites["x"].between(west + margin, west + 9000 - margin).all()
    assert sites["y"].between(scaling.NORTH - 9000 + margin, scaling.NORTH - margin).all()


@pytest.mark.slow
def test_the_pipeline_runs_on_islands(island, tmp_path):
    study = scaling.lay_out(island, 12, tmp_path)
    assert len(study["dem"]["path"]) == 8
    found = scaling.measure(study, 12, 2, tmp_path)
    assert found["delineated"] == 12
    assert found["within_10_percent"] > 0.7
    assert sum(found["levels"].values()) == 12
    assert found["core_s"] == sum(found["parts_s"].values()) > 0
    # Nothing of the run is left but what was laid out.
    assert {path.name for path in tmp_path.iterdir()} == {"tiles", "sites_12.csv"}


def test_the_projection_follows_each_part():
    def run(sites, tiles, delineate, split):
        parts = {"sites, index, shards": split, "delineate": delineate}
        return {"sites": sites, "tiles": tiles, "tile_bytes": tiles * 1e6} | {
            "parts_s": parts,
            "core_s": delineate + split,
        }

    cells = 9e6
    rows = [run(1000, 4, 36.0, 1.0), run(10_000, 40, 360.0, 100.0)]
    found = scaling.projected(rows, cells)
    growth = scaling.CONUS_CELLS / (40 * cells)
    assert found["sites"] == pytest.approx(10_000 * growth)
    assert found["core_hours"] == pytest.approx(460 * growth / 3600)
    grown = found["grown_hours"]
    assert grown["delineate"] == pytest.approx(360 * growth / 3600)
    assert grown["sites, index, shards"] == pytest.approx(100 * growth**2 / 3600)


def test_slopes_are_those_of_logarithms():
    rows = [{"sites": sites} for sites in (10, 100, 1000)]
    assert scaling.slope(rows, [3.0, 30.0, 300.0]) == pytest.approx(1)
    assert scaling.slope(rows, [3.0, 300.0, 30_000.0]) == pytest.approx(2)


def test_a_table_goes_between_its_marks():
    document = "a\n<!-- one: begin -->\nold\n<!-- one: end -->\nb\n"
    assert with_table(document, "one", "new") == (
        "a\n<!-- one: begin -->\nnew\n<!-- one: end -->\nb\n"
    )
    with pytest.raises(ValueError, match="expected one <!-- two: begin -->"):
        with_table(document, "two", "new")


TABLES = ["kernels", "passes", "scaling", "pipeline", "workflow", "memory", "tiled"]


@pytest.mark.parametrize("name", TABLES)
def test_the_readme_has_a_place_for_each_table(name):
    document = Path(side.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert "the new table" in with_table(document, name, "the new table")


def test_a_mosaic_is_mirrored_and_loses_no_water(tmp_path):
    z = fractal(60, 1)
    np.save(tmp_path / "z.npy", z)
    source = tiled.Mosaic(str(tmp_path / "z.npy"), 150)
    whole, border = source.read(0, 0, 150, 150)
    np.testing.assert_array_equal(whole[:60, 60:120], z[:, ::-1])
    np.testing.assert_array_equal(whole[120:, 120:], z[:30, :30])
    assert border.sum() == 4 * 149
    piece, _ = source.read(50, 70, 20, 30)
    np.testing.assert_array_equal(piece, whole[50:70, 70:100])
    with tiled.Workers(1) as workers:
        found = tiled.by_tiles(source, 40, workers, tmp_path)
    assert (found["cells"], found["tiles"], found["left"]) == (150**2, 16, 150**2)
    assert len(found["peaks_mb"]) == 1


def test_what_planning_takes_is_that_of_snakemake_alone(tmp_path):
    parent = "import subprocess, sys; subprocess.run([sys.executable, sys.argv[1]])"
    script = tmp_path / "delineate.py"
    script.write_text("while True: pass", encoding="utf-8")
    found = planning.until_script(
        [sys.executable, "-c", parent + "  # made", str(script)], tmp_path, f"{script}"
    )
    assert found["cpu_s"] < 1
    assert found["peak_mb"] > 1
    with pytest.raises(SystemExit, match="ran no other.py"):
        planning.until_script([sys.executable, "-c", "pass"], tmp_path, "other.py")


def test_the_slope_of_planning_is_one_if_it_is_linear():
    def row(shards, cpu_s):
        kinds = {key: {"cpu_s": cpu_s, "peak_mb": 7} for key in ("dry_run", "start", "pod")}
        return {"shards": shards} | kinds

    assert planning.slope(row(10, 3.0), row(1000, 300.0), "pod") == pytest.approx(1)
    assert planning.slope(row(10, 3.0), row(100, 300.0), "start") == pytest.approx(2)
    made = {"machine": "m", "versions": "v", "date": "d", "rows": [row(10, 3.0), row(1000, 300.0)]}
    lines = planning.table_of(made).splitlines()
    assert "| 1,000 | 300.0 | 7 | 300.0 | 7 | 300.0 | 7 |" in lines
    assert "to the power of 1.00" in lines[-1]
