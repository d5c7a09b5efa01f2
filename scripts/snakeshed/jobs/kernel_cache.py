"""Whether the folder for compiled kernels has all of them, for this code and this machine.

Loading them all takes many seconds, just to find that nothing is missing. So whoever has compiled
them leaves a file in the folder, named after everything that compiled code depends on.
"""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from snakeshed.jobs.digest import PACKAGE


def is_filled(folder: str | Path) -> bool:
    """Tell whether all kernels are in a folder.

    Parameters
    ----------
    folder : str or Path
        As NUMBA_CACHE_DIR names it.
    """
    return _mark(folder).is_file()


def note_filled(folder: str | Path) -> None:
    """Note that all kernels are in a folder."""
    mark = _mark(folder)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _mark(folder: str | Path) -> Path:
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    parts = (
        platform.python_version(),
        *(version(package) for package in ("numba", "llvmlite", "numpy", "pysheds")),
        *_processor(),
        # Numba finds its files by the path of the source.
        str(PACKAGE.resolve()),
    )
    digest.update("\0".join(parts).encode())
    return Path(folder, f"snakeshed-{digest.hexdigest()[:16]}.complete")


def _processor() -> tuple[str, str]:
    """Name and features of the processor that code is compiled for."""
    named = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if named[0] and named[1] is not None:
        return named
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        said = dict(line.split(":", 1) for line in lines if ":" in line)
        found = {key.strip(): value.strip() for key, value in said.items()}
        return found.get("model name", ""), found.get("flags", "")
    return platform.machine(), platform.processor()
