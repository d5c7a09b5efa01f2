"""The summary of a study: what a person wants to know first.

It is read at the end of every run: importing it imports nothing heavy.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snakeshed.delineation.catchment import STATUSES
from snakeshed.errors import printable
from snakeshed.features.layer import Layer
from snakeshed.features.layers import unknown_codes
from snakeshed.report.hazard_summary import hazard_line, summarise_hazards
from snakeshed.report.published import compare, comparison_lines, comparison_warnings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Half of all areas off by more than this are no matter of where the outlets were put.
_ANOTHER_UNIT = 4.0
# What another unit leaves of that: outlets can follow a wrong area as far as snapping reaches.
_EXPLAINED = 4.0
_ENOUGH_AREAS = 5
# So many sites that were not delineated are named at the end of a run.
_FEW = 3
# What a person finds in result files.
_FILES = {
    "report.html": "map, table and figures, in a browser",
    "catchments.parquet": "outlines, outlets and how sure they are",
    "features.parquet": "one row of features per site",
    "dataset.parquet": "one row per observation, with the features of its site",
    "hazard.parquet": "likelihood, volume, and class for each storm",
    "thresholds.parquet": "rainfall at which a likelihood is reached",
    "skill.json": "how good the likelihoods of models are",
    "refit.json": "coefficients of published models, fitted again",
    "classifiers.json": "scores of classifiers with sites they were not fitted to",
    "observations.parquet": "one row per observation, as in the site table",
    "summary.json": "this summary",
}
_ALWAYS = (
    "report.html",
    "catchments.parquet",
    "features.parquet",
    "dataset.parquet",
    "summary.json",
)
# A coverage that is less than one by rounding alone.
_WHOLE = 1 - 1e-6


@dataclass(frozen=True, eq=False)
class Finished:
    """What a study has come to.

    Attributes
    ----------
    catchments : pandas.DataFrame
        ``catchments.parquet``; the geometry is not needed.
    features : pandas.DataFrame
        ``features.parquet``.
    rejected : pandas.DataFrame
        ``rejected.csv``.
    warnings : sequence of str
        Of the site table, the DEM, and the layers' files.
    assumptions : sequence of str
        Of the DEM: what its files do not say.
    distortion : str or None
        What the DEM's CRS distorts, from `snakeshed.terrain.distortion.distortion_note`.
    observations : pyarrow.Table or None
        ``observations.parquet``; needed for comparisons.
    hazard : pyarrow.Table or None
        ``hazard.parquet``; None in a study without models.
    """

    catchments: pd.DataFrame
    features: pd.DataFrame
    rejected: pd.DataFrame
    warnings: Sequence[str] = ()
    assumptions: Sequence[str] = ()
    distortion: str | None = None
    observations: pa.Table | None = None
    hazard: pa.Table | None = None


def summarise(
    study: str,
    finished: Finished,
    layers: Sequence[Layer] = (),
    area_unit: str = "km2",
    compared: Sequence[Mapping] = (),
    models: Sequence[str] = (),
    storms: Sequence[str] = (),
    left_out: Mapping | None = None,
) -> dict:
    """What a person wants to know first of a study.

    Parameters
    ----------
    study : str
    finished : Finished
    layers : sequence of Layer
    area_unit : str
        ``sites.area_unit`` of the configuration.
    compared : sequence of mapping
        ``compare`` of the configuration.
    models : sequence of str
        Of the study.
    storms : sequence of str
        Of the study, those with the same rainfall everywhere.
    left_out : mapping, optional
        From `snakeshed.study.left_out.left_out`.

    Returns
    -------
    dict
        Plain values, the same for the same tables.
    """
    from snakeshed.grid.snap_rule import agreement

    catchments, rejected = finished.catchments, finished.rejected
    done = catchments[catchments["status"] == "ok"]
    mismatch = catchments["status"] == "area_mismatch"
    ratio, all_ratios = done["area_ratio"].dropna(), catchments["area_ratio"].dropna()
    statuses = Counter(catchments["status"])
    comparisons = compare(compared, finished.observations, finished.features) if compared else []
    return {
        "study": study,
        "sites": len(catchments),
        "status": {status: statuses[status] for status in STATUSES if statuses[status]},
        "not_delineated": {
            status: sorted(catchments.loc[catchments["status"] == status, "site_id"])
            for status in STATUSES[1:]
            if statuses[status] and status != "area_mismatch"
        },
        "area_mismatch": sorted(catchments.loc[mismatch, "site_id"]),
        "rows_rejected": int((rejected["action"] == "rejected").sum()),
        "rows_with_remarks": int((rejected["action"] != "rejected").sum()),
        "warnings": [
            *finished.warnings,
            *_area_warnings(all_ratios, area_unit),
            *filter(None, [finished.distortion]),
            *comparison_warnings(comparisons),
        ],
        "assumptions": list(finished.assumptions),
        "confidence": dict(sorted(Counter(done["confidence"]).items())),
        "area_ratio_median": _rounded(ratio.median()),
        "area_within_10_percent": _rounded((ratio.map(agreement) == "high").mean()),
        "compared": comparisons,
        "snap_distance_median_m": _rounded(done["snap_distance_m"].median()),
        "touches_edge": int(done["touches_edge"].sum()),
        "touches_nodata": int(done["touches_nodata"].sum()),
        "needs_larger_window": _where(done, "needs_larger_window"),
        "pool_at_rim": _where(done, "pool_at_rim"),
        "deep_pit": _where(done, "deep_pit"),
        "open_water": _where(done, "open_water"),
        "patch_level": {
            str(k): n for k, n in sorted(Counter(done["patch_level"].dropna()).items())
        },
        "layers": {
            layer.name: _cover(finished.features, layer) for layer in layers if layer.has_coverage
        },
        "unknown_codes": {
            name: {str(code): count for code, count in codes.items()}
            for name, codes in unknown_codes(finished.features, layers).items()
        },
        **_of_models(finished, models, storms),
        **({"left_out": left_out} if left_out else {}),
    }


def _where(catchments: pd.DataFrame, column: str) -> list[str]:
    """Return the sites for which a column is true; null, as with a recipe, is not."""
    return sorted(catchments.loc[catchments[column].eq(True).fillna(False), "site_id"])


def _of_models(finished: Finished, models: Sequence[str], storms: Sequence[str]) -> dict[str, dict]:
    """Return nothing for a study without models."""
    if finished.hazard is None:
        return {}
    hazards = summarise_hazards(finished.hazard, models, storms)
    if highest := hazards["highest_likelihood"]:
        # A hazard of the wrong catchment is none.
        sites = finished.catchments.set_index("site_id")["confidence"]
        highest["confidence"] = sites[highest["site_id"]]
    return {"hazards": hazards}


def _cover(features: pd.DataFrame, layer: Layer) -> dict[str, int]:
    """Count the delineated sites that a layer does not cover, or not all of."""
    covered = features.loc[features["status"] == "ok", f"{layer.name}_coverage"]
    without = covered == 0
    return {
        "sites_without_data": int(without.sum()),
        "sites_covered_in_part": int((~without & (covered < _WHOLE)).sum()),
    }


def _area_warnings(ratio: pd.Series, area_unit: str) -> list[str]:
    """Say so if most delineated areas are far from the reported ones, by the factor of a unit."""
    from snakeshed.sites.prepare import AREA_UNITS_IN_M2

    if len(ratio) < _ENOUGH_AREAS:
        return []
    median = float(ratio.median())
    if 1 / _ANOTHER_UNIT <= median <= _ANOTHER_UNIT:
        return []
    off = {
        unit: abs(math.log(median * AREA_UNITS_IN_M2[area_unit] / in_m2))
        for unit, in_m2 in AREA_UNITS_IN_M2.items()
    }
    unit = min(off, key=off.get)
    told = (
        f"half of the catchments are {'smaller' if median < 1 else 'larger'} than {median:.3g} "
        f"times the reported area with sites.area_unit {area_unit}"
    )
    if unit != area_unit and off[unit] <= math.log(_EXPLAINED):
        return [f"{told}: are the areas in {unit}? Then set that unit, and run again."]
    return [f"{told}: check sites.area_unit, and whether the coordinates fit their CRS."]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def write_summary(summary: Mapping, path: str | Path) -> None:
    """Write ``summary.json``."""
    from snakeshed.result_files import result_file

    with result_file(path) as part:
        part.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def files_text(folder: str | Path, names: Sequence[str]) -> list[str]:
    """Return a line for each of some result files, with what a person finds there.

    Parameters
    ----------
    folder : str or Path
        Of the results.
    names : sequence of str
        Files of the study; those that are for no person are left out.
    """
    there = [name for name in _FILES if name in names]
    width = max(map(len, there), default=0)
    return [f"  {folder}/{name:<{width}}  {_FILES[name]}" for name in there]


def summary_text(summary: Mapping, folder: str | Path, names: Sequence[str] = ()) -> str:
    """Return the summary as a person reads it at the end of a run.

    Parameters
    ----------
    summary : mapping
        From `summarise`.
    folder : str or Path
        Of the results.
    names : sequence of str
        Result files beside those that every study has.
    """
    failed = [
        # A few are named: one wrong row among many is then seen.
        f"{len(ids)} {status}" + (f" ({', '.join(ids)})" if len(ids) <= _FEW else "")
        for status, ids in summary["not_delineated"].items()
    ]
    not_ok = ", ".join(failed) or "none"
    lines = [
        f"Study {summary['study']}: {summary['sites']} sites, "
        f"{summary['status'].get('ok', 0)} delineated; not delineated: {not_ok}.",
    ]
    if summary.get("area_mismatch"):
        lines.append(
            "Without features, since the area is beyond snap.max_area_mismatch: "
            + _named(summary["area_mismatch"])
        )
    if summary["area_ratio_median"] is not None:
        lines.append(
            f"Area against reported area: median ratio {summary['area_ratio_median']:.3f}, "
            f"{summary['area_within_10_percent']:.0%} within 10 %."
        )
    lines += comparison_lines(summary.get("compared", ()))
    if summary["confidence"]:
        classes = ", ".join(f"{n} {name}" for name, n in summary["confidence"].items())
        lines.append(f"Confidence: {classes}.")
    if summary["needs_larger_window"]:
        lines.append(
            "Cut by, or too large for, the top patch level: "
            + _named(summary["needs_larger_window"])
        )
    if summary["pool_at_rim"]:
        lines.append(
            "Water at the rim of the top patch level may reach: " + _named(summary["pool_at_rim"])
        )
    if summary.get("deep_pit"):
        lines.append(
            "A cell of the catchment lies far below its outlet, a quarry or missing data: "
            + _named(summary["deep_pit"])
        )
    if summary.get("open_water"):
        lines.append("The outlet lies on open water: " + _named(summary["open_water"]))
    lines += _layer_lines(summary)
    if hazards := summary.get("hazards"):
        lines.append(hazard_line(hazards))
    if summary["rows_rejected"] or summary["rows_with_remarks"]:
        lines.append(
            f"Rows of the site table rejected: {summary['rows_rejected']}, kept with a remark: "
            f"{summary['rows_with_remarks']}; see {folder}/rejected.csv."
        )
    if left_out := summary.get("left_out"):
        lines.append(left_out["words"])
    lines += [f"Assumed: {assumption}" for assumption in summary["assumptions"]]
    lines += [f"Warning: {warning}" for warning in summary["warnings"]]
    hazards = ("hazard.parquet", "thresholds.parquet") if summary.get("hazards") else ()
    lines += ["Open:", *files_text(folder, [*_ALWAYS, *hazards, *names])]
    return "\n".join(map(printable, lines))


def _layer_lines(summary: Mapping) -> list[str]:
    lines = []
    for name, cover in summary["layers"].items():
        without, in_part = cover["sites_without_data"], cover["sites_covered_in_part"]
        parts = [f"no data for {without} sites"] * (without > 0)
        parts += [f"data for a part of {in_part} sites' catchments"] * (in_part > 0)
        if parts:
            lines.append(f"Layer {name}: {', '.join(parts)}.")
    for name, codes in summary["unknown_codes"].items():
        told = [f"{code} ({count} sites)" for code, count in codes.items()]
        lines.append(f"Layer {name} has codes that are not declared: {_named(told)}")
    return lines


def _named(site_ids: Sequence[str], most: int = 8) -> str:
    more = f" and {len(site_ids) - most} more" if len(site_ids) > most else ""
    return ", ".join(site_ids[:most]) + more + "."
