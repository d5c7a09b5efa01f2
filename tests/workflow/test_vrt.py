"""A DEM of tiles and a VRT of the same tiles give the same catchments."""

from __future__ import annotations

import pandas as pd
from tiny_study import CELL_M, NORTH, TILE_CELLS, TILES_ACROSS, TILES_DOWN, WEST

from snakeshed.backends.local import Backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import split
from snakeshed.delineation.site import DelineationRule, sites_of
from snakeshed.delineation.table import write_catchments
from snakeshed.grid.snap import SnapRule
from snakeshed.terrain.dem import index_terrain

RULE = DelineationRule(SnapRule(100.0, 0.05, 0.1), max_void_cells=64, channel_km2=0.1)


def catchments(files: list, sites: pd.DataFrame, path) -> bytes:
    index = index_terrain([str(file) for file in files])
    pyramid = PatchPyramid(index.lattice, 1500, 1500, 2, 2.5)
    (shard,) = split(sites, index, pyramid, 1)
    done = delineate(sites_of(shard.sites), shard.terrain, pyramid, RULE, Backend("serial"))
    write_catchments(done, path, index.lattice.crs)
    return path.read_bytes()


def test_vrt_of_tiles(finished, tmp_path):
    tiles = sorted(finished.folder.glob("dem/*.tif"))
    assert len(tiles) == TILES_DOWN * TILES_ACROSS
    sources = []
    for tile in tiles:
        row, column = (int(number) * TILE_CELLS for number in tile.stem.split("_")[1:])
        sources.append(
            f'<SimpleSource><SourceFilename relativeToVRT="0">{tile}</SourceFilename>'
            f'<SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="{TILE_CELLS}"'
            f' ySize="{TILE_CELLS}"/><DstRect xOff="{column}" yOff="{row}"'
            f' xSize="{TILE_CELLS}" ySize="{TILE_CELLS}"/></SimpleSource>'
        )
    vrt = tmp_path / "dem.vrt"
    vrt.write_text(
        f'<VRTDataset rasterXSize="{TILES_ACROSS * TILE_CELLS}"'
        f' rasterYSize="{TILES_DOWN * TILE_CELLS}"><SRS>EPSG:32611</SRS>'
        f"<GeoTransform>{WEST}, {CELL_M}, 0, {NORTH}, 0, {-CELL_M}</GeoTransform>"
        f'<VRTRasterBand dataType="Float32" band="1">{"".join(sources)}</VRTRasterBand>'
        "</VRTDataset>"
    )
    sites = pd.read_parquet(finished.results / "sites.parquet")
    of_tiles = catchments(tiles, sites, tmp_path / "tiles.parquet")
    assert catchments([vrt], sites, tmp_path / "vrt.parquet") == of_tiles
    delineated = pd.read_parquet(tmp_path / "vrt.parquet")["status"] == "ok"
    assert delineated.sum() == 6
