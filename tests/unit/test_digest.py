"""The digest changes with what a module does, and with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from snakeshed.digest import PACKAGE, library_digest

SLOPE = '''"""Slopes."""

from pack import units
from pack.deep.sums import add


def slope(rise, run=2.0):
    """Rise over run."""
    # A comment.
    return add(rise, 0) / run if rise in {"a", "b", 3} else units.FOOT
'''


def package(folder, **changes: str) -> Path:
    """A package in which `slope` imports `units` and `deep.sums`, and nothing `alone`."""
    files = {
        "__init__": "",
        "slope": SLOPE,
        "units": "FOOT = 0.3048\n",
        "deep/__init__": "",
        "deep/sums": "def add(a, b):\n    return a + b\n",
        "alone": "VALUE = 1\n",
    } | {name.replace("_in_", "/"): text for name, text in changes.items()}
    root = folder / "pack"
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def digest_of(tmp_path_factory):
    """Digest of `slope` in a package with some files changed; each in a folder of its own."""

    def digest(module="slope", **changes: str) -> str:
        root = package(tmp_path_factory.mktemp("p"), **changes)
        return library_digest(module, package=root)

    return digest


def test_the_folder_does_not_matter(digest_of):
    assert digest_of() == digest_of()
    assert len(digest_of()) == 16


@pytest.mark.parametrize(
    "text",
    [
        SLOPE.replace("# A comment.", "# Another comment,\n    # of two lines."),
        SLOPE.replace("Rise over run.", "How steep it is."),
        SLOPE.replace('"""Slopes."""', ""),
        SLOPE.replace('    """Rise over run."""\n', ""),
        SLOPE.replace("\n\n\n", "\n\n\n\n\n"),
        SLOPE.replace("add(rise, 0)", "add(\n        rise,\n        0,\n    )"),
    ],
)
def test_words_and_lines_change_nothing(digest_of, text):
    assert text != SLOPE
    assert digest_of(slope=text) == digest_of()


@pytest.mark.parametrize(
    "text",
    [
        SLOPE.replace("/ run", "* run"),
        SLOPE.replace("run=2.0", "run=2.5"),
        SLOPE.replace('"b", 3', '"b", 4'),
        SLOPE.replace("units.FOOT", "units.YARD"),
        SLOPE + "\nslope = None\n",
        SLOPE.replace("add(rise, 0)", "add(rise, 0.0)"),
    ],
)
def test_behaviour_changes_it(digest_of, text):
    assert digest_of(slope=text) != digest_of()


def test_so_does_the_behaviour_of_what_is_imported_and_of_nothing_else(digest_of):
    assert digest_of(units="FOOT = 0.3\n") != digest_of()
    assert digest_of(deep_in_sums="def add(a, b):\n    return b + a\n") != digest_of()
    assert digest_of(deep_in___init__="import pack.alone\n") != digest_of()
    assert digest_of(alone="VALUE = 2\n") == digest_of()
    assert digest_of(__init__="__version__ = '2'\n") == digest_of()
    assert digest_of("alone") != digest_of()


def test_an_import_inside_a_function_counts(digest_of):
    lazy = SLOPE.replace("    # A comment.\n", "    from pack import alone\n\n    alone.VALUE\n")
    before, after = (digest_of(slope=lazy, alone=f"VALUE = {n}\n") for n in (1, 2))
    assert before != after


def test_several_modules(tmp_path):
    root = package(tmp_path)
    both = library_digest("slope", "alone", package=root)
    assert both == library_digest("alone", "slope", package=root)
    assert both != library_digest("slope", package=root)
    # It is among the modules already.
    assert library_digest("slope", "units", package=root) == library_digest("slope", package=root)


def test_a_name_that_is_no_module(tmp_path):
    root = package(tmp_path)
    with pytest.raises(ValueError, match="'slopes' is not a module of pack"):
        library_digest("slopes", package=root)


def test_every_process_has_the_same_digest():
    """Sets of constants have another order in every process."""
    code = (
        "from snakeshed.digest import library_digest; print(library_digest('delineate', 'extract'))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": str(PACKAGE.parent), "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("0", "1", "4711")
    }
    assert seen == {library_digest("delineate", "extract")}


def test_layers_do_not_concern_the_delineation():
    from snakeshed.digest import _closure

    names = {path.relative_to(PACKAGE).as_posix() for path in _closure(("delineate",), PACKAGE)}
    assert {"delineate.py", "snap.py", "kernels/snapping.py", "terrain.py"} <= names
    assert not {"zonal.py", "layers.py", "features.py", "demo.py", "configuration.py"} & names
