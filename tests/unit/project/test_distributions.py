"""Distributions and the image's context hold the workflow, and no data that lie in its folders."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling import build

from snakeshed.archive.workflow_source import workflow_source

CHECKOUT = Path(__file__).parents[3]
MARK = "must-not-be-published-7f3c"
NAMES = ("dem.tif", "sites.csv", "mine.yml", "dem.tif.aux.xml", "sites.geojson", "dem.txt")
# Known to git, but no part of the workflow.
NOT_PACKED = {"tests", "benchmarks", ".ci"}


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A copy of what git knows of the checkout, with data of one's own in all of its folders."""
    known = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(known, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    folder = tmp_path / "checkout"
    for name in filter(None, done.stdout.split("\0")):
        if (CHECKOUT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name, follow_symlinks=False)
    for place in [folder, *folder.rglob("*/"), folder / "data", folder / "scripts/.hidden"]:
        place.mkdir(exist_ok=True)
        for name in NAMES:
            (place / name).write_text(MARK)
    (folder / "scripts/.hidden/data.py").write_text(MARK)
    # Hatchling works in the current folder.
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def workflow(checkout) -> set[str]:
    """Names of the files of the workflow."""
    return set(workflow_source(checkout).files)


def test_an_archive_has_all_that_git_knows_but_tests(checkout, workflow):
    known = {
        path.relative_to(checkout).as_posix()
        for path in checkout.rglob("*")
        if path.is_file() and not path.is_symlink() and MARK not in path.read_text("latin-1")
    }
    known = {name for name in known if name.split("/")[0] not in NOT_PACKED}
    # Through links, the same again.
    known = {name for name in known if not name.startswith(("cloud/", "dask/", "nautilus/"))}
    assert workflow == known


def test_the_source_distribution_is_the_workflow(checkout, workflow, tmp_path):
    name = build.build_sdist(str(tmp_path))
    with tarfile.open(tmp_path / name) as file:
        contents = {
            member.name.split("/", 1)[1]: file.extractfile(member).read()
            for member in file
            if member.isfile()
        }
    assert contents.keys() == workflow | {"PKG-INFO"}
    assert not [name for name, content in contents.items() if MARK.encode() in content]


def test_the_wheel_has_the_packages_alone(checkout, workflow, tmp_path):
    name = build.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as file:
        contents = {name: file.read(name) for name in file.namelist() if ".dist-info/" not in name}
    packed = {f"scripts/{name}" for name in contents}
    assert packed == {
        name
        for name in workflow
        if re.match(r"scripts/\w+/", name) and not name.endswith((".md", ".toml"))
    }
    assert not [name for name, content in contents.items() if MARK.encode() in content]


def in_context(name: str, lines: list[str]) -> bool:
    """Whether Docker sends a file, by a .dockerignore: the last line that fits decides."""
    ignored = False
    for line in lines:
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?")
        pattern = pattern.replace(r"/\*\*", "/.*").replace(r"\*", "[^/]*")
        # A folder stands for all that is in it.
        if re.fullmatch(f"{pattern}(/.*)?", name):
            ignored = not line.startswith("!")
    return not ignored


def test_the_context_of_the_image_is_what_a_run_needs(checkout, workflow):
    lines = (checkout / ".dockerignore").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    files = [path for path in checkout.rglob("*") if path.is_file()]
    sent = {
        name for path in files if in_context(name := path.relative_to(checkout).as_posix(), lines)
    }
    run = {
        name
        for name in workflow
        if not re.search(r"^[^/]+\.\w+$|^docs/|\.(md|ipynb)$|LICENSE", name)
    }
    run -= {".gitignore", ".dockerignore", "Makefile", "envs/Dockerfile"}
    assert sent == {
        name
        for name in run
        if name != "scripts/snakemake_executor_plugin_kubernetes_pvc/pyproject.toml"
    }
