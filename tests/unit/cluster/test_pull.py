"""What is fetched from a cluster."""

from __future__ import annotations

import os
import shutil

import pytest

from snakeshed.cluster.inputs import SCHEMA
from snakeshed.cluster.pull import pull
from snakeshed.cluster.volume import Volume
from snakeshed.errors import KubernetesError, ResultError, RunningError
from snakeshed.jobs.fetched_results import check_fetched
from snakeshed.jobs.run_lock import RunLock
from snakeshed.result_files import result_file
from snakeshed.study.configuration import complete, without_publication
from snakeshed.study.yaml_file import read_study

STUDY = """study: mine
sites: {path: data/sites.csv, crs: "EPSG:4326", columns: {site_id: name, x: lon, y: lat}}
dem: {path: data/dem/*.tif}
"""


@pytest.fixture
def results(fake, tmp_path, monkeypatch):
    """Results on the volume, with the records beside them."""
    folder = fake.volume / "results/mine"
    for name, size in (("catchments.parquet", 300_000), ("shards/00/features.parquet", 1000)):
        with result_file(folder / name) as part:
            part.write_bytes(os.urandom(size))
    (folder / "logs").mkdir()
    (folder / "logs/empty.log").touch()
    (folder / ".report.0123456789ab.part.html").write_text("half")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return folder


def fetch(fake, piece=32_000_000):
    return pull(Volume(fake.kubectl()), "results/mine", piece=piece)


def same(folder, here):
    """Whether all whole files are alike, with their times."""
    names = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and ".part" not in path.name
    ]
    assert len(names) == 5
    return all(
        (here / name).read_bytes() == (folder / name).read_bytes()
        and (here / name).stat().st_mtime_ns == (folder / name).stat().st_mtime_ns
        for name in names
    )


def test_results_are_fetched_once(fake, results, tmp_path):
    assert fetch(fake) == 5
    here = tmp_path / "here/results/mine"
    assert same(results, here)
    assert not list(here.glob(".report*"))
    assert fetch(fake) == 0
    with result_file(results / "catchments.parquet") as part:
        part.write_bytes(b"new")
    (here / "notes.txt").write_text("mine")
    assert fetch(fake) == 2
    assert (here / "catchments.parquet").read_bytes() == b"new"
    assert (here / "notes.txt").read_text() == "mine"


def test_an_interrupted_fetch_goes_on_where_it_was(fake, results, tmp_path):
    fake.answers({"words": "exec -i", "order": "send", "skip": 2, "stderr": "error: EOF"})
    with pytest.raises(KubernetesError, match="cut off again and again"):
        fetch(fake, piece=50_000)
    here = tmp_path / "here/results/mine"
    (part,) = here.glob(".catchments.parquet.*.pull")
    reached = part.stat().st_size
    assert 0 < reached < 300_000
    assert not (here / "catchments.parquet").exists()
    fake.answers()
    before = len(fake.calls("send"))
    fetch(fake, piece=50_000)
    assert same(results, here)
    assert not list(here.rglob("*.pull"))
    assert len(fake.calls("send")) - before == -(-(301_000 - reached) // 50_000)


def test_a_damaged_result_is_named(fake, results, tmp_path):
    (results / "catchments.parquet").write_bytes(b"damaged")
    message = r"results/mine/catchments.parquet: found a file that does not agree with its record"
    for _ in range(2):  # It does not count as fetched.
        with pytest.raises(KubernetesError, match=message):
            fetch(fake)


def test_a_result_made_here_is_kept(fake, results, tmp_path):
    here = tmp_path / "here/results/mine/catchments.parquet"
    here.parent.mkdir(parents=True)
    here.write_text("made here")
    fetch(fake)
    assert here.read_bytes() == (results / "catchments.parquet").read_bytes()
    kept = list((tmp_path / "here/.snakeshed/replaced").rglob("*.parquet"))
    assert [each.read_text() for each in kept] == ["made here"]
    with result_file(results / "catchments.parquet") as part:
        part.write_bytes(b"new")
    fetch(fake)
    assert list((tmp_path / "here/.snakeshed/replaced").rglob("*.parquet")) == kept


def test_nothing_is_fetched_under_a_run(fake, results):
    lock = RunLock(".snakemake/snakeshed/mine.lock", "mine")
    assert lock.take()
    with pytest.raises(RunningError, match="study mine: found another run of it at work"):
        fetch(fake)
    lock.release()
    assert fetch(fake) == 5


def completed(text, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return without_publication(complete(read_study(path), SCHEMA, "study.yaml"))


def test_fetched_results_are_of_the_clusters_configuration(fake, checkout, results, tmp_path):
    os.chdir(checkout)
    (fake.volume / "config").mkdir()
    (fake.volume / "config/mine.yaml").write_text(STUDY)
    fetch(fake)
    check_fetched(completed(STUDY, tmp_path))
    other = completed(STUDY + "snap: {radius_m: 77}\n", tmp_path)
    message = (
        r"results/mine/\S+: found a result that was fetched from a cluster for another "
        r"configuration; expected results of the present configuration of study mine. Delete "
        r"results/mine "
    )
    with pytest.raises(ResultError, match=message):
        check_fetched(other)
    shutil.rmtree("results/mine")
    check_fetched(other)


def test_fetched_results_of_an_unknown_configuration_are_refused(fake, checkout, results, tmp_path):
    os.chdir(checkout)
    (fake.volume / "config").mkdir()
    for name, more in (("a", ""), ("b", "snap: {radius_m: 77}\n")):
        (fake.volume / f"config/{name}.yaml").write_text(STUDY + more)
    fetch(fake)
    with pytest.raises(ResultError, match="for another configuration"):
        check_fetched(completed(STUDY, tmp_path))


def test_no_name_leads_out_of_the_folder(fake, results):
    said = '{"done": [["results/mine/../../outside", 1, 1]]}\n'
    fake.answers({"words": "exec -i", "order": "list", "stdout": said})
    with pytest.raises(KubernetesError, match=r"the volume: found the name results/mine/../../out"):
        fetch(fake)
