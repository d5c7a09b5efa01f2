"""An archive is a crate by the rules of all its profiles, as roc-validator reads them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from snakeshed.archive.bag import open_bag
from snakeshed.archive.write import FinishedRun, write_archive
from snakeshed.study.configuration import complete

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
SCHEMA = CHECKOUT / "config/schema/study.schema.yaml"
# A Python that has roc-validator; its versions of other packages are not those of the lock file.
VALIDATOR = os.environ.get("SNAKESHED_TEST_CRATE")


@pytest.fixture
def crate(tmp_path, monkeypatch) -> Path:
    """The unpacked archive of a study with one tile and one result."""
    monkeypatch.chdir(tmp_path)
    Path("workflow/envs").mkdir(parents=True)
    Path("workflow/Snakefile").write_text("rule all:\n")
    Path("workflow/envs/requirements.lock").write_text("numpy==2.0\n")
    Path("workflow/CITATION.cff").write_bytes((CHECKOUT / "CITATION.cff").read_bytes())
    Path("sites.csv").write_text("site,x,y\na,1,2\n")
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "crs": "EPSG:32611"}
    transform = Affine(30, 0, 400_000, 0, -30, 3_800_000)
    with rasterio.open("dem.tif", "w", width=4, height=4, transform=transform, **profile) as raster:
        raster.write(np.ones((1, 4, 4), "float32"))
    Path("results/tiny/logs").mkdir(parents=True)
    Path("results/tiny/features.parquet").write_bytes(b"PAR1")
    Path("results/tiny/logs/gather.tsv").write_text("s\tmax_rss\n1.5\t100\n")
    study = {
        "study": "tiny",
        "sites": {
            "path": "sites.csv",
            "crs": "EPSG:32611",
            "columns": {"site_id": "site", "x": "x", "y": "y"},
            "redistribute": True,
            "licence": "CC0-1.0",
        },
        "dem": {"path": "dem.tif", "url": "https://dem.example/tiles"},
    }
    files = ["results/tiny/features.parquet", "results/tiny/logs/gather.tsv"]
    image = "registry.example.org/mine/snakeshed:1@sha256:00"
    run = FinishedRun("results/tiny", files, {"snakeshed": "1.0", "snakemake": "9.0"}, image)
    write_archive(complete(study, SCHEMA, "study.yaml"), run, "workflow", "tiny.zip")
    Path("unpacked").mkdir()
    open_bag("tiny.zip").unpack(Path("unpacked"))
    return tmp_path / "unpacked/data"


def issues(crate: Path) -> list[list[str]]:
    """Profile, severity, check and message of all that is wrong."""
    if VALIDATOR is None:
        pytest.skip("SNAKESHED_TEST_CRATE names no Python that has roc-validator")
    rocrate = pytest.importorskip("rocrate", reason="rocrate is not installed")
    context = Path(rocrate.__file__).parent / "data/ro-crate.jsonld"
    command = [VALIDATOR, Path(__file__).with_name("validate.py"), crate, context]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LEFT = {
    # Who made the study is told where it is published: nobody is named that is not known here.
    "ro-crate-1.1_22.2": "author of the crate",
    "ro-crate-1.1_22.3": "publisher of the crate",
    "process-run-crate-0.5_8.6": "a person or organization as the agent of the run",
    # The workflow is a file of the crate, so its identifier is relative; its commit is in run.json.
    "process-run-crate-0.5_5.1": "an absolute URI as identifier of the workflow",
    "process-run-crate-0.5_3.2": "an address of the workflow",
    # That profile asks for an author and an address, too.
    "workflow-ro-crate-1.0_8.1": "the Bioschemas profile of the workflow",
}
"""Checks of what is only recommended that an archive does not pass, and why."""


def test_nothing_is_wrong_but_what_cannot_be_known(crate):
    found = issues(crate)
    assert {severity for _, severity, *_ in found} == {"RECOMMENDED"}
    assert {check for _, _, check, *_ in found} == set(LEFT), found


def test_what_is_missing_is_found(crate):
    path = crate / "ro-crate-metadata.json"
    metadata = json.loads(path.read_text())
    root = next(thing for thing in metadata["@graph"] if thing["@id"] == "./")
    del root["mainEntity"]
    path.write_text(json.dumps(metadata))
    found = issues(crate)
    assert any(
        severity == "REQUIRED" and "Main Workflow" in check for _, severity, _, check, _ in found
    ), found
