"""What a study was run with."""

from __future__ import annotations

import subprocess

import numpy as np

import snakeshed
from snakeshed.jobs.versions import commit_of, made_with


def git(folder, *arguments):
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


def test_the_commit_is_told_and_whether_files_were_changed_since(tmp_path):
    assert commit_of(tmp_path) is None
    git(tmp_path, "init")
    (tmp_path / "Snakefile").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "a")
    commit = commit_of(tmp_path)
    assert len(commit) == 40
    (tmp_path / "results").write_text("not part of the workflow")
    assert commit_of(tmp_path) == commit
    (tmp_path / "Snakefile").write_text("changed")
    assert commit_of(tmp_path) == f"{commit}, with changes"


def test_versions_are_those_in_use(tmp_path):
    told = dict(made_with(tmp_path))
    assert told["snakeshed"] == snakeshed.__version__
    assert told["numpy"] == np.__version__
    assert told["commit"] == "unknown: not a git checkout"
    assert "GDAL" in told["rasterio"]
