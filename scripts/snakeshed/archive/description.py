"""What an unpacked archive says of itself, read without trust: links, inputs, the study's name.

Checksums only show that nothing changed since the archive was made, so a file may still hold
anything. Each has a limit for its size and for the number and depth of its values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from snakeshed.archive.bag import UntrustedArchive
from snakeshed.archive.entry_names import collisions, quoted, shown, unsafe
from snakeshed.archive.inputs import FOLDER
from snakeshed.archive.write import (
    CONFIGURATION,
    INPUTS,
    LARGEST_JSON,
    LINKS,
    MOST_VALUES,
    number_of_values,
)
from snakeshed.archive.zip_layout import DAMAGED

_LARGEST_YAML, _MOST_EVENTS, _MOST_LEVELS = 4 << 20, 200_000, 20
_STUDY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TEXT = {"type": "string", "maxLength": 4096}
_LINKS_SCHEMA = {"type": "object", "additionalProperties": _TEXT | {"minLength": 1}}
_INPUTS_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["path", "size", "sha256", "url", "included"],
        "properties": {
            "path": _TEXT,
            "size": {"type": "integer", "minimum": 0, "maximum": 1 << 60},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "url": _TEXT | {"type": ["string", "null"]},
            "address": _TEXT | {"type": ["string", "null"]},
            "included": {"type": "boolean"},
        },
    },
}


@dataclass(frozen=True)
class NamedInput:
    """An input that an archive names but does not hold.

    Attributes
    ----------
    path : str
        Its place below the folder ``data``.
    size : int
        In bytes.
    sha256 : str
    url : str or None
    address : str or None
        From which this very file was fetched.
    """

    path: str
    size: int
    sha256: str
    url: str | None
    address: str | None = None


def read_links(bag: Path, archive: str) -> dict[str, str]:
    """Read the links of an archive's workflow: targets by name, as they stand.

    Parameters
    ----------
    bag : Path
        The folder ``data`` of the unpacked archive.
    archive : str
        The archive, for messages.

    Raises
    ------
    UntrustedArchive
        There is no such file, or another one.
    """
    return _read(bag, LINKS, archive, lambda content: _json(content, "links"))


def read_inputs(bag: Path, archive: str) -> list[NamedInput]:
    """Read which inputs an archive names without holding them.

    Parameters
    ----------
    bag, archive
        As for `read_links`.

    Raises
    ------
    UntrustedArchive
        There is no such file or another one, or an input has a place outside of its folder.
    """
    read = _read(bag, INPUTS, archive, lambda content: _json(content, "inputs"))
    inputs = [
        NamedInput(each["path"], each["size"], each["sha256"], each["url"], each.get("address"))
        for each in read
        if not each["included"]
    ]
    for each in inputs:
        fault = unsafe(each.path)
        if not fault and not each.path.startswith(f"{FOLDER}/"):
            fault = "which is outside of it"
        if fault:
            raise UntrustedArchive(archive, f"the input {quoted(each.path)}, {fault}")
    held = [path.relative_to(bag).as_posix() for path in (bag / FOLDER).rglob("*")]
    held = [name for name in held if (bag / name).is_file()]
    for fault in collisions([*held, *(each.path for each in inputs)]):
        raise UntrustedArchive(archive, f"the input {fault}")
    return inputs


def read_study_name(bag: Path, archive: str) -> str:
    """Read the name of a study from its configuration, of which nothing else is read.

    Parameters
    ----------
    bag, archive
        As for `read_links`.

    Raises
    ------
    UntrustedArchive
        There is no such file, or one without a name that can be that of a folder.
    """
    return _read(bag, CONFIGURATION, archive, _study_name, _LARGEST_YAML)


def _read(
    bag: Path,
    name: str,
    archive: str,
    parse: Callable[[bytes], Any],
    largest: int = LARGEST_JSON,
) -> Any:
    try:
        with (bag / name).open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise ValueError(f"more than {largest:,} bytes")
        return parse(content)
    except (*DAMAGED, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UntrustedArchive(archive, f"{name} that cannot be parsed ({shown(reason)})") from None


def _json(content: bytes, kind: str) -> Any:
    if number_of_values(content) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values")
    value = json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    if error := next(_validator(kind).iter_errors(value), None):
        raise ValueError(f"{error.json_path}: {shown(error.message)}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = dict(pairs)
    if len(read) < len(pairs):
        raise ValueError("the same key twice")
    return read


def _no_number(name: str) -> float:
    raise ValueError(f"{name}, which is no number")


@cache
def _validator(kind: str) -> Any:
    from jsonschema import Draft202012Validator

    schemas: Mapping[str, Mapping] = {"links": _LINKS_SCHEMA, "inputs": _INPUTS_SCHEMA}
    return Draft202012Validator(schemas[kind])


def _study_name(content: bytes) -> str:
    # Events are read one by one: nothing is built, so aliases and merge keys cannot multiply.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    level, names, key = 0, [], None
    for number, event in enumerate(yaml.parse(content.decode(), Loader=loader)):
        if number > _MOST_EVENTS:
            raise ValueError(f"more than {_MOST_EVENTS:,} values")
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1
        if level > _MOST_LEVELS:
            raise ValueError(f"more than {_MOST_LEVELS} levels of values within values")
        if level == 1 and isinstance(event, yaml.SequenceStartEvent):
            raise ValueError("a list, not keys with values")
        # A collection is a key or value, too, and is here again when it ends.
        is_value = isinstance(event, yaml.ScalarEvent | yaml.AliasEvent | yaml.CollectionEndEvent)
        if level != 1 or not is_value:
            continue
        # Keys and values take turns.
        if key is None:
            key = event
        else:
            if getattr(key, "value", None) == "study":
                names.append(getattr(event, "value", None))
            key = None
    if len(names) != 1 or names[0] is None or not _STUDY.fullmatch(names[0]):
        raise ValueError("it does not name its study once, with letters, digits, and . _ -")
    return names[0]
