"""Where compiled code is kept, and what happens where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numba
import numpy as np
import pytest
from numba.core import caching

from snakeshed.kernels.compiled import compiled

needs_compilation = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


def double(value):
    return 2 * value


def test_a_function_and_a_decorator():
    assert compiled(double)(4) == 8
    assert compiled(error_model="numpy")(double)(4) == 8


@needs_compilation
def test_code_is_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(double)(4) == 8
    assert list(tmp_path.rglob("*double*.nbc"))
    again = compiled(double)
    assert again(5) == 10
    assert sum(again.stats.cache_hits.values()) == 1


@needs_compilation
def test_without_a_folder_to_write_to_it_says_what_to_set(monkeypatch):
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR to a folder that can be written"):
        function = compiled(double)
    assert function(4) == 8


@needs_compilation
def test_a_folder_for_several_environments_keeps_their_code_apart(tmp_path):
    code = "import numba, snakeshed.kernels.compiled; print(numba.config.CACHE_DIR)"
    folder = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()
    assert folder == str(tmp_path / f"numba-{numba.__version__}-numpy-{np.__version__}")
