"""Rule extract_features: what characterises each catchment of one shard."""

from pathlib import Path

from snakeshed.features.columns import ReliefRule
from snakeshed.features.extract import extract_features
from snakeshed.features.layers import feature_columns, layer_of
from snakeshed.features.table import write_features
from snakeshed.jobs.log import job_log
from snakeshed.tables.geoparquet import read_table
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex


def main(
    *,
    catchments: str,
    terrain: str,
    features: dict,
    layers: list[dict],
    max_void_cells: int,
    output: str,
    log: str,
) -> None:
    """Write the features of a shard's catchments."""
    with job_log(log, f"extracting the features of {catchments}"):
        index = TerrainIndex.from_json(Path(terrain).read_text(encoding="utf-8"))
        rule = ReliefRule(tuple(features["steep_degrees"]), tuple(features["percentiles"]))
        declared = [layer_of(layer) for layer in layers]
        with Terrain(index, max_void_cells) as ground:
            rows = extract_features(read_table(catchments), ground, rule, declared)
        write_features(rows, feature_columns(rule, declared), output)


if __name__ == "__main__":
    main(
        catchments=snakemake.input.catchments,
        terrain=snakemake.input.terrain,
        features=snakemake.params.features,
        layers=snakemake.params.layers,
        max_void_cells=snakemake.params.max_void_cells,
        output=snakemake.output.features,
        log=snakemake.log[0],
    )
