"""Layers as files: whether they can be summarized is known before any shard starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from snakeshed.errors import LayerError, SeveralProblems
from snakeshed.features.layer import LayerFile
from snakeshed.features.layers import prepared_of, type_of
from snakeshed.terrain.index import TerrainIndex


def index_layers(
    layers: Sequence[Mapping], terrain: TerrainIndex, folder: str | None = None
) -> list[LayerFile]:
    """Look at the files of the declared layers, and write what shards need of some of them.

    Parameters
    ----------
    layers : sequence of mapping
        ``layers`` of the completed configuration, or of each what
        `snakeshed.features.layers.indexed` leaves of it. Those without a path have no file.
    terrain : TerrainIndex
        The whole DEM, which each layer has to overlap.
    folder : str, optional
        Where files of `snakeshed.features.layers.prepared_of` are written. Without it, nothing is.

    Returns
    -------
    list of LayerFile
        In the order of `layers`.

    Raises
    ------
    LayerError, SeveralProblems
        Layers that cannot be summarized; all problems of all of them at once.
    """
    files: list[LayerFile] = []
    problems: list[LayerError] = []
    for layer in layers:
        try:
            prepared = None if folder is None else prepared_of(layer, folder)
            if prepared is None:
                files += type_of(layer).look(layer, terrain)
            else:
                files += type_of(layer).prepare(layer, terrain, prepared)
        except LayerError as problem:
            problems.append(problem)
        except SeveralProblems as several:
            problems += several.problems
    if len(problems) > 1:
        raise SeveralProblems(problems)
    if problems:
        raise problems[0]
    return files


def to_json(files: Sequence[LayerFile]) -> str:
    """Return the text of ``layers.json``."""
    return json.dumps([asdict(file) for file in files], indent=1)
