"""Feature extraction: the catchment group and the declared layers, for the sites of a shard."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from snakeshed.features.columns import TRUST, ReliefRule
from snakeshed.features.form_and_relief import CatchmentCells, catchment_features
from snakeshed.features.joint import JointRule
from snakeshed.features.joint_cells import joint_features
from snakeshed.features.layer import Catchments, Layer
from snakeshed.features.layers import feature_columns
from snakeshed.features.zonal import summarise
from snakeshed.tables.geoparquet import GEOMETRY, rows_of
from snakeshed.terrain.elevations import Terrain

if TYPE_CHECKING:
    import geopandas
    import pyarrow as pa

log = logging.getLogger(__name__)


def extract_features(
    catchments: pa.Table | geopandas.GeoDataFrame,
    terrain: Terrain,
    rule: ReliefRule,
    layers: Sequence[Layer],
    joint: Sequence[JointRule] = (),
) -> list[dict]:
    """Features of every site of ``catchments.parquet``.

    Parameters
    ----------
    catchments : pyarrow.Table or geopandas.GeoDataFrame
        Sorted by ``site_id``; outlines on the terrain's lattice.
    terrain : Terrain
    rule : ReliefRule
    layers : sequence of Layer
    joint : sequence of JointRule

    Returns
    -------
    list of dict
        One per site, in the same order: status, how far to trust it and, where it is ok, the
        features. ``layer_gap`` names the layers without values for the catchment.

    Raises
    ------
    ConfigurationError
        Two features have the same name.
    TerrainError, LayerError
        A tile or a layer cannot be read.
    """
    # Before hours of work, not at the end of them; the workflow has asked at its start.
    feature_columns(rule, layers, joint)
    started = time.perf_counter()
    known = ["site_id", "status", "reason", *TRUST]
    sites = rows_of(catchments)
    rows = [{name: site[name] for name in known} for site in sites]
    done = [site for site in sites if site["status"] == "ok"]
    features = [row for row in rows if row["status"] == "ok"]
    with joint_features(joint, layers, terrain.index.lattice) as of_both:
        for row, site in zip(features, done, strict=True):
            cells = CatchmentCells.of(site[GEOMETRY], terrain)
            row |= catchment_features(
                site[GEOMETRY],
                cells,
                site["area_km2"],
                site["longest_flow_path_km"],
                site["basin_length_km"],
                site["channel_length_km"],
                site["perimeter_km"],
                terrain.index.lattice,
                rule,
            )
            row |= of_both.of(cells)
    whole = Catchments(
        outlines=[site[GEOMETRY] for site in done],
        crs=terrain.index.lattice.crs,
        areas_km2=[site["area_km2"] for site in done],
        sites=[(site["site_x"], site["site_y"]) for site in done],
    )
    log.info("relief of %d catchments in %.2f s", len(done), time.perf_counter() - started)
    gaps: list[list[str]] = [[] for _ in features]
    for layer in layers:
        started = time.perf_counter()
        summaries = summarise(layer, whole)
        for row, (values, summary), gap in zip(features, summaries, gaps, strict=True):
            row |= values
            remark = summary.remark
            if summary.values is None:
                gap.append(layer.name)
                if summary.coverage > 0 and remark is None:
                    remark = layer.missing.excess(layer.name, summary.coverage)
            row["reason"] = "; ".join(filter(None, (row["reason"], remark))) or None
        log.info("layer %s in %.2f s", layer.name, time.perf_counter() - started)
    for row, gap in zip(features, gaps, strict=True):
        # Too little of a layer is too little for what it has in common with the terrain.
        row |= {each.name: None for each in joint if each.layer in gap}
        row["layer_gap"] = ";".join(gap) or None
    return rows
