"""From a Snakemake job to a task for a warm worker."""

from __future__ import annotations

import os
import pickle
import secrets
from collections.abc import Mapping
from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from snakemake_executor_plugin_kubernetes_pvc.manifest import TEMPORARY
from snakemake_executor_plugin_kubernetes_pvc.spool import Task, digest

# A job is expected to take this resource's number of seconds.
EXPECTED = "estimated_s"
# Marks of outputs that Snakemake sees to before or after a job.
_OF_SNAKEMAKE = ("directory", "update", "touch", "protected", "pipe", "service")


def product_of(job: JobExecutorInterface) -> str:
    """Digest of the names of the files that a job makes."""
    return digest(sorted(map(str, job.output)))


class Contents:
    """Digests of what jobs' outputs depend on, by which a later driver knows a job again.

    These are the rule with its code, the workflow's configuration, wildcards, parameters, and
    inputs: of one that another job makes the content of that job, of any other one name, size,
    and time of change. (The times of what jobs make say nothing: Snakemake sets them anew.)
    Parameters that are no plain values count by their representation. One that differs from process
    to process makes a job that no other driver takes up, and never one that is taken for another.

    Parameters
    ----------
    workflow
        The workflow of the jobs.
    """

    def __init__(self, workflow: WorkflowExecutorInterface) -> None:
        self._workflow = workflow
        self._config = digest(_plain(workflow.config))
        self._known: dict[Any, str] = {}

    def of(self, job: JobExecutorInterface, source: str | None = None) -> str:
        """Digest of a job that is no group.

        Parameters
        ----------
        job
            The job.
        source
            Text of its script, if that was read already.
        """
        # First those that it depends on, in the order of the work: no recursion is deep then.
        dependencies = job.dag.dependencies
        waiting = [job]
        while waiting:
            last = waiting[-1]
            unknown = [each for each in dependencies.get(last, {}) if each not in self._known]
            if unknown:
                waiting += unknown
                continue
            waiting.pop()
            # The inputs of the job itself may have changed since it was sent the last time.
            if last is job or last not in self._known:
                self._known[last] = self._alone(last, source if last is job else None)
        return self._known[job]

    def _alone(self, job: JobExecutorInterface, source: str | None) -> str:
        makers = job.dag.dependencies.get(job, {})
        made = {str(file): maker for maker, files in makers.items() for file in files}
        inputs: list[list] = []
        for file in map(str, job.input):
            if file in made:
                inputs.append([file, self._known.get(made[file], "")])
                continue
            try:
                stat = os.stat(file)
            except FileNotFoundError:
                inputs.append([file])
            else:
                inputs.append([file, stat.st_size, stat.st_mtime_ns])
        rule = job.rule
        try:
            params = [[name, _plain(value)] for name, value in job.params._allitems()]
        except Exception:  # noqa: BLE001 - a function of the workflow; nothing is the same then
            params = [secrets.token_hex(8)]
        wildcards = {name: str(value) for name, value in job.wildcards_dict.items()}
        outputs = sorted(map(str, job.output))
        if rule.is_script and source is None:
            source = script_of(job, self._workflow)[1]
        code = [rule.shellcmd, rule.run_func_src, rule.wrapper, source]
        code = [None if part is None else str(part) for part in code]
        return digest(rule.name, wildcards, code, self._config, params, inputs, outputs)


def script_of(
    job: JobExecutorInterface, workflow: WorkflowExecutorInterface
) -> tuple[Any, str, str, bool]:
    """Return where a job's script is, its text, its language, and whether it is a local file."""
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
    return path, source, language, is_local


def task_of(
    job: JobExecutorInterface,
    workflow: WorkflowExecutorInterface,
    contents: Contents,
    seconds: float,
) -> Task | None:
    """Make the task of a job, or return None for a job that needs a pod of its own.

    That is one whose rule has no Python script, or asks for something that only Snakemake itself
    can give it (a shadow folder, pipes, conda, a container, repeated benchmarks, a cache, outputs
    that are folders, or are updated, touched or protected).
    """
    if job.is_group() or not job.rule.is_script or job.is_shadow or job.is_pipe:
        return None
    if workflow.deployment_settings.deployment_method or workflow.workflow_settings.cache:
        return None
    if (job.benchmark_repeats or 1) > 1 or workflow.execution_settings.debug:
        return None
    from snakemake.io import is_flagged
    from snakemake.iocontainers import Snakemake

    if any(is_flagged(file, flag) for file in job.output for flag in _OF_SNAKEMAKE):
        return None
    path, source, language, is_local = script_of(job, workflow)
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
        content=contents.of(job, source),
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
