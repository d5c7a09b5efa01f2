"""The report of a study: one page on which a person sees what became of every site."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import geopandas
import pandas as pd
import yaml

from snakeshed.jobs.benchmark import read_benchmark
from snakeshed.jobs.log import seconds_in
from snakeshed.learning.classifiers import Comparison
from snakeshed.learning.refit import FittedModel
from snakeshed.observations.skill import Skill
from snakeshed.report.charts import histogram, scatter
from snakeshed.report.hazard_runs import HazardTables
from snakeshed.report.hazard_section import HazardSection, hazard_section
from snakeshed.report.learning_section import learning_section
from snakeshed.report.page import fixed, number, page, percent, words
from snakeshed.report.site_map import MapSite, site_map
from snakeshed.report.site_values import (
    CONFIDENCES,
    KINDS,
    PLACES,
    feature_groups,
    kind_of,
    plain,
    plain_rows,
    remarks,
    shown,
    snap_reach_m,
)
from snakeshed.report.skill_section import skill_section
from snakeshed.sites.file_names import site_file
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.sources import TerrainSource, terrain_source
from snakeshed.terrain.suspects import coarse_cells

_MOST_REJECTED = 200
_MOST_TEXTS = 8
# A browser takes many seconds to open a page with more sites than this, of some 12 MB.
_MOST_SITES = 10_000
# More values than this of single sites, features included, would make the page too large.
_MOST_VALUES = 500_000


@dataclass(frozen=True, eq=False)
class StudyResults:
    """What a study has come to.

    Attributes
    ----------
    catchments : geopandas.GeoDataFrame
        ``catchments.parquet``.
    features : pandas.DataFrame
        ``features.parquet``; the same sites in the same order.
    descriptions : mapping of str to str
        Of the columns of both.
    rejected : pandas.DataFrame
        ``rejected.csv``.
    summary : mapping
        ``summary.json``.
    configuration : mapping
        Of the study, completed with all defaults.
    hazards : HazardTables or None
        None in a study without models.
    skill : Skill or None
        ``skill.json``; None in a study that has none.
    refits : tuple of FittedModel
        ``refit.json``; empty in a study that has none.
    classifiers : Comparison or None
        ``classifiers.json``; None in a study that has none.
    """

    catchments: geopandas.GeoDataFrame
    features: pd.DataFrame
    descriptions: Mapping[str, str]
    rejected: pd.DataFrame
    summary: Mapping
    configuration: Mapping
    hazards: HazardTables | None = None
    skill: Skill | None = None
    refits: tuple[FittedModel, ...] = ()
    classifiers: Comparison | None = None


@dataclass(frozen=True)
class RuleTimes:
    """What the jobs of a rule took: seconds, and the memory of the largest in MiB, if known."""

    rule: str
    jobs: int
    total_s: float
    longest_s: float
    peak_mb: float | None


def rule_times(logs: Mapping[str, Sequence[str]]) -> list[RuleTimes]:
    """Read from their logs, and the benchmarks beside these, what the jobs of a run took.

    Parameters
    ----------
    logs : mapping of str to sequence of str
        Of each rule, the logs of its jobs. Those that did not end well are left out.
    """
    times = []
    for rule, paths in logs.items():
        took = {path: seconds for path in paths if (seconds := seconds_in(path)) is not None}
        if took:
            peak_mb = max(filter(None, map(_peak_mb, took)), default=None)
            longest_s = max(took.values())
            times.append(RuleTimes(rule, len(took), math.fsum(took.values()), longest_s, peak_mb))
    return times


def _peak_mb(log: str) -> float | None:
    benchmark = Path(log).with_suffix(".tsv")
    return read_benchmark(benchmark).peak_mb if benchmark.is_file() else None


def report(
    results: StudyResults,
    terrain: Terrain,
    made_with: Sequence[tuple[str, str]],
    times: Sequence[RuleTimes] = (),
) -> str:
    """Make the report of a study.

    Parameters
    ----------
    results : StudyResults
    terrain : Terrain
        Of the tiles that the sites' results may depend on.
    made_with : sequence of (str, str)
        From `snakeshed.jobs.versions.made_with`.
    times : sequence of RuleTimes

    Returns
    -------
    str
        A page of HTML that needs nothing else. The same arguments give the same page.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    catchments, features, summary = results.catchments, results.features, results.summary
    if list(catchments["site_id"]) != list(features["site_id"]):
        raise ValueError("catchments and features are not of the same sites")
    kinds = [kind_of(row) for row in plain_rows(catchments[["status", "confidence"]])]
    chosen = _chosen(kinds)
    own, own_features = catchments.iloc[chosen], features.iloc[chosen]
    drawing = site_map(own, terrain)
    sites = [
        _site(k, row, drawn)
        for k, (row, drawn) in enumerate(
            zip(
                plain_rows(own.assign(layer_gap=own_features["layer_gap"])),
                drawing.sites,
                strict=True,
            )
        )
    ]
    areas = scatter(
        [plain(area) for area in own["reported_area_km2"]],
        [plain(area) for area in own["area_km2"]],
    )
    distances = [plain(distance) for distance in catchments["snap_distance_m"]]
    radius_m = snap_reach_m(results.configuration, distances)
    snaps = histogram(distances, list(map(KINDS.index, kinds)), low=0.0, high=radius_m)
    counts = Counter(site["kind"] for site in sites)
    values = _values(own, own_features)
    learning = learning_section(results.refits, results.classifiers)
    hazards = _hazards(results, chosen, sum(name in catchments for name in values))
    per_site = len(values) + (hazards.values_per_site if hazards else 0)
    if per_site * len(sites) > _MOST_VALUES:
        values = {name: values[name] for name in values if name in catchments}
    rejected = results.rejected.astype(object).where(results.rejected.notna(), "")
    return page(
        "report",
        {
            "study": summary["study"],
            "note": results.configuration.get("note"),
            "goes_without": summary.get("left_out"),
            "headline": _headline(summary),
            "figures": _figures(summary),
            "warnings": summary["warnings"],
            "assumptions": summary["assumptions"],
            "source": _source(results.configuration["dem"]),
            "confidences": CONFIDENCES,
            "kinds": [(kind, counts[kind]) for kind in KINDS if counts[kind]],
            "columns": _COLUMNS,
            "left_out": len(catchments) - len(sites),
            "sites": sites,
            # The largest first, so that smaller ones lie on them.
            "drawn": sorted(
                (site for site in sites if site["outline"]), key=lambda site: -site["area"]
            ),
            "marked": [site for site in sites if site["mark"]],
            "map": drawing,
            "areas": areas,
            "areas_told": _areas_told(summary, catchments),
            "snaps": snaps,
            "snaps_told": _snaps_told(
                distances, None if results.configuration["recipe"] else radius_m
            ),
            "failures": _failures(catchments),
            "compared": [_compared(each) for each in summary.get("compared", ())],
            "rejected": rejected.head(_MOST_REJECTED).to_dict("records"),
            "more_rejected": max(0, len(rejected) - _MOST_REJECTED),
            "features": _distributions(results, list(values)),
            "coarse": coarse_cells(terrain.index),
            "all_values": len(values) > len(catchments.columns),
            "hazards": hazards,
            "skill": results.skill and skill_section(results.skill),
            "learning": learning,
            "made_with": made_with,
            "times": times,
            "configuration": yaml.safe_dump(
                dict(results.configuration), sort_keys=False, allow_unicode=True
            ),
            "data": {
                "study": summary["study"],
                "unit_m": drawing.unit_m,
                "aspect": drawing.aspect,
                "view": drawing.view,
                "everything": drawing.everything,
                "columns": [[name, results.descriptions[name]] for name in values],
                "sites": [
                    {
                        "id": site["id"],
                        "file": site_file(site["id"]),
                        "kind": site["kind"],
                        "box": drawn.box,
                        "point": drawn.point,
                        "outlet": drawn.outlet,
                        "rival": drawn.runner_up,
                        "values": [values[name][k] for name in values],
                    }
                    for k, (site, drawn) in enumerate(zip(sites, drawing.sites, strict=True))
                ],
            },
        },
        parts=[
            *(["line_charts"] if hazards or results.skill or learning else []),
            *(["report_hazards"] if hazards else []),
            *(["report_learning"] if learning else []),
        ],
    )


