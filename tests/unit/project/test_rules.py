"""The files of rules, which Snakemake runs in one namespace."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
FILES = [CHECKOUT / "Snakefile", *sorted((CHECKOUT / "rules").glob("*.smk"))]


def names_in(text: str) -> dict[str, set[str]]:
    """Names that a file binds at its top, with where they come from."""
    found = defaultdict(set)
    text = re.sub(r"\(\n\s+([\w\s,]+)\)", lambda names: " ".join(names[1].split()), text)
    for module, names in re.findall(r"^from (\S+) import ([\w ,]+)", text, flags=re.MULTILINE):
        for name in filter(None, map(str.strip, names.split(","))):
            found[name.split(" as ")[-1]].add(f"{module}.{name}")
    for name in re.findall(r"^import (\w+)$", text, flags=re.MULTILINE):
        found[name].add(name)
    for kind, name in re.findall(r"^(def |class |)(\w+)(?=\(| = )", text, flags=re.MULTILINE):
        if kind or text.find(f"\n{name} = ") >= 0:
            found[name].add("its own")
    return found


def test_no_file_of_rules_takes_a_name_of_another():
    bound = defaultdict(list)
    for path in FILES:
        for name, origins in names_in(path.read_text(encoding="utf-8")).items():
            bound[name] += [(path.name, origin) for origin in sorted(origins)]
    assert len(bound) > 60
    assert {"FILES", "user_error"} <= bound.keys()
    for name, places in bound.items():
        origins = {origin for _, origin in places}
        # The same import in several files is one object.
        assert len(places) == 1 or (len(origins) == 1 and "its own" not in origins), (name, places)
