"""Whether a process has the library of the checkout whose workflow it works for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from snakeshed.errors import CheckoutError
from snakeshed.jobs.digest import PACKAGE


def check_job() -> None:
    """See that the script of a rule has the library that lies beside it.

    Snakemake gives the script's folder to a job. A process that is no job has nothing to check.

    Raises
    ------
    CheckoutError
        As for `check_library`.
    """
    job = getattr(sys.modules["__main__"], "snakemake", None)
    if job is not None:
        check_library(job.scriptdir)


def check_library(scripts: str | Path, library: Path = PACKAGE) -> None:
    """See that a library is that of a checkout.

    Parameters
    ----------
    scripts : str or Path
        The folder ``scripts`` of the checkout.
    library : Path
        Folder of the library; by default that of this process.

    Raises
    ------
    CheckoutError
        It is another one: its results would pass for those of the checkout.
    """
    # Snakemake writes rules/../scripts.
    own = Path(os.path.normpath(scripts), library.name)
    if own.resolve() != library.resolve():
        raise CheckoutError(
            "this job",
            f"the library {library}",
            f"the workflow's own, {own}",
            "Remove snakeshed from this environment (pip uninstall snakeshed), do not set "
            "PYTHONPATH in a start-up file of the shell, and keep the checkout at a path without "
            "a colon.",
        )
