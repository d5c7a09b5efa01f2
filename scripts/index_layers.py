"""Rule index_layers: what the layers' files are, and whether they can be summarised."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from snakeshed.atomic import atomic
from snakeshed.features.layer_index import index_layers, to_json
from snakeshed.jobs.log import job_log
from snakeshed.terrain.index import TerrainIndex


def main(*, layers: Sequence[Mapping], terrain: str, output: str, log: str) -> None:
    """Write what the headers of the layers say."""
    with job_log(log, f"indexing {len(layers)} layers") as logger:
        index = TerrainIndex.from_json(Path(terrain).read_text(encoding="utf-8"))
        files = index_layers(layers, index)
        logger.info("%d layers", len(files))
        for file in files:
            logger.info("%s: %d x %d cells, CRS %s", file.name, file.height, file.width, file.crs)
            for warning in file.warnings:
                logger.warning("%s", warning)
        with atomic(output) as part:
            part.write_text(to_json(files), encoding="utf-8")


if __name__ == "__main__":
    main(
        layers=snakemake.params.layers,
        terrain=snakemake.input.terrain,
        output=snakemake.output.layers,
        log=snakemake.log[0],
    )
