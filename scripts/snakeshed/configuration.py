"""The configuration of a study: checked against its schema, completed with its defaults.

This runs at every start of Snakemake, in every job: it imports nothing heavy.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import yaml

from snakeshed.errors import ConfigurationError, SeveralProblems

if TYPE_CHECKING:
    from jsonschema import ValidationError

# Formats whose rows have no geometry: they need columns of coordinates.
_WITHOUT_GEOMETRY = {".csv", ".xlsx"}
# Formats that hold several tables in one file.
_WITH_SHEETS = {".xlsx", ".gpkg"}

# What a reader of an archive is told of an input, and whether it is in there.
PUBLICATION = ("redistribute", "url", "licence")

# More than any study has. YAML can name a value inside itself, and so be endless.
_MOST_LEVELS = 20
_MOST_VALUES = 100_000
_LARGEST = 10**40
# What a message quotes of a value.
_LONGEST_QUOTE = 200
# Codes of classes, as rasters can hold them.
_CODE = re.compile(r"[+-]?[0-9]{1,18}")
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


def load_schema(path: str | Path) -> dict:
    """Read a schema.

    Parameters
    ----------
    path : str or Path
        JSON Schema, draft 2020-12, written in YAML.

    Returns
    -------
    dict
        The schema.
    """
    # The C parser is ten times as fast; it is missing where PyYAML was built without libyaml.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=loader)


def typed(config: dict, given: Mapping) -> dict:
    """Read what stands deep in ``--config`` as it would be read in a file.

    Snakemake leaves it as text: ``--config 'archive={changed: true}'`` gives the text "true".

    Parameters
    ----------
    config : dict
        The configuration, of which this is a part.
    given : mapping
        What ``--config`` gave.

    Returns
    -------
    dict
        The configuration with what is meant: true, false, null and numbers.
    """
    read = dict(config)
    for key, value in given.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), Mapping):
            read[key] = typed(config[key], value)
        elif config.get(key) == value:
            read[key] = _typed_value(value)
    return read


def _typed_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_typed_value(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _typed_value(each) for key, each in value.items()}
    if not isinstance(value, str):
        return value
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    return read if read is None or isinstance(read, (bool, int, float)) else value


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
    problems = [
        problem
        for error in Draft202012Validator(schema).iter_errors(raw)
        for problem in _explain(error, raw, schema, source)
    ]
    problems += _unusable(raw, (), schema, source)
    wrong = {problem.where for problem in problems}

    if isinstance(raw, Mapping):
        # What a section means as a whole can be judged only where each of its keys is right.
        sound = {
            key: value
            for key, value in raw.items()
            if not any(_is_within(where, source, key) for where in wrong)
        }
        filled = _filled(sound, schema)
        contradictions: list[tuple[str, str, str, str]] = []
        if "sites" in sound:
            contradictions += _check_sites(filled["sites"])
        if "dem" in sound:
            contradictions += _check_dem(filled["dem"])
        if "layers" in sound:
            contradictions += _check_layers(sound["layers"], schema["properties"]["layers"])
        for key, found, expected, next_step in contradictions:
            problems.append(ConfigurationError(f"{source}: {key}", found, expected, next_step))
    if problems:
        raise SeveralProblems(sorted(problems, key=lambda problem: problem.where))

    for layer in filled["layers"]:
        if layer["type"] == "numeric" and layer["percentiles"] is None:
            layer["percentiles"] = list(filled["features"]["percentiles"])
        if layer["type"] == "classes":
            layer["classes"] = {int(code): label for code, label in layer["classes"].items()}
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


def _without(section: Mapping, keys: Collection[str]) -> dict:
    return {key: value for key, value in section.items() if key not in keys}


def read_study(path: str | Path) -> Any:
    """Read the file of a study as YAML.

    Snakemake reads it too, but keeps the last of two equal keys without a word, and ends with a
    traceback where the file is no YAML.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    object
        What it says; for `complete`.

    Raises
    ------
    SeveralProblems
        The file is not there, is no YAML, or has keys twice: one `ConfigurationError` per problem,
        with its line and column.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        loader = yaml.SafeLoader(text)
        tree = loader.get_single_node()
        problems = list(_repeated_keys(tree, str(path)))
        value = None if tree is None else loader.construct_document(tree)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        found = error.problem if error.context is None else f"{error.problem} {error.context}"
        problems = [
            ConfigurationError(
                f"{path}{place}",
                f"no YAML: {found}",
                "keys with values, one in a line, such as study: mine",
                "Mend this line or the one above: indentation, a tab, quotes or brackets that are "
                "not closed, no blank after a colon.",
            )
        ]
    except OSError as error:
        problems = [
            ConfigurationError(
                str(path),
                f"a file that cannot be read ({error.strerror or error})",
                "the configuration of a study",
                f"Correct the path; it is relative to {Path.cwd()}.",
            )
        ]
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # Signs that YAML does not allow, other encodings, dates and numbers that do not exist.
        reason = " ".join(str(error).split())
        problems = [
            ConfigurationError(
                str(path),
                f"no YAML ({_shortened(reason)})",
                "text in UTF-8 with keys and values",
                "Save it as plain text, and put what is no number or date in quotes.",
            )
        ]
    if problems:
        raise SeveralProblems(problems)
    return value


