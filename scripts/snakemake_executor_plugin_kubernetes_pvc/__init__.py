"""Snakemake executor ``kubernetes-pvc``: every job is a Kubernetes Job on a shared volume.

The official ``snakemake-executor-plugin-kubernetes`` (0.5.1) is not subclassed. Of it only the
parsing of settings would be left: its executor creates a secret when it is made, also for a run
that has nothing to do; it reads the state of each job with calls of its own, and gives up a job
whose state could not be read once; and importing it costs every Snakemake process, the one in each
pod too, the 0.3 s and 50 MB of the Kubernetes client. This executor stands beside it, on the same
interface (``RemoteExecutor``), and imports the client when it first has a job to send.
"""

from typing import Any

from snakemake_interface_executor_plugins.executors.base import AbstractExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

from snakemake_executor_plugin_kubernetes_pvc.settings import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    auto_deploy_default_storage_provider=False,
    # A value in the command would be readable in the Job; see ExecutorSettings.env_secret.
    pass_envvar_declarations_to_cmd=False,
)


class Executor(AbstractExecutor):
    """What Snakemake makes the executor of: every Snakemake imports the plugins, few use this one.

    It gives the executor itself, `snakemake_executor_plugin_kubernetes_pvc.executor.Executor`.
    """

    def __new__(cls, *arguments: Any, **options: Any) -> Any:  # noqa: D102
        from snakemake_executor_plugin_kubernetes_pvc.executor import Executor as Itself

        return Itself(*arguments, **options)
