"""Which layer of which file holds the features of a GeoPackage, a shapefile, and the like."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from snakeshed.errors import TableError
from snakeshed.sites.observations import choose_one, reading
from snakeshed.sites.table_files import table_files

VECTOR_FORMATS = {
    ".gpkg": "GeoPackage",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".fgb": "FlatGeobuf",
    ".shp": "shapefile",
    ".zip": "zipped shapefile",
}
"""Formats that GDAL reads, by suffix."""


def layer_in(path: Path, name: str, sheet: str | None, key: str) -> tuple[Path | str, str]:
    """Find the layer to read.

    Parameters
    ----------
    path : Path
        A file of one of `VECTOR_FORMATS`.
    name : str
        The file as the user calls it, for messages.
    sheet : str or None
        Layer of a GeoPackage, or shapefile in a ZIP file; None if there is only one.
    key : str
        The key of the configuration that `sheet` comes from, for messages.

    Returns
    -------
    source : Path or str
        The file as GDAL names it.
    layer : str

    Raises
    ------
    TableError
        The file cannot be read, lacks a part, or has no such layer, or several without `sheet`.
    """
    import pyogrio

    source: Path | str = path
    if path.suffix.lower() == ".shp":
        _check_shapefile(path, name)
    elif path.suffix.lower() == ".zip":
        source, sheet = _zipped_shapefile(path, name, sheet, key), None
    with reading(name, VECTOR_FORMATS[path.suffix.lower()]):
        layers = [str(layer) for layer, _ in pyogrio.list_layers(source)]
    return source, choose_one(sheet, layers, "layer", name, key)


def _check_shapefile(path: Path, name: str) -> None:
    """Refuse one of the files of a shapefile without the others."""
    there = {Path(file).suffix.lower() for file in table_files(str(path))}
    absent = [end for end in (".dbf", ".shx") if end not in there]
    if absent:
        raise TableError(
            name,
            f"no {' and no '.join(absent)} beside it",
            "all files of the shapefile in one folder: .shp, .shx, .dbf, and .prj",
            "Copy them there too, or name the ZIP file that has them all.",
        )


def _zipped_shapefile(path: Path, name: str, sheet: str | None, key: str) -> str:
    """Return a shapefile in a ZIP file as GDAL names it."""
    with reading(name, "ZIP"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    shapefiles = [
        each
        for each in names
        # What a Mac adds is called like the files, and is none of them.
        if each.lower().endswith(".shp") and not each.startswith("__MACOSX/")
    ]
    there = {PurePosixPath(each).stem: each for each in shapefiles}
    if len(there) < len(shapefiles):
        there = {str(PurePosixPath(each).with_suffix("")): each for each in shapefiles}
    if not there:
        held = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise TableError(
            name,
            f"a ZIP file without a shapefile ({held or 'empty'})",
            "a ZIP file with the .shp, .shx, .dbf, and .prj",
            "Unpack it and name the table.",
        )
    return f"/vsizip/{path}/{there[choose_one(sheet, sorted(there), 'shapefile', name, key)]}"
