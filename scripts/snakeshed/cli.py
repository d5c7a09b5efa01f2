"""The command ``snakeshed``: what is done around the workflow, not in it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from snakeshed import __version__
from snakeshed.errors import SeveralProblems, printable


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
    with redirect_stdout(_Printable(sys.stdout)), redirect_stderr(_Printable(sys.stderr)):
        return _run(arguments)


class _Printable:
    """A stream on which names from tables and files cannot act on the terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text with line breaks as its only control characters."""
        encoding = self._stream.encoding or "utf-8"
        shown = printable(text, keep="\n").encode(encoding, "backslashreplace")
        return self._stream.write(shown.decode(encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="snakeshed",
        description="Catchments and features of sites. The workflow itself is run by snakemake.",
    )
    parser.add_argument("--version", action="version", version=f"snakeshed {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    add = commands.add_parser("compile", help="compile the kernels, so that no run waits for it")
    add.add_argument(
        "--all", action="store_true", help="also those for patches that are routed by tiles"
    )
    add.add_argument("--cores", type=int, help="to compile on; at most 4 if not given")
    add.set_defaults(run=_compile)
    add = commands.add_parser("check", help="what is wrong with a study, or what a run would do")
    add.add_argument("config", type=Path, help="its configuration, such as config/mine.yaml")
    add.add_argument(
        "--without",
        nargs="*",
        metavar="NAME",
        help="layers, or dem, that a run is to go without: in place of `without` in the file",
    )
    add.set_defaults(run=_check)
    add = commands.add_parser("fetch", help="fetch the terrain that a run would fetch")
    add.add_argument("config", type=Path, help="the study's configuration")
    add.add_argument(
        "--refresh",
        action="store_true",
        help="take the files as they are now on their servers, in place of those that the results "
        "were made with",
    )
    add.set_defaults(run=_fetch)
    add = commands.add_parser("summary", help="what a person wants to know first of a study")
    add.add_argument("results", type=Path, help="its folder, such as results/demo")
    add.set_defaults(run=_summary)
    add = commands.add_parser("models", help="the hazard models, their inputs, and their papers")
    add.set_defaults(run=_models)
    _add_verify(commands)
    _add_cluster(commands)
    chosen = parser.parse_args(arguments)
    try:
        status = chosen.run(chosen)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("snakeshed: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read has read enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _add_verify(commands: argparse._SubParsersAction) -> None:
    from snakeshed.archive.verify import STATUSES

    statuses = "; ".join(f"{status} {meaning}" for status, meaning in STATUSES.items())
    add = commands.add_parser(
        "verify",
        help="check that an archive is complete, and reproduce its results",
        epilog=f"Exit status: {statuses}.",
    )
    add.add_argument("archive", type=Path, help="the ZIP file")
    add.add_argument(
        "--rerun",
        action="store_true",
        help="run the code of the archive, after a question, and compare all values",
    )
    add.add_argument(
        "--yes", action="store_true", help="run it without a question, as a script needs it"
    )
    add.add_argument(
        "--targets", nargs="+", default=[], metavar="FILE", help="re-run and compare only these"
    )
    add.add_argument(
        "--inputs", type=Path, metavar="FOLDER", help="has the inputs that the archive only names"
    )
    add.add_argument(
        "--fetch",
        action="store_true",
        help="fetch inputs that the archive only names, where it says from which address",
    )
    add.add_argument(
        "--environment",
        choices=("auto", "this", "wheels", "index"),
        default="auto",
        help="for the re-run: the one in use (this), or a new one of the packages in the archive "
        "(wheels) or of the package index; auto takes the first of these that has the packages of "
        "the archive's lock file",
    )
    add.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="largest relative difference of equal numbers; 0 (the default) is exact",
    )
    add.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="for the re-run")
    add.set_defaults(run=_verify)


def _verify(chosen: argparse.Namespace) -> int:
    from snakeshed.archive.verify import RerunRequest, verify

    def say(line: str) -> None:
        print(line, flush=True)

    def complain(line: str) -> None:
        print(line, file=sys.stderr)

    def agreed() -> bool:
        return chosen.yes or _says_yes("Run it? [y/N] ")

    request = None
    if chosen.rerun:
        if not chosen.yes and not (sys.stdin and sys.stdin.isatty()):
            complain(
                "snakeshed verify: --rerun runs foreign code, and there is no terminal to ask on; "
                "add --yes if you trust the archive"
            )
            return 2
        request = RerunRequest(
            chosen.targets,
            chosen.inputs,
            chosen.fetch,
            chosen.environment,
            chosen.tolerance,
            chosen.cores,
            agreed,
        )
    return verify(chosen.archive, request, say, complain)


def _add_cluster(commands: argparse._SubParsersAction) -> None:
    statuses = {
        0: "all is well",
        1: "the run has failed, or the configuration is wrong",
        2: "wrong arguments, or clean without a terminal and without --yes",
        3: "the cluster does not do what is asked of it",
        130: "interrupted; a run that has been started goes on",
    }
    told = "; ".join(f"{status} {meaning}" for status, meaning in statuses.items())
    cluster = commands.add_parser(
        "cluster",
        help="run a study on a Kubernetes cluster, from this checkout",
        description="Run a study on a Kubernetes cluster, from this checkout, by kubectl. "
        "profiles/nautilus/kustomization.yaml says where.",
        epilog=f"Exit status: {told}.",
    )
    words = cluster.add_subparsers(required=True, metavar="command", dest="word")
    helps = {
        "run": "copy a study to the cluster, run it, follow it, and fetch its results",
        "status": "what runs, what waits and for what, and how far the studies are",
        "logs": "the logs of a shard's jobs, or of a rule's",
        "push": "copy code, configuration, and inputs of a study; only what has changed",
        "pull": "fetch results; only what has changed",
        "stop": "stop runs, with all their Jobs",
        "clean": "remove all of snakeshed from the cluster, the volume too",
    }
    adds = {
        word: words.add_parser(word, help=told, description=told) for word, told in helps.items()
    }
    adds["logs"].add_argument("wanted", metavar="SHARD", help="such as 07, or a rule: delineate")
    for word in ("run", "push"):
        adds[word].add_argument("config", type=Path, help="such as config/mine.yaml")
    for word in ("logs", "pull", "stop"):
        adds[word].add_argument("config", type=Path, nargs="?", help="of one study only")
    adds["clean"].add_argument(
        "--keep-volume", action="store_true", help="keep the volume and its contents"
    )
    adds["clean"].add_argument("--yes", action="store_true", help="without a question")
    cluster.set_defaults(run=_cluster)


def _cluster(chosen: argparse.Namespace) -> int:
    from snakeshed.cluster import commands
    from snakeshed.errors import KubernetesError, SnakeshedError

    def say(line: str) -> None:
        print(line, flush=True)

    def agreed(question: str) -> bool:
        return chosen.yes or _says_yes(question)

    if chosen.word == "clean" and not chosen.yes and not (sys.stdin and sys.stdin.isatty()):
        print(
            "snakeshed cluster clean: it removes the volume, and there is no terminal to ask on; "
            "add --yes if you mean it",
            file=sys.stderr,
        )
        return 2
    does = {
        "run": lambda: commands.run(chosen.config, say),
        "status": lambda: commands.show(say),
        "logs": lambda: commands.logs(chosen.wanted, chosen.config, say),
        "push": lambda: commands.send(chosen.config, say),
        "pull": lambda: commands.fetch(chosen.config, say),
        "stop": lambda: commands.halt(chosen.config, say),
        "clean": lambda: commands.clean(chosen.keep_volume, agreed, say),
    }
    try:
        return does[chosen.word]()
    except SeveralProblems as several:
        for problem in several.problems:
            print(problem, file=sys.stderr)
        return 1
    except SnakeshedError as problem:
        print(problem, file=sys.stderr)
        return 3 if isinstance(problem, KubernetesError) else 1


def _says_yes(question: str) -> bool:
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except (EOFError, KeyboardInterrupt):
        return False


def _compile(chosen: argparse.Namespace) -> int:
    started = time.perf_counter()
    # Importing takes seconds: it must not slow down the other commands.
    from snakeshed.compilation import compile_kernels
    from snakeshed.jobs.kernel_cache import note_filled

    compile_kernels(chosen.all, chosen.cores)
    if chosen.all and (kept := os.environ.get("NUMBA_CACHE_DIR")):
        note_filled(kept)
    print(f"snakeshed: kernels ready after {time.perf_counter() - started:.1f} s")
    return 0


def _check(chosen: argparse.Namespace) -> int:
    from snakeshed.study.check import check_study, preview_text
    from snakeshed.study.progress_lines import progress_lines

    try:
        with progress_lines():
            preview = check_study(chosen.config, without=chosen.without)
        print(preview_text(preview))
    except SeveralProblems as several:
        for problem in several.problems:
            print(problem, file=sys.stderr)
        return 1
    return 0


def _fetch(chosen: argparse.Namespace) -> int:
    from snakeshed.errors import SnakeshedError
    from snakeshed.fetching.on_screen import on_screen
    from snakeshed.jobs.machine import machine_error
    from snakeshed.study.check import SCHEMA
    from snakeshed.study.fetch import fetch_study

    try:
        with on_screen():
            files = fetch_study(chosen.config, SCHEMA, chosen.refresh)
    except SeveralProblems as several:
        for problem in several.problems:
            print(problem, file=sys.stderr)
        return 1
    except SnakeshedError as problem:
        print(problem, file=sys.stderr)
        return 1
    except OSError as error:
        if (problem := machine_error(error, "fetching files")) is None:
            raise
        print(problem, file=sys.stderr)
        return 1
    print("\n".join(files.lines()))
    return 0


def _models(chosen: argparse.Namespace) -> int:
    from snakeshed.models.listing import models_text

    print(models_text())
    return 0


def _summary(chosen: argparse.Namespace) -> int:
    path = chosen.results / "summary.json"
    if not path.is_file():
        print(f"snakeshed: no file {path}; run snakemake for this study first", file=sys.stderr)
        return 1
    from snakeshed.report.summary import summary_text

    names = [path.name for path in chosen.results.iterdir() if path.suffix == ".json"]
    print(summary_text(json.loads(path.read_text(encoding="utf-8")), chosen.results, names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
