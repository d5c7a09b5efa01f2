"""Rule report: what became of every site, on one page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from snakeshed.atomic import atomic
from snakeshed.jobs.log import job_log
from snakeshed.jobs.versions import made_with
from snakeshed.report.study_page import StudyResults, report, rule_times
from snakeshed.tables.geoparquet import read_descriptions, read_table
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex


def main(
    *,
    study: dict,
    catchments: str,
    features: str,
    rejected: str,
    summary: str,
    terrain: str,
    shard_terrains: Sequence[str],
    workflow: str,
    logs: Mapping[str, Sequence[str]],
    output: str,
    log: str,
) -> None:
    """Write the report of a study."""
    with job_log(log, f"reporting {study['study']}") as logger:
        results = StudyResults(
            catchments=read_table(catchments),
            features=read_table(features),
            descriptions=read_descriptions(features) | read_descriptions(catchments),
            rejected=pd.read_csv(rejected),
            summary=json.loads(Path(summary).read_text(encoding="utf-8")),
            configuration=study,
        )
        whole, *parts = (
            TerrainIndex.from_json(Path(path).read_text(encoding="utf-8"))
            for path in (terrain, *shard_terrains)
        )
        # No tile that this job does not wait for.
        index = whole.subset(tile.path for part in parts for tile in part.tiles)
        with Terrain(index, study["dem"]["max_void_cells"]) as ground:
            text = report(results, ground, made_with(workflow), rule_times(logs))
        with atomic(output) as part:
            part.write_text(text, encoding="utf-8")
        logger.info("report of %d sites, %.1f MB", len(results.catchments), len(text) / 1e6)


if __name__ == "__main__":
    main(
        study=snakemake.params.study,
        catchments=snakemake.input.catchments,
        features=snakemake.input.features,
        rejected=snakemake.input.rejected,
        summary=snakemake.input.summary,
        terrain=snakemake.input.terrain,
        shard_terrains=snakemake.input.shard_terrains,
        workflow=snakemake.scriptdir,
        logs=snakemake.params.logs,
        output=snakemake.output.report,
        log=snakemake.log[0],
    )
