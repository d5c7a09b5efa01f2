"""Values that a site table publishes, beside those computed.

It is read at the end of every run: importing it imports nothing heavy.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from snakeshed.sites.cells import most_frequent, number_in
from snakeshed.sites.reserved import name_in

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# By how much half of all ratios are off where a value is in another unit, or of another thing.
_ANOTHER_THING = 2.0
_ENOUGH_SITES = 5
_FEW = 3
_SHALL_BE = {"at_most": "at most", "at_least": "at least"}
_IS = {"at_most": "larger", "at_least": "smaller"}


def published_values(observations: pa.Table, column: str) -> dict[str, float]:
    """Return what a site table has in a column for each site.

    Parameters
    ----------
    observations : pyarrow.Table
        ``observations.parquet``.
    column : str
        As the site table calls it. Text counts as the number that it spells.

    Returns
    -------
    dict of str to float
        By site: the most frequent number of its rows, the smallest of several such. Sites without
        one are left out.
    """
    name = name_in(observations, column)
    cells: dict[str, list[float]] = {}
    sites = observations["site_id"].to_pylist()
    for site, cell in zip(sites, observations[name].to_pylist(), strict=True):
        if (value := number_in(cell)) is not None:
            cells.setdefault(site, []).append(value)
    return {site: most_frequent(values) for site, values in cells.items()}


def compare(
    declared: Sequence[Mapping], observations: pa.Table, features: pd.DataFrame
) -> list[dict]:
    """Compare published values with computed ones.

    Parameters
    ----------
    declared : sequence of mapping
        ``compare`` of the completed configuration.
    observations : pyarrow.Table
        ``observations.parquet``.
    features : pandas.DataFrame
        ``features.parquet``.

    Returns
    -------
    list of dict
        One per comparison: ``column``, ``feature``, and ``relation`` as declared; ``sites`` that
        have both values; ``ratio_median``, computed over published, and ``within_10_percent``, a
        share, both of sites where both values are positive, or None; ``contradicting`` sites,
        whose published value passes the bound by more than the tolerance; and
        ``excess_median``, by how much, or None.
    """
    from snakeshed.grid.snap_rule import agreement

    done = features[features["status"] == "ok"]
    compared = []
    for each in declared:
        computed = done.set_index("site_id")[each["feature"]].dropna()
        published = published_values(observations, each["column"])
        pairs = {
            site: (float(value), published[site] * each["scale"])
            for site, value in sorted(computed.items())
            if site in published
        }
        ratios = [ours / theirs for ours, theirs in pairs.values() if ours > 0 and theirs > 0]
        excess = {site: theirs - ours for site, (ours, theirs) in pairs.items()}
        if each["relation"] == "at_least":
            excess = {site: -by for site, by in excess.items()}
        if each["relation"] == "same":
            excess = {}
        contradicting = {site: by for site, by in excess.items() if by > each["tolerance"]}
        compared.append(
            {
                "column": each["column"],
                "feature": each["feature"],
                "relation": each["relation"],
                "sites": len(pairs),
                "ratio_median": _rounded(statistics.median(ratios)) if ratios else None,
                "within_10_percent": _rounded(
                    sum(agreement(ratio) == "high" for ratio in ratios) / len(ratios)
                )
                if ratios
                else None,
                "contradicting": list(contradicting),
                "excess_median": _rounded(statistics.median(contradicting.values()))
                if contradicting
                else None,
            }
        )
    return compared


def comparison_warnings(compared: Sequence[Mapping]) -> list[str]:
    """Return a warning for each comparison that contradicts itself, or is of nothing."""
    warnings = []
    for each in compared:
        column, feature = each["column"], each["feature"]
        against = f"{column} of the site table against {feature}"
        sites, ratio = each["sites"], each["ratio_median"]
        if not sites:
            warnings.append(f"{against}: no site has both; check compare and the column's numbers.")
        elif each["contradicting"]:
            wrong = each["contradicting"]
            named = ", ".join(wrong[:_FEW])
            more = f" and {len(wrong) - _FEW} more" if len(wrong) > _FEW else ""
            warnings.append(
                f"{against}: at {len(wrong)} of {sites} sites it is {_IS[each['relation']]}, by "
                f"{each['excess_median']:.3g} in the median, though it should be "
                f"{_SHALL_BE[each['relation']]} that ({named}{more}). Check what the column means, "
                "the outlets, and the cell size of the DEM."
            )
        elif (
            each["relation"] == "same"
            and sites >= _ENOUGH_SITES
            and ratio is not None
            and not 1 / _ANOTHER_THING <= ratio <= _ANOTHER_THING
        ):
            warnings.append(
                f"{against}: half of the computed values are "
                f"{'below' if ratio < 1 else 'above'} {ratio:.3g} times the published ones. Check "
                "the unit of the column (compare.scale) and what it means."
            )
    return warnings


def comparison_lines(compared: Sequence[Mapping]) -> list[str]:
    """Return a line of the summary for each comparison that has sites."""
    lines = []
    for each in compared:
        if each["sites"]:
            ratio = ""
            # Of a bound, only what contradicts it means anything.
            if each["relation"] != "same":
                count = len(each["contradicting"])
                ratio = f": {count} contradiction{'s' if count != 1 else ''}"
            elif each["ratio_median"] is not None:
                ratio = (
                    f": median ratio {each['ratio_median']:.3f}, "
                    f"{each['within_10_percent']:.0%} within 10 %"
                )
            lines.append(
                f"{each['feature']} against published {each['column']} at {each['sites']} "
                f"sites{ratio}."
            )
    return lines


def _rounded(value: float) -> float:
    return round(float(value), 4)
