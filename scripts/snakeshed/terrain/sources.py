"""Sources of terrain by name: where their tiles are, and on which grid those lie."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import TYPE_CHECKING, NamedTuple

from snakeshed.errors import ConfigurationError, TerrainError
from snakeshed.raster.crs import crs_facts

if TYPE_CHECKING:
    from snakeshed.raster.lattice import Lattice

# What the address of a tile is made of: its corner, and the letters of its hemispheres.
FIELDS = ("lat", "lon", "ns", "ew", "NS", "EW", "x", "y")
_NUMBERS = ("lat", "lon", "x", "y")
# More around one patch are a mistake in the description of a source.
_MOST_TILES = 100_000
# How a number may be written, such as 03d; letters as they are.
_NUMBER, _LETTER = re.compile(r"(0?[1-9])?d?"), re.compile("")


class SourceTile(NamedTuple):
    """One file of a source, and its place on the source's lattice.

    Attributes
    ----------
    name : str
        The last part of its address, which no other tile has.
    address : str
    row, column, height, width : int
        In absolute cells, with the overlap.
    """

    name: str
    address: str
    row: int
    column: int
    height: int
    width: int

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Row, column, height, and width."""
        return self[2:]


@dataclass(frozen=True)
class TerrainSource:
    """A DEM in square tiles, one file each, at addresses that follow from the tiles' corners.

    Attributes
    ----------
    name : str
    address : str
        Address of a tile, with `FIELDS` in braces: ``lat`` and ``lon`` are whole degrees without
        sign; ``ns`` and ``ew`` (or capitals) their hemispheres; ``x`` and ``y`` the corner in
        units of the CRS.
    crs : str
    tile_size : float
        Side of a tile without overlap, in units of the CRS. Tiles begin at its multiples.
    cells : int
        Cells along that side.
    corner : str
        The corner that a tile is named by: ``northwest`` or ``southwest``.
    overlap : int
        Cells by which a file is larger than its tile, on each side.
    shift : float
        Cells by which the grid lies west and north of the multiples of `tile_size`.
    widened : tuple of tuple of float
        Latitude from which cells are wider, and how many times.
    vertical_unit : str or None
        Of the elevations, where the files do not say so.
    title, license, citation, url : str or None
        For the report and for those who read an archive.
    dated : str or None
        Where copies of earlier dates are kept.
    """

    name: str
    address: str
    crs: str
    tile_size: float
    cells: int
    corner: str = "northwest"
    overlap: int = 0
    shift: float = 0.0
    widened: tuple[tuple[float, float], ...] = field(default=())
    vertical_unit: str | None = None
    title: str | None = None
    license: str | None = None
    citation: str | None = None
    url: str | None = None
    dated: str | None = None

    @property
    def credit(self) -> str:
        """Whom the terrain is from, in a sentence."""
        return self.citation or f"{self.title or self.name}."

    def lattice(self, widening: float = 1.0) -> Lattice:
        """Return the lattice of tiles whose cells, in degrees, are wider than high by a factor."""
        # Every start of Snakemake imports this module, and none needs NumPy.
        from snakeshed.raster.lattice import Lattice

        size = self.tile_size / self.cells
        dx, dy = size * widening, size
        facts = crs_facts(self.crs)
        return Lattice.through(facts, -self.shift * dx, self.shift * dy, dx, dy)

    def widening(self, latitude: float) -> float:
        """Return how many times as wide as at the equator cells are at a latitude, in degrees."""
        return max((times for start, times in self.widened if abs(latitude) >= start), default=1.0)

    @property
    def widenings(self) -> tuple[float, ...]:
        """How many times as wide as at the equator cells are, somewhere."""
        return (1.0, *(times for _, times in self.widened))

    def touching(
        self, lattice: Lattice, row: int, column: int, height: int, width: int
    ) -> list[SourceTile]:
        """Return the tiles that may have cells in a window.

        Parameters
        ----------
        lattice : Lattice
            From `lattice`.
        row, column, height, width : int
            A window in absolute cells. It may cross the antimeridian.

        Raises
        ------
        TerrainError
            A tile has wider cells than the lattice, and so does not lie on it; or there are too
            many tiles.
        """
        down, across = self.cells, round(self.tile_size / lattice.dx)
        top, left = self._first_cell(lattice)
        # With a tile more on each side than there may be.
        south, north = (top - row - height) // down - 1, (top - row) // down + 1
        west, east = (column - left) // across - 1, (column + width - left) // across + 1
        window = (row, column, height, width)
        count = (north - south + 1) * (east - west + 1)
        if count > _MOST_TILES:
            raise TerrainError(
                f"dem.source: {self.name}",
                f"{count:,.0f} tiles of {self.tile_size:g} units of {self.crs} around one patch",
                f"at most {_MOST_TILES:,}",
                "Check tile_size and cells, or set patches.levels lower.",
            )
        return [
            self.tile(lattice, i, j)
            for i in range(south, north + 1)
            if self._is_on_earth(lattice, i)
            for j in range(west, east + 1)
            if _meet(self._place(lattice, i, j), window)
        ]

    def tile(self, lattice: Lattice, i: int, j: int) -> SourceTile:
        """Return the tile in row `i` north of the equator and column `j` east of Greenwich.

        One beyond the antimeridian has the address of the tile there, and its place on this side.

        Raises
        ------
        TerrainError
            It has wider cells than the lattice, and so does not lie on it.
        """
        turned = j
        if lattice.geographic:
            self._check_width(lattice, i)
            around = round(360 / self.tile_size)
            turned = (j + around // 2) % around - around // 2
        address = self.address.format(**self._fields(i, turned))
        return SourceTile(self._file_name(i, turned, address), address, *self._place(lattice, i, j))

    def tile_of(self, lattice: Lattice, row: int, column: int) -> SourceTile | None:
        """Return the tile whose file begins at a cell; None if no file of the source does."""
        across = round(self.tile_size / lattice.dx)
        top, left = self._first_cell(lattice)
        i, beside_i = divmod(top - row - self.overlap, self.cells)
        j, beside_j = divmod(column + self.overlap - left, across)
        if beside_i or beside_j or not self._is_on_earth(lattice, i - 1):
            return None
        return self.tile(lattice, i - 1, j)

    def _place(self, lattice: Lattice, i: int, j: int) -> tuple[int, int, int, int]:
        """Return first row, first column, height, and width of a tile with its overlap."""
        across = round(self.tile_size / lattice.dx)
        top, left = self._first_cell(lattice)
        return (
            top - (i + 1) * self.cells - self.overlap,
            left + j * across - self.overlap,
            self.cells + 2 * self.overlap,
            across + 2 * self.overlap,
        )

    def _is_on_earth(self, lattice: Lattice, i: int) -> bool:
        return not lattice.geographic or -90 <= i * self.tile_size < 90

    def _check_width(self, lattice: Lattice, i: int) -> None:
        south, north = i * self.tile_size, (i + 1) * self.tile_size
        own = self.widening(min(abs(south), abs(north)))
        if not math.isclose(own * lattice.dy, lattice.dx):
            raise TerrainError(
                f"dem.source: {self.name}",
                f"terrain at latitude {south:g} to {north:g}, where cells span {own:g} times as "
                f"many degrees from west to east as from north to south, beside terrain where they "
                f"span {lattice.dx / lattice.dy:g} times as many",
                "terrain on one grid",
                "Split the study at that latitude or use fewer levels of patches (patches.levels). "
                "Or bring the tiles to one grid with gdalwarp and name them in dem.path.",
            )

    def _first_cell(self, lattice: Lattice) -> tuple[int, int]:
        """Return row and column of the cell southeast of the origin of the tiles."""
        return (
            round((lattice.y0 - self.shift * lattice.dy) / lattice.dy),
            round((-self.shift * lattice.dx - lattice.x0) / lattice.dx),
        )

    def _fields(self, i: int, j: int) -> dict:
        y = (i + (self.corner == "northwest")) * self.tile_size
        x = j * self.tile_size
        ns, ew = "s" if y < 0 else "n", "w" if x < 0 else "e"
        return {
            "lat": round(abs(y)),
            "lon": round(abs(x)),
            "ns": ns,
            "ew": ew,
            "NS": ns.upper(),
            "EW": ew.upper(),
            "x": round(x),
            "y": round(y),
        }

    def _file_name(self, i: int, j: int, address: str) -> str:
        """Return the last part of an address, made unlike that of all other tiles."""
        last = self.address.rpartition("/")[2]
        used = {name for _, name, _, _ in Formatter().parse(last) if name}
        name = address.rpartition("/")[2]
        if used & {"lat", "y"} and used & {"lon", "x"}:
            return name
        fields = self._fields(i, j)
        return f"{fields['y']}_{fields['x']}_{name}"


def terrain_source(value: str | Mapping) -> TerrainSource:
    """Return the source that `dem.source` names or describes.

    Raises
    ------
    ConfigurationError
        No source has the name, or the description cannot be one.
    """
    if isinstance(value, str):
        if value in SOURCES:
            return SOURCES[value]
        near = difflib.get_close_matches(value, SOURCES, 1, 0.4)
        advice = f"Did you mean {near[0]}? " if near else ""
        raise ConfigurationError(
            "dem.source",
            f"the name {value!r}",
            f"one of {', '.join(SOURCES)}",
            f"{advice}Describe another source by its address, CRS, tile_size, and cells.",
        )
    described = {key: each for key, each in value.items() if each is not None}
    _check_address(described["address"])
    source = TerrainSource(**described)
    try:
        facts = crs_facts(source.crs)
    except ValueError as error:
        raise ConfigurationError(
            "dem.source.crs",
            f"{source.crs!r} ({error})",
            "a projected CRS, or a geographic one in degrees",
            "Set the CRS that the files of the source have.",
        ) from error
    smallest = 1e-8 if facts.geographic else 1e-3
    if source.tile_size / source.cells < smallest:
        raise ConfigurationError(
            "dem.source.cells",
            f"{source.cells:,} in tiles of {source.tile_size:g} units of {source.crs}, which is "
            f"cells of {source.tile_size / source.cells:g}",
            f"cells of at least {smallest:g}",
            "Check tile_size and cells.",
        )
    if facts.geographic and abs(360 / source.tile_size % 1) > 1e-9:
        raise ConfigurationError(
            "dem.source.tile_size",
            f"{source.tile_size:g} degrees",
            "a size that divides 360 degrees",
            "Set the side of a tile without overlap.",
        )
    return source


def with_source(dem: Mapping, study: str) -> dict:
    """Return the section `dem` of a configuration, completed with what its source says.

    Parameters
    ----------
    dem : mapping
        Completed from the schema. It may have no source.
    study : str
        Name of the study, in whose folder its tiles are.
    """
    if dem["source"] is None:
        return dict(dem)
    source = terrain_source(dem["source"])
    known = {
        "path": _folder(study, source),
        "vertical_unit": source.vertical_unit,
        "url": source.url,
        "licence": source.license,
    }
    return {**dem, **{key: each for key, each in known.items() if dem[key] is None}}


def is_fetched(study: Mapping) -> bool:
    """Whether a run of a completed study fetches its DEM: it has a source and no other path."""
    dem = study["dem"]
    if dem.get("source") is None:
        return False
    return dem["path"] == _folder(study["study"], terrain_source(dem["source"]))


def _folder(study: str, source: TerrainSource) -> str:
    return f"resources/{study}/{source.name}"


def _check_address(address: str) -> None:
    """Refuse an address without a tile's corner, or with anything else in braces."""
    found, names = "", set()
    try:
        for _, name, width, conversion in Formatter().parse(address):
            if name is None:
                continue
            # No attribute, no index, nothing nested.
            known = name in FIELDS and conversion is None
            if not known or not (_NUMBER if name in _NUMBERS else _LETTER).fullmatch(width):
                found = found or f"{{{name}{f':{width}' if width else ''}}} in it"
            names.add(name)
    except ValueError as error:
        found = f"braces that cannot be read ({error})"
    if not found and not (names & {"lat", "y"} and names & {"lon", "x"}):
        found = "no place for the tile's corner"
    if found:
        raise ConfigurationError(
            "dem.source.address",
            f"{address}, with {found}",
            f"an address with {', '.join(f'{{{each}}}' for each in FIELDS)} where tiles differ",
            "Example: https://example.org/dem/{ns}{lat:02d}{ew}{lon:03d}.tif",
        )


def _meet(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Tell whether two windows (row, column, height, width) share a cell."""
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def _of_3dep(name: str, title: str, folder: str, cells: int) -> TerrainSource:
    """Return a seamless product of 3DEP: tiles of a degree with 6 more cells on every side."""
    products = f"https://prd-tnm.s3.amazonaws.com/StagedProducts/Elevation/{folder}/TIFF"
    tile = "{ns}{lat:02d}{ew}{lon:03d}"
    return TerrainSource(
        name=name,
        address=f"{products}/current/{tile}/USGS_{folder}_{tile}.tif",
        crs="EPSG:4269",
        tile_size=1.0,
        cells=cells,
        overlap=6,
        vertical_unit="m",
        title=title,
        license="public domain",
        citation=f"U.S. Geological Survey, {title}.",
        url="https://www.usgs.gov/3d-elevation-program",
        dated=f"{products}/historical/",
    )


def _of_copernicus(name: str, code: str, cells: int) -> TerrainSource:
    """Return a Copernicus DEM: centers of cells on whole degrees, wider cells towards the poles.

    There are no files over sea.
    """
    meters = name.removeprefix("glo-")
    tile = f"Copernicus_DSM_COG_{code}_{{NS}}{{lat:02d}}_00_{{EW}}{{lon:03d}}_00_DEM"
    return TerrainSource(
        name=name,
        address=f"https://copernicus-dem-{meters}m.s3.eu-central-1.amazonaws.com/{tile}/{tile}.tif",
        crs="EPSG:4326",
        tile_size=1.0,
        cells=cells,
        corner="southwest",
        shift=0.5,
        widened=((50.0, 1.5), (60.0, 2.0), (70.0, 3.0), (80.0, 5.0), (85.0, 10.0)),
        vertical_unit="m",
        title=f"Copernicus DEM GLO-{meters}",
        license="Copernicus DEM license, free with attribution",
        citation="© DLR e.V. 2010-2014 and © Airbus Defence and Space GmbH 2014-2018, provided "
        "under COPERNICUS by the European Union and ESA; all rights reserved.",
        url="https://dataspace.copernicus.eu/explore-data/data-collections/"
        "copernicus-contributing-missions/collections-description/COP-DEM",
    )


SOURCES = {
    source.name: source
    for source in (
        _of_3dep("3dep-10m", "3D Elevation Program 1/3 arc-second DEM", "13", 10_800),
        _of_3dep("3dep-30m", "3D Elevation Program 1 arc-second DEM", "1", 3_600),
        _of_copernicus("glo-30", "10", 3_600),
        _of_copernicus("glo-90", "30", 1_200),
    )
}
"""The sources that a study can name."""
