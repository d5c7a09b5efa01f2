"""The configuration of a study: checked against its schema, completed with its defaults.

This runs at every start of Snakemake, in every job: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.features.joint import PRESETS
from snakeshed.features.layers import type_of
from snakeshed.learning.declared import refit_columns
from snakeshed.models.configured import needed_columns
from snakeshed.models.declared import severity_layers
from snakeshed.study.contradictions import (
    check_columns,
    check_dem,
    check_layers,
    check_model_keys,
    check_observations,
    check_recipe,
    check_sites,
    is_for,
)
from snakeshed.study.left_out import check_without
from snakeshed.study.schema_messages import explain, is_within, kinds_of, too_long, unusable
from snakeshed.study.yaml_file import load_schema
from snakeshed.terrain.sources import with_source

if TYPE_CHECKING:
    pass

# What a reader of an archive is told of an input, and whether it is in there.
PUBLICATION = ("redistribute", "url", "licence")

# More than any study has. YAML can name a value inside itself, and so be endless.
_MOST_LEVELS = 20
_MOST_VALUES = 100_000
_LARGEST = 10**40


def complete(raw: Mapping | None, schema: Mapping | str | Path, source: str) -> dict:
    """Check the configuration of a study and fill in what it leaves to the defaults.

    Parameters
    ----------
    raw : mapping
        The configuration as the user wrote it. It is left as it is.
    schema : mapping, str or Path
        The schema, or the file with it.
    source : str
        The file from which `raw` comes, for messages.

    Returns
    -------
    dict
        The configuration with every key that applies, in the order of the schema. Numbers have
        the schema's type (a whole number where it says integer, else a float), the codes of
        classes are integers, and a numeric layer has its percentiles. Completing it again changes
        nothing.

    Raises
    ------
    SeveralProblems
        If anything is wrong: one `ConfigurationError` per problem, in the order of their keys.
    """
    from jsonschema import Draft202012Validator

    if not isinstance(schema, Mapping):
        schema = load_schema(schema)
    _check_size(raw, source)
    if problems := list(too_long(raw, (), schema, source)):
        raise SeveralProblems(problems)
    problems = [
        problem
        for error in Draft202012Validator(schema).iter_errors(raw)
        for problem in explain(error, raw, schema, source)
    ]
    problems += unusable(raw, (), schema, source)
    wrong = {problem.where for problem in problems}

    if isinstance(raw, Mapping):
        # What a section means as a whole can be judged only where each of its keys is right.
        sound = {
            key: value
            for key, value in raw.items()
            if not any(is_within(where, source, key) for where in wrong)
        }
        filled = _filled(sound, schema)
        contradictions: list[tuple[str, str, str, str]] = []
        if "sites" in sound:
            contradictions += check_sites(filled["sites"])
        if "dem" in sound:
            contradictions += check_dem(filled["dem"])
        if {"sites", "dem"} <= set(sound):
            contradictions += check_recipe(filled, schema)
        if "layers" in sound:
            contradictions += check_layers(sound["layers"], schema["properties"]["layers"])
        if "models" in sound:
            contradictions += check_model_keys(sound["models"], schema["properties"]["models"])
        if "observations" in sound:
            contradictions += check_observations(filled["observations"])
        if not wrong:
            contradictions += check_without(filled)
        contradictions += check_columns(filled["features"], filled["layers"])
        for key, found, expected, next_step in contradictions:
            problems.append(ConfigurationError(f"{source}: {key}", found, expected, next_step))
    if problems:
        raise SeveralProblems(sorted(problems, key=lambda problem: problem.where))

    filled["dem"] = with_source(filled["dem"], filled["study"])
    filled["layers"] = [
        type_of(layer).completed(layer, filled["features"]) for layer in filled["layers"]
    ]
    filled["features"]["joint"] += _terms_of_models(filled)
    return filled


def without_publication(study: Mapping) -> dict:
    """Return a study without the keys that only an archive of it needs.

    Nothing else depends on them: a licence that becomes known re-runs no shard.

    Parameters
    ----------
    study : mapping
        From `complete`; it is left as it is.
    """
    bare = {key: value for key, value in study.items() if key != "archive"}
    for part in ("sites", "dem"):
        bare[part] = _without(study[part], PUBLICATION)
    bare["layers"] = [_without(layer, PUBLICATION) for layer in study["layers"]]
    return bare


def _terms_of_models(study: Mapping) -> list[str]:
    """Return predefined joint features that models or refits take and the study does not list."""
    if len(severity_layers(study)) != 1:
        return []
    there = [each if isinstance(each, str) else each["name"] for each in study["features"]["joint"]]
    needed = dict.fromkeys([*needed_columns(study), *refit_columns(study)])
    return [name for name in needed if name in PRESETS and name not in there]


def _without(section: Mapping, keys: Collection[str]) -> dict:
    return {key: value for key, value in section.items() if key not in keys}


def _check_size(raw: Any, source: str) -> None:
    """Refuse a configuration that is nested without end, or has numbers without end."""
    waiting, values = [(raw, 1)], 0
    while waiting:
        value, level = waiting.pop()
        values += 1
        found = next_step = ""
        if level > _MOST_LEVELS:
            found = f"more than {_MOST_LEVELS} levels of values within values"
        elif values > _MOST_VALUES:
            found = f"more than {_MOST_VALUES:,} values"
        elif isinstance(value, int) and abs(value) >= _LARGEST:
            # Python does not even write numbers of thousands of digits.
            found = "a number of more than 40 digits"
            next_step = "If it is a name, put it in quotes."
        if found:
            problem = ConfigurationError(
                f"{source}: the whole file",
                found,
                "a study, which has a few of them" if not next_step else "numbers that are meant",
                next_step
                or "Look for a YAML anchor (&name) that is used within itself, or far too often.",
            )
            raise SeveralProblems([problem])
        if isinstance(value, Mapping):
            waiting += [(item, level + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list | tuple | set):
            waiting += [(item, level + 1) for item in value]


def _filled(value: Any, schema: Mapping) -> Any:
    """Return a valid value with all defaults, sharing nothing with `value` or the schema."""
    if isinstance(value, Mapping) and "properties" in schema:
        complete = {}
        kind = value.get(schema.get("kind", "type"))
        for key, of_key in schema["properties"].items():
            if key in value:
                complete[key] = _filled(value[key], of_key)
            elif "default" in of_key and is_for(of_key, kind):
                complete[key] = _filled(of_key["default"], of_key)
        return complete
    if isinstance(value, Mapping):
        of_others = schema.get("additionalProperties") or {}
        return {key: _filled(item, of_others) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, schema.get("items", {})) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        # 100, 100.0 and 1e2 mean the same, so they must also look the same to Snakemake.
        kinds = kinds_of(schema)
        if "integer" in kinds:
            return int(value)
        if "number" in kinds:
            return float(value)
    return value
