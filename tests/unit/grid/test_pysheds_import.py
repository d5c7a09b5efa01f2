"""The quick import of pysheds: nothing is compiled, everything works, also from disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from snakeshed.grid.pysheds_import import Grid, Raster, ViewFinder, compiled_when_called

SCRIPTS = str(Path(__file__).parents[3] / "scripts")
needs_compilation = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


def run_python(code: str, **environment: str) -> str:
    """Run in a process of its own, in which pysheds has not been imported."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": SCRIPTS, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_numba_is_as_before_the_import():
    import snakeshed.grid.pysheds_import as module

    assert module.numba.njit is numba.njit
    assert numba.njit.__module__ == "numba.core.decorators"
    before = numba.njit
    with pytest.raises(RuntimeError, match="on purpose"), compiled_when_called():
        assert numba.njit is not before
        raise RuntimeError("on purpose")
    assert numba.njit is before


@pytest.mark.filterwarnings("error")
def test_pysheds_works_without_what_numpy_has_removed():
    """Where NumPy still has `in1d`, it warns of it."""
    z = np.add.outer(np.arange(5.0), np.arange(6.0))
    dem = Raster(z, ViewFinder(shape=z.shape, nodata=-1.0))
    grid = Grid(viewfinder=dem.viewfinder)
    assert grid.accumulation(grid.flowdir(dem)).max() == dem.size


def test_what_pysheds_does_not_need_is_not_imported():
    code = """
import sys
from snakeshed.grid.pysheds_import import Grid, Raster, ViewFinder
assert not {"pandas", "scipy.spatial"} & set(sys.modules)
import numpy as np
mask = Raster(np.eye(3, dtype=bool), ViewFinder(shape=(3, 3), nodata=False))
print(Grid(viewfinder=mask.viewfinder).snap_to_mask(mask, [[1.2, 0.9]]))
import pandas, pysheds.sgrid, scipy.spatial
assert scipy.spatial.cKDTree.__module__.startswith("scipy.spatial")
assert pysheds.sgrid.pd.DataFrame is pandas.DataFrame
"""
    assert run_python(code) == "[[1. 1.]]\n"


def test_a_postponed_module_is_imported_when_it_is_used():
    code = """
import sys
from snakeshed.grid.pysheds_import import postponed
with postponed("json", "wave", "sys"):
    import json, wave
    assert json.dumps([1]) == "[1]"
    from json import decoder
    assert "decoder" in vars(sys.modules["json"])
    import wave as again
    assert wave is again and "open" not in vars(wave)
assert "wave" not in sys.modules
assert wave.open is __import__("wave").open
"""
    assert run_python(code) == ""


@needs_compilation
def test_the_import_compiles_nothing():
    code = """
import snakeshed.grid.grid, pysheds._sgrid, pysheds._sview
from numba.core.dispatcher import Dispatcher
functions = [*vars(pysheds._sgrid).values(), *vars(pysheds._sview).values()]
functions = [function for function in functions if isinstance(function, Dispatcher)]
print(len(functions), sum(len(function.signatures) for function in functions))
"""
    functions, compiled = map(int, run_python(code).split())
    assert functions > 60
    assert compiled == 0


def test_the_import_works_without_compilation():
    code = """
import numpy as np
from snakeshed import Grid, Raster, ViewFinder
dem = Raster(np.arange(12.0).reshape(3, 4), ViewFinder(shape=(3, 4)))
print(Grid(viewfinder=dem.viewfinder).accumulation(Grid(viewfinder=dem.viewfinder).flowdir(dem)).max())
"""
    assert float(run_python(code, NUMBA_DISABLE_JIT="1")) > 1


@needs_compilation
@pytest.mark.slow
def test_kept_code_works_in_the_next_process(tmp_path):
    """Numba's traps: recursion, generators and parallel functions inside of what is kept."""
    code = """
import numpy as np
from snakeshed.grid.pysheds_import import Grid, Raster, ViewFinder
z = np.add.outer(np.arange(30.0), np.arange(40.0)) + np.random.default_rng(1).random((30, 40))
for dtype in (np.float64, np.float32):
    dem = Raster(z.astype(dtype), ViewFinder(shape=z.shape, nodata=dtype(-1)))
    grid = Grid(viewfinder=dem.viewfinder)
    filled = grid.fill_depressions(dem)
    print(filled.sum())
for routing in ("d8", "dinf"):
    fdir = grid.flowdir(filled, routing=routing)
    print(grid.accumulation(fdir, routing=routing).sum())
    print(grid.accumulation(fdir, routing=routing, algorithm="recursive").sum())
"""
    first = run_python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert len(first.split()) == 6
    assert len(list(tmp_path.rglob("*.nbc"))) > 3
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)) == first


@needs_compilation
def test_values_are_those_of_the_explicit_signature():
    """The steepest descent of pysheds, compiled for its signature as at a plain import."""
    from pysheds._sgrid import _d8_flowdir_numba as lazy  # not before the quick import

    assert isinstance(lazy, Dispatcher)
    signature = (
        "int64[:,:](float64[:,:], float64, float64, UniTuple(int64, 8), boolean[:,:],"
        " int64, int64, int64)"
    )
    eager = numba.njit(signature)(lazy.py_func)
    z = np.random.default_rng(2).integers(0, 9, (30, 40)).astype(np.float64)
    arguments = (z, 10.0, 12.0, (64, 128, 1, 2, 4, 8, 16, 32), z == 0, 0, -1, -2)
    assert np.array_equal(lazy(*arguments), eager(*arguments))
