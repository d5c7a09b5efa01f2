"""Whatever a run of a study would fetch, fetched beforehand: for machines without network."""

from __future__ import annotations

from pathlib import Path

from snakeshed.errors import ConfigurationError
from snakeshed.fetching.input_lock import NAME
from snakeshed.fetching.terrain import TerrainFiles, fetch_terrain
from snakeshed.fetching.terrain_tiles import terrain_tiles
from snakeshed.jobs.run_lock import RunLock
from snakeshed.sites.prepare import prepare_sites
from snakeshed.study.configuration import complete
from snakeshed.study.left_out import as_run, has_terrain
from snakeshed.study.missing_inputs import check_inputs
from snakeshed.study.yaml_file import read_study
from snakeshed.terrain.sources import is_fetched, terrain_source


def fetch_study(path: str | Path, schema: str | Path, refresh: bool = False) -> TerrainFiles:
    """Fetch the terrain that the sites of a study need, as rule fetch_terrain does.

    Parameters
    ----------
    path : str or Path
        The configuration.
    schema : str or Path
        The schema of configurations.
    refresh : bool
        Take the files as they are now on their servers, and lock these.

    Raises
    ------
    ConfigurationError
        The study names no source.
    SnakeshedError
        Whatever would stop the run before or while it fetches.
    """
    study = as_run(complete(read_study(path), schema, str(path)))
    if not has_terrain(study) or not is_fetched(study):
        raise ConfigurationError(
            f"{path}: dem",
            "no source that a run fetches from",
            "dem.source, without a path of its own",
            "There is nothing to fetch: the study reads the files that it names.",
        )
    check_inputs(study)
    lock = RunLock(f".snakemake/snakeshed/{study['study']}.lock", study["study"])
    lock.take()
    try:
        return fetch_terrain(
            terrain_source(study["dem"]["source"]),
            terrain_tiles(study["dem"], study["patches"], prepare_sites(study["sites"]).sites),
            study["dem"]["path"],
            study=study["study"],
            lock=Path("results", study["study"], NAME),
            refresh=refresh,
        )
    finally:
        lock.release()
