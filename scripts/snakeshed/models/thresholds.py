"""The table of thresholds: the rainfall at which a likelihood is reached at a site."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from snakeshed.models.configured import StudyModels
from snakeshed.models.hazard import REASON, REMARK, STATUS, described_table, formulas
from snakeshed.models.model import intensity_mm_per_h
from snakeshed.tables.geoparquet import rows_of
from snakeshed.tables.schema import REAL, TEXT, WHOLE


def threshold_table(features: pa.Table, models: StudyModels) -> pa.Table:
    """Compute the thresholds of all likelihood models of a study at all sites.

    Parameters
    ----------
    features : pyarrow.Table
        As for `snakeshed.models.hazard.hazard_table`.
    models : StudyModels

    Returns
    -------
    pyarrow.Table
        One row for each site, likelihood model, duration that the model takes, and likelihood:
        sorted by ``site_id``, then in the order of the configuration. Without rows in a study
        that has no likelihood model. Ready for `snakeshed.tables.geoparquet.write_table`.
    """
    runs = models.threshold_runs()
    sites = features.num_rows
    rainfall, intensity = (np.full(sites * len(runs), np.nan) for _ in range(2))
    reasons: list[str | None] = [None] * len(rainfall)
    remarks: list[str | None] = [None] * len(rainfall)
    place = 0
    for row in rows_of(features):
        site = models.site_inputs(row)
        for model, duration, likelihood in runs:
            found = models.threshold(model, site[model], duration, likelihood)
            if found.rainfall_mm is not None:
                rainfall[place] = found.rainfall_mm
                intensity[place] = intensity_mm_per_h(found.rainfall_mm, duration)
            reasons[place], remarks[place] = found.reason, site[model].remark
            place += 1
    ids, statuses = (features[name].to_pylist() for name in ("site_id", "status"))
    inverse = "Rainfall within the duration at which the likelihood is reached, mm. Inverse of "
    of_models = formulas(models.models[name] for name in dict.fromkeys(name for name, *_ in runs))
    return described_table(
        {
            "site_id": ([each for each in ids for _ in runs], TEXT, "Site."),
            "status": ([each for each in statuses for _ in runs], *STATUS),
            "reason": (reasons, *REASON),
            "remark": (remarks, *REMARK),
            "model": ([name for name, *_ in runs] * sites, TEXT, "Model."),
            "duration_min": (
                [duration for _, duration, _ in runs] * sites,
                WHOLE,
                "Duration of the rainfall, minutes.",
            ),
            "likelihood": (
                [likelihood for *_, likelihood in runs] * sites,
                REAL,
                "Likelihood of a debris flow that is reached, 0 to 1.",
            ),
            "rainfall_mm": (rainfall, REAL, f"{inverse}{of_models or 'no model'}."),
            "intensity_mm_per_h": (
                intensity,
                REAL,
                "Mean intensity within the duration of rainfall_mm, mm/h.",
            ),
        }
    )
