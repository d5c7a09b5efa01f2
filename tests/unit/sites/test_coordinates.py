"""Coordinates become places only where they can be meant, and the reason says what is wrong."""

from __future__ import annotations

import math

import pyarrow as pa
import pyproj
import pytest
import shapely

from snakeshed.errors import SeveralProblems, TableError
from snakeshed.sites.coordinates import Place, Refusal, places_of
from snakeshed.sites.observations import Observations

COLUMNS = {"x": "x", "y": "y", "utm_zone": None}
# Near Mount Wilson, in the area of the Station fire.
LON, LAT = -118.0617, 34.2258
EASTING, NORTHING = 402_193.0, 3_787_647.0
# The meridian from the equator to 45 degrees is 4,984,944.378 m long on the ellipsoid of WGS 84 and
# of GRS 80 (NAD83), and UTM shortens it by 0.9996; zone 11 has its middle at 117 degrees west.
KNOWN = (500_000.0, 0.9996 * 4_984_944.378)


def places(pairs, crs="EPSG:4326", utm=None, zones=None):
    columns = {"x": [x for x, _ in pairs], "y": [y for _, y in pairs]}
    settings = {"path": "sites.csv", "columns": dict(COLUMNS), "crs": crs, "utm": utm}
    if utm is not None:
        settings |= {"crs": None, "columns": COLUMNS | {"utm_zone": "zone"}}
        columns["zone"] = zones
    table = pa.table({name: pa.array(cells) for name, cells in columns.items()})
    return places_of(Observations(table, list(range(1, len(pairs) + 1))), settings)


def place(x, y, crs="EPSG:4326"):
    return places([(x, y)], crs)[0][0]


def zone(cell, pair=(EASTING, NORTHING), datum="NAD83", hemisphere="north"):
    return places([pair], utm={"datum": datum, "hemisphere": hemisphere}, zones=[cell])[0][0]


class TestPlaces:
    @pytest.mark.parametrize("crs", ["EPSG:32611", "EPSG:26911"])
    def test_a_known_place(self, crs):
        found = place(*KNOWN, crs)
        assert (found.x, found.y, found.crs) == (*KNOWN, crs)
        assert found.lon == pytest.approx(-117, abs=2e-8)
        assert found.lat == pytest.approx(45, abs=2e-8)

    def test_degrees_are_rounded_to_a_millimetre(self):
        found = place(-118.123456789123, 34.000000004)
        assert (found.lon, found.lat) == (-118.12345679, 34.0)
        assert found.x == -118.123456789123

    def test_text_and_numbers_are_the_same_place(self):
        assert places([("402193", "3787647")], "EPSG:26911") == places(
            [(402193.0, 3787647.0)], "EPSG:26911"
        )

    def test_a_place_does_not_depend_on_the_others(self):
        pairs = [(400_000.0 + 977 * k, 3_700_000.0 + 1013 * k) for k in range(12)]
        together, _ = places(pairs, "EPSG:26711")
        assert together == [place(x, y, "EPSG:26711") for x, y in pairs]
        assert together == places(pairs[::-1], "EPSG:26711")[0][::-1]

    def test_names_are_readable_and_know_the_hemispheres(self):
        assert Place(-118.001234, 34.321012, "", 0, 0).name == "34.321012N_118.001234W"
        assert Place(151.2, -33.8, "", 0, 0).name == "33.800000S_151.200000E"
        assert Place(-1e-8, -1e-8, "", 0, 0).name == "0.000000N_0.000000E"

    def test_an_unknown_crs_is_named(self):
        with pytest.raises(SeveralProblems) as caught:
            place(0, 0, "EPSG:9")
        assert "sites.crs: found 'EPSG:9', which PROJ does not know" in str(caught.value)

    def test_a_crs_without_a_place_on_earth_is_named(self):
        local = pyproj.CRS.from_wkt(
            'ENGCRS["site grid",EDATUM["mill"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
            'LENGTHUNIT["metre",1]]'
        )
        given = Observations(pa.table({}), [1], points=[shapely.Point(1, 2)], crs=local.to_wkt())
        with pytest.raises(TableError, match="expected one that has a place on Earth"):
            places_of(given, {"path": "a.gpkg", "columns": {}, "crs": None, "utm": None})

    def test_the_network_setting_is_left_as_it_was(self):
        pyproj.network.set_network_enabled(active=True)
        try:
            place(LON, LAT)
            assert pyproj.network.is_network_enabled()
        finally:
            pyproj.network.set_network_enabled(active=False)

    def test_a_rough_datum_is_told(self):
        assert places([(EASTING, NORTHING)], "EPSG:26911")[1] == []
        (warning,) = places([(EASTING, NORTHING)], "EPSG:26711")[1]
        assert warning.startswith("EPSG:26711: places are known only")
        assert "NAD27" in warning


