"""The card of a site: all that is needed to judge by eye whether its catchment is right."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from snakeshed.report.card_hazards import CardHazards
from snakeshed.report.page import page
from snakeshed.report.site_values import (
    CONFIDENCES,
    feature_groups,
    kind_in_words,
    kind_of,
    shown,
    why,
)
from snakeshed.sites.file_names import site_file


@dataclass(frozen=True)
class CardValues:
    """What the tables say of one site.

    Attributes
    ----------
    catchment, features : mapping
        Plain values of its rows of ``catchments.parquet`` and ``features.parquet``, without the
        outline.
    descriptions : mapping of str to str
        Of the columns of both.
    configuration : mapping
        Of the study, completed with all defaults.
    """

    catchment: Mapping[str, Any]
    features: Mapping[str, Any]
    descriptions: Mapping[str, str]
    configuration: Mapping


def card(
    values: CardValues,
    figure: bytes,
    notes: Sequence[str] = (),
    hazards: CardHazards | None = None,
) -> str:
    """Make the card of a site.

    Parameters
    ----------
    values : CardValues
    figure : bytes
        PNG picture, from `snakeshed.report.card_figure.card_figure`.
    notes : sequence of str
        What the figure leaves out, and why.
    hazards : CardHazards, optional
        From `snakeshed.report.card_hazards.card_hazards`. Default: a study without models.

    Returns
    -------
    str
        A page of HTML that needs nothing else. The same arguments give the same page.
    """
    row = dict(values.catchment) | {"layer_gap": values.features["layer_gap"]}
    study = values.configuration["study"]
    groups = {"Outlet and catchment": [(name, row[name]) for name in values.catchment]}
    if row["status"] == "ok":
        named = feature_groups(values.configuration, values.features)
        groups |= {
            group: [(name, values.features[name]) for name in names]
            for group, names in named.items()
        }
    kind = kind_of(row)
    return page(
        "card",
        {
            "study": study,
            "study_note": values.configuration.get("note"),
            "site_id": row["site_id"],
            "kind": kind,
            "kind_in_words": kind_in_words(kind),
            "failed": kind not in CONFIDENCES,
            "why": why(row),
            "notes": notes,
            "figure": "data:image/png;base64," + base64.b64encode(figure).decode(),
            "told": f"Map of the site {row['site_id']}: {' '.join(why(row))}",
            "groups": [
                (
                    group,
                    [
                        (name, _written(shown(name, value)), values.descriptions[name])
                        for name, value in cells
                        if name not in ("site_id", "layer_gap")
                    ],
                )
                for group, cells in groups.items()
            ],
            "hazards": hazards,
            "target": f"results/{study}/cards/{site_file(row['site_id'])}.html",
        },
        parts=["line_charts", "card_hazards"] if hazards else [],
    )


def _written(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # The digits that `shown` left, without an exponent.
    return f"{Decimal(repr(value)).normalize():f}" if isinstance(value, float) else str(value)
