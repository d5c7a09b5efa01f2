"""Rule index_terrain: where the tiles of the DEM lie, and on which lattice."""

from collections.abc import Sequence
from dataclasses import replace

from snakeshed.fetching.terrain import TerrainFiles
from snakeshed.jobs.input_record import UnchangedInputs
from snakeshed.jobs.log import job_log
from snakeshed.progress import listed_text
from snakeshed.result_files import result_file
from snakeshed.terrain.dem import dem_files, index_terrain
from snakeshed.terrain.sources import terrain_source
from snakeshed.terrain.spot_check import check_cells


def main(
    *,
    settings: dict,
    inputs: Sequence[str],
    inputs_of_run: str,
    terrain: str,
    log: str,
    fetched: str | None = None,
) -> None:
    """Write the index of the DEM that the ``dem`` section of a configuration names."""
    with job_log(log, "indexing the DEM") as logger:
        unchanged = UnchangedInputs(inputs, inputs_of_run)
        if fetched:
            TerrainFiles.read(fetched).check()
        source = settings["source"]
        index = index_terrain(
            list(TerrainFiles.read(fetched).sha256) if fetched else dem_files(settings["path"]),
            settings["vertical_unit"],
            target_crs=settings["target_crs"],
            resolution=settings["resolution"],
            nodata=settings["nodata"],
            max_step_m=settings["max_step_m"],
            source=terrain_source(source) if source else None,
        )
        logger.info("%d tiles, CRS %s", len(index.tiles), index.lattice.crs)
        if fetched and (absent := TerrainFiles.read(fetched).absent):
            assumed = f"no terrain where {terrain_source(source).name} has no file: "
            assumptions = (*index.assumptions, f"{assumed}{listed_text(absent)}.")
            index = replace(index, assumptions=assumptions)
        index = check_cells(index)
        for assumption in index.assumptions:
            logger.info("assumed: %s", assumption)
        for warning in index.warnings:
            logger.warning("%s", warning)
        unchanged.check()
        with result_file(terrain) as part:
            part.write_text(index.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main(
        settings=snakemake.params.settings,
        inputs=snakemake.input.files,
        inputs_of_run=snakemake.params.inputs_of_run,
        terrain=snakemake.output.terrain,
        log=snakemake.log[0],
        fetched=next(iter(snakemake.input.fetched), None),
    )
