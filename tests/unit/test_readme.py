"""Commands of the README, in the form that Snakemake understands."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_nothing_follows_the_configuration_file():
    # --configfile takes every word up to the next option, targets too.
    commands = re.findall(r"^snakemake .*--configfile .*$", README, flags=re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        assert re.search(r"--configfile \S+( --|$)", command), command
