"""The inputs of a study as its archive has them: in it, or named to be found again."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from snakeshed.errors import ArchiveError
from snakeshed.features.layers import rasters_of, tables_of
from snakeshed.fetching.input_lock import LockedFile
from snakeshed.raster.input_files import input_files, local_archive
from snakeshed.raster.vrt_sources import files_behind, is_remote, relative_vrt
from snakeshed.result_files import sha256_of
from snakeshed.sites.table_files import table_files
from snakeshed.study.configuration import PUBLICATION
from snakeshed.study.left_out import as_run, has_terrain
from snakeshed.terrain.dem import dem_files
from snakeshed.terrain.sources import is_fetched

FOLDER = "inputs"
FBFM40 = "b6d281f5dca7e49968156103f1e3fec45d1910330eb078fc299f5741b4e7a76c"
"""SHA-256 of config/fbfm40.csv: a published table, so that every archive may hold it."""


@dataclass(frozen=True)
class ArchivedInput:
    """A file that a study reads.

    Attributes
    ----------
    key : str
        What reads it, such as ``dem`` or ``layers[fuel]``.
    path : str
        Its place in the archive, below ``data/``, and in a re-run.
    size : int
        In bytes.
    sha256 : str
    url, licence : str or None
        As the configuration has them.
    address : str or None
        From which this very file was fetched; None if nobody knows.
    included : bool
        Whether the archive holds it.
    source : str
        Where it is on this machine; the archive does not say so.
    """

    key: str
    path: str
    size: int
    sha256: str
    url: str | None
    licence: str | None
    address: str | None
    included: bool
    source: str

    def as_dict(self) -> dict:
        """Return what the archive says of it, for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "source"}


def archive_inputs(
    study: Mapping, locked: Iterable[LockedFile] = ()
) -> tuple[dict, list[ArchivedInput], dict[str, Path | bytes]]:
    """Find the inputs of a study, and give each a place in its archive.

    Files of one input keep their places relative to each other, as VRTs and sidecar files ask for.
    A VRT is always included, and names its files relatively there: one with paths of another
    machine is of no use to anybody. If it may not be passed on, it holds none of their data.

    Parameters
    ----------
    study : mapping
        The completed configuration.
    locked : iterable of LockedFile
        What the lock of the study says of files that were fetched.

    Returns
    -------
    study : dict
        The same, with paths as they are within the archive, but for inputs that are left out.
    inputs : list of ArchivedInput
        All files.
    sources : dict of str to Path or bytes
        Where those to be included are now, or their content, by their place in the archive.

    Raises
    ------
    ArchiveError
        A file's name cannot be that of an archive's entry, or a file may be passed on by one key
        and not by another. A table that two layers share is then left out instead.
    """
    moved = copy.deepcopy(dict(study))
    inputs: list[ArchivedInput] = []
    sources: dict[str, Path | bytes] = {}
    addresses = {
        os.path.join(study["dem"]["path"], each.file): each.address
        for each in locked
        if is_fetched(study) and each.key == "dem" and not each.is_absent
    }

    def move(key: str, section: Mapping, files: Iterable[str], folder: str) -> dict[str, str]:
        local = sorted({file for file in files if not is_remote(file)})
        places = _places(local, f"{FOLDER}/{folder}")
        publication = {each: section[each] for each in PUBLICATION}
        normal = {os.path.normpath(file): place for file, place in places.items()}
        for file, place in places.items():
            is_vrt = file.lower().endswith(".vrt")
            bare = not publication["redistribute"]
            content = relative_vrt(os.path.normpath(file), normal, bare) if is_vrt else None
            digest = sha256_of(file) if content is None else hashlib.sha256(content).hexdigest()
            included = publication["redistribute"] or is_vrt or digest == FBFM40
            inputs.append(
                ArchivedInput(
                    key,
                    place,
                    Path(file).stat().st_size if content is None else len(content),
                    digest,
                    publication["url"],
                    publication["licence"],
                    addresses.get(file),
                    included,
                    file,
                )
            )
            if included:
                sources[place] = Path(file) if content is None else content
        return places

    sites = study["sites"]
    places = move("sites", sites, table_files(sites["path"]), "sites")
    moved["sites"]["path"] = places[sites["path"]]
    if has_terrain(study):
        tiles = dem_files(study["dem"]["path"])
        places = move("dem", study["dem"], _read_for(tiles), "dem")
        moved["dem"]["path"] = [_moved(tile, places) for tile in tiles]
    used = {layer["name"] for layer in as_run(study)["layers"]}
    for layer, there in zip(study["layers"], moved["layers"], strict=True):
        if layer["name"] not in used:
            continue
        key, name = f"layers[{layer['name']}]", f"layers/{layer['name']}"
        for each, path in rasters_of(layer).items():
            places = move(key, layer, _read_for([path]), name)
            there[each] = _moved(path, places)
        for each, path in tables_of(layer).items():
            places = move(f"{key}.{each}", layer, table_files(path), f"{name}/{each}")
            there[each] = places[path]
    inputs = list(_agreed(inputs))
    sources = {each.path: sources[each.path] for each in inputs if each.included}
    return moved, inputs, sources


def _agreed(inputs: Iterable[ArchivedInput]) -> Iterator[ArchivedInput]:
    """See that no file may be passed on by one key and not by another."""
    withheld = {os.path.realpath(each.source): each.key for each in inputs if not each.included}
    for each in inputs:
        other = withheld.get(os.path.realpath(each.source))
        if not each.included or other is None:
            yield each
        elif each.key.endswith(".table"):  # It may be another layer's, too.
            yield replace(each, included=False)
        else:
            raise ArchiveError(
                each.source,
                f"redistribute: true in {each.key} and false in {other}",
                "one answer for a file",
                "Set redistribute to the same value in both.",
            )


def _moved(raster: str, places: Mapping[str, str]) -> str:
    """Return a raster as a re-run names it: a file or what is in a ZIP file, or an address."""
    packed = local_archive(raster)
    if packed is not None:
        return raster.replace(packed, places[packed], 1)
    return places.get(raster, raster)


def _read_for(rasters: Iterable[str]) -> set[str]:
    """Files that GDAL reads for some rasters: VRTs' sources and sidecar files too."""
    import rasterio

    files = set(input_files(rasters))
    for file in [file for raster in rasters for file in files_behind(raster)]:
        with rasterio.open(file) as opened:
            files.update(each for each in opened.files if os.path.isfile(each))
    return files


def _places(files: list[str], folder: str) -> dict[str, str]:
    if not files:
        return {}
    shared = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    places = {}
    for file in files:
        name = Path(os.path.relpath(os.path.abspath(file), shared)).as_posix()
        if re.search(r"[\\:%\x00-\x1f]", name):
            raise ArchiveError(
                file,
                "a backslash, colon, percent sign, or control character in its name",
                "a name that every system can unpack",
                "Rename the file.",
            )
        places[file] = f"{folder}/{name}"
    return places
