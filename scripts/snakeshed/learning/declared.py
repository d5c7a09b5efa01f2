"""What a study declares to be fitted to its observations, and what is contradictory about it.

This is read at every start of Snakemake: it imports nothing heavy.

Refits and classifiers take columns by name. A name is that of a numeric feature of the study or, if
it has no such feature, that of a column of the site table. A study whose names are all columns of
the site table needs ``observations.parquet`` alone, and neither terrain nor layers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.features.columns import Column, numeric
from snakeshed.models.declared import DeclaredInput, declared_models
from snakeshed.models.logistic import Link, LogisticModel
from snakeshed.observations.columns import rainfall_columns
from snakeshed.observations.rainfall import RainfallColumn
from snakeshed.observations.response import Response


@dataclass(frozen=True)
class Refit:
    """A published model that a study fits again.

    Attributes
    ----------
    key : str
        Its place in the configuration, for messages.
    model : LogisticModel
    rainfall : RainfallColumn
        Of the duration that was asked for.
    inputs : tuple of DeclaredInput
        With a column each.
    training : Response or None
        The column that says which observations it is fitted to, and the values that say so; None
        for all.
    """

    key: str
    model: LogisticModel
    rainfall: RainfallColumn
    inputs: tuple[DeclaredInput, ...]
    training: Response | None

    @property
    def duration_min(self) -> int:
        """Duration of the rainfall, minutes."""
        return self.rainfall.duration_min

    @property
    def name(self) -> str:
        """Name of the model with the duration, as in ``dataset.parquet``."""
        return f"{self.model.name}_{self.duration_min}min"

    @property
    def published(self) -> Link:
        """Coefficients as published."""
        return self.model.links[self.duration_min]


def learning_settings(study: Mapping) -> dict:
    """Return what refits and classifiers depend on in a completed configuration.

    Parameters
    ----------
    study : mapping

    Returns
    -------
    dict
        ``observations``, and of ``layers`` the names and types.
    """
    layers = [{key: layer[key] for key in ("name", "type")} for layer in study["layers"]]
    return {"observations": study["observations"], "layers": layers}


def refit_settings(study: Mapping) -> dict:
    """Return what refits alone depend on: `learning_settings` without the classifiers."""
    settings = learning_settings(study)
    return settings | {"observations": settings["observations"] | {"classifiers": None}}


def columns_of_refits(study: Mapping) -> list[list[str]]:
    """Return the columns that each refit takes, of features or the site table, in their order."""
    return [
        [each.column for each in inputs if each.column is not None] for inputs in _inputs(study)
    ]


def refit_columns(study: Mapping) -> list[str]:
    """Return the columns that all refits take."""
    return [column for columns in columns_of_refits(study) for column in columns]


def named_by_learning(settings: Mapping) -> dict[str, str]:
    """Return the columns that refits and classifiers name, by their keys.

    Parameters
    ----------
    settings : mapping
        From `learning_settings`.

    Returns
    -------
    dict of str to str
        Names of numeric features, or of columns of the site table.
    """
    named = {}
    for place, (entry, inputs) in enumerate(
        zip(settings["observations"]["refits"], _inputs(settings), strict=True), start=1
    ):
        for each in inputs:
            if each.input.key in entry["inputs"]:
                named[f"observations.refits[{place}].inputs.{each.input.key}"] = each.column
    classifiers = settings["observations"]["classifiers"]
    if classifiers is not None:
        named |= {
            f"observations.classifiers.columns[{place}]": name
            for place, name in enumerate(classifiers["columns"], start=1)
        }
    return named


def table_columns(observations: Mapping) -> dict[str, str]:
    """Return the columns that can only be of the site table, by their keys."""
    columns = {
        f"observations.refits[{place}].training.column": entry["training"]["column"]
        for place, entry in enumerate(observations["refits"], start=1)
        if entry["training"] is not None
    }
    classifiers = observations["classifiers"]
    if classifiers is not None and classifiers["split_by"] is not None:
        columns["observations.classifiers.split_by"] = classifiers["split_by"]
    return columns


def features_taken(settings: Mapping, columns: Mapping[str, Column]) -> list[str]:
    """Return the features that refits and classifiers take.

    Parameters
    ----------
    settings : mapping
        From `learning_settings` or `refit_settings`, without contradictions.
    columns : mapping of str to Column
        From `snakeshed.features.layers.declared_columns`.

    Returns
    -------
    list of str
        Sorted; empty if all names are columns of the site table.
    """
    named = {*refit_columns(settings), *named_by_learning(settings).values()}
    return sorted(named.intersection(numeric(columns)))


def declared_refits(settings: Mapping, features: Collection[str]) -> list[Refit]:
    """Return the refits of a study.

    Parameters
    ----------
    settings : mapping
        From `learning_settings`, without contradictions; see `check_learning`.
    features : collection of str
        From `features_taken`.

    Returns
    -------
    list of Refit
        The factor of a model's input is for its features: a column of the site table is taken as
        it is, unless the configuration has a scale.
    """
    observations = settings["observations"]
    rainfall = {each.duration_min: each for each in rainfall_columns(observations)}
    return [
        Refit(
            key=f"observations.refits[{place}]",
            model=declared.model,
            rainfall=rainfall[entry["duration_min"]],
            inputs=tuple(_as_given(each, entry, features) for each in declared.inputs),
            training=None if entry["training"] is None else _training(entry["training"]),
        )
        for place, (entry, declared) in enumerate(
            zip(observations["refits"], _declared(settings), strict=True), start=1
        )
    ]


def check_learning(settings: Mapping, columns: Mapping[str, Column]) -> None:
    """Refuse refits and classifiers that contradict the rest of the study.

    Parameters
    ----------
    settings : mapping
        From `learning_settings`.
    columns : mapping of str to Column
        From `snakeshed.features.layers.declared_columns`.

    Raises
    ------
    SeveralProblems
        One `ConfigurationError` for each contradiction.
    """
    observations = settings["observations"]
    problems = [
        *_without_response(observations),
        *_wrong_durations(observations),
        *_wrong_inputs(settings, columns),
        *_texts(settings, columns),
        *_response_among_columns(observations, columns),
    ]
    if problems:
        raise SeveralProblems(problems)


def _training(declared: Mapping) -> Response:
    return Response(declared["column"], tuple(declared["values"]))


def _as_given(each: DeclaredInput, entry: Mapping, features: Collection[str]) -> DeclaredInput:
    own = entry["inputs"].get(each.input.key)
    has_scale = isinstance(own, Mapping) and own.get("scale") is not None
    return each if has_scale or each.column in features else replace(each, scale=1.0)


def _declared(settings: Mapping) -> list:
    entries = [
        {"name": entry["model"], "inputs": entry["inputs"]}
        for entry in settings["observations"]["refits"]
    ]
    return declared_models({"models": entries, "layers": settings["layers"]})


def _inputs(settings: Mapping) -> list[tuple[DeclaredInput, ...]]:
    return [declared.inputs for declared in _declared(settings)]


def _without_response(observations: Mapping) -> Iterator[ConfigurationError]:
    there = [key for key in ("refits", "classifiers") if observations[key]]
    if there and observations["response"] is None:
        keys = " and ".join(f"observations.{key}" for key in there)
        yield ConfigurationError(
            "observations.response",
            f"no such key, but {keys}",
            "the column that says whether there was a debris flow",
            f"Set it, or remove {keys}.",
        )


def _wrong_durations(observations: Mapping) -> Iterator[ConfigurationError]:
    there = {each["duration_min"] for each in observations["rainfall"]}
    first: dict[tuple[str, int], int] = {}
    declared = _declared({"observations": observations, "layers": []})
    for place, (entry, model) in enumerate(
        zip(observations["refits"], declared, strict=True), start=1
    ):
        where = f"observations.refits[{place}].duration_min"
        minutes, known = entry["duration_min"], model.model.durations_min
        if minutes not in known:
            yield ConfigurationError(
                where,
                f"{minutes}, which {model.name} does not take",
                f"one of {', '.join(map(str, known))} minutes",
                "Correct it.",
            )
        elif minutes not in there:
            yield ConfigurationError(
                where,
                f"{minutes}, but no rainfall of {minutes} minutes",
                "the duration of a column under observations.rainfall",
                "Add the column there, or correct the duration.",
            )
        elif first.setdefault((model.name, minutes), place) != place:
            yield ConfigurationError(
                f"observations.refits[{place}]",
                f"{model.name} for {minutes} minutes, as in observations.refits"
                f"[{first[model.name, minutes]}]",
                "every model once for each duration",
                "Remove one of the two, or correct its model or duration.",
            )


def _wrong_inputs(settings: Mapping, columns: Mapping[str, Column]) -> Iterator[ConfigurationError]:
    numbers = numeric(columns)
    for place, (entry, inputs) in enumerate(
        zip(settings["observations"]["refits"], _inputs(settings), strict=True), start=1
    ):
        where = f"observations.refits[{place}].inputs"
        known = [each.input.key for each in inputs]
        for key in entry["inputs"]:
            if key not in known:
                yield ConfigurationError(
                    f"{where}.{key}",
                    "an unknown input",
                    f"one of {', '.join(known)}",
                    f"{_nearest(key, known)}Correct it, or remove it; `snakeshed models` lists "
                    "them.",
                )
        for each in inputs:
            # What the configuration names may be a column of the site table, which is not read yet.
            if each.input.key not in entry["inputs"] and each.column not in numbers:
                named = each.column or "of a severity layer"
                yield ConfigurationError(
                    f"{where}.{each.input.key}",
                    f"no such key, and no numeric feature {named}",
                    f"a feature of this study, or a column of the site table, with the "
                    f"{each.input.description}",
                    f"Name it: inputs: {{{each.input.key}: ...}}.",
                )


def _texts(settings: Mapping, columns: Mapping[str, Column]) -> Iterator[ConfigurationError]:
    for key, name in named_by_learning(settings).items():
        if name in columns and columns[name].is_text:
            yield ConfigurationError(
                key,
                f"the feature {name}, which is text",
                "a numeric feature of this study, or a column of the site table of another name",
                "Name another one; features.parquet describes each.",
            )


def _response_among_columns(
    observations: Mapping, columns: Mapping[str, Column]
) -> Iterator[ConfigurationError]:
    if observations["classifiers"] is None or observations["response"] is None:
        return
    response = observations["response"]["column"]
    for place, name in enumerate(observations["classifiers"]["columns"], start=1):
        if name == response and name not in columns:
            yield ConfigurationError(
                f"observations.classifiers.columns[{place}]",
                f"{name!r}, which is the response",
                "columns that are known before there is a debris flow",
                "Remove it.",
            )


def _nearest(name: str, known: Collection[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}? " if near else ""
