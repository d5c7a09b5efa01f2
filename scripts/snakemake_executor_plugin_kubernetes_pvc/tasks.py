"""From a Snakemake job to a task for a warm worker."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from snakemake_executor_plugin_kubernetes_pvc.manifest import TEMPORARY
from snakemake_executor_plugin_kubernetes_pvc.spool import Task, digest

# A job is expected to take this resource's number of seconds.
EXPECTED = "estimated_s"


def product_of(job: JobExecutorInterface) -> str:
    """Digest of the names of the files that a job makes."""
    return digest(sorted(map(str, job.output)))


def content_of(job: JobExecutorInterface) -> str:
    """Digest of what a job's outputs depend on: rule, wildcards, code, parameters, inputs.

    Of inputs it is name, size and time of change. Parameters that are no plain values count by
    their representation: one that differs from process to process makes a job that no other driver
    takes up, and never one that is taken for another.
    """
    inputs = []
    for file in map(str, job.input):
        try:
            stat = os.stat(file)
        except FileNotFoundError:
            inputs.append([file])
        else:
            inputs.append([file, stat.st_size, stat.st_mtime_ns])
    rule = job.rule
    code = [repr(getattr(rule, kind, None)) for kind in ("shellcmd", "script", "wrapper")]
    params = [[name, _plain(value)] for name, value in job.params._allitems()]
    wildcards = dict(job.wildcards_dict)
    return digest(rule.name, wildcards, code, params, inputs, sorted(map(str, job.output)))


def task_of(
    job: JobExecutorInterface, workflow: WorkflowExecutorInterface, seconds: float
) -> Task | None:
    """Make the task of a job, or return None for a job that needs a pod of its own.

    That is one whose rule has no Python script, or asks for something that only Snakemake itself
    can give it (a shadow folder, pipes, conda, a container, repeated benchmarks, a cache).
    """
    if job.is_group() or not job.rule.is_script or job.is_shadow or job.is_pipe:
        return None
    if workflow.deployment_settings.deployment_method or workflow.workflow_settings.cache:
        return None
    if (job.benchmark_repeats or 1) > 1 or workflow.execution_settings.debug:
        return None
    from snakemake.iocontainers import Snakemake
    from snakemake.script import get_source
    from snakemake.sourcecache import SourceCache

    sources = workflow.sourcecache
    path, source, language, is_local, _ = get_source(
        job.rule.script,
        SourceCache(sources.cache_path, sources.runtime_cache_path),
        job.rule.basedir,
        job.wildcards,
        job.params,
    )
    if language != "python" or not is_local:
        return None
    folder = path.get_basedir().get_path_or_uri(secret_free=True)
    given = Snakemake(
        job.input,
        job.output,
        job.params,
        job.wildcards,
        job.threads,
        _resources_in_pod(job),
        job.log,
        workflow.config,
        job.rule.name,
        None,
        folder,
    )
    runtime = job.resources.get("runtime")
    return Task(
        product=product_of(job),
        content=digest(content_of(job), source),
        title=" ".join([job.rule.name, *map(str, job.wildcards_dict.values())]),
        source=source,
        file=os.path.realpath(path.get_path_or_uri(secret_free=True)),
        snakemake=pickle.dumps(given, protocol=4),
        directory=os.getcwd(),
        outputs=tuple(map(str, job.output)),
        inputs=tuple(map(str, job.input)),
        logs=tuple(map(str, job.log)),
        benchmark=str(job.benchmark) if job.benchmark else None,
        runtime_s=60 * runtime if runtime else None,
        latency_s=workflow.execution_settings.latency_wait,
        seconds=float(job.resources.get(EXPECTED) or seconds),
        search=(folder,),
    )


def _resources_in_pod(job: JobExecutorInterface) -> Any:
    """Resources of a job, with the folder for temporary files that a pod has."""
    from snakemake.iocontainers import ResourceList

    return ResourceList(fromdict=dict(job.resources.items()) | {"tmpdir": TEMPORARY})


def _plain(value: Any) -> Any:
    """Return a parameter as plain values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return repr(value)
