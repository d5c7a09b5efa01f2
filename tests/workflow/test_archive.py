"""The archive of a study proves itself on another machine, and any change in it is named."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import tiny_archive
import yaml
from pyproj import Transformer
from tiny_study import CHECKOUT, TinyStudy, clone_workflow

from snakeshed.archive.bag import open_bag, write_bag
from snakeshed.archive.rerun import prepare
from snakeshed.cli import main

ARCHIVE = "results/tiny/archive/tiny.zip"
IMAGE = "registry.example.org/snakeshed@sha256:00"


@pytest.fixture(scope="module")
def made(finished, once) -> TinyStudy:
    """The finished study whose DEM may not be passed on, the rest of it may; and its archive."""

    def make(folder: Path) -> TinyStudy:
        study = finished.copy(folder / "study")
        study.config["sites"] |= {"redistribute": True, "licence": "CC0-1.0"}
        study.config["layers"][0] |= {"redistribute": True}
        study.config["dem"] |= {"url": "https://dem.example/tiles"}
        study.write()
        study.archived = study.run("archive")
        assert study.archived.code == 0, study.archived.text
        return study

    return once("made", make)


@pytest.fixture(scope="module")
def otherwise(made, once) -> TinyStudy:
    """The same study, run and archived in one go: one shard, other processes, absolute paths."""

    def make(folder: Path) -> TinyStudy:
        study = TinyStudy(folder / "study", made.workflow)
        study.config = made.config | {"shards": 1}
        for section in ("sites", "dem"):
            path = study.folder / study.config[section]["path"]
            study.config[section] = study.config[section] | {"path": str(path)}
        study.write()
        backend = ("--set-resources", "delineate:backend=process")
        run = study.run("archive", *backend, SNAKESHED_IMAGE=IMAGE)
        assert run.code == 0, run.text
        return study

    return once("otherwise", make)


@pytest.fixture
def archive(made, tmp_path) -> Path:
    """A copy of the archive, far from the study."""
    return Path(shutil.copy(made.folder / ARCHIVE, tmp_path / "tiny.zip"))


@pytest.fixture(scope="module")
def tiles(made, tmp_path_factory) -> Path:
    """A folder with the inputs that the archive only names."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(made.folder / "dem", folder / "inputs/dem")
    return folder


def changed(archive: Path, name: str, old: bytes, new: bytes, hidden: bool) -> Path:
    """Change a file of an archive; a hidden change has manifests that suit it."""
    bag = open_bag(archive)
    contents = {each: tiny_archive.read(bag, each) for each in bag.entries}
    assert old in contents[name]
    contents[name] = contents[name].replace(old, new, 1)
    other = archive.with_name("changed.zip")
    if hidden:
        payload = {
            each.removeprefix("data/"): content
            for each, content in contents.items()
            if each.startswith("data/")
        }
        write_bag(other, payload, {}, 0, bag.root)
    else:
        with zipfile.ZipFile(other, "w") as file:
            for each, content in contents.items():
                file.writestr(f"{bag.root}/{each}", content)
    return other


def test_what_only_an_archive_needs_re_runs_nothing(made):
    assert made.archived.jobs == {"archive": 1}
    assert not made.plan("archive")
    assert made.plan("archive", "--config", "archive={changed: true}") == {"archive": 1}


def test_two_archives_of_a_run_are_the_same_bytes_with_the_date_that_is_asked_for(made, tmp_path):
    study = made.copy(tmp_path / "study")
    archive = study.folder / ARCHIVE

    def again(**environment: str) -> bytes:
        run = study.run("archive", "--forcerun", "archive", **environment)
        assert run.jobs == {"archive": 1}
        return archive.read_bytes()

    first = archive.read_bytes()
    assert again() == first
    assert again(SOURCE_DATE_EPOCH="1767225600") != first
    with zipfile.ZipFile(archive) as file:
        assert {entry.date_time for entry in file.infolist()} == {(2026, 1, 1, 0, 0, 0)}


