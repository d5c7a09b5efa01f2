"""Rule index_layers: what the layers' files are, and whether they can be summarised."""

from collections.abc import Mapping, Sequence

from snakeshed.features.layer_index import index_layers, to_json
from snakeshed.features.layers import folder_of
from snakeshed.jobs.input_record import UnchangedInputs
from snakeshed.jobs.log import job_log
from snakeshed.result_files import read_result, result_file
from snakeshed.terrain.index import TerrainIndex


def main(
    *,
    layers: Sequence[Mapping],
    terrain: str,
    inputs: Sequence[str],
    inputs_of_run: str,
    output: str,
    prepared: str | None,
    log: str,
) -> None:
    """Write what the files of the layers say, and what shards need of polygons and points."""
    with job_log(log, f"indexing {len(layers)} layers") as logger:
        unchanged = UnchangedInputs(inputs, inputs_of_run)
        index = TerrainIndex.from_json(read_result(terrain))
        files = index_layers(layers, index, prepared)
        logger.info("%d layers", len(files))
        for file in files:
            logger.info("%s: %s", file.name, file.described())
            for warning in file.warnings:
                logger.warning("%s", warning)
        unchanged.check()
        with result_file(output) as part:
            part.write_text(to_json(files), encoding="utf-8")


if __name__ == "__main__":
    main(
        layers=snakemake.params.layers,
        terrain=snakemake.input.terrain,
        inputs=snakemake.input.layers,
        inputs_of_run=snakemake.params.inputs_of_run,
        output=snakemake.output.layers,
        prepared=folder_of(snakemake.output.prepared),
        log=snakemake.log[0],
    )
