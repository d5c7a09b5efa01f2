"""An archive has the workflow as it was committed, or says what it differs in."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from snakeshed.archive.workflow_source import workflow_source
from snakeshed.errors import ArchiveError


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.example"]
    done = subprocess.run(
        ["git", *identity, "-C", folder, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A workflow with a link, committed, and what a run leaves in it."""
    folder = tmp_path / "checkout"
    (folder / "profiles/dask").mkdir(parents=True)
    (folder / "Snakefile").write_text("rule all:\n")
    (folder / "profiles/dask/config.yaml").write_text("cores: 1\n")
    (folder / ".gitignore").write_text("/results/\n")
    (folder / "far").symlink_to("profiles/dask")
    (folder / "Snakefile").chmod(0o755)
    git(tmp_path, "init", "-q", folder)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    (folder / "results").mkdir()
    (folder / "results/a.txt").write_text("a")
    return folder


def test_a_clean_checkout_is_taken_from_its_commit(checkout):
    source = workflow_source(checkout)
    assert set(source.files) == {"Snakefile", "profiles/dask/config.yaml", ".gitignore"}
    assert source.links == {"far": "profiles/dask"}
    assert source.executable == {"Snakefile"}
    assert source.commit == git(checkout, "rev-parse", "HEAD")
    assert source.difference == b""


def test_a_changed_workflow_is_refused(checkout):
    (checkout / "Snakefile").write_text("rule other:\n")
    (checkout / "rules").mkdir()
    (checkout / "rules/new.smk").write_text("1\n")
    with pytest.raises(ArchiveError) as caught:
        workflow_source(checkout)
    commit = git(checkout, "rev-parse", "HEAD")[:12]
    assert f"found files that differ from commit {commit} (Snakefile, rules/new.smk)" in str(
        caught.value
    )
    assert "--config 'archive={changed: true}'" in str(caught.value)


def test_a_changed_workflow_that_may_be_is_taken_with_its_difference(checkout):
    (checkout / "Snakefile").write_text("rule other:\n")
    (checkout / "rules").mkdir()
    (checkout / "rules/new.smk").write_text("1\n")
    source = workflow_source(checkout, changed=True)
    assert source.files["Snakefile"] == b"rule other:\n"
    assert source.files["rules/new.smk"] == b"1\n"
    assert source.changed
    assert "results/a.txt" not in source.files
    assert source.links == {"far": "profiles/dask"}
    assert source.executable == {"Snakefile"}
    assert b"-rule all:\n+rule other:\n" in source.difference


def test_a_study_of_ones_own_beside_the_demo_is_no_change(checkout):
    (checkout / "config").mkdir()
    (checkout / "config/mine.yaml").write_text("study: mine\n")
    assert workflow_source(checkout).difference == b""


def test_a_new_file_alone_is_a_change(checkout):
    (checkout / "rules").mkdir()
    (checkout / "rules/new.smk").write_text("1\n")
    source = workflow_source(checkout, changed=True)
    assert source.changed
    assert source.difference == b""


def test_links_lead_to_files_of_the_workflow_only(checkout):
    for name, target in (
        ("rules", "/etc"),
        ("profiles/up", "../.."),
        ("profiles/all", ".."),
        ("profiles/results", "../results"),
        ("profiles/same", "dask"),
    ):
        (checkout / name).symlink_to(target)
    links = {"far": "profiles/dask", "profiles/same": "dask"}
    assert workflow_source(checkout).links == {"far": "profiles/dask"}
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "links")
    assert workflow_source(checkout).links == links
    shutil.rmtree(checkout / ".git")
    source = workflow_source(checkout)
    assert source.links == links
    assert set(source.files) == {"Snakefile", "profiles/dask/config.yaml", ".gitignore"}


def test_a_difference_is_written_in_the_same_way_whatever_the_user_has_set(checkout):
    (checkout / "Snakefile").write_text("rule other:\n")
    plain = workflow_source(checkout, changed=True).difference
    assert b"--- a/Snakefile\n+++ b/Snakefile\n" in plain
    for key, value in (
        ("color.diff", "always"),
        ("diff.noprefix", "true"),
        ("diff.external", "ls"),
    ):
        git(checkout, "config", key, value)
    assert workflow_source(checkout, changed=True).difference == plain


def test_without_git_the_files_are_taken_as_they_are(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    source = workflow_source(checkout)
    assert set(source.files) == {"Snakefile", "profiles/dask/config.yaml", ".gitignore"}
    assert source.links == {"far": "profiles/dask"}
    assert source.commit is None
