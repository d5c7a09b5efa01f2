"""Configuration files and their schema, as they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from snakeshed.errors import ConfigurationError, SeveralProblems, shortened


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
                f"no YAML ({shortened(reason)})",
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
