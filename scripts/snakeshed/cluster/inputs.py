"""The inputs of a study, as the workflow finds them in its working directory.

Called here and on the volume of a cluster: a file that only one of the two has, such as a tile that
a pattern takes in, would change results.
"""

from __future__ import annotations

from snakeshed.features.layers import rasters_of, tables_of
from snakeshed.raster.input_files import input_files
from snakeshed.sites.table_files import table_files
from snakeshed.study.configuration import complete
from snakeshed.study.left_out import as_run, has_terrain
from snakeshed.study.yaml_file import read_study
from snakeshed.terrain.dem import dem_files
from snakeshed.terrain.sources import is_fetched

DEMO = "config/config.yaml"
SCHEMA = "config/schema/study.schema.yaml"
# What rule make_demo makes, wherever the run is; a test compares it with the rule.
MADE = tuple(
    f"resources/demo/{name}"
    for name in (
        "dem.tif",
        "sites.csv",
        "roughness.tif",
        "fuel.tif",
        "synthetic_dnbr.tif",
        "synthetic_kf.tif",
        "synthetic_perimeter.geojson",
        "synthetic_rock.geojson",
    )
)


def study_inputs(study: dict) -> list[str]:
    """List the files of a study that no job makes, as the workflow finds them.

    Parameters
    ----------
    study : dict
        The completed configuration.

    Returns
    -------
    list of str
        The site table, the files of DEM and layers with what VRTs name and with sidecar files, and
        fuel tables.
    """
    study = as_run(study)
    dem = study["dem"]["path"]
    files = {*table_files(study["sites"]["path"])}
    # The driver on the cluster fetches what a source names.
    if has_terrain(study) and dem not in MADE and not is_fetched(study):
        files.update(input_files(dem_files(dem)))
    rasters = [path for layer in study["layers"] for path in rasters_of(layer).values()]
    files.update(input_files(raster for raster in rasters if raster not in MADE))
    for layer in study["layers"]:
        files.update(file for path in tables_of(layer).values() for file in table_files(path))
    return sorted(files - set(MADE))


def inputs_of(configuration: str) -> list[str]:
    """List the inputs of the study in a configuration file, as `study_inputs` does."""
    return study_inputs(complete(read_study(configuration), SCHEMA, configuration))
