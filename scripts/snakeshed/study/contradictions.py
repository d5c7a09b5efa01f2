"""Keys of a configuration that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath

from snakeshed.errors import ConfigurationError
from snakeshed.features.layers import type_of
from snakeshed.terrain.sources import terrain_source

# Formats whose rows have no geometry: they need columns of coordinates.
_WITHOUT_GEOMETRY = {".csv", ".tsv", ".tab", ".txt", ".rdb", ".xlsx"}
# Formats that hold several tables in one file.
_WITH_SHEETS = {".xlsx", ".gpkg", ".zip"}
# Columns of features.parquet; more are rather a mistake than wanted.
_MOST_COLUMNS = 10_000


def check_sites(sites: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is contradictory in `sites`: key, found, expected, next step."""
    columns, crs, utm = sites["columns"], sites["crs"], sites["utm"]
    suffix = PurePath(sites["path"]).suffix.lower()
    has_x, has_y = columns["x"] is not None, columns["y"] is not None
    if has_x != has_y:
        there, absent = ("x", "y") if has_x else ("y", "x")
        yield (
            f"sites.columns.{absent}",
            f"no such key, but sites.columns.{there}",
            "both x and y, or neither for a file with point geometries",
            f"Name the column of {absent}.",
        )
    elif not has_x and suffix in _WITHOUT_GEOMETRY:
        yield (
            "sites.columns",
            f"neither x nor y for a table in {suffix}",
            "the names of the columns with the coordinates",
            "Set sites.columns.x and sites.columns.y.",
        )
    elif not has_x and (crs is not None or utm is not None):
        yield (
            "sites.crs" if crs is not None else "sites.utm",
            "a CRS, but no sites.columns.x and sites.columns.y",
            "no CRS here: a file with point geometries has its own",
            "Remove this key, or name the columns with the coordinates.",
        )
    elif has_x and crs is None and utm is None:
        yield (
            "sites",
            "neither crs nor utm",
            "one of them",
            "Set sites.crs, such as EPSG:4326 for longitude and latitude, or sites.utm if every "
            "row has its UTM zone.",
        )
    elif crs is not None and utm is not None:
        yield (
            "sites",
            "both crs and utm",
            "one of them",
            "Keep sites.crs if all rows have the same CRS, sites.utm if every row has its zone.",
        )
    elif utm is not None and columns["utm_zone"] is None:
        yield (
            "sites.columns.utm_zone",
            "no such key, but sites.utm",
            "the name of the column with the UTM zone",
            "Name it, or set sites.crs instead of sites.utm if all rows are in one zone.",
        )
    elif utm is None and columns["utm_zone"] is not None:
        yield (
            "sites.columns.utm_zone",
            f"the column {columns['utm_zone']!r}, but no sites.utm",
            "a zone only together with its datum",
            "Set sites.utm.datum and remove sites.crs, or remove this key.",
        )
    meanings: dict[str, str] = {}
    for key in ("x", "y", "utm_zone", "area"):
        if columns[key] is not None and meanings.setdefault(columns[key], key) != key:
            yield (
                f"sites.columns.{key}",
                f"the column {columns[key]!r}, which is sites.columns.{meanings[columns[key]]} too",
                "another column",
                "Correct one of the two.",
            )
    if utm is not None and utm["hemisphere"] == "south" and utm["datum"] != "WGS84":
        yield (
            "sites.utm.hemisphere",
            f"south with the datum {utm['datum']}",
            "north, since this datum has no southern zones",
            "Check the datum; in the south it is usually WGS84.",
        )
    if sites["sheet"] is not None and suffix not in _WITH_SHEETS:
        yield (
            "sites.sheet",
            f"{sites['sheet']!r} for a table in {suffix or 'an unknown format'}",
            "no sheet: only XLSX files, GeoPackages, and ZIP files with shapefiles have them",
            "Remove this key.",
        )


