"""An archive holds no byte of an input that may not be passed on, however a study is laid out."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from snakeshed.archive.write import FinishedRun, write_archive
from snakeshed.errors import ArchiveError
from snakeshed.study.configuration import complete

CHECKOUT = Path(__file__).parents[3]
MARK = "must-not-be-published-7f3c"
OTHERS_MARK = "of-no-study-91ab"
RESULTS = "results/mine"
TABLES_OF_USERS = ("observations.parquet", "dataset.parquet", "rejected.csv")
OF_OBSERVATIONS = ["skill.json", "refit.json", "classifiers.json"]
WITHHELD = b"`observations.parquet`, `dataset.parquet`, and `rejected.csv` are not in here"


@dataclass(frozen=True)
class Layout:
    """Where a study is, and its inputs: paths from the checkout's folder."""

    dem: str = "data/dem.tif"
    sites: str = "data/sites.csv"
    run_in: str = "."
    # Links and copies of the DEM.
    symbolic: str = ""
    hard: str = ""
    copy: str = ""
    # The layer's table is that of the checkout, with values of one's own.
    own_table: bool = False
    # The repository has the checkout in a folder.
    within: bool = False


LAYOUTS = {
    "as in the README": Layout(),
    "at the top": Layout("dem.tif", "sites.csv"),
    "beside the configuration": Layout("config/dem.tif", "config/sites.csv"),
    "beside the code": Layout("scripts/dem.tif", "scripts/snakeshed/sites.csv"),
    "beside the environment": Layout("envs/dem.tif", "profiles/default/sites.csv"),
    "among the documents": Layout("docs/dem.tif", "tests/sites.csv"),
    "called like code": Layout(dem="scripts/dem.py"),
    "in place of a file of the workflow": Layout(dem="docs/confidence.png"),
    "in a hidden folder": Layout(dem="scripts/.dem/dem.py"),
    "in the results": Layout("results/dem.tif", "results/sites.csv"),
    "run within the results": Layout("results/a/dem.tif", "results/a/sites.csv", "results/a"),
    "run outside": Layout("../study/dem.tif", "../study/sites.csv", "../study"),
    "linked into the code": Layout(symbolic="scripts/dem.py"),
    "linked from outside": Layout("../far/dem.tif", "../far/sites.csv", symbolic="rules/dem.smk"),
    "with a hard link called like code": Layout(hard="scripts/dem.py"),
    "copied under a name of code": Layout(copy="rules/deeper/dem.smk"),
    "copied from outside": Layout("../far/dem.tif", "../far/sites.csv", copy="profiles/a/b.yaml"),
    "with a fuel table of one's own": Layout(own_table=True),
    "a checkout within a repository": Layout(within=True, copy="scripts/dem.py"),
}
STATES = ("without git", "ignored or untracked", "committed", "changed since", "removed since")


