"""One site alone: its row of features and its card, from one shard of a fresh checkout."""

from __future__ import annotations

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq


def test_features_and_card_of_one_site_in_a_fresh_checkout_run_one_shard(finished, fresh):
    shard = f"shards/{finished.shard_of('d')}/features.parquet"
    names = ("sites/d/features.parquet", "cards/d.html", shard)
    run = fresh.run(*(f"results/tiny/{name}" for name in names))
    assert run.code == 0, run.text
    assert run.jobs == {
        "prepare_sites": 1,
        "index_terrain": 1,
        "index_layers": 1,
        "split_shards": 1,
        "delineate": 1,
        "extract_features": 1,
        "site_features": 1,
        "site_card": 1,
    }
    assert run.shards("delineate") == run.shards("extract_features") == {finished.shard_of("d")}
    assert (fresh.results / shard).read_bytes() == (finished.results / shard).read_bytes()

    alone = pq.read_table(fresh.results / "sites/d/features.parquet")
    gathered = pq.read_table(finished.results / "features.parquet")
    assert alone.schema.equals(gathered.schema, check_metadata=True)
    assert alone.equals(gathered.filter(pc.equal(gathered["site_id"], "d")))

    assert {path.name for path in (fresh.results / "cards").glob("[!.]*")} == {"d.html", "d.png"}
    text = (fresh.results / "cards/d.html").read_text()
    catchments = pd.read_parquet(finished.results / "catchments.parquet").set_index("site_id")
    area = catchments.loc["d", "area_km2"]
    assert f'<span class="name">area_km2</span><b>{area:.5g}</b>' in text


def test_cards_of_failed_and_oddly_named_sites_follow_a_finished_study(study):
    # Site c was promoted, g is beside the DEM; the new one has a name that is no file name.
    study.rows.append(("a/b <x>", 401_225, 3_799_100, 0.3, "2006-01-01"))
    study.write()
    names = ["a%2Fb%20%3Cx%3E", "c", "g"]
    run = study.run(*(f"results/tiny/cards/{name}.png" for name in names))
    assert run.code == 0, run.text
    assert run.jobs == {
        "prepare_sites": 1,
        "split_shards": 1,
        "delineate": 1,
        "extract_features": 1,
        "site_card": 3,
    }
    texts = [(study.results / f"cards/{name}.html").read_text() for name in names]
    assert "<h1>a/b &lt;x&gt;</h1>" in texts[0]
    assert ["Slopes: the DEM has cells of 30 m" in text for text in texts] == [True, True, False]
    assert "Not delineated, outside DEM: no tile of the DEM lies within 100 m" in texts[2]

    # A card depends on its own shard, and a run without targets leaves it as it is.
    assert not study.plan(f"results/tiny/cards/{names[1]}.html")
    assert study.plan() == {"gather": 2, "dataset": 1, "summarise": 1, "report": 1}


def test_the_report_is_part_of_snakemakes_own(study):
    done = study.run("--report", "whole.html")
    assert done.code == 0, done.text
    text = (study.folder / "whole.html").read_text()
    assert "What became of every site of the study" in text
    assert "report.html" in text


def test_unknown_site_is_named_and_nothing_runs(study):
    run = study.run("results/tiny/sites/z/features.parquet")
    assert run.code != 0
    assert not run.jobs
    message = (
        "a target in results/tiny: found 'z', which is no site; expected the file name of one of"
    )
    assert run.text.count(message) == 1
    assert "Traceback" not in run.text