class TestRefusedCoordinates:
    @pytest.mark.parametrize("cell", [None, "", "34.5 N", "1,5", "1_0"])
    def test_text_and_gaps(self, cell):
        ((found,), _) = places([(cell, "34.5")])
        comma = ": they need a point where these have a comma" if cell == "1,5" else ""
        assert found.reason == f"the coordinates are not finite numbers{comma}"
        assert found.found.startswith("x = ")
        assert "y = " not in found.found

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_not_finite(self, value):
        assert place(value, 34.5).reason == "the coordinates are not finite numbers"
        assert place(-118.0, value).found.startswith("y = ")

    def test_swapped_longitude_and_latitude_are_named_as_such(self):
        found = place(LAT, LON)
        assert found == Refusal("longitude and latitude look swapped", f"{LAT!r}, {LON!r}")

    def test_swapped_easting_and_northing_are_named_as_such(self):
        assert place(NORTHING, EASTING, "EPSG:26911").reason == "x and y look swapped"
        assert zone(11, (NORTHING, EASTING)).reason == "x and y look swapped"

    @pytest.mark.parametrize("pair", [(241.9, 34.2), (-118.0, 134.2), (402193.0, 3787647.0)])
    def test_what_is_no_longitude_and_latitude(self, pair):
        reason = place(*pair).reason
        assert reason == (
            "longitude and latitude beyond 180 and 90 degrees: if they are lengths, sites.crs has "
            "to be the CRS that they are in"
        )

    @pytest.mark.parametrize("pair", [(402.193, 3787.647), (0.0, 0.0), (-9999.0, -9999.0)])
    def test_what_is_far_from_where_the_crs_is_made_for(self, pair):
        assert place(*pair, "EPSG:26911").reason == "outside the area for which EPSG:26911 is made"
        assert zone(11, pair).reason.startswith("not plausible as UTM coordinates")

    @pytest.mark.parametrize("crs", ["EPSG:32611", "EPSG:26911", "EPSG:2229", "EPSG:5070"])
    @pytest.mark.parametrize("pair", [(LON, LAT), (LAT, LON), (LON + 360, LAT)])
    def test_degrees_in_a_projected_crs_are_named_as_such(self, crs, pair):
        unit = "US survey foot" if crs == "EPSG:2229" else "metre"
        assert place(*pair, crs) == Refusal(
            f"the coordinates look like degrees, but {crs} counts in units of {unit}: for "
            "longitude and latitude, set sites.crs to EPSG:4326",
            f"{pair[0]!r}, {pair[1]!r}",
        )

    def test_degrees_in_a_zone_are_named_as_such(self):
        reason = zone(11, (LON, LAT)).reason
        assert reason.startswith("the coordinates look like degrees, but EPSG:26911 counts in")
        assert reason.endswith("remove sites.utm and set sites.crs to EPSG:4326")

    def test_degrees_in_a_file_of_lengths_are_named_as_such(self):
        given = Observations(pa.table({}), [1], points=[shapely.Point(LON, LAT)], crs="EPSG:26911")
        settings = {"path": "a.gpkg", "columns": {}, "crs": None, "utm": None}
        ((found,), _) = places_of(given, settings)
        assert found.reason == (
            "the coordinates look like degrees, but the file's CRS, EPSG:26911, counts in units of "
            "metre"
        )

    def test_a_grid_made_for_one_place_may_have_small_numbers(self):
        local = pyproj.CRS.from_proj4("+proj=laea +lat_0=34 +lon_0=-118 +datum=WGS84").to_wkt()
        settings = {"path": "a.gpkg", "columns": {}, "crs": None, "utm": None}

        def at(x, y):
            points = [shapely.Point(x, y)]
            return places_of(Observations(pa.table({}), [1], points=points, crs=local), settings)

        # 80 m east and 60 m north of the origin; the other pair is the place itself in degrees.
        assert at(80.0, 60.0)[0][0].lat == pytest.approx(34.00054, abs=1e-5)
        assert at(LON, LAT)[0][0].reason.startswith("the coordinates look like degrees")

    def test_a_place_in_the_next_zone_is_fine(self):
        # Sacramento is in zone 10; tables of California often use zone 11 throughout.
        x, y = pyproj.Transformer.from_crs(4326, 26911, always_xy=True).transform(-121.5, 38.6)
        assert place(x, y, "EPSG:26911").lon == pytest.approx(-121.5, abs=1e-5)

    @pytest.mark.parametrize("lon", [-179.5, 179.5])
    def test_an_area_of_use_across_the_antimeridian(self, lon):
        # Alaska Albers is made for 172 degrees east to 130 degrees west.
        x, y = pyproj.Transformer.from_crs(4326, 3338, always_xy=True).transform(lon, 52.0)
        assert place(x, y, "EPSG:3338").lon == pytest.approx(lon, abs=1e-5)

    def test_the_other_side_of_the_earth_is_not_in_that_area(self):
        x, y = pyproj.Transformer.from_crs(4326, 3338, always_xy=True).transform(60.0, 60.0)
        assert place(x, y, "EPSG:3338").reason == "outside the area for which EPSG:3338 is made"