@dataclass
class Study:
    """A study of a checkout with a few files of the workflow."""

    checkout: Path
    layout: Layout
    config: dict = field(init=False)

    def __post_init__(self) -> None:
        for name in (
            *("Snakefile", "CITATION.cff", ".gitignore", "rules/archive.smk", "config/fbfm40.csv"),
            *("scripts/archive.py", "docs/confidence.png", "envs/requirements.lock"),
        ):
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, self.checkout / name)
        layout, self.folder = self.layout, self.place(self.layout.run_in)
        self.dem, self.sites = self.place(layout.dem), self.place(layout.sites)
        for path in (self.folder / "x", self.dem, self.sites):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.config = {
            "study": "mine",
            "sites": {
                "path": str(self.sites),
                "crs": "EPSG:32611",
                "columns": {"x": "x", "y": "y"},
            },
            "dem": {"path": str(self.dem)},
        }

    def place(self, name: str) -> Path:
        return Path(os.path.normpath(self.checkout / name))

    def write_inputs(self, mark: str = MARK) -> None:
        """Write the inputs, all with the mark, and a file that is none."""
        transform = Affine(30, 0, 400_000, 0, -30, 3_800_000)
        profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "crs": "EPSG:32611"}
        profile |= {"width": 40, "height": 40, "transform": transform}
        part = self.dem.with_name("part.tif")
        with rasterio.open(part, "w", **profile) as raster:
            raster.write(np.random.default_rng(len(mark)).random((1, 40, 40)).astype("float32"))
            raster.update_tags(SURVEY=mark)
        part.rename(self.dem)
        self.sites.write_text(f"x,y,remark\n400100,3799900,{mark}\n")
        self.dem.with_name(f"{self.dem.name}.aux.xml").write_text(
            f"<PAMDataset><Metadata><MDI key='A'>{mark}</MDI></Metadata></PAMDataset>"
        )
        self.dem.with_name("unused.txt").write_text(OTHERS_MARK)
        for name, make in (
            (self.layout.symbolic, lambda path: path.symlink_to(self.dem)),
            (self.layout.hard, lambda path: path.hardlink_to(self.dem)),
            (self.layout.copy, lambda path: shutil.copy(self.dem, path)),
        ):
            if name:
                self.place(name).parent.mkdir(parents=True, exist_ok=True)
                self.place(name).unlink(missing_ok=True)
                make(self.place(name))
        if self.layout.own_table:
            table = self.checkout / "config/fbfm40.csv"
            table.write_text(table.read_text().replace("NB1", mark))
            layer = {"name": "fuel", "path": str(self.dem), "type": "fbfm40", "table": str(table)}
            self.config["layers"] = [layer]

    def finish(self) -> FinishedRun:
        """Write results: a table with all columns of the site table, and another one."""
        results = self.folder / RESULTS
        results.mkdir(parents=True)
        pd.read_csv(self.sites).to_parquet(results / "observations.parquet")
        pd.read_csv(self.sites).assign(relief_m=1.0).to_parquet(results / "dataset.parquet")
        pd.DataFrame({"site_id": ["a"]}).to_parquet(results / "catchments.parquet")
        cell = pd.read_csv(self.sites)["remark"][0]
        (results / "rejected.csv").write_text(f"row,site_id,action,reason,found\n1,,a,b,{cell}\n")
        (results / "report.html").write_text(
            f"<h1>A</h1><!-- rows of the site table -->\n<td>{cell}</td>\n<!-- end of rows --><p>B"
        )
        names = [*TABLES_OF_USERS, "catchments.parquet", "report.html"]
        if "observations" in self.config:
            for name in OF_OBSERVATIONS:
                (results / name).write_text('{"thresholds": [0.31]}')
            names += OF_OBSERVATIONS
        return FinishedRun(RESULTS, [f"{RESULTS}/{name}" for name in names], {}, None)

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=A", "-c", "user.email=a@b.example"]
        top = self.checkout.parent if self.layout.within else self.checkout
        command = ["git", *identity, "-C", top, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    def archive(self, monkeypatch, **keys) -> dict[str, bytes]:
        """Contents of the study's archive, by name."""
        run = self.finish()
        monkeypatch.chdir(self.folder)
        schema = CHECKOUT / "config/schema/study.schema.yaml"
        study = complete(self.config | {"archive": keys}, schema, "mine.yaml")
        write_archive(study, run, self.checkout, "mine.zip")
        with zipfile.ZipFile("mine.zip") as file:
            return {name.removeprefix("mine/data/"): file.read(name) for name in file.namelist()}


@pytest.fixture
def checkout(tmp_path) -> Path:
    folder = tmp_path / "repository/checkout"
    folder.mkdir(parents=True)
    return folder


def unpacked(name: str, content: bytes) -> Iterator[bytes]:
    """A file as it is, and what is compressed in it."""
    yield content
    if name.endswith(".parquet"):
        path = Path("unpacked.parquet")
        path.write_bytes(content)
        yield pd.read_parquet(path).to_csv().encode()
    # Both sides of a binary difference.
    for patch in re.findall(rb"^(?:literal|delta) \d+\n((?:[A-Za-z]\S+\n)+)", content, re.M):
        yield zlib.decompress(b"".join(map(decoded, patch.splitlines())))


def decoded(line: bytes) -> bytes:
    """A line of a binary difference: its length as a letter, and its bytes."""
    letter = line[:1].decode()
    length = ord(letter) - ord("A") + 1 if letter.isupper() else ord(letter) - ord("a") + 27
    return base64.b85decode(line[1:])[:length]


def holders(contents: dict[str, bytes], mark: str) -> list[str]:
    """Names of the files that hold a mark."""
    return [
        name
        for name, content in contents.items()
        if any(mark.encode() in each for each in unpacked(name, content))
    ]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_byte_of_an_input_that_may_not_be_passed_on(checkout, monkeypatch, layout, state):
    study = Study(checkout, LAYOUTS[layout])
    if state == "without git":
        study.write_inputs()
    else:
        study.git("init", "-q")
        study.git("add", "-A")
        study.git("commit", "-qm", "the workflow")
        study.write_inputs()
    if state in {"committed", "changed since", "removed since"}:
        study.git("add", "-Af")
        study.git("commit", "-qm", "with data", "--allow-empty")
    if state == "changed since":
        # With the old bytes in the history, and new ones of the same input.
        study.write_inputs(f"{MARK} again")
    elif state == "removed since" and (study.layout.copy or study.layout.hard):
        study.place(study.layout.copy or study.layout.hard).unlink()
    contents = study.archive(monkeypatch, changed=True)
    assert holders(contents, MARK) == []
    assert holders(contents, OTHERS_MARK) == []
    for name in ("Snakefile", "rules/archive.smk", "scripts/archive.py", "envs/requirements.lock"):
        assert contents[f"workflow/{name}"] == (CHECKOUT / name).read_bytes()
    # It is named all the same.
    assert b'"key": "dem"' in contents["inputs.json"]
    assert str(study.checkout).encode() not in contents["inputs.json"]


@pytest.mark.parametrize("redistribute", [False, True])
def test_likelihoods_of_single_observations_go_where_the_site_table_goes(
    checkout, monkeypatch, redistribute
):
    study = Study(checkout, Layout())
    study.config["observations"] = {"response": {"column": "remark"}}
    study.config["sites"]["redistribute"] = redistribute
    study.write_inputs()
    contents = study.archive(monkeypatch)
    for name in OF_OBSERVATIONS:
        assert (f"{RESULTS}/{name}" in contents) == redistribute


def test_an_input_in_the_place_of_code_is_no_code(checkout, monkeypatch):
    study = Study(checkout, Layout(dem="scripts/dem.py"))
    study.write_inputs()
    study.git("init", "-q")
    study.git("add", "-A")
    study.git("commit", "-qm", "first")
    # What was committed is of the input, too; and a new input is no other workflow.
    study.write_inputs(f"{MARK} again")
    assert holders(study.archive(monkeypatch), MARK) == []
    for section in ("sites", "dem"):
        study.config[section]["redistribute"] = True
    shutil.rmtree(study.folder / RESULTS)
    contents = study.archive(monkeypatch)
    assert "inputs/dem/dem.py" in holders(contents, MARK)
    assert "workflow/scripts/dem.py" not in contents


def test_the_marks_are_found_where_inputs_may_be_passed_on(checkout, monkeypatch):
    study = Study(checkout, Layout())
    study.write_inputs()
    for section in ("sites", "dem"):
        study.config[section]["redistribute"] = True
    contents = study.archive(monkeypatch)
    assert set(holders(contents, MARK)) == {
        *("inputs/sites/sites.csv", "inputs/dem/dem.tif", "inputs/dem/dem.tif.aux.xml"),
        *(f"{RESULTS}/{name}" for name in (*TABLES_OF_USERS, "report.html")),
    }
    assert holders(contents, OTHERS_MARK) == []


def test_the_report_is_there_without_rows_of_the_site_table(checkout, monkeypatch):
    study = Study(checkout, Layout())
    study.write_inputs()
    contents = study.archive(monkeypatch)
    assert contents[f"{RESULTS}/report.html"] == (
        b"<h1>A</h1><p>Rows of the site table are not in this archive.</p><p>B"
    )
    assert f"{RESULTS}/rejected.csv" not in contents
    assert WITHHELD in contents["README.md"]


@pytest.mark.parametrize(("column", "withheld"), [("remark", True), (None, False)])
def test_hazards_are_left_out_where_their_storms_are_cells_of_the_site_table(
    checkout, monkeypatch, column, withheld
):
    study = Study(checkout, Layout())
    study.write_inputs()
    own = {"column": column, "unit": "mm"} if column else {"intensity_mm_per_h": 24}
    study.config |= {
        "models": [{"name": "swb", "inputs": {"fire": "area_km2"}}],
        "storms": [{"duration_min": 15} | own],
    }
    finish = study.finish

    def finish_with_hazards():
        run = finish()
        pd.DataFrame({"site_id": ["a"]}).to_parquet(study.folder / RESULTS / "hazard.parquet")
        return FinishedRun(RESULTS, [*run.files, f"{RESULTS}/hazard.parquet"], {}, None)

    monkeypatch.setattr(study, "finish", finish_with_hazards)
    contents = study.archive(monkeypatch)
    assert (f"{RESULTS}/hazard.parquet" not in contents) == withheld
    said = WITHHELD.replace(b"and `rejected.csv`", b"`rejected.csv`, and `hazard.parquet`")
    assert (said in contents["README.md"]) == withheld
    assert f"{RESULTS}/catchments.parquet" in contents


def test_a_vrt_holds_nothing_of_the_files_that_it_names(checkout, monkeypatch):
    study = Study(checkout, Layout())
    study.write_inputs()
    vrt = study.dem.with_suffix(".vrt")
    rasterio.shutil.copy(study.dem, vrt, driver="VRT")
    assert MARK in vrt.read_text()
    study.config["dem"]["path"] = str(vrt)
    contents = study.archive(monkeypatch)
    assert holders(contents, MARK) == []
    packed = checkout / "packed.vrt"
    packed.write_bytes(contents["inputs/dem/dem.vrt"].replace(b"dem.tif", bytes(study.dem)))
    with rasterio.open(vrt) as one, rasterio.open(packed) as other:
        assert (one.transform, one.crs, one.nodata) == (other.transform, other.crs, other.nodata)
        assert np.array_equal(one.read(), other.read())


def test_a_table_of_two_layers_is_left_out_if_one_may_not_be_passed_on(checkout, monkeypatch):
    study = Study(checkout, Layout(own_table=True))
    study.write_inputs()
    other = study.dem.with_name("other.tif")
    with rasterio.open(study.dem) as raster, rasterio.open(other, "w", **raster.profile) as copy:
        copy.write(raster.read() + 1)
    (first,) = study.config["layers"]
    second = first | {"name": "other", "path": str(other), "redistribute": True}
    study.config["layers"] = [first, second]
    contents = study.archive(monkeypatch)
    assert holders(contents, MARK) == []
    assert "inputs/layers/other/other.tif" in contents


def test_the_marks_are_found_in_a_difference_of_what_is_no_input(checkout, monkeypatch):
    study = Study(checkout, Layout())
    study.write_inputs()
    picture = checkout / "docs/confidence.png"
    picture.write_bytes(MARK.encode() + picture.read_bytes())
    study.git("init", "-q")
    study.git("add", "-A")
    study.git("commit", "-qm", "first")
    shutil.copy(CHECKOUT / "docs/confidence.png", picture)
    assert holders(study.archive(monkeypatch, changed=True), MARK) == ["workflow.diff"]


@pytest.mark.parametrize("commit", [True, False])
def test_data_and_studies_are_no_change_of_the_workflow(checkout, monkeypatch, commit):
    """Neither where the README puts them, nor committed, nor anywhere else but in the code."""
    study = Study(checkout, Layout("dem.tif", "data/sites.csv"))
    study.git("init", "-q")
    study.git("add", "-A")
    study.git("commit", "-qm", "first")
    study.write_inputs()
    (checkout / "config/mine.yaml").write_text("study: mine\n")
    if commit:
        study.git("add", "-Af")
        study.git("commit", "-qm", "data")
        study.write_inputs("other data")
    contents = study.archive(monkeypatch)
    assert "workflow.diff" not in contents
    assert b"as committed" in contents["README.md"]
    assert {name for name in contents if name.startswith("workflow/")} == {
        *("workflow/Snakefile", "workflow/CITATION.cff", "workflow/.gitignore"),
        *(
            "workflow/rules/archive.smk",
            "workflow/scripts/archive.py",
            "workflow/config/fbfm40.csv",
        ),
        *("workflow/docs/confidence.png", "workflow/envs/requirements.lock"),
    }


def test_the_published_fuel_table_may_always_be_passed_on(checkout, monkeypatch):
    study = Study(checkout, Layout())
    study.write_inputs()
    table = checkout / "config/fbfm40.csv"
    layer = {"name": "fuel", "path": str(study.dem), "type": "fbfm40", "table": str(table)}
    study.config["layers"] = [layer]
    contents = study.archive(monkeypatch)
    assert contents["inputs/layers/fuel/table/fbfm40.csv"] == table.read_bytes()
    assert contents["workflow/config/fbfm40.csv"] == table.read_bytes()
    assert holders(contents, MARK) == []


def test_a_file_that_may_and_may_not_be_passed_on_is_refused(checkout, monkeypatch):
    study = Study(checkout, Layout())
    study.write_inputs()
    link = study.dem.with_name("link.tif")
    link.symlink_to(study.dem)
    layer = {"name": "height", "path": str(link), "type": "numeric", "redistribute": True}
    study.config["layers"] = [layer]
    with pytest.raises(ArchiveError) as caught:
        study.archive(monkeypatch)
    assert str(caught.value) == (
        f"{link}: found redistribute: true in layers[height] and false in dem; expected one answer "
        "for a file. Set redistribute to the same value in both."
    )


def test_observations_are_left_out_with_the_site_table(checkout, monkeypatch):
    study = Study(checkout, Layout())
    study.write_inputs()
    contents = study.archive(monkeypatch)
    assert f"{RESULTS}/catchments.parquet" in contents
    assert not contents.keys() & {f"{RESULTS}/{name}" for name in TABLES_OF_USERS}
    assert WITHHELD in contents["README.md"]


def test_files_beside_the_code_that_are_left_out_are_told(checkout, monkeypatch, caplog):
    study = Study(checkout, Layout())
    study.write_inputs()
    (checkout / "scripts/plot.R").write_text("plot(1)\n")
    with caplog.at_level("INFO", "snakeshed"):
        contents = study.archive(monkeypatch)
    assert "workflow/scripts/plot.R" not in contents
    assert caplog.messages == ["not part of the workflow, so not in the archive: scripts/plot.R"]
