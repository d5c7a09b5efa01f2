"""Whether there was a debris flow, as site tables spell it."""

from __future__ import annotations

import pytest

from snakeshed.observations.response import Response


@pytest.mark.parametrize(
    ("events", "cells", "expected"),
    [
        ((1.0,), [1, 0, 1.0, "1", "0.0", " 1.00 "], [True, False, True, True, False, True]),
        ((1.0,), [True, False], [True, False]),
        (
            (1.0,),
            ["Yes", "no", "Y", "TRUE", "false", "maybe"],
            [True, False, True, True, False, False],
        ),
        (("DF", 2.0), ["df", "flood", 2, 1], [True, False, True, False]),
        # YAML reads yes without quotes as true.
        ((True,), ["yes", 1, "N"], [True, True, False]),
        ((False,), [0, 1], [True, False]),
    ],
)
def test_values_that_mean_a_debris_flow(events, cells, expected):
    assert Response("Response", events).are_events(cells) == expected


@pytest.mark.parametrize("cell", [None, float("nan"), "", "  ", "NA", "NULL", "#N/A"])
def test_an_empty_cell_is_not_known_rather_than_no(cell):
    assert Response("Response", (1.0,)).are_events([cell, 0]) == [None, False]