def _source(dem: Mapping) -> TerrainSource | None:
    """Return whom the terrain is from, if the study names its source."""
    named = dem.get("source")
    return None if named is None else terrain_source(named)


_COLUMNS = [
    {"name": "Site", "title": "site_id", "numeric": False},
    {"name": "Confidence", "title": "confidence, or status if not ok", "numeric": False},
    {"name": "Area, km²", "title": "area_km2: area of the catchment, km2", "numeric": True},
    {"name": "Reported, km²", "title": "reported_area_km2: published area, km2", "numeric": True},
    {"name": "Ratio", "title": "area_ratio: area over reported area", "numeric": True},
    {
        "name": "Snap,\u00a0m",
        "title": "snap_distance_m: from the site to its outlet",
        "numeric": True,
    },
    {"name": "Remarks", "title": "reason, and what the catchment touches", "numeric": False},
]


def _chosen(kinds: Sequence[str]) -> list[int]:
    """Which sites the page shows one by one: all, or of each kind the first ones.

    The kinds take turns until the page is full, so that the few sites of a rare kind are all there.
    """
    if len(kinds) <= _MOST_SITES:
        return list(range(len(kinds)))
    before: Counter[str] = Counter()
    turns = []
    for k, kind in enumerate(kinds):
        turns.append((before[kind], k))
        before[kind] += 1
    return sorted(k for _, k in sorted(turns)[:_MOST_SITES])


