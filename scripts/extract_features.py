"""Rule extract_features: what characterises each catchment of one shard."""

from collections.abc import Sequence

from snakeshed.features.columns import ReliefRule
from snakeshed.features.extract import extract_features
from snakeshed.features.joint import joint_rules
from snakeshed.features.layers import feature_columns, folder_of, layer_of
from snakeshed.features.table import write_features
from snakeshed.jobs.input_record import UnchangedInputs
from snakeshed.jobs.log import job_log
from snakeshed.result_files import read_result
from snakeshed.tables.geoparquet import read_arrow
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex


def main(
    *,
    catchments: str,
    terrain: str,
    features: dict,
    layers: list[dict],
    max_void_cells: int,
    inputs: Sequence[str],
    inputs_of_run: str,
    output: str,
    log: str,
    prepared: str | None = None,
) -> None:
    """Write the features of a shard's catchments."""
    with job_log(log, f"extracting the features of {catchments}"):
        unchanged = UnchangedInputs(inputs, inputs_of_run)
        index = TerrainIndex.from_json(read_result(terrain))
        rule = ReliefRule(tuple(features["steep_degrees"]), tuple(features["percentiles"]))
        declared = [layer_of(layer, prepared) for layer in layers]
        joint = joint_rules(features["joint"], declared)
        with Terrain(index, max_void_cells) as ground:
            rows = extract_features(read_arrow(catchments), ground, rule, declared, joint)
        unchanged.check()
        write_features(rows, feature_columns(rule, declared, joint), output)


if __name__ == "__main__":
    main(
        catchments=snakemake.input.catchments,
        terrain=snakemake.input.terrain,
        features=snakemake.params.features,
        layers=snakemake.params.layers,
        prepared=folder_of(snakemake.input.prepared),
        max_void_cells=snakemake.params.max_void_cells,
        inputs=[*snakemake.input.tiles, *snakemake.input.layers],
        inputs_of_run=snakemake.params.inputs_of_run,
        output=snakemake.output.features,
        log=snakemake.log[0],
    )