class TestZones:
    @pytest.mark.parametrize("cell", [11, 11.0, "11", "11.0", "11N", "11 n", " 11 "])
    def test_every_spelling_of_a_zone(self, cell):
        assert zone(cell).crs == "EPSG:26911"

    @pytest.mark.parametrize(
        ("datum", "hemisphere", "cell", "code"),
        [
            ("WGS84", "north", 11, 32611),
            ("WGS84", "south", 19, 32719),
            ("WGS84", None, "19S", 32719),
            ("WGS84", None, "60N", 32660),
            ("NAD27", "north", 11, 26711),
            ("NAD83", None, "1N", 26901),
        ],
    )
    def test_the_code_is_that_of_the_zone(self, datum, hemisphere, cell, code):
        found = zone(cell, (500_000.0, 4_000_000.0), datum, hemisphere)
        assert found.crs == f"EPSG:{code}"
        name = pyproj.CRS.from_epsg(code).name.replace(" ", "")
        letter = "S" if found.lat < 0 else "N"
        assert name == f"{datum}/UTMzone{str(cell).rstrip('NS')}{letter}"

    def test_each_row_has_its_own_zone(self):
        utm = {"datum": "NAD83", "hemisphere": "north"}
        found, _ = places([(500_000.0, 4e6)] * 3, utm=utm, zones=[12, 11, 13])
        assert [round(item.lon) for item in found] == [-111, -117, -105]

    @pytest.mark.parametrize("cell", [None, math.nan, "", "  "])
    def test_a_missing_zone(self, cell):
        assert zone(cell) == Refusal("no UTM zone", "an empty cell")

    @pytest.mark.parametrize("cell", ["eleven", "11T", 11.5, "-11", True])
    def test_what_is_no_zone(self, cell):
        assert zone(cell).reason.startswith("no UTM zone: neither a number nor")
        assert zone(cell).found == repr(cell)

    @pytest.mark.parametrize(
        ("datum", "hemisphere", "cell", "there"),
        [
            ("NAD83", "north", 24, "NAD83 has zones 1 to 23"),
            ("NAD27", "north", 0, "NAD27 has zones 1 to 22"),
            ("WGS84", "south", 61, "WGS84 has zones 1 to 60"),
            ("NAD83", None, "11S", "NAD83 has only northern zones"),
        ],
    )
    def test_zones_that_do_not_exist(self, datum, hemisphere, cell, there):
        found = zone(cell, datum=datum, hemisphere=hemisphere)
        assert found.reason == f"no such UTM zone: {there}"

    def test_a_contradicting_letter_is_refused_because_it_may_be_a_military_band(self):
        reason = zone("11S").reason
        assert "says south, sites.utm.hemisphere says north" in reason
        assert "military grid" in reason

    def test_without_a_letter_the_hemisphere_must_be_set(self):
        assert "hemisphere of the UTM zone is unknown" in zone(11, hemisphere=None).reason


class TestGeometries:
    @pytest.mark.parametrize(
        ("geometry", "reason", "found"),
        [
            (None, "no geometry", "nothing"),
            (shapely.Point(), "no geometry", "an empty Point"),
            (shapely.LineString([(0, 0), (1, 1)]), "the geometry is not one point", "a LineString"),
            (shapely.MultiPoint([(0, 0), (1, 1)]), "the geometry is not one point", "a MultiPoint"),
            (shapely.Point(LAT, LON), "longitude and latitude look swapped", f"{LAT!r}, {LON!r}"),
        ],
    )
    def test_what_is_no_point(self, geometry, reason, found):
        given = Observations(pa.table({}), [1], points=[geometry], crs="EPSG:4326")
        settings = {"path": "a.gpkg", "columns": {}, "crs": None, "utm": None}
        assert places_of(given, settings) == ([Refusal(reason, found)], [])

    @pytest.mark.parametrize(
        "geometry",
        [shapely.Point(LON, LAT), shapely.Point(LON, LAT, 9), shapely.MultiPoint([(LON, LAT)])],
    )
    def test_what_is_a_point(self, geometry):
        given = Observations(pa.table({}), [1], points=[geometry], crs="EPSG:4326")
        settings = {"path": "a.gpkg", "columns": {}, "crs": None, "utm": None}
        assert places_of(given, settings)[0] == [Place(LON, LAT, "EPSG:4326", LON, LAT)]
