"""The commands that the README says are to be typed."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def _section(title: str) -> str:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    return readme.split(f"\n## {title}\n")[1].split("\n## ")[0]


def fenced(title: str) -> list[str]:
    """All lines of a section's code that is fenced, in its order."""
    blocks = re.findall(r"^```\n(.*?)^```$", _section(title), flags=re.DOTALL | re.MULTILINE)
    return "".join(blocks).splitlines()


def indented(title: str, word: str) -> list[str]:
    """The lines of the one indented block of code in a section that holds a word."""
    blocks = re.findall(r"(?:^    .+\n)+", _section(title), flags=re.MULTILINE)
    (block,) = [one for one in blocks if word in one]
    return [line.strip() for line in block.splitlines()]