def check_dem(dem: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is contradictory in `dem`: key, found, expected, next step."""
    if dem["source"] is not None:
        try:
            terrain_source(dem["source"])
        except ConfigurationError as problem:
            yield problem.where, problem.found, problem.expected, problem.next_step
    elif dem["path"] is None:
        yield (
            "dem",
            "neither path nor source",
            "the files of a DEM, or the name of one that can be fetched",
            "Set dem.path, such as data/dem.tif, or dem.source, such as 3dep-10m.",
        )
    if dem["target_crs"] is not None and dem["resolution"] is None:
        yield (
            "dem.resolution",
            "no such key, but dem.target_crs",
            f"the cell size after the reprojection, in units of {dem['target_crs']}",
            "Set it, or remove dem.target_crs to keep the grid of the DEM.",
        )
    if dem["target_crs"] is None and dem["resolution"] is not None:
        yield (
            "dem.resolution",
            f"{dem['resolution']:g}, but no dem.target_crs",
            "a resolution only together with a CRS to reproject to",
            "Remove it: the DEM keeps its own grid.",
        )


# What is of no use where a recipe delineates.
_NOT_OF_RECIPES = (
    "dem.target_crs",
    "dem.resolution",
    "dem.conditioning",
    "dem.max_void_cells",
    "dem.max_pit_m",
    "patches",
    "snap",
)


def check_recipe(study: Mapping, schema: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield keys that are set and have no effect with `recipe`: key, found, expected, next step."""
    recipe = study["recipe"]
    if recipe is None:
        return
    for name in _NOT_OF_RECIPES:
        section, _, key = name.partition(".")
        known = schema["properties"][section]["properties"]
        for each in [key] if key else known:
            value, default = study[section][each], known[each]["default"]
            if value != default:
                yield (
                    f"{section}.{each}",
                    f"{value}, and recipe: {recipe}",
                    "no such key, since it has no effect on the recipe",
                    "Remove it; or remove recipe, which only reproduces a paper.",
                )
    if study["sites"]["columns"]["area"] is None:
        yield (
            "sites.columns.area",
            f"no such key, but recipe: {recipe}",
            "the column with the reported area, by which the recipe finds window and outlet",
            "Name it, or remove recipe.",
        )


def check_layers(layers: list, schema: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is contradictory in `layers`: key, found, expected, next step."""
    known = schema["items"]["properties"]
    names = [layer["name"] for layer in layers]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield (
                f"layers[{name}].name",
                f"{names.count(name)} layers of this name",
                "every layer with its own name",
                "Rename all but one: their columns would have the same names.",
            )
    for layer in layers:
        kind = layer["type"]
        for key in layer:
            if not is_for(known[key], kind):
                types = " or ".join(known[key]["only_for"])
                yield (
                    f"layers[{layer['name']}].{key}",
                    f"this key on a layer of type {kind}",
                    f"it on a layer of type {types} only",
                    f"Remove it, or set the type to {types}.",
                )
        for key, *words in type_of(layer).contradictions(layer):
            yield f"layers[{layer['name']}].{key}", *words
        yield from _check_source(layer, known)
        bounds = layer.get("valid_range")
        if bounds is not None and bounds[0] > bounds[1]:
            yield (
                f"layers[{layer['name']}].valid_range",
                f"{bounds[0]:g} before {bounds[1]:g}",
                "the smallest value first, then the largest",
                f"Write [{bounds[1]:g}, {bounds[0]:g}].",
            )


def is_for(schema: Mapping, kind: str | None) -> bool:
    """Whether a key applies to a type, by the schema of the key."""
    return kind in schema.get("only_for", (kind,))


def check_model_keys(models: list, schema: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield every key of `models` that is of another model: key, found, expected, next step."""
    known = schema["items"]["properties"]
    for model in models:
        for key in model:
            if not is_for(known[key], model["name"]):
                yield (
                    f"models[{model['name']}].{key}",
                    f"this key on the model {model['name']}",
                    f"it on {' or '.join(known[key]['only_for'])} only",
                    "Remove it.",
                )


def check_columns(features: Mapping, layers: list) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is wrong with the number of columns: key, found, expected, next step."""
    percentiles = len(features["percentiles"])
    columns = len(features["steep_degrees"]) + percentiles
    for layer in layers:
        if layer["type"] == "numeric":
            own = layer["percentiles"]
            columns += percentiles if own is None else len(own)
        columns += len(set(map(str, layer.get("classes", {}).values())))
    if columns > _MOST_COLUMNS:
        yield (
            "features",
            f"{columns:,} columns of percentiles, slopes, and classes in all layers",
            f"at most {_MOST_COLUMNS:,}",
            "Ask for fewer percentiles, or give labels to fewer classes.",
        )


def check_observations(observations: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is contradictory in `observations`: key, found, expected, next step."""
    first: dict[int, str] = {}
    for place, each in enumerate(observations["rainfall"], 1):
        minutes, column = each["duration_min"], each["column"]
        if minutes in first:
            yield (
                f"observations.rainfall[{place}].duration_min",
                f"{minutes}, as for the column {first[minutes]!r}",
                "one column of rainfall for each duration",
                f"Correct the duration, or remove one of {first[minutes]!r} and {column!r}.",
            )
        first.setdefault(minutes, column)


def _check_source(layer: Mapping, known: Mapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is wrong with where a layer's values come from."""
    where = f"layers[{layer['name']}]"
    path, value = layer.get("path"), layer.get("value")
    if path is None and value is None:
        keys = "path or value" if layer["type"] == "numeric" else "path"
        kind = type_of(layer)
        yield (
            where,
            f"no {keys}",
            "where its values come from",
            f"Set path to {({**kind.RASTERS, **kind.TABLES})['path']}"
            + (", or value to a number for all catchments." if "value" in keys else "."),
        )
    elif path is not None and value is not None:
        yield (where, "both path and value", "one of them", "Remove one of the two.")
    elif value is not None:
        for key in ("scale", "nodata", "valid_range", "max_missing"):
            if layer.get(key) not in (None, known[key].get("default")):
                yield (
                    f"{where}.{key}",
                    "this key beside value",
                    "it only on a layer with a path",
                    "Remove it: a constant is used as it is.",
                )
