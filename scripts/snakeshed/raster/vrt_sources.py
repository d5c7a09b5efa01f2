"""The files that a raster is made of: remote ones, and those that a VRT names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from snakeshed.errors import TerrainError

# Elements of a VRT that hold data of the files behind it, and change no cell.
_COPIED = {"Metadata", "Histograms", "CategoryNames", "GDALRasterAttributeTable", "GCPList"}


def is_remote(path: str) -> bool:
    """Whether a path is an address that GDAL reads, and no file of this machine."""
    return "://" in path or path.startswith("/vsi")


def files_behind(path: str) -> list[str]:
    """List what a raster is read from: itself and, for a VRT, the local files that it names.

    Parameters
    ----------
    path : str
        A raster of any format; VRTs are followed, also VRTs of VRTs.

    Returns
    -------
    list of str
        Sorted, each once. Sources at a web address are not files and are left out.

    Raises
    ------
    TerrainError
        A VRT does not exist or is not XML.
    """
    return sorted(name for name in named_behind(path) if not is_remote(name))


def named_behind(path: str) -> set[str]:
    """Return what a raster is read from as GDAL names it: itself, and all that VRTs name.

    Raises
    ------
    TerrainError
        A VRT does not exist or is not XML.
    """
    behind: set[str] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in behind:
            continue
        behind.add(file)
        if file.lower().endswith(".vrt") and not is_remote(file):
            waiting.extend(_vrt_sources(file))
    return behind


def relative_vrt(path: str, places: Mapping[str, str], bare: bool = False) -> bytes | None:
    """Write a VRT again for another folder, with relative names of the files that it names.

    Parameters
    ----------
    path : str
        A VRT.
    places : mapping of str to str
        New paths, by what `files_behind` calls them, of this file and those that it names.
    bare : bool
        Leave out what GDAL has copied from these files, such as tags, histograms, and tables.

    Returns
    -------
    bytes or None
        None where nothing is changed.
    """
    root = _vrt(path)
    changed = False
    for element, source in _vrt_named(root, path):
        if not is_remote(source) and element.get("relativeToVRT") != "1":
            element.text = os.path.relpath(places[source], os.path.dirname(places[path]))
            element.set("relativeToVRT", "1")
            changed = True
    for element in list(root.iter()) if bare else ():
        for child in [child for child in element if child.tag in _COPIED]:
            element.remove(child)
            changed = True
    return ElementTree.tostring(root) if changed else None


def _vrt_sources(path: str) -> list[str]:
    return [source for _, source in _vrt_named(_vrt(path), path)]


def _vrt(path: str) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise TerrainError(
            path,
            f"a file that is no VRT ({error})",
            "the XML that gdalbuildvrt writes",
            "Build it again with gdalbuildvrt.",
        ) from error


def _vrt_named(root: ElementTree.Element, path: str) -> Iterator[tuple[ElementTree.Element, str]]:
    """Yield what names a file or an address in a VRT, and that."""
    for element in root.iter():
        if element.tag in ("SourceFilename", "SourceDataset") and element.text:
            name = element.text.strip()
            if element.get("relativeToVRT") == "1" and not is_remote(name):
                name = os.path.join(os.path.dirname(path), name)
            yield element, name if is_remote(name) else os.path.normpath(name)
