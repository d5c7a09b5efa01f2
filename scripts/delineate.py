"""Rule delineate: the catchments of one shard's sites."""

from pathlib import Path

from snakeshed.backends import Backend
from snakeshed.delineate import DelineationRule, delineate
from snakeshed.dem import TerrainIndex
from snakeshed.job_log import job_log
from snakeshed.patches import PatchPyramid
from snakeshed.results import write_catchments
from snakeshed.shards import sites_of
from snakeshed.snap import SnapRule
from snakeshed.tables import read_table


def main(
    sites: str,
    terrain: str,
    patches: dict,
    rule: DelineationRule,
    backend: str,
    workers: int,
    catchments: str,
    log: str,
) -> None:
    """Write the catchments of a shard."""
    with job_log(log, f"delineating {sites}"):
        index = TerrainIndex.from_json(Path(terrain).read_text(encoding="utf-8"))
        pyramid = PatchPyramid(index.lattice, **patches)
        with Backend(backend, workers) as where:
            done = delineate(sites_of(read_table(sites)), index, pyramid, rule, where)
        write_catchments(done, catchments, index.lattice.crs)


if __name__ == "__main__":
    main(
        snakemake.input.sites,
        snakemake.input.terrain,
        snakemake.params.patches,
        DelineationRule(
            snap=SnapRule(**snakemake.params.snap),
            max_void_cells=snakemake.params.max_void_cells,
            channel_km2=snakemake.params.network["min_area_km2"],
        ),
        snakemake.resources.backend,
        snakemake.threads,
        snakemake.output.catchments,
        snakemake.log[0],
    )
