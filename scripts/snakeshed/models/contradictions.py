"""What is contradictory about the models of a study, before anything runs.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from snakeshed.errors import ConfigurationError
from snakeshed.features.joint import PRESETS
from snakeshed.models.combined import CombinedModel
from snakeshed.models.declared import DeclaredModel, models_of, severity_layers
from snakeshed.models.logistic import LogisticModel
from snakeshed.models.storms import Storm
from snakeshed.models.volume import VolumeModel


def check_models(
    configuration: Mapping,
    declared: Sequence[DeclaredModel],
    storms: Sequence[Storm],
    columns: Collection[str],
) -> Iterator[ConfigurationError]:
    """Yield what is contradictory about the models of a study.

    Parameters
    ----------
    configuration : mapping
        Completed; see `snakeshed.models.configured.hazard_settings`.
    declared : sequence of DeclaredModel
        Its models.
    storms : sequence of Storm
        Its storms.
    columns : collection of str
        Numeric columns of its ``features.parquet``.
    """
    entries = configuration["models"]
    for name, count in Counter(each.name for each in declared).items():
        if count > 1:
            yield ConfigurationError(
                f"models[{name}].name",
                f"{count} models of this name",
                "every model once",
                "Remove all but one.",
            )
    for model, entry in zip(declared, entries, strict=True):
        yield from _check_input_keys(model, entry)
        yield from _check_inputs(model, severity_layers(configuration), columns)
        if isinstance(model.model, CombinedModel):
            yield from _check_parts(model, entry, entries)
    yield from _check_durations(declared, storms)


def _check_input_keys(model: DeclaredModel, entry: Mapping) -> Iterator[ConfigurationError]:
    known = [each.input.key for each in model.inputs if each.input.setting is None]
    for key in entry["inputs"]:
        if key in known:
            continue
        yield ConfigurationError(
            f"models[{model.name}].inputs.{key}",
            "an unknown input",
            f"one of {', '.join(known)}" if known else "no inputs, since this model has none",
            f"{_nearest(key, known)}Correct it, or remove it; `snakeshed models` lists them.",
        )


def _check_inputs(
    model: DeclaredModel, severity: Sequence[str], columns: Collection[str]
) -> Iterator[ConfigurationError]:
    for each in model.inputs:
        key = each.input.key
        where = f"models[{model.name}].inputs.{key}"
        if each.input.setting is not None:
            if each.value is None:
                yield ConfigurationError(
                    f"models[{model.name}].{each.input.setting}",
                    "no such key",
                    f"the {each.input.description}, {each.input.unit}",
                    "Set it: the model has no value without it.",
                )
        elif each.column in columns:
            continue
        elif each.column is None or (each.column in PRESETS and len(severity) != 1):
            found = f"{len(severity)} layers ({', '.join(severity)})" if severity else "no layer"
            yield ConfigurationError(
                where,
                f"{found} of type severity",
                f"one such layer, or the column that holds the {each.input.description}",
                f"Keep one layer of type severity, or name the column: inputs: {{{key}: ...}}.",
            )
        else:
            yield ConfigurationError(
                where,
                f"no numeric column {each.column}",
                f"a column of features.parquet of this study with the {each.input.description}",
                f"{_nearest(each.column, columns)}Compute it, or name the column that has it: "
                f"inputs: {{{key}: ...}}.",
            )


def _check_parts(
    model: DeclaredModel, entry: Mapping, entries: list[Mapping]
) -> Iterator[ConfigurationError]:
    for key, kind in (("likelihood", LogisticModel), ("volume", VolumeModel)):
        there, named = models_of(kind, entries), entry[key]
        where = f"models[{model.name}].{key}"
        if named is not None and named not in there:
            yield ConfigurationError(
                where,
                f"{named}, which is no {key} model of this study",
                f"one of {', '.join(there)}" if there else f"a {key} model under models",
                f"{_nearest(named, there)}Correct it, or add that model.",
            )
        elif named is None and not there:
            yield ConfigurationError(
                where,
                f"no {key} model in this study",
                f"a {key} model to combine",
                "Add one under models; `snakeshed models` lists them.",
            )
        elif named is None and len(there) > 1:
            yield ConfigurationError(
                where,
                f"no such key, but {len(there)} {key} models: {', '.join(there)}",
                "the one to combine",
                "Name it.",
            )


def _check_durations(
    declared: Sequence[DeclaredModel], storms: Sequence[Storm]
) -> Iterator[ConfigurationError]:
    """Yield models without a storm, or else storms without a model."""
    by_name = {each.name: each for each in declared}
    there = {storm.duration_min for storm in storms}
    taken: set[int] = set()
    lacking: set[str] = set()
    # Combined models come last: what one of their parts lacks is said once.
    for model in sorted(by_name.values(), key=lambda each: isinstance(each.model, CombinedModel)):
        durations, next_step = model.model.durations_min, "Add one, or remove the model."
        if isinstance(model.model, CombinedModel):
            parts = [by_name.get(name) for name in (model.likelihood, model.volume)]
            if None in parts or lacking.intersection(part.name for part in parts):
                lacking.add(model.name)
                continue
            one, two = (part.model.durations_min for part in parts)
            durations = tuple(each for each in one if each in two)
            next_step = "Add one, or name other models in likelihood or volume."
            if not durations:
                lacking.add(model.name)
                yield ConfigurationError(
                    f"models[{model.name}]",
                    " and ".join(
                        f"{part.name} for {_minutes(part.model.durations_min)}" for part in parts
                    ),
                    "a likelihood and a volume for the same duration",
                    "Name other models in likelihood or volume.",
                )
                continue
        taken.update(durations)
        if not there.intersection(durations):
            lacking.add(model.name)
            yield ConfigurationError(
                "storms",
                f"no storm for {model.name} among those of {_minutes(sorted(there))}",
                f"one of {_minutes(durations)}",
                next_step,
            )
    if lacking or not declared:
        return
    for storm in storms:
        if storm.duration_min not in taken:
            yield ConfigurationError(
                f"storms[{storm.name}].duration_min",
                f"{storm.duration_min}, which no model of this study takes",
                f"one of {_minutes(sorted(taken))}",
                "Correct it, or remove the storm.",
            )


def _minutes(durations: Collection[int]) -> str:
    return f"{', '.join(map(str, durations))} minutes"


def _nearest(name: str, known: Collection[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}? " if near else ""
