"""The size of a group's pod: what its rules ask for, whatever cores the driver's node has."""

from __future__ import annotations

from typing import Any

from snakemake_interface_executor_plugins.jobs import GroupJobExecutorInterface


def resources_of_group(job: GroupJobExecutorInterface) -> dict[str, Any]:
    """Resources of a group whose jobs run at the same time where they do not need each other.

    Snakemake's own are for a group that has no more cores than the driver's ``--cores``. Other
    limits, those of ``--resources``, bind here too.

    Parameters
    ----------
    job
        The group.

    Returns
    -------
    dict
        Values by name; ``_cores`` are the threads.
    """
    from snakemake.resources import GroupResources, Resources

    limits = {name: limit for name, limit in job.global_resources.items() if name != "_cores"}
    return dict(
        GroupResources.basic_layered(
            toposorted_jobs=job.toposorted,
            constraints=Resources(limits),
            run_local=False,
            additive_resources=["runtime"],
            sortby=["runtime"],
        )
    )