def _repeated_keys(tree: yaml.Node | None, source: str) -> Iterator[ConfigurationError]:
    """Yield every key that a mapping of a YAML file has for the second time, in their order."""
    waiting, seen = [tree], set()
    while waiting:
        node = waiting.pop()
        # A node may be named in several places, even within itself.
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        if not isinstance(node, yaml.MappingNode):
            continue
        waiting += [value for _, value in reversed(node.value)]
        first: dict[tuple[str, str], yaml.ScalarNode] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            before = first.setdefault((key.tag, key.value), key)
            if before is not key:
                yield ConfigurationError(
                    f"{source}, line {key.start_mark.line + 1}, column {key.start_mark.column + 1}",
                    f"the key {key.value!r} again (first in line {before.start_mark.line + 1})",
                    "every key once",
                    "Remove one of them: of two, Snakemake would take the last without a word.",
                )


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
        for key, of_key in schema["properties"].items():
            if key in value:
                complete[key] = _filled(value[key], of_key)
            elif "default" in of_key and of_key.get("only_for") in (None, value.get("type")):
                complete[key] = _filled(of_key["default"], of_key)
        return complete
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list):
        return [_filled(item, schema.get("items", {})) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        # 100, 100.0 and 1e2 mean the same, so they must also look the same to Snakemake.
        kinds = _kinds(schema)
        if "integer" in kinds:
            return int(value)
        if "number" in kinds:
            return float(value)
    return value


def _check_sites(sites: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is contradictory in `sites`: key, found, expected, next step."""
    columns, crs, utm = sites["columns"], sites["crs"], sites["utm"]
    suffix = PurePath(sites["path"]).suffix.lower()
    has_x, has_y = columns["x"] is not None, columns["y"] is not None
    if has_x != has_y:
        there, absent = ("x", "y") if has_x else ("y", "x")
        yield (
            f"sites.columns.{absent}",
            f"no such key, but sites.columns.{there}",
            "both x and y, or neither for a file with point geometries",
            f"Name the column of {absent}.",
        )
    elif not has_x and suffix in _WITHOUT_GEOMETRY:
        yield (
            "sites.columns",
            f"neither x nor y for a table in {suffix}",
            "the names of the columns with the coordinates",
            "Set sites.columns.x and sites.columns.y.",
        )
    elif not has_x and (crs is not None or utm is not None):
        yield (
            "sites.crs" if crs is not None else "sites.utm",
            "a CRS, but no sites.columns.x and sites.columns.y",
            "no CRS here: a file with point geometries has its own",
            "Remove this key, or name the columns with the coordinates.",
        )
    elif has_x and crs is None and utm is None:
        yield (
            "sites",
            "neither crs nor utm",
            "one of them",
            "Set sites.crs, such as EPSG:4326 for longitude and latitude, or sites.utm if every "
            "row has its UTM zone.",
        )
    elif crs is not None and utm is not None:
        yield (
            "sites",
            "both crs and utm",
            "one of them",
            "Keep sites.crs if all rows have the same CRS, sites.utm if every row has its zone.",
        )
    elif utm is not None and columns["utm_zone"] is None:
        yield (
            "sites.columns.utm_zone",
            "no such key, but sites.utm",
            "the name of the column with the UTM zone",
            "Name it, or set sites.crs instead of sites.utm if all rows are in one zone.",
        )
    elif utm is None and columns["utm_zone"] is not None:
        yield (
            "sites.columns.utm_zone",
            f"the column {columns['utm_zone']!r}, but no sites.utm",
            "a zone only together with its datum",
            "Set sites.utm.datum and remove sites.crs, or remove this key.",
        )
    meanings: dict[str, str] = {}
    for key in ("x", "y", "utm_zone", "area"):
        if columns[key] is not None and meanings.setdefault(columns[key], key) != key:
            yield (
                f"sites.columns.{key}",
                f"the column {columns[key]!r}, which is sites.columns.{meanings[columns[key]]} too",
                "another column",
                "Correct one of the two.",
            )
    if utm is not None and utm["hemisphere"] == "south" and utm["datum"] != "WGS84":
        yield (
            "sites.utm.hemisphere",
            f"south with the datum {utm['datum']}",
            "north, since this datum has no southern zones",
            "Check the datum; in the south it is usually WGS84.",
        )
    if sites["sheet"] is not None and suffix not in _WITH_SHEETS:
        yield (
            "sites.sheet",
            f"{sites['sheet']!r} for a table in {suffix or 'an unknown format'}",
            "no sheet: only XLSX files and GeoPackages have them",
            "Remove this key.",
        )


def _check_dem(dem: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is contradictory in `dem`: key, found, expected, next step."""
    if dem["target_crs"] is not None and dem["resolution"] is None:
        yield (
            "dem.resolution",
            "no such key, but dem.target_crs",
            f"the cell size after the reprojection, in units of {dem['target_crs']}",
            "Set it, or remove dem.target_crs to keep the grid of the DEM.",
        )
    if dem["target_crs"] is None and dem["resolution"] is not None:
        yield (
            "dem.resolution",
            f"{dem['resolution']:g}, but no dem.target_crs",
            "a resolution only together with a CRS to reproject to",
            "Remove it: the DEM keeps its own grid.",
        )


def _check_layers(layers: list, schema: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is contradictory in `layers`: key, found, expected, next step."""
    known = schema["items"]["properties"]
    names = [layer["name"] for layer in layers]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield (
                f"layers[{name}].name",
                f"{names.count(name)} layers of this name",
                "every layer with its own name",
                "Rename all but one: their columns would have the same names.",
            )
    for layer in layers:
        kind = layer["type"]
        for key in layer:
            only_for = known[key].get("only_for")
            if only_for not in (None, kind):
                yield (
                    f"layers[{layer['name']}].{key}",
                    f"this key on a layer of type {kind}",
                    f"it on a layer of type {only_for} only",
                    f"Remove it, or set the type to {only_for}.",
                )
        if kind == "classes":
            yield from _check_codes(layer)


def _check_codes(layer: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is wrong with the codes of a layer of classes."""
    seen: set[int] = set()
    for code in layer.get("classes", {}):
        whole = isinstance(code, int) and not isinstance(code, bool)
        if not (whole or isinstance(code, str)) or not _CODE.fullmatch(str(code)):
            yield (
                f"layers[{layer['name']}].classes",
                f"the code {_shown(code)}",
                "whole numbers of at most 18 digits as codes",
                "Write the classes as code: label, such as 3: high.",
            )
        elif int(code) in seen:
            yield (
                f"layers[{layer['name']}].classes",
                f"the code {int(code)} twice",
                "every code once",
                "Remove one of them.",
            )
        else:
            seen.add(int(code))


def _explain(
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
        _shown(value),
        _expectation(error.schema, rule),
        _meaning(_described_schema(path, schema), _advice(value, error.schema)),
    )


def _unknown_key(
    path: list, key: Any, of_section: Mapping, raw: Any, schema: Mapping, source: str
) -> ConfigurationError:
    """Return the problem of a key that the schema does not have, with the likeliest known one."""
    known = list(of_section["properties"])
    near = difflib.get_close_matches(_shortened(str(key)).lower(), known, n=1, cutoff=0.6)
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


def _unusable(
    value: Any, path: tuple, schema: Mapping, source: str, root: Any = None
) -> Iterator[ConfigurationError]:
    """Yield every number and every text of which JSON Schema sees no harm, but Python does."""
    root = value if root is None else root
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unusable(item, (*path, key), schema, source, root)
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unusable(item, (*path, index), schema, source, root)
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
        _shown(value),
        expected,
        _meaning(_described_schema(path, schema), advice),
    )


def _is_within(where: str, source: str, section: object) -> bool:
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
            name += f"[{_shortened(label) if isinstance(label, str) else part + 1}]"
        else:
            name += f".{_shortened(str(part))}" if name else _shortened(str(part))
        raw = inner
    return name or "the whole file"


def _shown(value: Any) -> str:
    """Return a value as it is quoted in a message."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"keys ({_shortened(', '.join(map(str, value))) or 'none'})"
    if isinstance(value, list) and not value:
        return "an empty list"
    if isinstance(value, str):
        return f"the text {_shortened(repr(value))}"
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    """Return the beginning of a text that is too long to be quoted."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]} …"


def _kinds(schema: Mapping) -> list[str]:
    """Return the types that a schema allows."""
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _expectation(schema: Mapping, rule: str | None = None) -> str:
    """Return what a schema allows, in words; `rule` is the keyword that was violated."""
    if "enum" in schema:
        return "one of " + ", ".join(
            "null" if item is None else str(item) for item in schema["enum"]
        )
    text = " or ".join(_KINDS[kind] for kind in _kinds(schema)) or "another value"
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
        text += ", such as " + " or ".join(schema["examples"])
    if rule == "minLength":
        text = "text that is not empty"
    if rule == "maxLength":
        text = f"at most {schema['maxLength']} signs"
    if rule == "minItems":
        text = f"a list with at least {schema['minItems']} entry"
    if rule == "uniqueItems":
        text = "every value once"
    if rule == "not":
        text += f" other than {schema['not']['const']}"
    return text


def _advice(value: Any, schema: Mapping) -> str:
    """Return a hint for what YAML is known to turn into something else."""
    kinds = _kinds(schema)
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
