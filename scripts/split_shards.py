"""Rule split_shards: which sites, and which tiles, each job gets."""

from pathlib import Path

from snakeshed.delineation.bounds import check_bounds, check_shards
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.delineation.roten2022.window import window_cells
from snakeshed.delineation.shard_index import ShardFacts, recorded_files, shard_index_text
from snakeshed.delineation.shards import COLUMNS, check_reach, split
from snakeshed.delineation.site import sites_of
from snakeshed.fetching.terrain_tiles import missing_tiles
from snakeshed.jobs.log import job_log
from snakeshed.progress import listed_text
from snakeshed.result_files import read_result, result_file
from snakeshed.tables.geoparquet import read_arrow, write_table
from snakeshed.terrain.index import TerrainIndex


def main(
    *,
    sites: str,
    terrain: str,
    patches: dict,
    radius_m: float,
    min_areas_km2: dict,
    shards: int,
    output: str,
    log: str,
    recipe: str | None = None,
    dem: dict | None = None,
) -> None:
    """Write the sites and the terrain index of each shard, then the index of all shards."""
    with job_log(log, f"splitting the sites into {shards} shards") as logger:
        index = TerrainIndex.from_json(read_result(terrain))
        table = read_arrow(sites)
        check_bounds(index, patches, radius_m, min_areas_km2)
        check_shards(shards, len(table))
        pyramid = PatchPyramid(index.lattice, **patches)
        check_reach(table, index, radius_m)
        parts = split(table, index, pyramid, shards)
        filled = sum(len(shard.sites) > 0 for shard in parts)
        logger.info("%d sites in %d of %d shards", len(table), filled, len(parts))
        if absent := missing_tiles(dem, patches, table, index):
            logger.warning("tiles of the source that are not there: %s", listed_text(absent))
        facts = {}
        for shard in parts:
            folder = Path(output).parent / shard.name
            write_table(shard.sites, folder / "sites.parquet", COLUMNS)
            with result_file(folder / "terrain.json") as part:
                part.write_text(shard.terrain.to_json(), encoding="utf-8")
            count, files = len(shard.sites), recorded_files(folder)
            if recipe is None:
                starts = map(Patch.from_id, filter(None, shard.sites["patch"].to_pylist()))
                own = ShardFacts.of(count, starts, pyramid, shard.terrain, files)
            else:
                cells = window_cells(sites_of(shard.sites), shard.terrain)
                own = ShardFacts.of_windows(count, cells, shard.terrain, files)
            facts[shard.name] = own
            logger.info(
                "shard %s: %d sites, %d tiles",
                shard.name,
                len(shard.sites),
                len(shard.terrain.tiles),
            )
        # The last: with it, all are there.
        with result_file(output) as part:
            part.write_text(shard_index_text(facts, table["site_id"].to_pylist()), encoding="utf-8")


if __name__ == "__main__":
    main(
        sites=snakemake.input.sites,
        terrain=snakemake.input.terrain,
        patches=snakemake.params.patches,
        radius_m=snakemake.params.radius_m,
        min_areas_km2=snakemake.params.min_areas_km2,
        shards=snakemake.params.shards,
        output=snakemake.output.index,
        log=snakemake.log[0],
        recipe=snakemake.params.recipe,
        dem=snakemake.params.dem,
    )
