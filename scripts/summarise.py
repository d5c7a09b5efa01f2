"""Rule summarise: what a person wants to know first."""

import json
from collections.abc import Sequence
from io import StringIO

import pandas as pd

from snakeshed.delineation.roten2022.published import WARNING
from snakeshed.delineation.table import CATCHMENTS
from snakeshed.features.layers import layer_of
from snakeshed.jobs.log import job_log
from snakeshed.report.summary import Finished, summarise, write_summary
from snakeshed.result_files import read_result
from snakeshed.tables.geoparquet import read_arrow, read_table
from snakeshed.terrain.distortion import distortion_note
from snakeshed.terrain.index import TerrainIndex


def main(
    *,
    study: str,
    layers: list[dict],
    area_unit: str,
    compare: list[dict],
    catchments: str,
    features: str,
    rejected: str,
    warnings: str,
    terrain: str,
    layer_files: str | None,
    observations: str,
    models: Sequence[str],
    storms: Sequence[str],
    left_out: dict | None,
    hazard: str | None,
    summary: str,
    log: str,
    recipe: str | None = None,
) -> None:
    """Write the summary of a study."""
    with job_log(log, f"summarising {study}"):
        index = TerrainIndex.from_json(read_result(terrain))
        files = json.loads(read_result(layer_files)) if layer_files else []
        of_table = json.loads(read_result(warnings))
        finished = Finished(
            catchments=read_table(catchments, columns=list(CATCHMENTS)),
            features=read_table(features),
            rejected=pd.read_csv(StringIO(read_result(rejected))),
            warnings=[
                *([WARNING] if recipe else []),
                *of_table,
                *index.warnings,
                *(warning for file in files for warning in file["warnings"]),
            ],
            assumptions=index.assumptions,
            distortion=distortion_note(index),
            observations=read_arrow(observations) if compare else None,
            hazard=read_arrow(hazard) if hazard else None,
        )
        declared = [layer_of(layer) for layer in layers]
        done = summarise(study, finished, declared, area_unit, compare, models, storms, left_out)
        write_summary(done, summary)


if __name__ == "__main__":
    main(
        study=snakemake.params.study,
        layers=snakemake.params.layers,
        area_unit=snakemake.params.area_unit,
        compare=snakemake.params.compare,
        catchments=snakemake.input.catchments,
        features=snakemake.input.features,
        rejected=snakemake.input.rejected,
        warnings=snakemake.input.warnings,
        terrain=snakemake.input.terrain,
        layer_files=snakemake.input.get("layers") or None,
        observations=snakemake.input.observations,
        models=snakemake.params.models,
        storms=snakemake.params.storms,
        left_out=snakemake.params.left_out,
        hazard=snakemake.input.get("hazard") or None,
        summary=snakemake.output.summary,
        log=snakemake.log[0],
        recipe=snakemake.params.recipe,
    )
