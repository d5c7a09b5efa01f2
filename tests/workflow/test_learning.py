"""What is fitted to observations, as rules of a study."""

from __future__ import annotations

import random

import pandas as pd
import pytest
import yaml

from snakeshed.learning.classifiers import KINDS, read_comparison
from snakeshed.learning.refit import read_refits
from snakeshed.tables.geoparquet import read_table

REFIT, CLASSIFIERS = "results/tiny/refit.json", "results/tiny/classifiers.json"
DECLARED = {
    "rainfall": [{"duration_min": 15, "column": "i15", "unit": "mm_per_h"}],
    "response": {"column": "flow"},
    "refits": [
        {
            "model": "staley2017_m1",
            "duration_min": 15,
            "inputs": {"terrain": "T", "fire": "F", "soil": "S"},
            "training": {"column": "database", "values": ["Training"]},
        }
    ],
    "classifiers": {"columns": ["T", "F", "relief_m", "i15"], "seeds": 2, "split_by": "fire"},
}
COUNT = 48


def ask(study) -> None:
    """Give the study several observations of each of its sites, and have models fitted to them."""
    dice = random.Random(6)
    rows = []
    for site, x, y, *_ in {row[0]: row for row in study.rows}.values():
        for _ in range(COUNT // 6):
            terms = [round(dice.random(), 3) for _ in range(3)]
            i15 = round(80 * dice.random(), 1)
            flow = int(dice.random() < 0.8 * i15 / 80)
            database = "Test" if site in "bd" else "Training"
            rows.append((site, x, y, *terms, i15, flow, database, f"fire {ord(site) // 2}"))
    names = ["site", "x", "y", "T", "F", "S", "i15", "flow", "database", "fire"]
    table = pd.DataFrame(rows, columns=names)
    table.loc[3, "i15"] = None
    table.to_csv(study.folder / "sites.csv", index=False)
    study.config["sites"]["columns"] = {"site_id": "site", "x": "x", "y": "y"}
    configure(study, DECLARED)


def configure(study, declared: dict) -> None:
    study.config["observations"] = declared
    (study.folder / "study.yaml").write_text(yaml.safe_dump(study.config))


@pytest.fixture
def asked(study):
    ask(study)
    return study


def test_columns_of_the_site_table_wait_for_no_site(fresh):
    """Neither terrain nor features: what a study without a DEM has."""
    ask(fresh)
    columns = DECLARED["classifiers"] | {"columns": ["T", "F", "i15"]}
    configure(fresh, DECLARED | {"classifiers": columns})
    run = fresh.run(REFIT, CLASSIFIERS)
    assert run.code == 0, run.text
    assert run.jobs == {"prepare_sites": 1, "refit": 1, "compare_classifiers": 1}
    assert not (fresh.results / "dataset.parquet").exists()


def test_both_are_results_of_a_study(asked):
    run = asked.run()
    assert run.code == 0, run.text
    assert run.jobs["refit"] == run.jobs["compare_classifiers"] == run.jobs["report"] == 1
    (fitted,) = read_refits(asked.results / "refit.json")
    table = pd.read_csv(asked.folder / "sites.csv")
    complete = table.dropna(subset="i15")
    assert fitted.complete.observations == len(complete) == len(table) - 1
    assert fitted.training.observations == (complete["database"] == "Training").sum()
    assert fitted.test.sites == 2
    compared = read_comparison(asked.results / "classifiers.json")
    # A site without a catchment has no relief.
    features = read_table(asked.results / "features.parquet").set_index("site_id")
    known = features["relief_m"].reindex(complete["site"]).notna()
    assert compared.complete.observations == known.sum() < len(complete)
    assert compared.gaps.columns["relief_m"] == COUNT // 6
    assert [each.name for each in compared.compared] == [
        *["staley2017_m1_15min"] * 2,
        *(kind.name for kind in KINDS),
    ]
    report = (asked.results / "report.html").read_text()
    section = report.partition('id="learning-title"')[2].partition("</section>")[0]
    assert f'<td class="n">{fitted.coefficients[1].refitted.value:.3f}</td>' in section
    before = asked.contents()
    # Settings of classifiers are of no matter to the refit or to the dataset.
    classifiers = DECLARED["classifiers"] | {"seeds": 3}
    configure(asked, DECLARED | {"classifiers": classifiers})
    run = asked.run()
    assert run.code == 0, run.text
    assert run.jobs == {"compare_classifiers": 1, "report": 1}
    after = asked.contents()
    changed = {name for name in after if after[name][0] != before[name][0]}
    assert changed == {"classifiers.json", "report.html"}


def test_shards_and_the_order_of_rows_change_no_byte(asked):
    first = asked.run(REFIT, CLASSIFIERS)
    assert first.code == 0, first.text
    files = [asked.results / name for name in ("refit.json", "classifiers.json")]
    before = [path.read_bytes() for path in files]
    table = pd.read_csv(asked.folder / "sites.csv")
    table[::-1].to_csv(asked.folder / "sites.csv", index=False)
    asked.config["shards"] = 2
    configure(asked, DECLARED)
    run = asked.run(
        "--cores", "1", "--forcerun", "refit", "compare_classifiers", "--", REFIT, CLASSIFIERS
    )
    assert run.code == 0, run.text
    assert run.jobs["compare_classifiers"] == 1
    assert [path.read_bytes() for path in files] == before


def test_what_cannot_be_fitted_stops_its_job_with_a_message(asked):
    training = {"column": "database", "values": ["training"]}
    refits = [DECLARED["refits"][0] | {"training": training}]
    classifiers = DECLARED["classifiers"] | {"columns": ["T", "database"]}
    configure(asked, DECLARED | {"refits": refits, "classifiers": classifiers})
    run = asked.run(REFIT, CLASSIFIERS, "--keep-going")
    assert run.code != 0
    assert (
        "observations.classifiers.columns[2]: found the column 'database', of which row 1 is no "
        "number up to 1e+30; expected a column of numbers" in run.text
    )
    assert "Traceback" not in run.text


def test_a_name_of_nothing_stops_the_run_before_any_site(asked):
    classifiers = DECLARED["classifiers"] | {"columns": ["T", "relieff_m"]}
    configure(asked, DECLARED | {"classifiers": classifiers})
    run = asked.run()
    assert run.code != 0
    assert run.jobs == {"prepare_sites": 1}
    assert "sites.csv: found no column 'relieff_m'; expected one of 'site', 'x'" in run.text
    assert (
        "Correct observations.classifiers.columns[2], which is no numeric feature of this study "
        "either (the feature relief_m is)." in run.text
    )


def test_contradictions_stop_the_run_before_anything_runs(asked):
    configure(asked, DECLARED | {"rainfall": []})
    run = asked.run()
    assert run.code != 0
    assert not run.jobs
    assert (
        "observations.refits[1].duration_min: found 15, but no rainfall of 15 minutes; expected "
        "the duration of a column under observations.rainfall." in run.text
    )
