"""Rule site_card: one site, to judge by eye."""

from pathlib import Path

from snakeshed.atomic import atomic
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule
from snakeshed.features.layers import layer_of
from snakeshed.jobs.log import job_log
from snakeshed.report.card import CardValues, card
from snakeshed.report.card_figure import card_figure
from snakeshed.report.site_values import plain_rows
from snakeshed.tables.geoparquet import read_descriptions, read_table
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex
from snakeshed.terrain.suspects import coarse_cells


def main(
    *,
    site_id: str,
    study: dict,
    catchments: str,
    features: str,
    terrain: str,
    page: str,
    picture: str,
    log: str,
) -> None:
    """Write the card of a site, as a page and as a picture."""
    with job_log(log, f"the card of {site_id}") as logger:
        index = TerrainIndex.from_json(Path(terrain).read_text(encoding="utf-8"))
        tables = [read_table(path) for path in (catchments, features)]
        own, of_features = (table[table["site_id"] == site_id] for table in tables)
        values = CardValues(
            catchment=plain_rows(own)[0],
            features=plain_rows(of_features)[0],
            descriptions=read_descriptions(features) | read_descriptions(catchments),
            configuration=study,
        )
        with Terrain(index, study["dem"]["max_void_cells"]) as ground:
            drawn, notes = card_figure(
                row=values.catchment,
                outline=own.geometry.iloc[0],
                terrain=ground,
                pyramid=PatchPyramid(index.lattice, **study["patches"]),
                # A constant has nothing to show.
                layers=[layer_of(layer) for layer in study["layers"] if layer["path"] is not None],
                rule=DelineationRule.of(study),
            )
        coarse = coarse_cells(index)
        if coarse and values.features["status"] == "ok":
            notes = [*notes, f"Slopes: {coarse}"]
        with atomic(picture) as part:
            part.write_bytes(drawn)
        with atomic(page) as part:
            part.write_text(card(values, drawn, notes), encoding="utf-8")
        logger.info("card of %s", site_id)


if __name__ == "__main__":
    main(
        site_id=snakemake.params.site_id,
        study=snakemake.params.study,
        catchments=snakemake.input.catchments,
        features=snakemake.input.features,
        terrain=snakemake.input.terrain,
        page=snakemake.output.page,
        picture=snakemake.output.picture,
        log=snakemake.log[0],
    )
