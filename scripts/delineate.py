"""Rule delineate: the catchments of one shard's sites."""

from collections.abc import Sequence
from pathlib import Path

from snakeshed.backends.given_memory import given_bytes
from snakeshed.backends.opening import open_backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.memory_request import (
    ShardMemory,
    largest_patch,
    tile_edge,
    window_bytes,
)
from snakeshed.delineation.patch import TileSettings, remove_left_tiles
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.delineation.roten2022.window import window_cells
from snakeshed.delineation.site import DelineationRule, sites_of
from snakeshed.delineation.table import write_catchments
from snakeshed.jobs.input_record import UnchangedInputs
from snakeshed.jobs.log import job_log
from snakeshed.result_files import read_result
from snakeshed.tables.geoparquet import read_arrow
from snakeshed.terrain.index import TerrainIndex


def main(
    *,
    sites: str,
    terrain: str,
    patches: dict,
    rule: DelineationRule,
    backend: str,
    workers: int,
    mem_mb: int,
    inputs: Sequence[str],
    inputs_of_run: str,
    catchments: str,
    log: str,
    recipe: str | None = None,
) -> None:
    """Write the catchments of a shard."""
    with job_log(log, f"delineating {sites}"):
        unchanged = UnchangedInputs(inputs, inputs_of_run)
        remove_left_tiles(Path(catchments).parent)
        index = TerrainIndex.from_json(read_result(terrain))
        shard = read_arrow(sites)
        given = given_bytes(mem_mb)
        pyramid = PatchPyramid(index.lattice, **patches)
        if recipe is None:
            starts = map(Patch.from_id, filter(None, shard["patch"].to_pylist()))
            expected = ShardMemory.of_patches(starts, pyramid, index).delineation_bytes(1)
        else:
            expected = window_bytes(max(window_cells(sites_of(shard), index), default=0))
        with open_backend(backend, workers, workers * expected, given) as where:
            if recipe is None:
                worker = where.worker_bytes(given)
                tiles = TileSettings(
                    largest_patch(worker),
                    tile_edge(worker),
                    # On the volume that all workers share.
                    str(Path(catchments).parent),
                )
                done = delineate(sites_of(shard), index, pyramid, rule, where, tiles)
            else:
                # With stock pysheds, which nothing else needs.
                from snakeshed.delineation.roten2022.sites import delineate_as_published

                done = delineate_as_published(sites_of(shard), index, rule.channel_km2, where)
        unchanged.check()
        write_catchments(done, catchments, index.lattice.crs)


if __name__ == "__main__":
    main(
        sites=snakemake.input.sites,
        terrain=snakemake.input.terrain,
        patches=snakemake.params.patches,
        rule=DelineationRule.of(snakemake.params.rule),
        backend=snakemake.resources.backend,
        workers=snakemake.threads,
        mem_mb=snakemake.resources.mem_mb,
        inputs=snakemake.input.tiles,
        inputs_of_run=snakemake.params.inputs_of_run,
        catchments=snakemake.output.catchments,
        log=snakemake.log[0],
        recipe=snakemake.params.recipe,
    )
