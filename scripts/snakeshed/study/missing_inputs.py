"""The files that a study names: whether they can be found, before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from snakeshed.errors import (
    ConfigurationError,
    LayerError,
    SeveralProblems,
    SnakeshedError,
    TableError,
    TerrainError,
)
from snakeshed.features.layers import rasters_of, tables_of, type_of
from snakeshed.raster.vrt_sources import is_remote
from snakeshed.terrain.dem import dem_files


def check_inputs(study: Mapping, made: Collection[str] = ()) -> None:
    """Find the files of a study that do not exist, or that Snakemake cannot name.

    Parameters
    ----------
    study : mapping
        The completed configuration.
    made : collection of str
        Paths that the workflow itself makes.

    Raises
    ------
    SeveralProblems
        All of them at once.
    """
    problems = [*_missing(study, made), *_with_braces(study)]
    if problems:
        raise SeveralProblems(problems)


def _missing(study: Mapping, made: Collection[str]) -> Iterator[SnakeshedError]:
    advice = f"Correct the path; it is relative to {Path.cwd()}."
    table = study["sites"]["path"]
    if table not in made and not Path(table).is_file():
        yield TableError("sites.path", _instead_of_a_file(table), "a table of sites", advice)
    if study["dem"]["path"] not in made:
        try:
            dem_files(study["dem"]["path"])
        except TerrainError as problem:
            yield problem
        except SeveralProblems as several:
            yield from several.problems
    for layer in study["layers"]:
        expected = {**type_of(layer).RASTERS, **type_of(layer).TABLES}
        for key, path in {**rasters_of(layer), **tables_of(layer)}.items():
            if path not in made and not is_remote(path) and not Path(path).is_file():
                where = f"layers[{layer['name']}].{key}"
                yield LayerError(where, _instead_of_a_file(path), expected[key], advice)


def _with_braces(study: Mapping) -> Iterator[SnakeshedError]:
    """Yield the paths in which Snakemake would see wildcards."""
    dem = study["dem"]["path"]
    patterns = [dem] if isinstance(dem, str) else list(dem)
    paths = [("sites.path", study["sites"]["path"]), *(("dem.path", each) for each in patterns)]
    for layer in study["layers"]:
        named = {**rasters_of(layer), **tables_of(layer)}
        paths += [(f"layers[{layer['name']}].{key}", path) for key, path in named.items()]
    for key, path in paths:
        if "{" in path or "}" in path:
            yield ConfigurationError(
                key,
                f"the path {path}",
                "one without braces, which Snakemake takes for wildcards",
                "Rename the file or its folder.",
            )


def _instead_of_a_file(path: str) -> str:
    return f"the folder {path}" if Path(path).is_dir() else f"no file {path}"
