"""A checkout with a study of its own, and a kubectl whose cluster is a folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fake_kubectl import FakeKubectl

CHECKOUT = Path(__file__).parents[3]
STUDY = """study: mine
sites: {path: data/sites.csv, crs: "EPSG:4326", columns: {site_id: name, x: lon, y: lat}}
dem: {path: data/dem/*.tif}
"""


@pytest.fixture
def fake(tmp_path, monkeypatch) -> FakeKubectl:
    made = FakeKubectl(tmp_path / "fake")
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """The code that a cluster needs, with a study whose inputs hold nothing but bytes."""
    folder = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    for name in ("rules", "scripts/snakeshed", "config", "profiles/nautilus"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
    shutil.copy(CHECKOUT / "Snakefile", folder)
    (folder / "nautilus").symlink_to("profiles/nautilus")
    set_values(folder, namespace="mine", image="registry.test/snakeshed")
    (folder / "config/mine.yaml").write_text(STUDY)
    (folder / "data/dem").mkdir(parents=True)
    (folder / "data/sites.csv").write_text("name,lon,lat\na,1,2\n")
    (folder / "data/dem/a.tif").write_bytes(bytes(range(256)) * 40)
    (folder / "data/dem/a.tif.aux.xml").write_text("<PAMDataset/>")
    (folder / "data/other.bin").write_bytes(b"no input")
    monkeypatch.chdir(folder)
    return folder


def set_values(folder: Path, namespace: str, image: str) -> None:
    """Set what is marked in kustomization.yaml."""
    path = folder / "profiles/nautilus/kustomization.yaml"
    text = path.read_text(encoding="utf-8")
    text = text.replace("namespace: my-namespace", f"namespace: {namespace}")
    path.write_text(
        text.replace("newName: registry.example.org/my-project/snakeshed", f"newName: {image}")
    )
