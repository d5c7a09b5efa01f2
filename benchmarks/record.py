"""What all benchmarks share: the machine, its memory, and where the numbers go."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "benchmarks" / "README.md"


def parser_of(description: str) -> argparse.ArgumentParser:
    """Command line of a benchmark, with the options that all of them have.

    Parameters
    ----------
    description : str
        The benchmark's docstring, which its help shows.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--readme", action="store_true", help="update benchmarks/README.md")
    return parser


def made_folder(parser: argparse.ArgumentParser) -> None:
    """Let the command line say where made terrain is kept."""
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "results" / "benchmarks",
        help="where made terrain is kept",
    )


def publish(name: str, result: dict, text: str, options: argparse.Namespace) -> None:
    """Print a table; write the numbers to a file and the table into README.md if so asked.

    Parameters
    ----------
    name : str
        Of the place of the table in README.md.
    result : dict
        What the table was made from.
    text : str
        The table.
    options : argparse.Namespace
        Of `parser_of`.
    """
    print(text, flush=True)
    save(result, options)
    if options.readme:
        README.write_text(with_table(README.read_text(encoding="utf-8"), name, text), "utf-8")


def save(result: dict, options: argparse.Namespace) -> None:
    """Write numbers to the file that is named for them, if any: all of them, or those so far."""
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def with_table(document: str, name: str, text: str) -> str:
    """Put a table between its marks in a document.

    Raises
    ------
    ValueError
        If the document has no place of that name, or several.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if not document.count(begin) == document.count(end) == 1:
        raise ValueError(f"expected one {begin} and one {end} in {README.name}")
    before, rest = document.split(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"


def machine(*packages: str) -> dict[str, str]:
    """What the numbers were measured on, and when.

    Parameters
    ----------
    *packages : str
        Distributions whose versions matter.
    """
    try:
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        cpu = platform.machine()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{package} {version_of(package)}" for package in packages]
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, {total:.0f} GiB",
        "versions": ", ".join(versions),
        "date": time.strftime("%Y-%m-%d"),
    }


def version_of(package: str) -> str:
    """Version of an installed distribution, or of this checkout."""
    if package != "snakeshed":
        return version(package)
    import snakeshed

    return snakeshed.__version__


def source_of(result: dict) -> str:
    """A sentence that names the machine, the versions and the date."""
    return f"{result['machine']}; {result['versions']}; {result['date']}."
