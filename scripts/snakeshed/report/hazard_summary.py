"""The hazards of a study in one or two lines.

It is read at the end of every run: importing it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from snakeshed.report.hazard_words import likelihood_text

if TYPE_CHECKING:
    import pyarrow as pa

# Reasons that are named at the end of a run.
_FEW = 2


def summarise_hazards(hazard: pa.Table, models: Sequence[str], storms: Sequence[str]) -> dict:
    """Return what a person wants to know first of hazards.

    The summary may be passed on, so it has nothing of storms whose rainfall is in the site table.

    Parameters
    ----------
    hazard : pyarrow.Table
        ``hazard.parquet``.
    models : sequence of str
        Of the study.
    storms : sequence of str
        Those with the same rainfall everywhere.

    Returns
    -------
    dict
        ``models``; ``highest_likelihood`` with ``value``, ``site_id``, ``model``, and ``storm``, or
        None where no model gives one; ``sites_without_value``, delineated sites at which a value is
        missing; ``reasons``, the number of these sites by reason; and ``sites_with_remark``,
        delineated sites at which an input is implausible.
    """
    import pyarrow.compute as pc

    design = hazard.filter(pc.is_in(hazard["storm"], value_set=_texts(storms)))
    highest = None
    if "likelihood" in design.column_names:
        most = pc.max(design["likelihood"]).as_py()
        if most is not None:
            (row,) = design.slice(pc.index(design["likelihood"], most).as_py(), 1).to_pylist()
            names = {name: row[name] for name in ("site_id", "model", "storm")}
            highest = {"value": row["likelihood"], **names}
    delineated = design.filter(pc.equal(design["status"], "ok"))
    missing = delineated.filter(pc.is_valid(delineated["reason"]))
    remarked = delineated.filter(pc.is_valid(delineated["remark"]))
    # A site is counted once for each of its reasons.
    pairs = missing.group_by(["site_id", "reason"]).aggregate([])
    counts = pc.value_counts(pairs["reason"]).to_pylist()
    return {
        "models": list(dict.fromkeys(models)),
        "highest_likelihood": highest,
        "sites_without_value": pc.count_distinct(missing["site_id"]).as_py(),
        "sites_with_remark": pc.count_distinct(remarked["site_id"]).as_py(),
        "reasons": {
            each["values"]: each["counts"]
            for each in sorted(counts, key=lambda each: (-each["counts"], each["values"]))
        },
    }


def hazard_line(hazards: Mapping) -> str:
    """Tell a person what `summarise_hazards` has found."""
    models, highest = hazards["models"], hazards["highest_likelihood"]
    parts = [f"{len(models)} model" + ("s" if len(models) != 1 else "")]
    if highest is not None:
        # Only where it may not be that of the site's catchment.
        low = ", whose outlet has low confidence" if highest.get("confidence") == "low" else ""
        parts.append(
            f"highest likelihood {likelihood_text(highest['value'])} (site {highest['site_id']}"
            f"{low}, {highest['model']}) for {highest['storm']}"
        )
    if missing := hazards["sites_without_value"]:
        reasons = list(hazards["reasons"])
        rest = len(reasons) - _FEW
        more = f"; and {rest} more reason{'s' if rest != 1 else ''}" if rest > 0 else ""
        parts.append(
            f"a value is missing at {missing} delineated site{'s' if missing != 1 else ''} "
            f"({'; '.join(reasons[:_FEW])}{more})"
        )
    if remarked := hazards["sites_with_remark"]:
        parts.append(f"implausible inputs at {remarked} site{'s' if remarked != 1 else ''}")
    return f"Hazards: {'; '.join(parts)}."


def _texts(values: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(list(values), pa.string())
