"""The table of faults, docs/faults.md, names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
ROW = re.compile(r"^\| (.+) \| (.+) \| (.+) \| `(\S+)::(\w+)` \|$")


def test_each_fault_on_record_has_a_test():
    lines = (CHECKOUT / "docs/faults.md").read_text(encoding="utf-8").splitlines()
    heads = ("| fault |", "|---|")
    rows = [line for line in lines if line.startswith("|") and not line.startswith(heads)]
    assert len(rows) >= 30
    for row in rows:
        found = ROW.match(row)
        assert found, row
        file, test = found.group(4, 5)
        assert f"\ndef {test}(" in (CHECKOUT / file).read_text(encoding="utf-8"), row
