"""Rule fetch_terrain: the tiles that the sites need, of the source that the study names."""

from snakeshed.fetching.on_screen import on_screen
from snakeshed.fetching.terrain import fetch_terrain
from snakeshed.fetching.terrain_tiles import terrain_tiles
from snakeshed.jobs.log import job_log
from snakeshed.tables.geoparquet import read_arrow
from snakeshed.terrain.sources import terrain_source


def main(
    *,
    study: str,
    dem: dict,
    patches: dict,
    folder: str,
    lock: str,
    sites: str,
    output: str,
    log: str,
) -> None:
    """Fetch the tiles under the patches of all sites, and list them."""
    source = terrain_source(dem["source"])
    with job_log(log, f"fetching tiles of {source.name}") as logger, on_screen():
        table = read_arrow(sites)
        tiles = terrain_tiles(dem, patches, table)
        logger.info("%d tiles under the patches of %d sites", len(tiles), len(table))
        files = fetch_terrain(source, tiles, folder, study=study, lock=lock)
        for line in files.lines():
            logger.info("%s", line)
        files.write(output)


if __name__ == "__main__":
    main(
        study=snakemake.params.study,
        dem=snakemake.params.dem,
        patches=snakemake.params.patches,
        folder=snakemake.params.folder,
        lock=snakemake.params.lock,
        sites=snakemake.input.sites,
        output=snakemake.output.files,
        log=snakemake.log[0],
    )
