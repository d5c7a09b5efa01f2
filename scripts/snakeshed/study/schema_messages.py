"""What is wrong with a configuration, in words: key, what was found, what was expected."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snakeshed.errors import ConfigurationError, shortened, shown

if TYPE_CHECKING:
    from jsonschema import ValidationError

# Signs that no name of a file or a column has: line breaks, above all, which YAML's | leaves at
# the end.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_KINDS = {
    "object": "keys with values",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "nothing (null)",
}


def explain(
    error: ValidationError, raw: Any, schema: Mapping, source: str
) -> Iterator[ConfigurationError]:
    """Yield what a violation of the schema means to the user."""
    path, rule, value = list(error.absolute_path), error.validator, error.instance
    if rule == "additionalProperties":
        for key in value:
            if key not in error.schema["properties"]:
                yield _unknown_key(path, key, error.schema, raw, schema, source)
        return
    if rule == "required":
        for key in error.validator_value:
            if key not in value and f"{key!r} is a required" in error.message:
                yield ConfigurationError(
                    f"{source}: {_key([*path, key], raw)}",
                    "no such key",
                    _expectation(error.schema["properties"][key]),
                    _meaning(error.schema["properties"][key], "Add it."),
                )
        return
    yield ConfigurationError(
        f"{source}: {_key(path, raw)}",
        shown(value),
        _expectation(error.schema, rule),
        _meaning(_described_schema(path, schema), _advice(value, error.schema)),
    )


def _unknown_key(
    path: list, key: Any, of_section: Mapping, raw: Any, schema: Mapping, source: str
) -> ConfigurationError:
    """Return the problem of a key that the schema does not have, with the likeliest known one."""
    known = list(of_section["properties"])
    near = difflib.get_close_matches(shortened(str(key)).lower(), known, n=1, cutoff=0.65)
    elsewhere = [place for place in _all_keys(schema) if place.split(".")[-1] == key]
    if near:
        next_step = f"Did you mean {_key([*path, near[0]], raw)}?"
    elif elsewhere:
        next_step = f"Did you mean {' or '.join(elsewhere)}?"
    else:
        next_step = "Remove it, or correct its name."
    expected = f"one of {', '.join(known)}"
    where = f"{source}: {_key([*path, key], raw)}"
    return ConfigurationError(where, "an unknown key", expected, next_step)


def _all_keys(schema: Mapping, parent: str = "") -> Iterator[str]:
    """Yield the full name of every key of a schema."""
    for key, of_key in schema.get("properties", {}).items():
        yield parent + key
        yield from _all_keys(of_key, f"{parent}{key}.")
        yield from _all_keys(of_key.get("items", {}), f"{parent}{key}[].")


def unusable(
    value: Any, path: tuple, schema: Mapping, source: str, root: Any = None
) -> Iterator[ConfigurationError]:
    """Yield every number and every text of which JSON Schema sees no harm, but Python does."""
    root = value if root is None else root
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from unusable(item, (*path, key), schema, source, root)
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unusable(item, (*path, index), schema, source, root)
        return
    if isinstance(value, float) and not math.isfinite(value):
        expected, advice = "a finite number", ""
    elif isinstance(value, int) and abs(value) >= 2**63:
        expected, advice = "a number of at most 18 digits", ""
    elif isinstance(value, str) and _CONTROL.search(value):
        expected = "text in one line, without tabs"
        advice = "Write it without | or >, which keep line breaks, and without \\n and \\t."
    else:
        return
    yield ConfigurationError(
        f"{source}: {_key(list(path), root)}",
        shown(value),
        expected,
        _meaning(_described_schema(path, schema), advice),
    )


def too_long(
    value: Any, path: tuple, schema: Mapping, source: str, root: Any = None
) -> Iterator[ConfigurationError]:
    """Yield every list or mapping that has more entries than the schema allows.

    They are looked for first: to compare the entries of a long list takes minutes.
    """
    root = value if root is None else root
    if isinstance(value, Mapping):
        most = schema.get("maxProperties")
        inner = [
            (key, item, schema.get("properties", {}).get(key, {})) for key, item in value.items()
        ]
    elif isinstance(value, list):
        most = schema.get("maxItems")
        inner = [(index, item, schema.get("items", {})) for index, item in enumerate(value)]
    else:
        return
    if most is not None and len(value) > most:
        yield ConfigurationError(
            f"{source}: {_key(list(path), root)}",
            f"{len(value):,} entries",
            f"at most {most:,} entries",
            _meaning(_described_schema(path, schema), "Keep those that are needed."),
        )
        return
    for key, item, of_key in inner:
        yield from too_long(item, (*path, key), of_key, source, root)


def is_within(where: str, source: str, section: object) -> bool:
    """Tell whether a problem is in a section, such as sites."""
    return (
        re.match(rf"{re.escape(str(section))}($|[.\[])", where.removeprefix(f"{source}: "))
        is not None
    )


def _key(path: Sequence, raw: Any) -> str:
    """Return the name of a key as a user would say it: layers[dnbr].scale, dem.path[2]."""
    name = ""
    for part in path:
        inner = raw
        if isinstance(raw, Mapping):
            inner = raw.get(part)
        elif isinstance(raw, list):
            inner = raw[part]
        if isinstance(part, int) and isinstance(raw, list):
            label = inner.get("name") if isinstance(inner, Mapping) else None
            # People count from one.
            name += f"[{shortened(label) if isinstance(label, str) else part + 1}]"
        else:
            name += f".{shortened(str(part))}" if name else shortened(str(part))
        raw = inner
    return name or "the whole file"


def kinds_of(schema: Mapping) -> list[str]:
    """Return the types that a schema allows."""
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _expectation(schema: Mapping, rule: str | None = None) -> str:
    """Return what a schema allows, in words; `rule` is the keyword that was violated."""
    if "enum" in schema:
        return "one of " + ", ".join(
            "null" if item is None else str(item) for item in schema["enum"]
        )
    text = " or ".join(_KINDS[kind] for kind in kinds_of(schema)) or "another value"
    bounds = {
        "minimum": "at least {}",
        "exclusiveMinimum": "greater than {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "less than {}",
    }
    limits = [words.format(schema[key]) for key, words in bounds.items() if key in schema]
    if limits:
        text += " " + " and ".join(limits)
    if "pattern" in schema and rule == "pattern":
        text += f" of the form {schema['pattern']}"
    if "examples" in schema:
        text += ", such as " + " or ".join(map(str, schema["examples"]))
    if rule == "minLength":
        text = "text that is not empty"
    if rule == "maxLength":
        text = f"at most {schema['maxLength']} signs"
    if rule == "minItems":
        least = schema["minItems"]
        text = f"a list with at least {least} {'entry' if least == 1 else 'entries'}"
    if rule == "uniqueItems":
        text = "every value once"
    if rule == "not":
        text += f" other than {schema['not']['const']}"
    return text


def _advice(value: Any, schema: Mapping) -> str:
    """Return a hint for what YAML is known to turn into something else."""
    kinds = kinds_of(schema)
    if isinstance(value, str) and {"number", "integer"} & set(kinds):
        try:
            number = float(value)
        except ValueError:
            return ""
        return f"Write {number:g}, without quotes." if math.isfinite(number) else ""
    if (
        "string" in kinds
        and isinstance(value, int | float)
        and re.search(schema.get("pattern", ""), str(value))
    ):
        return f'Write it in quotes: "{value}".'
    return ""


def _described_schema(path: Sequence, schema: Mapping) -> Mapping:
    """Return the schema of a key, or of the innermost key around it that has a description."""
    described = schema
    for part in path:
        schema = schema.get("properties", {}).get(part) or schema.get("items", {})
        if "description" in schema:
            described = schema
    return described


def _meaning(schema: Mapping, advice: str) -> str:
    """Return the next step: the advice, and what the key means."""
    return f"{advice} It means: {schema.get('description', '')}".strip()
