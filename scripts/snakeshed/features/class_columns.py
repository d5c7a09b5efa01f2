"""The columns of layers of classes: shares of labels, the largest one, and every code."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote, unquote

from snakeshed.features.columns import Column

Code = TypeVar("Code", int, str)


def class_columns(name: str, labels: Sequence[str]) -> list[Column]:
    """List the columns of a layer of classes but the coverage.

    Parameters
    ----------
    name : str
        Of the layer.
    labels : sequence of str
        Each once.
    """
    return [
        Column(
            f"{name}_dominant",
            f"Label (or code, where it has none) of the largest share of {name}; that of the "
            "smallest code among equals.",
            is_text=True,
        ),
        *(
            Column(f"{name}_share_{label}", f"Share of {label} in what {name} covers.")
            for label in labels
        ),
        Column(f"{name}_share_unlabelled", f"Share of codes of {name} without a label."),
        Column(
            f"{name}_codes",
            f"Share of each code of {name}, labelled or not, as code=share;code=share.",
            is_text=True,
        ),
    ]


def class_values(
    shares: Mapping[Code, float], labels: Mapping[Code, str], listed: Sequence[str]
) -> list[float | str]:
    """Return the values of these columns.

    Parameters
    ----------
    shares : mapping
        Share of each code in what the layer covers, by ascending code; not empty.
    labels : mapping
        Label of some codes.
    listed : sequence of str
        The labels, as for `class_columns`.
    """
    unlabelled = {code: share for code, share in shares.items() if code not in labels}
    by_label = {
        label: total(share for code, share in shares.items() if labels.get(code) == label)
        for label in listed
    }
    # In the order of the codes, so that the smallest one comes first among equals.
    candidates = {
        labels.get(code, str(code)): by_label.get(labels.get(code), share)
        for code, share in shares.items()
    }
    return [
        max(candidates, key=candidates.get),
        *by_label.values(),
        total(unlabelled.values()),
        ";".join(f"{written(code)}={share:.6g}" for code, share in shares.items()),
    ]


def written(code: int | str) -> str:
    """Write a code as in the column of all codes; what would break the list is percent-encoded."""
    return quote(str(code), safe=" ,()/&'+-.:#*@!?<>[]\"") if isinstance(code, str) else str(code)


def count_codes(
    listed: Iterable[str | None], kind: Callable[[str], Code], known: Collection[Code]
) -> dict[Code, int]:
    """Count in how many catchments each code occurs that is not known.

    Parameters
    ----------
    listed : iterable of str or None
        A column: "code=share;code=share", or "code;code".
    kind : callable
        Makes a code of its text.
    known : collection

    Returns
    -------
    dict
        In ascending order of the codes.
    """
    counts = Counter(
        code
        for entries in listed
        if isinstance(entries, str)
        for code in (kind(unquote(entry.partition("=")[0])) for entry in entries.split(";"))
        if code not in known
    )
    return dict(sorted(counts.items()))


def total(shares: Iterable[float]) -> float:
    """Exact sum: Python's own sum has changed its rounding from one version to the next."""
    return math.fsum(shares)
