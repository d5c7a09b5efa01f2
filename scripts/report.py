"""Rule report: what became of every site, on one page."""

import json
from collections.abc import Mapping, Sequence
from io import StringIO

import pandas as pd

from snakeshed.jobs.input_record import UnchangedInputs
from snakeshed.jobs.log import job_log
from snakeshed.jobs.versions import made_with
from snakeshed.learning.classifiers import read_comparison
from snakeshed.learning.refit import read_refits
from snakeshed.observations.skill import read_skill
from snakeshed.report.hazard_runs import HazardTables
from snakeshed.report.study_page import StudyResults, report, rule_times
from snakeshed.result_files import read_result, result_file
from snakeshed.tables.geoparquet import read_arrow, read_descriptions, read_table
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex


def main(
    *,
    study: dict,
    catchments: str,
    features: str,
    rejected: str,
    summary: str,
    hazard: str | None,
    thresholds: str | None,
    skill: str | None,
    refit: str | None,
    classifiers: str | None,
    terrain: str,
    shard_terrains: Sequence[str],
    workflow: str,
    logs: Mapping[str, Sequence[str]],
    inputs: Sequence[str],
    inputs_of_run: str,
    output: str,
    log: str,
) -> None:
    """Write the report of a study."""
    with job_log(log, f"reporting {study['study']}") as logger:
        unchanged = UnchangedInputs(inputs, inputs_of_run)
        results = StudyResults(
            catchments=read_table(catchments),
            features=read_table(features),
            descriptions=read_descriptions(features) | read_descriptions(catchments),
            rejected=pd.read_csv(StringIO(read_result(rejected))),
            summary=json.loads(read_result(summary)),
            configuration=study,
            hazards=HazardTables(read_arrow(hazard), read_arrow(thresholds)) if hazard else None,
            skill=read_skill(skill) if skill else None,
            refits=read_refits(refit) if refit else (),
            classifiers=read_comparison(classifiers) if classifiers else None,
        )
        whole, *parts = (
            TerrainIndex.from_json(read_result(path)) for path in (terrain, *shard_terrains)
        )
        # No tile that this job does not wait for.
        index = whole.subset(tile.path for part in parts for tile in part.tiles)
        with Terrain(index, study["dem"]["max_void_cells"]) as ground:
            text = report(results, ground, made_with(workflow), rule_times(logs))
        unchanged.check()
        with result_file(output) as part:
            part.write_text(text, encoding="utf-8")
        logger.info("report of %d sites, %.1f MB", len(results.catchments), len(text) / 1e6)


if __name__ == "__main__":
    main(
        study=snakemake.params.study,
        catchments=snakemake.input.catchments,
        features=snakemake.input.features,
        rejected=snakemake.input.rejected,
        summary=snakemake.input.summary,
        hazard=snakemake.input.get("hazard") or None,
        thresholds=snakemake.input.get("thresholds") or None,
        skill=snakemake.input.get("skill") or None,
        refit=snakemake.input.get("refit") or None,
        classifiers=snakemake.input.get("classifiers") or None,
        terrain=snakemake.input.terrain,
        shard_terrains=snakemake.input.shard_terrains,
        workflow=snakemake.scriptdir,
        logs=snakemake.params.logs,
        inputs=snakemake.input.tiles,
        inputs_of_run=snakemake.params.inputs_of_run,
        output=snakemake.output.report,
        log=snakemake.log[0],
    )