def test_it_holds_what_may_be_passed_on_and_names_the_rest(archive):
    bag = open_bag(archive)
    assert "data/inputs/sites/sites.csv" in bag.entries
    assert "data/inputs/layers/rain/rain.tif" in bag.entries
    assert not any(name.startswith("data/inputs/dem/") for name in bag.entries)
    inputs = json.loads(tiny_archive.read(bag, "data/inputs.json"))
    assert sum(each["key"] == "dem" and not each["included"] for each in inputs) == 28
    run = json.loads(tiny_archive.read(bag, "data/run.json"))
    assert {f"delineate/0{k}" for k in range(3)} <= {job["job"] for job in run["jobs"]}
    assert all(job["seconds"] > 0 for job in run["jobs"])
    assert b"delineating results/tiny/" in tiny_archive.read(
        bag, "data/results/tiny/logs/delineate/00.log"
    )
    assert b"https://dem.example/tiles" in tiny_archive.read(bag, "data/README.md")


def test_a_reader_of_its_own_opens_the_crate(archive, tmp_path):
    rocrate = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path)
    crate = rocrate.ROCrate(tmp_path / "tiny/data")
    assert crate.mainEntity.id == "workflow/Snakefile"
    run = crate.dereference("#run")
    assert {each.id for each in run["object"]} >= {"inputs/sites/sites.csv", "configuration.yaml"}
    assert "results/tiny/features.parquet" in {each.id for each in run["result"]}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("data/inputs/sites/sites.csv", b"401125", b"401126"),
        ("data/results/tiny/summary.json", b"7", b"8"),
        ("data/workflow/scripts/snakeshed/features/form_and_relief.py", b"mean", b"lean"),
        ("data/configuration.yaml", b"1500", b"1501"),
    ],
)
def test_one_changed_byte_is_found_and_named(archive, capsys, name, old, new):
    assert main(["verify", str(changed(archive, name, old, new, hidden=False))]) == 1
    assert f"- {name}: not the bytes that were archived\n" in capsys.readouterr().err


def test_an_archive_that_is_whole_says_so(archive, capsys):
    assert main(["verify", str(archive)]) == 0
    assert "files match the manifest" in capsys.readouterr().out


def test_a_missing_tile_is_named_with_its_origin(archive, capsys):
    assert main(["verify", str(archive), "--rerun", "--yes"]) == 4
    message = capsys.readouterr().err
    assert "inputs/dem/tile_0_0.tif: found an input that is only named" in message
    assert "from https://dem.example/tiles" in message


def test_shards_processes_and_paths_change_no_result_in_an_archive(archive, otherwise):
    one, other = open_bag(archive), open_bag(otherwise.folder / ARCHIVE)
    results = [
        name
        for name in one.entries
        if name.startswith("data/results/") and "/logs/" not in name and "report" not in name
    ]
    assert len(results) == 7
    for name in results:
        assert tiny_archive.read(one, name) == tiny_archive.read(other, name), name
    configuration = tiny_archive.read(one, "data/configuration.yaml").replace(
        b"shards: 4", b"shards: 1"
    )
    assert tiny_archive.read(other, "data/configuration.yaml") == configuration
    assert json.loads(tiny_archive.read(other, "data/run.json"))["image"] == IMAGE
    assert json.loads(tiny_archive.read(one, "data/run.json"))["image"] is None


def test_a_re_run_elsewhere_gives_every_value_again(otherwise, tiles, tmp_path, capsys):
    archive = shutil.copy(otherwise.folder / ARCHIVE, tmp_path / "tiny.zip")
    arguments = ["verify", str(archive), "--rerun", "--yes", "--inputs", str(tiles)]
    arguments += ["--cores", "2"]
    assert main(arguments) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert f"environment: the one in use, {sys.executable}, which satisfies its lock file." in out
    assert "The re-run reproduced all values of 5 files exactly." in out


def test_one_site_run_again_alone_shows_a_change_that_the_manifest_hides(
    made, archive, tiles, capsys
):
    name = "data/workflow/scripts/snakeshed/features/form_and_relief.py"
    other = changed(archive, name, b"mean = total(elevation) / count", b"mean = low", hidden=True)
    shard = f"results/tiny/shards/{made.shard_of('a')}/features.parquet"
    sites = {
        "results/tiny/sites/a/features.parquet": ["a"],
        shard: list(pd.read_parquet(made.folder / shard)["site_id"]),
    }
    arguments = ["verify", str(other), "--rerun", "--yes", "--inputs", str(tiles)]
    arguments += ["--targets", *sites]
    assert main(arguments) == 5
    captured = capsys.readouterr()
    assert "files match the manifest" in captured.out
    # Two columns are made of the mean; all other values are as archived.
    found = re.findall(r"^- (\S+), column (\w+), site (\w+): archived ", captured.err, re.M)
    assert sorted(found) == sorted(
        (target, column, site)
        for target, ids in sites.items()
        for site in ids
        for column in ("elevation_mean_m", "hypsometric_integral")
    )


