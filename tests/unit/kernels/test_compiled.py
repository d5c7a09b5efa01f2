"""Where compiled code is kept, and what happens where it cannot be."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import caching

from snakeshed.kernels import compiled as compiled_module
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


@needs_compilation
def test_processes_that_compile_at_the_same_time_never_get_each_others_code(tmp_path, monkeypatch):
    """Each has read the list of kept code before the other one has written to it."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    one, other = compiled(double), compiled(double)
    first, second = one._cache._cache_file, other._cache._cache_file
    for file in (first, second):
        file.save = partial(_save_from_empty, file)
    assert one(4) == 8
    listed = first._load_index()
    assert other(2.5) == 5.0
    (key,) = listed
    assert second._load_index().keys().isdisjoint(listed)
    first._save_index(listed)  # whoever writes last
    third = compiled(double)
    assert third._cache._cache_file.load(key) is not None
    assert isinstance(third(5), int)


@needs_compilation
def test_what_another_process_has_just_overwritten_is_noted_again(tmp_path, monkeypatch):
    """The other one has read the list before this one wrote to it, and writes afterwards."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    one = compiled(double)
    file = one._cache._cache_file
    write = file._save_index

    def overtaken(overloads):
        write(overloads)
        file._save_index = write
        write({"another": "double.another.nbc"})

    file._save_index = overtaken
    assert one(4) == 8
    listed = file._load_index()
    assert len(listed) == 2
    again = compiled(double)
    assert again(5) == 10
    assert sum(again.stats.cache_hits.values()) == 1


def _save_from_empty(file, key, data):
    known = file._load_index
    file._load_index = dict
    type(file).save(file, key, data)
    file._load_index = known


KERNELS = Path(compiled_module.__file__).parent
# A copy of the library whose kernels use a function and a constant of another file.
USER = """
from snakeshed.kernels import compiled as compiled_module
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.used import FACTOR, twice


@compiled
def use(value):
    return FACTOR * twice(value)
"""
USED = """
from snakeshed.kernels import compiled as compiled_module
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.deeper import OFFSET

FACTOR = 10


@compiled
def twice(value):
    return 2 * value + OFFSET
"""


@needs_compilation
@pytest.mark.parametrize(
    ("changed", "old", "new", "expected"),
    [
        ("used", "2 * value", "3 * value", 120),
        ("used", "FACTOR = 10", "FACTOR = 20", 160),
        ("deeper", "OFFSET = 0", "OFFSET = 1", 90),
    ],
)
def test_kept_code_is_not_used_when_a_file_that_it_imports_has_changed(
    tmp_path, changed, old, new, expected
):
    """Numba by itself gives the old value: it looks at the kernel's own file only."""
    kernels = write_kernels(tmp_path)
    kept = {"NUMBA_CACHE_DIR": str(tmp_path / "c")}
    assert use(tmp_path, **kept) == (80, 0)
    assert use(tmp_path, **kept) == (80, 1)
    path = kernels / f"{changed}.py"
    path.write_text(path.read_text().replace(old, new))
    assert use(tmp_path, **kept) == (expected, 0)


@needs_compilation
def test_a_copy_of_the_library_uses_what_was_compiled_for_it_until_it_differs(tmp_path):
    write_kernels(tmp_path / "one")
    assert use(tmp_path / "one") == (80, 0)
    # With times of change, by which numba knows a file again.
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    assert use(tmp_path / "other") == (80, 1)
    (tmp_path / "other/snakeshed/kernels/deeper.py").write_text("OFFSET = 1\n")
    assert use(tmp_path / "other") == (90, 0)
    assert use(tmp_path / "one") == (80, 1)


def write_kernels(folder: Path) -> Path:
    """Write a library of three kernel files, and return their folder."""
    kernels = folder / "snakeshed" / "kernels"
    kernels.mkdir(parents=True)
    for init in (kernels.parent, kernels):
        (init / "__init__.py").write_text("")
    shutil.copy(KERNELS / "compiled.py", kernels)
    (kernels / "user.py").write_text(USER)
    (kernels / "used.py").write_text(USED)
    (kernels / "deeper.py").write_text("OFFSET = 0\n")
    return kernels


def use(folder: Path, **environment: str) -> tuple[int, int]:
    """What its kernel makes of 4, and how often kept code was used for that."""
    code = "from snakeshed.kernels.user import use; print(use(4), *use.stats.cache_hits.values())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    value, *hits = map(int, done.stdout.split())
    return value, sum(hits)


def test_kernel_files_import_each_other_in_the_way_that_kept_code_is_checked_by():
    for path in KERNELS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", [])]
            if isinstance(node, ast.Import):
                assert not any(name.startswith("snakeshed") for name in names), path
            elif isinstance(node, ast.ImportFrom) and "snakeshed" in (node.module or "."):
                source = KERNELS.parents[1].joinpath(*node.module.split(".")).with_suffix(".py")
                assert source.is_file(), f"{path}: {node.module} is no kernel file"
                assert node.col_offset == 0, f"{path}: {node.module}"