def _hazards(results: StudyResults, chosen: Sequence[int], columns: int) -> HazardSection | None:
    """Make the section of hazards, with what room `columns` of each site leave."""
    if results.hazards is None:
        return None
    return hazard_section(
        results.hazards,
        results.configuration,
        list(results.catchments["site_id"]),
        chosen,
        _MOST_VALUES - columns * len(chosen),
    )


def _site(k: int, row: Mapping[str, Any], drawn: MapSite) -> dict[str, Any]:
    """What the page shows of one site."""
    failed = row["status"] != "ok"
    kind = kind_of(row)
    return {
        "k": k,
        "id": row["site_id"],
        "kind": kind,
        "failed": failed,
        "rank": KINDS.index(kind),
        "cells": [
            (row["area_km2"], number(row["area_km2"])),
            (row["reported_area_km2"], number(row["reported_area_km2"])),
            (row["area_ratio"], fixed(row["area_ratio"], 2)),
            (row["snap_distance_m"], fixed(row["snap_distance_m"], 0)),
        ],
        "area": row["area_km2"],
        "remarks": "; ".join(remarks(row)),
        "outline": drawn.outline,
        "mark": drawn.outlet or drawn.point,
    }


def _headline(summary: Mapping) -> str:
    done = summary["status"].get("ok", 0)
    failed = ", ".join(
        f"{len(ids)} {words(status)}" for status, ids in summary["not_delineated"].items()
    )
    refused = len(summary.get("area_mismatch", ()))
    return (
        f"{done} of {_sites(summary['sites'])} delineated"
        + (f"; not delineated: {failed}" if failed else "")
        + (f"; {refused} with another area than reported" if refused else "")
        + "."
    )


def _figures(summary: Mapping) -> list[tuple[str, str]]:
    done = summary["status"].get("ok", 0)
    within, high = summary["area_within_10_percent"], summary["confidence"].get("high", 0)
    return [
        ("Sites", f"{summary['sites']:,}"),
        ("Delineated", f"{done:,}"),
        ("High confidence", percent(high, done) if done else "–"),
        ("Area within 10 %", "–" if within is None else percent(within)),
        ("Median ratio", number(summary["area_ratio_median"])),
        ("Median snap", f"{number(summary['snap_distance_median_m'], 2)} m"),
        ("At edge or nodata", f"{summary['touches_edge'] + summary['touches_nodata']:,}"),
        ("Rows rejected", f"{summary['rows_rejected']:,}"),
    ]


def _sites(count: int) -> str:
    return f"{count:,} site" + ("s" if count != 1 else "")