def test_a_study_as_the_readme_lays_it_out_is_archived_without_its_data(workflow, tmp_path):
    checkout = clone_workflow(tmp_path / "checkout", workflow)
    data = TinyStudy(checkout / "data", workflow)
    (checkout / "data/notes.txt").write_text("of no study")
    (data.folder / "study.yaml").unlink()
    to_degrees = Transformer.from_crs("EPSG:32611", "EPSG:4326", always_xy=True)
    rows = [
        f"{name},{lon:.6f},{lat:.6f},{area},told by the gauge"
        for name, x, y, area, _ in data.rows[:2]
        for lon, lat in [to_degrees.transform(x, y)]
    ]
    (data.folder / "sites.csv").write_text("\n".join(["name,lon,lat,area_km2,remark", *rows, ""]))
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    (configuration,) = re.findall(r"^```yaml\n(study: mine\n.*?)^```$", readme, re.M | re.S)
    (checkout / "config/mine.yaml").write_text(f"{configuration}shards: 2\n")

    snakemake = [sys.executable, "-m", "snakemake", "archive", "--cores", "2"]
    snakemake += ["--configfile", "config/mine.yaml"]
    done = subprocess.run(snakemake, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Study mine: 2 sites, 2 delineated" in done.stderr
    bag = open_bag(checkout / "results/mine/archive/mine.zip")
    assert json.loads(tiny_archive.read(bag, "data/run.json"))["changed"] is None
    names = {name.removeprefix("data/") for name in bag.entries}
    assert not [name for name in names if {"inputs", "data"} & set(Path(name).parts)]
    assert "workflow/config/mine.yaml" not in names
    contents = {tiny_archive.read(bag, name) for name in bag.entries}
    assert not [path for path in data.folder.rglob("*.*") if path.read_bytes() in contents]
    assert not any(b"told by the gauge" in content for content in contents)


@pytest.mark.skipif(
    os.environ.get("SNAKESHED_TEST_INDEX") != "1" or not (CHECKOUT / ".git").exists(),
    reason="fetches all packages from an index: set SNAKESHED_TEST_INDEX=1, in a git checkout",
)
def test_the_demo_is_verified_elsewhere_without_an_index(tmp_path):
    clone = tmp_path / "clone"
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.example"]
    listed = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run([*git, *listed], cwd=CHECKOUT, capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, clone / name, follow_symlinks=False)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], cwd=clone, check=True)
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "scripts")}
    snakemake = [sys.executable, "-m", "snakemake", "archive", "--cores", "2"]
    snakemake += ["--config", "archive={wheels: true}"]
    subprocess.run(snakemake, cwd=clone, env=environment, check=True)

    archive = shutil.move(clone / "results/demo/archive/demo.zip", tmp_path)
    shutil.rmtree(clone)
    nowhere = {"PIP_INDEX_URL": (tmp_path / "nowhere").as_uri(), "PIP_CONFIG_FILE": os.devnull}
    verify = [sys.executable, "-m", "snakeshed.cli", "verify", archive, "--rerun", "--yes"]
    verify += ["--environment", "wheels", "--cores", "2"]
    environment |= nowhere
    done = subprocess.run(
        verify, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "environment: a new one of the archive's wheels." in done.stdout
    assert "The re-run reproduced all values of 8 files exactly." in done.stdout

    bag = open_bag(archive)
    bag.unpack(tmp_path)
    workflow = tmp_path / "data/workflow"
    assert prepare(tmp_path / "data", "demo.zip", None, tmp_path / "archived").study == "demo"
    for link in ("cloud", "nautilus", "dask"):
        assert (workflow / link / "config.yaml").samefile(
            workflow / "profiles" / link / "config.yaml"
        )
    assert not (workflow / ".ci").exists()
    run = yaml.safe_load((tmp_path / "data/run.json").read_text())
    assert run["wheels"]["python"] == ".".join(map(str, sys.version_info[:3]))
