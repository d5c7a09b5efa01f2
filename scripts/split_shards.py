"""Rule split_shards: which sites, and which tiles, each job gets."""

from collections.abc import Sequence

from snakeshed.delineation.bounds import check_bounds, check_shards
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import COLUMNS, check_reach, split
from snakeshed.jobs.log import job_log
from snakeshed.result_files import read_result, result_file
from snakeshed.tables.geoparquet import read_table, write_table
from snakeshed.terrain.index import TerrainIndex


def main(
    *,
    sites: str,
    terrain: str,
    patches: dict,
    radius_m: float,
    min_areas_km2: dict,
    shard_sites: Sequence[str],
    shard_terrains: Sequence[str],
    log: str,
) -> None:
    """Write the sites and the terrain index of each shard."""
    with job_log(log, f"splitting the sites into {len(shard_sites)} shards") as logger:
        index = TerrainIndex.from_json(read_result(terrain))
        table = read_table(sites)
        check_bounds(index, patches, radius_m, min_areas_km2)
        check_shards(len(shard_sites), len(table))
        pyramid = PatchPyramid(index.lattice, **patches)
        check_reach(table, index, radius_m)
        shards = split(table, index, pyramid, len(shard_sites))
        filled = sum(len(shard.sites) > 0 for shard in shards)
        logger.info("%d sites in %d of %d shards", len(table), filled, len(shards))
        for shard, part_table, part_index in zip(shards, shard_sites, shard_terrains, strict=True):
            write_table(shard.sites, part_table, COLUMNS)
            with result_file(part_index) as part:
                part.write_text(shard.terrain.to_json(), encoding="utf-8")
            logger.info(
                "shard %s: %d sites, %d tiles",
                shard.name,
                len(shard.sites),
                len(shard.terrain.tiles),
            )


if __name__ == "__main__":
    main(
        sites=snakemake.input.sites,
        terrain=snakemake.input.terrain,
        patches=snakemake.params.patches,
        radius_m=snakemake.params.radius_m,
        min_areas_km2=snakemake.params.min_areas_km2,
        shard_sites=snakemake.output.sites,
        shard_terrains=snakemake.output.terrain,
        log=snakemake.log[0],
    )
