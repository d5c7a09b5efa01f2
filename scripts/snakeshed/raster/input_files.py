"""The files that belong to a raster: itself, what a VRT names, and the sidecar files of both.

GDAL reads a CRS, a position, nodata, and more from files beside a raster. They are found by their
names: opening thousands of tiles at every start of Snakemake would take minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import lru_cache

from snakeshed.raster.vrt_sources import is_remote, named_behind

# What follows the whole name of a raster, as in dem.tif.aux.xml.
_AFTER_NAME = (".aux.xml", ".msk", ".msk.aux.xml", ".aux", ".hdr", ".stx", ".sta")
# What takes the place of its suffix, as in dem.hdr: headers, CRSs, statistics, colors, positions,
# and the other half of formats that have two. Overviews (.ovr, .rrd) hold no other values.
_AFTER_STEM = (
    *(".hdr", ".prj", ".stx", ".sta", ".clr", ".aux", ".wld", ".tab", ".schlyr"),
    *(".ige", ".rde", ".rdc", ".ref", ".sgrd", ".sdat", ".mgrd", ".rpb", ".imd", ".pvl"),
    "_rpc.txt",
)
_ARCHIVES = ("/vsizip/", "/vsitar/", "/vsigzip/")
# Folders change unseen within the resolution of their time of change.
_SETTLED_NS = 2_000_000_000


def input_files(rasters: Iterable[str]) -> list[str]:
    """List the local files that rasters are read from.

    Parameters
    ----------
    rasters : iterable of str
        Paths or addresses that GDAL reads, with ``/vsizip/`` and its kin before the path of an
        archive.

    Returns
    -------
    list of str
        The rasters, what VRTs name, their sidecar files (``.aux.xml``, ``.hdr``, ``.prj``, ...,
        but no overviews), and archives that they are in. Sorted, each once.

    Raises
    ------
    TerrainError
        A VRT does not exist or is not XML.
    """
    files: set[str] = set()
    for raster in rasters:
        for name in named_behind(raster):
            if not is_remote(name):
                files.add(name)
                files.update(sidecars(name))
            elif (archive := local_archive(name)) is not None:
                files.add(archive)
    return sorted(files)


def local_archive(path: str) -> str | None:
    """Return the file of this machine that holds what GDAL reads by a path such as /vsizip/a.zip/b.

    Returns
    -------
    str or None
        None for other paths, and where no such file is there.
    """
    for prefix in _ARCHIVES:
        if path.startswith(prefix):
            parts = path.removeprefix(prefix).split("/")
            for count in range(1, len(parts) + 1):
                file = "/".join(parts[:count])
                if os.path.isfile(file):
                    return file
    return None


def is_fetched(path: str) -> bool:
    """Whether GDAL fetches a raster from a web address; one in a local archive it does not."""
    return is_remote(path) and local_archive(path) is None


def sidecars(path: str) -> list[str]:
    """List the files beside a raster that GDAL reads together with it.

    Parameters
    ----------
    path : str
        A local raster. Whether it is there makes no difference.

    Returns
    -------
    list of str
        Sorted. They are called as GDAL expects it, in capitals or not; some may be beside it by
        chance. Of an Esri grid (``.adf``), all files of its folder.
    """
    folder, name = os.path.split(path)
    there = _names_in(folder or ".")
    stem, suffix = os.path.splitext(name.lower())
    if suffix == ".adf":
        wanted = {each for each in there if each.endswith((".adf", ".aux.xml"))}
    else:
        wanted = {name.lower() + end for end in _AFTER_NAME}
        wanted |= {stem + end for end in (*_AFTER_STEM, *_world_files(suffix))}
    return sorted(
        os.path.join(folder, each) for low in wanted for each in there.get(low, ()) if each != name
    )


def _world_files(suffix: str) -> tuple[str, ...]:
    """Return the suffixes of a raster's world file, such as .tfw and .tifw for .tif."""
    letters = suffix[1:]
    if len(letters) < 2:
        return (f"{suffix}w",)
    return (f"{suffix}w", f".{letters[0]}{letters[-1]}w")


def _names_in(folder: str) -> dict[str, tuple[str, ...]]:
    """Return the names in a folder by their lower case; none where it cannot be read."""
    try:
        changed = os.stat(folder).st_mtime_ns
        if time.time_ns() - changed > _SETTLED_NS:
            return _names_at(os.path.abspath(folder), changed)
        return _names_at.__wrapped__(folder, changed)
    except OSError:
        return {}


@lru_cache(maxsize=64)
def _names_at(folder: str, changed_ns: int) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for name in os.listdir(folder):
        low = name.lower()
        names[low] = (*names.get(low, ()), name)
    return names
