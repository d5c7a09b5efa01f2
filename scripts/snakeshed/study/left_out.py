"""Inputs that a study describes and goes without, and what is left out with them.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from snakeshed.errors import ConfigurationError
from snakeshed.features.layers import declared_columns
from snakeshed.learning.declared import columns_of_refits
from snakeshed.models.declared import declared_models, severity_layers

DEM = "dem"
"""How ``without`` names the DEM."""
_TABLES_OF_TERRAIN = ("catchments", "features")
_KINDS = {
    "tables": "the tables",
    "joint_features": "joint features",
    "models": "models",
    "comparisons": "comparisons of",
    "fits": "fits of",
}


def check_without(study: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is wrong in ``without``: key, found, expected, next step."""
    known = [DEM, *_layers(study)]
    for place, name in enumerate(study["without"]):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            yield (
                f"without[{place}]",
                f"no layer {name}",
                f"an input of this study: {', '.join(known)}",
                f"{f'Did you mean {near[0]}? ' if near else ''}Correct the name, or remove it.",
            )


def has_terrain(study: Mapping) -> bool:
    """Tell whether a study has its DEM; else it has only tables of sites and observations."""
    return DEM not in study["without"]


def as_run(study: Mapping) -> dict:
    """Return a study without the inputs of ``without`` and all that needs them.

    Parameters
    ----------
    study : mapping
        From `snakeshed.study.configuration.complete`; it is left as it is.

    Returns
    -------
    dict
        Layers are left out, and with them the joint features, models, comparisons, refits, and
        classifiers that need their columns. Without the DEM, it has none of these but refits and
        classifiers that take columns of the site table alone.

    Raises
    ------
    ConfigurationError, LayerError, SeveralProblems
        See `snakeshed.features.layers.declared_columns`.
    """
    run = dict(study)
    if not study["without"]:
        return run
    run["layers"] = [
        layer
        for layer in study["layers"]
        if has_terrain(study) and layer["name"] not in study["without"]
    ]
    joint = [each for each in study["features"]["joint"] if _has_layer(each, run)]
    run["features"] = {**study["features"], "joint": joint}
    is_lost = _lost_columns(study, run)
    run["observations"] = _observations(study, is_lost)
    run["models"] = [
        entry
        for entry, needs in zip(study["models"], _needs(study), strict=True)
        if not any(map(is_lost, needs))
    ]
    if run["models"] != study["models"]:
        # A storm that no model takes is an error of the configuration.
        taken = {minutes for each in declared_models(run) for minutes in each.model.durations_min}
        run["storms"] = [each for each in study["storms"] if each["duration_min"] in taken]
    run["compare"] = [each for each in study["compare"] if not is_lost(each["feature"])]
    return run


def left_out(study: Mapping) -> dict[str, Any] | None:
    """List what `as_run` leaves out of a study, by kind, in the order of the configuration.

    Parameters
    ----------
    study : mapping
        From `snakeshed.study.configuration.complete`.

    Returns
    -------
    dict or None
        None for a study with all that it describes. Else lists of names as ``inputs``, ``tables``,
        ``joint_features``, ``models``, ``comparisons``, and ``fits``, and in ``words`` all of it as
        a sentence.
    """
    if not study["without"]:
        return None
    run = as_run(study)
    parts = {
        "inputs": [*[DEM] * (not has_terrain(study)), *_gone(_layers, study, run)],
        "tables": [] if has_terrain(study) else list(_TABLES_OF_TERRAIN),
        "joint_features": _gone(_joint_features, study, run),
        "models": _gone(lambda each: [entry["name"] for entry in each["models"]], study, run),
        "comparisons": _gone(_comparisons, study, run),
        "fits": _gone(_fits, study, run),
    }
    return {**parts, "words": _words(parts)}


def _words(parts: Mapping[str, list[str]]) -> str:
    text = f"Left out, as `without` says: {', '.join(parts['inputs'])}"
    named = [f"{words} {', '.join(parts[key])}" for key, words in _KINDS.items() if parts[key]]
    return f"{text}; with them: {'; '.join(named)}." if named else f"{text}."


def _observations(study: Mapping, is_lost: Callable[[str | None], bool]) -> dict:
    """Return ``observations`` without what is fitted to columns that are not there."""
    observations = study["observations"]
    classifiers = observations["classifiers"]
    if classifiers is not None and any(map(is_lost, classifiers["columns"])):
        classifiers = None
    refits = [
        entry
        for entry, columns in zip(observations["refits"], columns_of_refits(study), strict=True)
        if not any(map(is_lost, columns))
    ]
    return observations | {"refits": refits, "classifiers": classifiers}


def _fits(study: Mapping) -> list[str]:
    """Name what is fitted to observations."""
    observations = study["observations"]
    refits = [f"{each['model']} for {each['duration_min']} min" for each in observations["refits"]]
    return [*refits, *["classifiers"] * (observations["classifiers"] is not None)]


def _layers(study: Mapping) -> list[str]:
    return [layer["name"] for layer in study["layers"]]


def _joint_features(study: Mapping) -> list[str]:
    joint = study["features"]["joint"]
    return [each if isinstance(each, str) else each["name"] for each in joint]


def _comparisons(study: Mapping) -> list[str]:
    return [f"{each['column']} with {each['feature']}" for each in study["compare"]]


def _gone(names: Callable[[Mapping], list[str]], whole: Mapping, run: Mapping) -> list[str]:
    """Return the names in a study that are not in its run, in their order."""
    there = names(run)
    return [name for name in names(whole) if name not in there]


def refuse_terrain(results: Sequence[str]) -> None:
    """Refuse to make what needs the DEM of a study that goes without it.

    Parameters
    ----------
    results : sequence of str
        What the study can make.
    """
    raise ConfigurationError(
        "without",
        "dem, and a target that needs catchments",
        f"a target that needs only the site table: {', '.join(results)}",
        "Ask for one of these, or remove dem from `without` and give the DEM.",
    )


def _has_layer(joint: str | Mapping[str, Any], run: Mapping) -> bool:
    if isinstance(joint, str):
        return bool(severity_layers(run))
    return joint["layer"] in _layers(run)


def _lost_columns(study: Mapping, run: Mapping) -> Callable[[str | None], bool]:
    """Return what tells whether a column is of something that is left out, by its name.

    Files of layers that are left out, such as tables of fuel models, need not be there.
    """
    own = declared_columns(run["features"], run["layers"])
    there = own if has_terrain(study) else {}
    joint = _gone(_joint_features, study, run)
    layers = tuple(f"{name}_" for name in _gone(_layers, study, run))

    def is_lost(column: str | None) -> bool:
        return (
            column is not None
            and column not in there
            and (column in joint or column in own or column.startswith(layers))
        )

    return is_lost


def _needs(study: Mapping) -> list[set[str | None]]:
    """Return the columns that each model takes, those of what it combines included."""
    declared = declared_models(study)
    own = {model.name: {each.column for each in model.inputs} for model in declared}
    return [
        own[model.name] | own.get(model.likelihood, set()) | own.get(model.volume, set())
        for model in declared
    ]
