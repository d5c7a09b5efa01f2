"""A job has the library of the checkout that its script is in, or stops."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from snakeshed.errors import CheckoutError
from snakeshed.jobs.checkout import check_job, check_library
from snakeshed.jobs.digest import PACKAGE
from snakeshed.jobs.log import job_log


@pytest.fixture
def job(monkeypatch) -> SimpleNamespace:
    """What Snakemake gives to a script."""
    made = SimpleNamespace(scriptdir=str(PACKAGE.parent))
    monkeypatch.setattr(sys.modules["__main__"], "snakemake", made, raising=False)
    return made


def test_the_library_beside_the_script_is_right_by_whatever_path(job, tmp_path):
    check_job()
    (tmp_path / "link").symlink_to(PACKAGE.parent)
    job.scriptdir = str(tmp_path / "link")
    check_job()


def test_a_process_that_is_no_job_has_nothing_to_check():
    assert not hasattr(sys.modules["__main__"], "snakemake")
    check_job()


def test_the_library_of_another_checkout_is_named_with_what_to_do(tmp_path):
    with pytest.raises(CheckoutError) as caught:
        check_library(tmp_path)
    assert str(caught.value) == (
        f"this job: found the library {PACKAGE}; expected the workflow's own, {tmp_path}/snakeshed"
        ". Remove snakeshed from this environment (pip uninstall snakeshed), do not set "
        "PYTHONPATH in a start-up file of the shell, and keep the checkout at a path without a "
        "colon."
    )


def test_a_job_with_it_ends_before_it_does_anything(job, tmp_path):
    job.scriptdir = str(tmp_path)
    done = []
    with pytest.raises(SystemExit, match="1"), job_log(str(tmp_path / "job.log"), "gathering"):
        done.append("something")
    assert not done
    assert "error: this job: found the library" in (tmp_path / "job.log").read_text()
