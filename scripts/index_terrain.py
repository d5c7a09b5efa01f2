"""Rule index_terrain: where the tiles of the DEM lie, and on which lattice."""

from snakeshed.atomic import atomic
from snakeshed.jobs.log import job_log
from snakeshed.terrain.dem import dem_files, index_terrain
from snakeshed.terrain.spot_check import check_cells


def main(*, settings: dict, terrain: str, log: str) -> None:
    """Write the index of the DEM that the ``dem`` section of a configuration names."""
    with job_log(log, "indexing the DEM") as logger:
        index = index_terrain(
            dem_files(settings["path"]),
            settings["vertical_unit"],
            target_crs=settings["target_crs"],
            resolution=settings["resolution"],
            nodata=settings["nodata"],
            max_step_m=settings["max_step_m"],
        )
        logger.info("%d tiles, CRS %s", len(index.tiles), index.lattice.crs)
        index = check_cells(index)
        for assumption in index.assumptions:
            logger.info("assumed: %s", assumption)
        for warning in index.warnings:
            logger.warning("%s", warning)
        with atomic(terrain) as part:
            part.write_text(index.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main(
        settings=snakemake.params.settings,
        terrain=snakemake.output.terrain,
        log=snakemake.log[0],
    )
