"""Open the backend that a job asks for."""

from __future__ import annotations

import os

from snakeshed.backends.local import BACKENDS, Backend, choose


def open_backend(
    name: str, workers: int, needed: int | None = None, given: int | None = None
) -> Backend:
    """Make the backend of a job.

    Parameters
    ----------
    name, workers, needed, given
        As for :func:`choose`.

    Raises
    ------
    ValueError
        The name is not a backend.
    ClusterError
        No Dask cluster answers at ``DASK_SCHEDULER_ADDRESS``.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r}: expected one of {', '.join(BACKENDS)}")
    chosen = choose(name, workers, needed, given)
    if chosen != "dask":
        return Backend(chosen, workers)
    from snakeshed.backends.dask_cluster import DaskBackend

    return DaskBackend(workers, given, os.environ.get("DASK_SCHEDULER_ADDRESS") or None)
