"""The command ``snakeshed``: what is done around the workflow, not in it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from snakeshed import __version__
from snakeshed.errors import SeveralProblems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``snakeshed``; those of the process if not given.

    Returns
    -------
    int
        Exit status: 0 if all went well.
    """
    parser = argparse.ArgumentParser(
        prog="snakeshed",
        description="Catchments and features of sites. The workflow itself is run by snakemake.",
    )
    parser.add_argument("--version", action="version", version=f"snakeshed {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    add = commands.add_parser("compile", help="compile the kernels, so that no run waits for it")
    add.set_defaults(run=_compile)
    add = commands.add_parser("check", help="what is wrong with a study, or what a run would do")
    add.add_argument("config", type=Path, help="its configuration, such as config/mine.yaml")
    add.set_defaults(run=_check)
    add = commands.add_parser("summary", help="what a person wants to know first of a study")
    add.add_argument("results", type=Path, help="its folder, such as results/demo")
    add.set_defaults(run=_summary)
    chosen = parser.parse_args(arguments)
    try:
        status = chosen.run(chosen)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has read enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _compile(_: argparse.Namespace) -> int:
    started = time.perf_counter()
    # Importing takes seconds: it must not slow down the other commands.
    from snakeshed.precompile import precompile

    with tempfile.TemporaryDirectory(prefix="snakeshed-") as folder:
        precompile(folder)
    print(f"snakeshed: kernels ready after {time.perf_counter() - started:.1f} s")
    return 0


def _check(chosen: argparse.Namespace) -> int:
    from snakeshed.check import check_study, preview_text

    try:
        print(preview_text(check_study(chosen.config)))
    except SeveralProblems as several:
        for problem in several.problems:
            print(problem, file=sys.stderr)
        return 1
    return 0


def _summary(chosen: argparse.Namespace) -> int:
    path = chosen.results / "summary.json"
    if not path.is_file():
        print(f"snakeshed: no file {path}; run snakemake for this study first", file=sys.stderr)
        return 1
    from snakeshed.summary import summary_text

    print(summary_text(json.loads(path.read_text(encoding="utf-8")), chosen.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