def _areas_told(summary: Mapping, catchments: pd.DataFrame) -> str:
    rated = int((catchments[["area_km2", "reported_area_km2"]] > 0).all(axis=1).sum())
    if not rated:
        return ""
    return (
        f"{_sites(rated)}: median ratio {number(summary['area_ratio_median'])}, "
        f"{percent(summary['area_within_10_percent'])} within 10 %."
    )


def _snaps_told(distances: Sequence[float | None], radius_m: float | None) -> str:
    known = [distance for distance in distances if distance is not None]
    if not known:
        return ""
    return (
        f"{_sites(len(known))}: median {number(median(known), 2)} m, largest "
        f"{number(max(known), 2)} m"
        + ("." if radius_m is None else f"; snap.radius_m is {radius_m:g} m.")
    )


def _compared(comparison: Mapping) -> dict[str, Any]:
    """What the page shows of a comparison with published values."""
    within = comparison["within_10_percent"]
    bound = comparison["relation"] != "same"
    return {
        **comparison,
        "should_be": words(comparison["relation"]) if bound else "the same as",
        "ratio": "–" if bound else fixed(comparison["ratio_median"], 3),
        "within": "–" if bound or within is None else percent(within),
        "contradictions": f"{len(comparison['contradicting']):,}" if bound else "–",
    }


def _failures(catchments: pd.DataFrame) -> list[dict[str, Any]]:
    """Sites without features, by status and reason, the most frequent reasons first."""
    failed = catchments[catchments["status"] != "ok"]
    groups: dict[tuple[str, str], list[str]] = {}
    for site in failed.itertuples():
        groups.setdefault((site.status, site.reason), []).append(site.site_id)
    return [
        {"status": status, "reason": reason, "ids": ids}
        for (status, reason), ids in sorted(
            groups.items(), key=lambda group: (-len(group[1]), group[0])
        )
    ]


def _values(catchments: pd.DataFrame, features: pd.DataFrame) -> dict[str, list]:
    """All values of all sites by column, as the page shows them."""
    columns = {name: catchments[name] for name in catchments if name not in ("site_id", "geometry")}
    columns |= {name: features[name] for name in features if name not in catchments}
    return {name: [shown(name, value) for value in column] for name, column in columns.items()}


def _distributions(results: StudyResults, shown_columns: Sequence[str]) -> list[dict[str, Any]]:
    """Charts of the features, by what they are features of."""
    done = results.features[results.features["status"] == "ok"]
    if done.empty:
        return []
    groups = feature_groups(results.configuration, done)
    return [
        {"name": name, **_charts(done[columns], results.descriptions, shown_columns)}
        for name, columns in groups.items()
    ]


def _charts(
    values: pd.DataFrame, descriptions: Mapping[str, str], order: Sequence[str]
) -> dict[str, list]:
    numbers, texts, same = [], [], []
    for name in values:
        if name in PLACES:
            continue
        column = [plain(value) for value in values[name]]
        known = [value for value in column if value is not None]
        told = {"name": name, "description": descriptions[name]}
        if len(set(known)) < 2 or _same_but_for_rounding(known):
            same.append(name)
        elif isinstance(known[0], str):
            counts = Counter(known).most_common()
            # What nearly every site has another text of is no class.
            if len(counts) <= len(known) / 2 + 1:
                counts.sort(key=lambda pair: (-pair[1], pair[0]))
                rest = sum(count for _, count in counts[_MOST_TEXTS:])
                others = [("others", rest)] if rest else []
                texts.append(told | {"counts": counts[:_MOST_TEXTS] + others, "total": len(known)})
        elif chart := histogram(column):
            middle = median(known)
            numbers.append(
                told
                | {
                    "chart": chart,
                    "column": order.index(name) if name in order else None,
                    "median": middle,
                    "told": f"{name}: {number(chart.low)} to {number(chart.high)}, "
                    f"median {number(middle)}",
                }
            )
    return {"numbers": numbers, "texts": texts, "same": same}


def _same_but_for_rounding(values: Sequence[Any]) -> bool:
    if not isinstance(values[0], float):
        return False
    low, high = min(values), max(values)
    return high - low <= 1e-9 * max(abs(low), abs(high))
