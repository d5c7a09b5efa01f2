"""The command, as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from snakeshed import __version__, compilation
from snakeshed.cli import main
from snakeshed.jobs.kernel_cache import is_filled

# Kernels of options, of weights, and of doubles, which a run with the defaults never calls.
ON_DEMAND = ["_descend_rows", "_mark_upslope", "_pass_down_from", "_pass_down_rows", "bilinear"]

# Modules whose kernels only users of `Grid` call.
ONLY_OF_GRID = [
    "channels",
    "height_above_drainage",
    "inflation",
    "pits",
    "pysheds_flow_paths",
]


def test_version(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"snakeshed {__version__}\n"


def test_without_a_command_it_says_which_there_are(capsys):
    with pytest.raises(SystemExit, match="^2$"):
        main([])
    assert "the following arguments are required: command" in capsys.readouterr().err


def test_compile_says_how_long_it_took(capsys):
    assert main(["compile"]) == 0
    assert capsys.readouterr().out.startswith("snakeshed: kernels ready after ")


@pytest.mark.parametrize(
    ("words", "expected", "filled"),
    [
        (["compile"], (False, None), False),
        (["compile", "--all"], (True, None), True),
        (["compile", "--all", "--cores", "1"], (True, 1), True),
    ],
)
def test_only_with_all_kernels_a_folder_for_them_is_full(
    words, expected, filled, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(compilation, "compile_kernels", lambda *what: asked.append(what))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert main(words) == 0
    assert asked == [expected]
    assert is_filled(tmp_path) == filled


def python(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_starting_the_command_imports_no_heavy_library():
    code = "import sys, snakeshed.cli; print({'numba', 'numpy', 'pandas'} & set(sys.modules))"
    assert python(code) == "set()\n"


UNUSED_KERNELS = """
import importlib, pkgutil, sys
from numba.core.registry import CPUDispatcher
import snakeshed.kernels
from snakeshed.precompile import precompile

assert precompile(sys.argv[1], all_ways=True) > 100
kernels = {}
for module in pkgutil.walk_packages(snakeshed.kernels.__path__, "snakeshed.kernels."):
    if module.name.removeprefix("snakeshed.kernels.") in sys.argv[2:]:
        continue
    members = vars(importlib.import_module(module.name))
    kernels |= {name: each for name, each in members.items() if isinstance(each, CPUDispatcher)}
# A kernel that others call is compiled into them, and has no signature when they are cached.
inner = {name for each in kernels.values() for name in each.py_func.__code__.co_names}
print(*sorted(name for name, each in kernels.items() if not each.signatures and name not in inner))
"""


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
def test_precompile_calls_every_kernel_that_a_run_calls(tmp_path):
    assert python(UNUSED_KERNELS, str(tmp_path), *ONLY_OF_GRID).split() == ON_DEMAND


def test_summary_of_a_study(tmp_path, capsys):
    summary = {
        "study": "mine",
        "sites": 3,
        "status": {"ok": 1, "outside_dem": 2},
        "not_delineated": {"outside_dem": ["b", "c"]},
        "area_mismatch": [],
        "confidence": {"high": 1},
        "area_ratio_median": 0.97,
        "area_within_10_percent": 1.0,
        "needs_larger_window": [],
        "pool_at_rim": ["a"],
        "rows_rejected": 0,
        "rows_with_remarks": 0,
        "layers": {},
        "unknown_codes": {},
        "assumptions": [],
        "warnings": [],
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert main(["summary", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "Study mine: 3 sites, 1 delineated; not delineated: 2 outside_dem (b, c)." in text
    assert "median ratio 0.970, 100% within 10 %" in text
    assert f"{tmp_path}/catchments.parquet" in text


def test_summary_of_a_folder_without_one(tmp_path, capsys):
    assert main(["summary", str(tmp_path)]) == 1
    assert f"no file {tmp_path / 'summary.json'}; run snakemake" in capsys.readouterr().err
