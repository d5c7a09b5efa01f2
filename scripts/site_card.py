"""Rule site_card: one site, to judge by eye."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule
from snakeshed.features.layers import folder_of, layer_of
from snakeshed.jobs.input_record import UnchangedInputs
from snakeshed.jobs.log import job_log
from snakeshed.models.configured import StudyModels, hazard_settings
from snakeshed.report.card import CardValues, card
from snakeshed.report.card_figure import card_figure
from snakeshed.report.card_hazards import card_hazards
from snakeshed.report.site_values import snap_reach_m
from snakeshed.result_files import read_result, result_file
from snakeshed.tables.gather import one_site
from snakeshed.tables.geoparquet import GEOMETRY, read_arrow, read_descriptions, rows_of
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex
from snakeshed.terrain.suspects import coarse_cells


def main(
    *,
    site_id: str,
    study: dict,
    catchments: str,
    features: str,
    observations: str | None,
    terrain: str,
    inputs: Sequence[str],
    inputs_of_run: str,
    prepared: str | None,
    page: str,
    picture: str,
    log: str,
) -> None:
    """Write the card of a site, as a page and as a picture."""
    with job_log(log, f"the card of {site_id}") as logger:
        unchanged = UnchangedInputs(inputs, inputs_of_run)
        index = TerrainIndex.from_json(read_result(terrain))
        tables = [one_site(path, site_id) for path in (catchments, features)]
        ((own,), (of_features,)) = map(rows_of, tables)
        outline = own.pop(GEOMETRY)
        values = CardValues(
            catchment=own,
            features=of_features,
            descriptions=read_descriptions(features) | read_descriptions(catchments),
            configuration=study,
        )
        rule = DelineationRule.of(study)
        reach_m = snap_reach_m(study, [values.catchment["snap_distance_m"]])
        with Terrain(index, study["dem"]["max_void_cells"]) as ground:
            drawn, notes = card_figure(
                row=values.catchment,
                outline=outline,
                terrain=ground,
                pyramid=PatchPyramid(index.lattice, **study["patches"]),
                layers=[
                    layer_of(layer, prepared)
                    for layer in study["layers"]
                    # A constant has nothing to show, and points no value at a place.
                    if layer["path"] is not None and layer["type"] != "points"
                ],
                rule=replace(rule, snap=replace(rule.snap, radius_m=reach_m)),
            )
        coarse = coarse_cells(index)
        if coarse and values.features["status"] == "ok":
            notes = [*notes, f"Slopes: {coarse}"]
        hazards = None
        if study["models"]:
            models = StudyModels.of(hazard_settings(study), read_descriptions(features))
            hazards = card_hazards(models, of_features, _rain(observations, site_id))
        unchanged.check()
        with result_file(picture) as part:
            part.write_bytes(drawn)
        with result_file(page) as part:
            part.write_text(card(values, drawn, notes, hazards), encoding="utf-8")
        logger.info("card of %s", site_id)


def _rain(observations: str | None, site_id: str) -> pa.Table | None:
    if observations is None:
        return None
    table = read_arrow(observations)
    return table.take([k for k, of in enumerate(table["site_id"].to_pylist()) if of == site_id])


if __name__ == "__main__":
    main(
        site_id=snakemake.params.site_id,
        study=snakemake.params.study,
        catchments=snakemake.input.catchments,
        features=snakemake.input.features,
        observations=snakemake.input.get("observations") or None,
        terrain=snakemake.input.terrain,
        inputs=[*snakemake.input.tiles, *snakemake.input.layers],
        inputs_of_run=snakemake.params.inputs_of_run,
        prepared=folder_of(snakemake.input.prepared),
        page=snakemake.output.page,
        picture=snakemake.output.picture,
        log=snakemake.log[0],
    )
