"""The report's section of what was fitted: the numbers of the files, dots where they belong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_study import small_study

from snakeshed.archive import write as archive
from snakeshed.learning.classifiers import Compared, Comparison, Split, SplitScores, Spread
from snakeshed.learning.complete_rows import Gaps, Part
from snakeshed.learning.refit import Coefficient, FitScores, FittedModel, Implausible
from snakeshed.observations.skill import Estimate
from snakeshed.report.learning_section import LEFT, ROW, TOP, WIDTH, learning_section
from snakeshed.report.study_page import report

PART = Part(1243, 653, 316)
FITTED = FittedModel(
    model="staley2017_m1",
    duration_min=15,
    penalty="L2",
    complete=PART,
    training=Part(815, 465, 201),
    test=Part(428, 188, 115),
    in_no_part=0,
    gaps=Gaps(0, 0, {}),
    implausible=(Implausible("soil", "KF", 4, 0.0, 1.0, 0.0, 11.3604),),
    coefficients=(
        Coefficient("intercept", None, -3.63, Estimate(-3.606359, -4.188, -3.178)),
        Coefficient("soil", "KF <b>", 0.70, Estimate(0.679763, None, None)),
    ),
    interval_level=0.95,
    resamples=1000,
    scores=(
        FitScores("published", "test", 0.386179, 0.7475, 0.3052),
        FitScores("refitted", "test", None, None, None),
    ),
)
SPLITS = tuple(SplitScores(seed, score, 0.8, 0.1) for seed, score in enumerate((0.2, 0.45, 0.3)))


def row(name: str, settings: str, model: str | None) -> Compared:
    spreads = Spread(0.2, 0.3, 0.45), Spread(0.8, 0.8, 0.8), Spread(0.1, 0.1, 0.1)
    return Compared(name, settings, model, *spreads, SPLITS)


COMPARED = Comparison(
    response="Response",
    columns=("KF", "dNBR/1000"),
    split_by="Fire_ID",
    test_share=0.2,
    complete=PART,
    gaps=Gaps(0, 0, {}),
    splits=tuple(Split(seed, PART, PART, seed < 3) for seed in range(5)),
    compared=(
        row("staley2017_m1_15min", "as published", "staley2017_m1"),
        row("random forest", "100 trees", None),
    ),
)


def test_nothing_fitted_is_no_section():
    assert learning_section((), None) is None


def test_coefficients_stand_beside_the_published_ones():
    ((refit,), classifiers) = (
        learning_section((FITTED,), None).refits,
        learning_section((FITTED,), None).classifiers,
    )
    assert classifiers is None
    intercept, soil = refit.coefficients
    assert (intercept.published, intercept.refitted) == ("−3.63", "−3.606")
    assert intercept.interval == "−4.188 to −3.178"
    assert (soil.column, soil.interval) == ("KF <b>", "")
    assert refit.observations == (
        "Fitted to 815 observations of 465 sites, 201 with a debris flow; tested with 428 of 188 "
        "sites, 115 with a debris flow."
    )
    assert refit.implausible == ("4 values of KF are outside 0 to 1 (up to 11.4); they are used.",)
    published, refitted = refit.scores
    assert (published.threat_half, published.roc_area) == ("0.386", "0.748")
    assert (refitted.coefficients, refitted.threat_half) == ("fitted again", "–")


def test_without_a_test_none_is_mentioned():
    fitted = replace(FITTED, test=Part(0, 0, 0))
    (refit,) = learning_section((fitted,), None).refits
    assert "tested" not in refit.observations


def test_dots_are_where_their_scores_are():
    section = learning_section((), COMPARED)
    assert section.refits == ()
    shown = section.classifiers
    assert shown.axis.high == 0.5
    assert (shown.left_out, shown.splits) == (2, "20 % of the values of Fire_ID, drawn 3 times")
    model, forest = shown.strips
    assert (model.series, forest.series) == (1, 0)
    assert forest.y - model.y == ROW
    assert TOP < model.y < forest.y < shown.bottom
    for split, (x, text) in zip(SPLITS, forest.dots, strict=True):
        assert (x - LEFT) / WIDTH * 0.5 == pytest.approx(split.threat_score_half, abs=1e-3)
        assert text == (
            f"random forest, split {split.seed}: threat score {split.threat_score_half:.3f}"
        )
    assert (forest.median - LEFT) / WIDTH * 0.5 == pytest.approx(0.3, abs=1e-3)
    assert shown.in_words == (
        "Threat scores, median and range. staley2017_m1_15min, as published: 0.300, 0.200 to "
        "0.450; random forest: 0.300, 0.200 to 0.450."
    )
    assert shown.rows[1].threat_half == "0.300 (0.200 to 0.450)"


def test_in_how_many_splits_each_row_comes_first():
    """All rows are scored on the same splits; those that are equal come first together."""
    model, forest = COMPARED.compared
    lower = [replace(split, threat_score_half=split.threat_score_half / 2) for split in SPLITS[1:]]
    behind = replace(COMPARED, compared=(model, replace(forest, splits=(SPLITS[0], *lower))))
    rows = learning_section((), behind).classifiers.rows
    assert [row.highest for row in rows] == ["3 of 3", "1 of 3"]


@pytest.mark.parametrize(("highest", "end"), [(0.0, 0.2), (0.34, 0.4), (0.95, 1.0), (1.0, 1.0)])
def test_the_axis_ends_at_the_next_tenth(highest, end):
    each = COMPARED.compared[0]
    spread = replace(each.threat_score_half, high=highest)
    only = replace(COMPARED, compared=(replace(each, threat_score_half=spread),))
    assert learning_section((), only).classifiers.axis.high == end


def test_the_page_has_a_section_only_where_something_was_fitted(tmp_path):
    study = small_study(tmp_path, ["a", "b"])

    def page(**results) -> str:
        with study.terrain() as terrain:
            return report(replace(study.results, **results), terrain, [("snakeshed", "1")])

    def section(**results) -> str:
        text = page(**results)
        return text.partition('id="learning-title"')[2].partition("</section>")[0]

    assert section() == ""
    both = section(refits=(FITTED,), classifiers=COMPARED)
    assert '<td class="name">KF &lt;b&gt;</td>' in both
    assert both.count('<circle class="mark') == 6
    assert 'role="img" aria-label="Threat scores, median and range. ' in both
    assert "2 more splits had observations of one kind only on one side" in both
    assert "<circle" not in section(refits=(FITTED,))
    assert 'class="refit' not in section(classifiers=COMPARED)
    caution = "for another fire, scores may be lower"
    assert caution in section(classifiers=replace(COMPARED, split_by=None))
    assert caution not in both
    # It has values of the site table: an archive that may not pass these on goes without it.
    whole = page(refits=(FITTED,), classifiers=COMPARED)
    without = archive._ROWS.sub(b"", whole.encode()).decode()
    assert "learning-title" not in without
    assert len(without) > len(page()) / 2
