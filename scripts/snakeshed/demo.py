"""The demo's inputs: real terrain that comes with matplotlib, and a synthetic fire on it.

matplotlib ships 344 x 403 cells of SRTM elevations, 3 arc-seconds wide, around the Jacksboro fault
in Tennessee. Sites are laid on its streams, with the contributing areas that stock pysheds finds.

Real are the terrain, the streams, and the roughness of the ground. Everything else is synthetic:
fuel, soil, and rock are invented; no fire burned inside the perimeter; its dNBR, the rain of three
storms, and the debris flows are made up. Files, columns, and bands are named so. What looks random
comes from a hash and is the same every time. Nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from affine import Affine

from snakeshed.atomic import atomic
from snakeshed.demo_fire import dnbr, kf_factor
from snakeshed.demo_outlets import OUTLETS
from snakeshed.demo_polygons import perimeter, rock
from snakeshed.demo_storms import STORMS, debris_flow, storm_rainfall
from snakeshed.demo_terrain import gradient, read_sample, window

CRS = "EPSG:4326"

FUEL_NODATA = -9999


@dataclass(frozen=True)
class Band:
    """What a raster of the demo holds.

    Attributes
    ----------
    values : ndarray, shape (h, w)
        On the cells of the DEM.
    description : str
        Of the band, in the file.
    nodata : int or None
        What marks a missing cell.
    """

    values: np.ndarray
    description: str
    nodata: int | None = None


def make_demo(folder: str | Path) -> None:
    """Write terrain, sites, and layers.

    ``dem.tif``, ``sites.csv``, ``roughness.tif``, ``fuel.tif``, and of the synthetic fire
    ``synthetic_dnbr.tif``, ``synthetic_kf.tif``, ``synthetic_perimeter.geojson``, and
    ``synthetic_rock.geojson``.

    Parameters
    ----------
    folder : str or Path
        Where to; it is made if it is missing. Each file appears atomically.
    """
    folder = Path(folder)
    elevation, transform = read_sample()
    sites = site_table(OUTLETS, elevation.shape, transform)
    rasters = {
        "dem.tif": Band(elevation, "elevation in metres"),
        "roughness.tif": Band(roughness(elevation), "roughness in metres"),
        "fuel.tif": Band(fuel_models(elevation, transform), "FBFM40 fuel model", FUEL_NODATA),
        "synthetic_dnbr.tif": Band(
            dnbr(elevation, transform), "synthetic dNBR x 1000; no such fire has burned"
        ),
        "synthetic_kf.tif": Band(
            kf_factor(elevation, transform), "synthetic KF factor, US customary units"
        ),
    }
    for name, band in rasters.items():
        _write_raster(folder / name, band, transform)
    texts = {
        "synthetic_perimeter.geojson": perimeter(transform),
        "synthetic_rock.geojson": rock(transform),
        "sites.csv": sites.to_csv(index=False, lineterminator="\n"),
    }
    for name, text in texts.items():
        with atomic(folder / name) as part:
            Path(part).write_text(text, encoding="utf-8", newline="\n")


def site_table(
    outlets: Sequence[tuple[int, int, float]], shape: tuple[int, int], transform: Affine
) -> pd.DataFrame:
    """Make the table that a person in the field would have brought.

    Positions are up to 1.5 cells beside the stream. The first, largest, catchment has no reported
    area; every seventh site was visited twice, and one lies outside the DEM. Rain and debris flows
    are synthetic.

    Parameters
    ----------
    outlets : sequence of (row, column, area_km2)
        Cells of the true outlets, and what drains through them.
    shape : (int, int)
        Rows and columns of the DEM.
    transform : Affine
        From columns and rows to longitude and latitude.

    Returns
    -------
    pandas.DataFrame
        A row per observation: ``site``, ``lon``, ``lat`` (degrees), ``area_km2`` (empty if not
        reported), ``storm_date``, ``synthetic_rain_mm`` (within 15 minutes), and
        ``synthetic_debris_flow`` (1, 0, or empty if not known).
    """
    sites = []
    for number, (row, column, area_km2) in enumerate(outlets, start=1):
        right, down = (0.0, 0.0) if number == 1 else _aside(number)
        lon, lat = transform @ (column + 0.5 + right, row + 0.5 + down)
        sites.append((lon, lat, math.nan if number == 1 else area_km2))
    lon, lat = transform @ (shape[1] + 20.5, shape[0] / 2)
    sites.append((lon, lat, 1.0))

    observations = []
    for number, (lon, lat, area) in enumerate(sites, start=1):
        for storm in (number % 3,) if number % 7 else (0, 1):
            storm_of_site = (STORMS[storm].date, storm_rainfall(number, storm))
            flow = debris_flow(number, storm)
            observations.append((f"jf_{number:02d}", lon, lat, area, *storm_of_site, flow))
    columns = ["site", "lon", "lat", "area_km2", "storm_date"]
    columns += ["synthetic_rain_mm", "synthetic_debris_flow"]
    table = pd.DataFrame(observations, columns=columns).round({"lon": 6, "lat": 6})
    return table.astype({"synthetic_debris_flow": "Int64"})


def roughness(elevation: np.ndarray) -> np.ndarray:
    """Standard deviation of the elevations in a window of 3 x 3 cells.

    Parameters
    ----------
    elevation : ndarray of int16, shape (h, w)
        In metres; repeated beyond its edges.

    Returns
    -------
    ndarray of float32, shape (h, w)
        In metres. The sums are whole numbers, so it is the same on every machine.
    """
    around = window(elevation.astype(np.int64))
    total, squares = around.sum(axis=0), (around * around).sum(axis=0)
    return (np.sqrt(9 * squares - total * total) / 9).astype(np.float32)


def fuel_models(elevation: np.ndarray, transform: Affine) -> np.ndarray:
    """Fuel models as they might grow there, by elevation, slope and aspect.

    Invented for the demo; codes as in ``config/fbfm40.csv``.

    Parameters
    ----------
    elevation : ndarray of int16, shape (h, w)
        In metres; repeated beyond its edges.
    transform : Affine
        Of a geographic, north-up grid.

    Returns
    -------
    ndarray of int16, shape (h, w)
        FBFM40 codes.
    """
    east, north = gradient(elevation, transform)
    steepness = east * east + north * north

    def steeper(tangent: float) -> np.ndarray:
        return steepness > tangent * tangent

    around = window(elevation)
    is_level = around.max(axis=0) == around.min(axis=0)
    faces_south, faces_north = north > np.abs(east), -north > np.abs(east)
    rules = [
        (98, is_level & (elevation < 310)),  # the lake
        (91, ~steeper(0.02) & (elevation < 350)),  # towns and
        (93, ~steeper(0.05) & (elevation < 350)),  # fields on the valley floor
        (99, steeper(0.65)),  # cliffs
        (105, ~steeper(0.15) & (elevation < 400)),  # pasture
        (123, ~steeper(0.25) & (elevation < 450)),  # overgrown pasture
        (201, ~steeper(0.2) & (elevation > 800)),  # blowdown on the ridges
        (144, faces_south & steeper(0.4)),  # shrubs and pine
        (188, faces_south),  # pine litter
        (182, faces_north & (elevation > 600)),  # hardwood litter
        (186, faces_north),
        (162, elevation > 600),
    ]
    codes, places = zip(*rules, strict=True)
    return np.select(places, codes, default=163).astype(np.int16)


def _aside(number: int) -> tuple[float, float]:
    """Offset of a site in cells, at most 1 to each side and so at most 1.42 in all.

    Multiples of the powers of an irrational number fill the square evenly (Roberts 2018, the R2
    sequence); unlike random numbers they stay the same in every version of every library.
    """
    step = 1.32471795724474602596  # the plastic number
    return 2 * math.fmod(number / step, 1.0) - 1, 2 * math.fmod(number / step**2, 1.0) - 1


def _write_raster(path: Path, band: Band, transform: Affine) -> None:
    height, width = band.values.shape
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": band.values.dtype,
        "crs": CRS,
        "transform": transform,
        "nodata": band.nodata,
        "compress": "deflate",
    }
    with atomic(path) as part, rasterio.open(part, "w", **profile) as raster:
        raster.write(band.values, 1)
        raster.set_band_description(1, band.description)
