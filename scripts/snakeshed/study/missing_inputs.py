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
from snakeshed.study.left_out import has_terrain
from snakeshed.terrain.dem import dem_files
from snakeshed.terrain.sources import is_fetched


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
    table = study["sites"]["path"]
    if table not in made and not Path(table).is_file():
        advice = _advice(study["sites"])
        yield TableError("sites.path", _instead_of_a_file(table), "a table of sites", advice)
    if has_terrain(study) and not is_fetched(study) and study["dem"]["path"] not in made:
        try:
            dem_files(study["dem"]["path"])
        except TerrainError as problem:
            yield _of_dem(problem, study)
        except SeveralProblems as several:
            yield from (_of_dem(problem, study) for problem in several.problems)
    for layer in study["layers"]:
        expected = {**type_of(layer).RASTERS, **type_of(layer).TABLES}
        for key, path in {**rasters_of(layer), **tables_of(layer)}.items():
            if path not in made and not is_remote(path) and not Path(path).is_file():
                where = f"layers[{layer['name']}].{key}"
                advice = _advice(layer, layer["name"])
                yield LayerError(where, _instead_of_a_file(path), expected[key], advice)


def _advice(section: Mapping, name: str | None = None) -> str:
    """Return where a file can be had, and what to do without it."""
    known = section.get("url")
    text = f"Get it from {known}, or correct the path" if known else "Correct the path"
    text += f"; it is relative to {Path.cwd()}."
    if name is not None:
        text += f" Or add {name} to `without`: what needs it is left out, too."
    return text


def _of_dem(problem: SnakeshedError, study: Mapping) -> SnakeshedError:
    """Return a problem of the DEM with where to get it, and what a run can do without it."""
    known, advice = study["dem"].get("url"), problem.next_step
    if known:
        advice = f"Get it from {known}. {advice}"
    observations = study.get("observations", {})
    if observations.get("refits") or observations.get("classifiers"):
        advice += " Or add dem to `without`: only what follows from the site table is made."
    return type(problem)(problem.where, problem.found, problem.expected, advice)


def _with_braces(study: Mapping) -> Iterator[SnakeshedError]:
    """Yield the paths in which Snakemake would see wildcards."""
    dem = study["dem"]["path"] if has_terrain(study) else []
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
