"""A look at a study before it is run: all that would stop it, or else what a run would do.

Nothing is written. What only shows when cells are read in full, such as a damaged block in the
middle of a tile, is found by the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from snakeshed.delineation.bounds import check_bounds, check_shards, min_areas_km2
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.roten2022.published import WARNING
from snakeshed.delineation.shards import check_reach, shards_with_sites
from snakeshed.errors import SeveralProblems, SnakeshedError, printable
from snakeshed.features.columns import numeric
from snakeshed.features.layer_index import index_layers
from snakeshed.features.layers import declared_columns, rasters_of, tables_for_shards, tables_of
from snakeshed.fetching.look import TerrainLook, look_at_terrain
from snakeshed.fetching.terrain_tiles import missing_tiles
from snakeshed.learning.declared import check_learning, learning_settings
from snakeshed.models.configured import StudyModels, hazard_settings
from snakeshed.observations.columns import check_names, own_columns
from snakeshed.progress import begin
from snakeshed.raster.crs import short_crs
from snakeshed.raster.vrt_sources import is_remote
from snakeshed.sites.prepare import PreparedSites, prepare_sites
from snakeshed.study.compared import check_compared
from snakeshed.study.configuration import complete
from snakeshed.study.left_out import as_run, has_terrain, left_out
from snakeshed.study.missing_inputs import check_inputs
from snakeshed.study.named_columns import named_columns
from snakeshed.study.yaml_file import read_study
from snakeshed.terrain.dem import dem_files, index_terrain
from snakeshed.terrain.distortion import distortion_note
from snakeshed.terrain.index import TerrainIndex
from snakeshed.terrain.sources import is_fetched, terrain_source
from snakeshed.terrain.spot_check import check_cells

SCHEMA = Path(__file__).parents[3] / "config" / "schema" / "study.schema.yaml"

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Preview:
    """What a run of a study would do.

    Attributes
    ----------
    study : Mapping
        The completed configuration, without what is left out.
    prepared : PreparedSites
        Its site table.
    reached : int
        Sites on the DEM or near it.
    terrain : TerrainIndex or None
        Its DEM; None if the study goes without it.
    layer_warnings : tuple of str
        Of the layers' files.
    shards_with_sites : int
        Jobs that have something to do.
    left_out : Mapping or None
        What the study goes without, from `snakeshed.study.left_out.left_out`.
    to_fetch : TerrainLook or None
        What of its DEM has to be fetched; None if that is in files that the study names.
    """

    study: Mapping
    prepared: PreparedSites
    reached: int = 0
    terrain: TerrainIndex | None = None
    layer_warnings: tuple[str, ...] = ()
    shards_with_sites: int = 0
    left_out: Mapping | None = None
    to_fetch: TerrainLook | None = None


class _Problems:
    """Everything that is wrong, each told once, in the order in which it is met."""

    def __init__(self) -> None:
        self._by_text: dict[str, SnakeshedError] = {}

    def of(self, step: Callable[..., Result], *arguments: object) -> Result | None:
        """Return what a step returns; None, with its problems noted, if it cannot be done."""
        try:
            return step(*arguments)
        except SeveralProblems as several:
            problems = several.problems
        except SnakeshedError as problem:
            problems = [problem]
        self._by_text |= {str(problem): problem for problem in problems}
        return None

    def found(self, key: str) -> bool:
        """Tell whether a key, or a file that it names, has a problem."""
        return any(problem.where.split(": ")[0] == key for problem in self._by_text.values())

    def stop(self) -> None:
        """Raise all problems, if there are any."""
        if self._by_text:
            raise SeveralProblems(list(self._by_text.values()))


def check_study(
    path: str | Path, schema: str | Path = SCHEMA, without: Sequence[str] | None = None
) -> Preview:
    """Look at everything that a study names.

    Parameters
    ----------
    path : str or Path
        The configuration. Paths in it are relative to the working directory, as in a run.
    schema : str or Path
        The schema of configurations.
    without : sequence of str, optional
        In place of the configuration's own.

    Returns
    -------
    Preview
        What a run would do.

    Raises
    ------
    SeveralProblems
        Whatever would stop a run: all problems of the configuration, or else all those of the
        files that it names.
    """
    raw = read_study(path)
    if without is not None and isinstance(raw, Mapping):
        raw = {**raw, "without": list(without)}
    whole = complete(raw, schema, str(path))
    study = as_run(whole)
    radius_m = study["snap"]["radius_m"]
    problems = _Problems()
    problems.of(check_inputs, study)
    columns = None
    # A table that is missing has been named by now, with more advice than its reader has.
    tables = [path for layer in study["layers"] for path in tables_for_shards(layer).values()]
    if all(map(_is_there, tables)):
        columns = problems.of(declared_columns, study["features"], study["layers"])
        if columns is not None:
            problems.of(check_compared, study["compare"], columns)
            problems.of(check_learning, learning_settings(study), columns)
            models = problems.of(StudyModels.of, hazard_settings(study), numeric(columns))
            if models is not None:
                problems.of(check_names, own_columns(study["observations"], models), columns)
    table = study["sites"]["path"]
    prepared = None
    if Path(table).is_file():
        prepared = problems.of(
            prepare_sites, study["sites"], ".", named_columns(study, numeric(columns or {}))
        )
        if prepared is not None:
            problems.of(check_shards, study["shards"], len(prepared.sites))
    terrain = reached = to_fetch = None
    if has_terrain(study) and is_fetched(study) and prepared is not None:
        begin("asking for the tiles of the DEM")
        to_fetch = problems.of(look_at_terrain, study, prepared.sites)
    # A DEM that is missing has been named by now, with the place where it can be had.
    is_there = to_fetch.is_there if to_fetch else not is_fetched(study)
    if has_terrain(study) and is_there and not problems.found("dem.path"):
        begin("looking at the DEM")
        terrain = problems.of(_terrain, study["dem"])
    if terrain is not None:
        layers = [layer for layer in study["layers"] if _has_its_files(layer)]
        begin("looking at the layers")
        files = problems.of(index_layers, layers, terrain) or []
        problems.of(check_bounds, terrain, study["patches"], radius_m, min_areas_km2(study))
        if prepared is not None:
            problems.of(missing_tiles, study["dem"], study["patches"], prepared.sites, terrain)
        if prepared is not None and not problems.found("snap.radius_m"):
            reached = problems.of(check_reach, prepared.sites, terrain, radius_m)
    problems.stop()
    if terrain is None:
        return Preview(study, prepared, left_out=left_out(whole), to_fetch=to_fetch)

    pyramid = PatchPyramid(terrain.lattice, **study["patches"])
    with_sites = shards_with_sites(prepared.sites, terrain, pyramid, study["shards"])
    warnings = tuple(warning for file in files for warning in file.warnings)
    return Preview(
        study,
        prepared,
        int(reached.sum()),
        terrain,
        warnings,
        with_sites,
        left_out(whole),
        to_fetch,
    )


def preview_text(preview: Preview) -> str:
    """Return a preview in words, of one statement a line.

    Parameters
    ----------
    preview : Preview
        From `check_study`.

    Returns
    -------
    str
        Without a line break at its end.
    """
    study, prepared = preview.study, preview.prepared
    rejected = prepared.rejected[prepared.rejected["action"] == "rejected"]
    remarks = prepared.rejected[prepared.rejected["action"] != "rejected"]
    sites, rows = len(prepared.sites), prepared.observations.num_rows
    lines = [
        f"Study {study['study']}: nothing found that would stop a run.",
        f"Sites: {sites:,} from {rows:,} rows of {study['sites']['path']}; "
        f"{len(rejected):,} rows rejected, {len(remarks):,} remarks on other rows.",
        *_reasons(rejected),
        *_reasons(remarks),
    ]
    if preview.left_out:
        lines.append(preview.left_out["words"])
    if preview.to_fetch:
        lines += preview.to_fetch.lines()
    if preview.terrain is None:
        lines += [f"Note: {warning}" for warning in prepared.warnings]
        return "\n".join(map(printable, lines))
    if preview.reached < sites:
        lines.append(
            f"Farther than {study['snap']['radius_m']:g} m from the DEM, and so outside_dem: "
            f"{sites - preview.reached:,} sites."
        )
    lines += [
        _terrain_line(preview.terrain),
        f"Jobs: {preview.shards_with_sites} of {study['shards']} shards have sites.",
    ]
    if study["layers"]:
        lines.append(f"Layers: {', '.join(layer['name'] for layer in study['layers'])}.")
    if study["models"]:
        names = ", ".join(model["name"] for model in study["models"])
        lines.append(f"Models: {names}; storms: {len(study['storms'])}.")
    lines += [f"Assumed: {assumption}" for assumption in preview.terrain.assumptions]
    distorted = filter(None, [distortion_note(preview.terrain)])
    of_recipe = [WARNING] if study["recipe"] else []
    warnings = (*of_recipe, *distorted, *preview.terrain.warnings, *preview.layer_warnings)
    lines += [f"Note: {warning}" for warning in (*prepared.warnings, *warnings)]
    return "\n".join(map(printable, lines))


def _terrain(settings: Mapping) -> TerrainIndex:
    """Index a DEM and look at some of its cells, as rule index_terrain does."""
    index = index_terrain(
        dem_files(settings["path"]),
        settings["vertical_unit"],
        source=terrain_source(settings["source"]) if settings["source"] else None,
        target_crs=settings["target_crs"],
        resolution=settings["resolution"],
        nodata=settings["nodata"],
        max_step_m=settings["max_step_m"],
    )
    return check_cells(index)


def _is_there(path: str) -> bool:
    return is_remote(path) or Path(path).is_file()


def _has_its_files(layer: Mapping) -> bool:
    return all(map(_is_there, (*rasters_of(layer).values(), *tables_of(layer).values())))


def _reasons(rejected: pd.DataFrame) -> list[str]:
    """Return a line for each reason, the most frequent first, with the first row that has it."""
    lines = []
    for reason, count in (
        rejected["reason"]
        .value_counts()
        .sort_index()
        .sort_values(ascending=False, kind="stable")
        .items()
    ):
        first = rejected[rejected["reason"] == reason].iloc[0]
        lines.append(f"  {count:,} x {reason} (row {first['row']}: {first['found']})")
    return lines


def _terrain_line(terrain: TerrainIndex) -> str:
    """Return how many tiles a DEM has, and the size of its cells."""
    lattice = terrain.lattice
    size = f"{lattice.dx:.10g} x {lattice.dy:.10g}"
    if lattice.geographic:
        arc_seconds = f"{lattice.dx * 3600:.6g} x {lattice.dy * 3600:.6g} arc-seconds"
        cells = f"cells of {arc_seconds}, {lattice.cell_height_m():.3g} m from north to south"
    elif math.isclose(lattice.unit_m, 1.0):
        cells = f"cells of {size} m"
    else:
        cells = f"cells of {size} units of {lattice.unit_m:.9g} m"
    count = len(terrain.tiles)
    return (
        f"DEM: {count:,} {'tile' if count == 1 else 'tiles'}, {short_crs(lattice.crs)}, {cells}"
        f"{'' if terrain.is_native else f', resampled from {short_crs(terrain.source.crs)}'}."
    )
