"""What a study was run with: this library, its commit, and what it stands on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("snakemake", "numpy", "numba", "rasterio", "pyproj", "shapely", "pandas", "pyarrow")


def made_with(folder: str | Path) -> list[tuple[str, str]]:
    """Name versions, for people.

    Parameters
    ----------
    folder : str or Path
        Of the workflow, for its commit.
    """
    import pyproj
    import rasterio
    import shapely

    import snakeshed

    beneath = {
        "rasterio": f" (GDAL {rasterio.__gdal_version__})",
        "pyproj": f" (PROJ {pyproj.proj_version_str})",
        "shapely": f" (GEOS {shapely.geos_version_string})",
    }
    told = [
        ("snakeshed", snakeshed.__version__),
        ("commit", commit_of(folder) or "unknown: not a git checkout"),
        ("Python", platform.python_version()),
    ]
    for package in _PACKAGES:
        try:
            told.append((package, version(package) + beneath.get(package, "")))
        except PackageNotFoundError:
            continue
    return told


def commit_of(folder: str | Path) -> str | None:
    """Return the commit of a checkout, and whether it was changed since; None if it is none."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}, with changes" if changed else commit


def _git(folder: str | Path, *arguments: str) -> str:
    # --no-optional-locks: looking must not write into somebody's checkout.
    done = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
