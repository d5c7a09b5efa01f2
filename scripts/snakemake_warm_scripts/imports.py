"""Importing what a script needs, before a process is forked for it."""

from __future__ import annotations

import ast
import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol


class Script(Protocol):
    """A Python script of a rule.

    Attributes
    ----------
    source
        Its text.
    file
        Where it comes from.
    search
        Folders that are appended to the module search path.
    """

    source: str
    file: str
    search: tuple[str, ...]


class Imports:
    """What this process has imported for scripts."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def add(self, script: Script) -> bool:
        """Import what a script imports at its top, and run nothing else of it.

        An error is left to the script, which meets it again and has a log for it.

        Returns
        -------
        bool
            False if nothing was new.
        """
        if script.source in self._done:
            return False
        self._done.add(script.source)
        before = len(sys.modules)
        # What every script needs of Snakemake.
        from snakemake import benchmark, io, iocontainers, logging  # noqa: F401

        with _search_path(script), suppress(Exception, SystemExit):
            for node in ast.parse(script.source).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    alone = ast.Module([node], [])
                    with suppress(Exception, SystemExit):
                        code = compile(alone, script.file, "exec", dont_inherit=True)
                        exec(code, {"__name__": "imported"})
        if len(sys.modules) == before:
            return False
        freeze()
        return True


def freeze() -> None:
    """Let forked processes share what there is: a collection in one would copy all of it."""
    gc.collect()
    gc.freeze()


def function_of(name: str) -> Callable[[], object]:
    """Find a function by MODULE:NAME."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


@contextmanager
def _search_path(script: Script) -> Iterator[None]:
    before = list(sys.path)
    sys.path.extend(script.search)
    try:
        yield
    finally:
        sys.path[:] = before
