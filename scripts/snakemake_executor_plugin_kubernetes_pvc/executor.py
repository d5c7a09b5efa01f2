"""The executor: sends Jobs, watches them all with two streams, and cleans up."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import sys
import textwrap
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface
from snakemake_interface_executor_plugins.settings import SharedFSUsage
from snakemake_interface_executor_plugins.utils import format_cli_arg
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from snakemake_executor_plugin_kubernetes_pvc.api import Api, Refused, Stopped
from snakemake_executor_plugin_kubernetes_pvc.batches import Batches, InBatch
from snakemake_executor_plugin_kubernetes_pvc.connection import Connection, in_pod
from snakemake_executor_plugin_kubernetes_pvc.groups import resources_of_group
from snakemake_executor_plugin_kubernetes_pvc.live_runs import LiveRuns, Session
from snakemake_executor_plugin_kubernetes_pvc.manifest import (
    BATCH,
    CONTENT,
    PRODUCT,
    RUN,
    WORKFLOW,
    JobFacts,
    Run,
    manifest,
    owner_of_jobs,
    workflow_id,
)
from snakemake_executor_plugin_kubernetes_pvc.placement import check_rules, placement_of
from snakemake_executor_plugin_kubernetes_pvc.queues import Expected, Queue, pod_memory_mb
from snakemake_executor_plugin_kubernetes_pvc.settings import (
    check,
    check_user,
    writable_folders,
)
from snakemake_executor_plugin_kubernetes_pvc.spool import Task, digest
from snakemake_executor_plugin_kubernetes_pvc.status import (
    SCALE_UP,
    Failed,
    Running,
    Succeeded,
    Verdict,
    Wait,
    Waiting,
    active,
    finished,
    larger_than_all,
    over_quota,
    succeeded,
    verdict,
)
from snakemake_executor_plugin_kubernetes_pvc.submission import Submission
from snakemake_executor_plugin_kubernetes_pvc.tasks import Contents, product_of, task_of
from snakemake_executor_plugin_kubernetes_pvc.watch import Watched

WORKER = f"{__package__}.worker"
LOG_LINES = 20
# Reasons that last are told; that an image is being pulled for a few seconds is none.
TELL_AFTER_S = 20
EVENTS_EVERY_S = 30
NODES_EVERY_S = 600
# A pod that Kubernetes deletes is given half a minute before it gets SIGKILL.
CLOSING_PATIENCE_S = 20
# A worker whose tasks take longer than expected begins no other after so many times its share.
OVERTIME = 3
# A worker waits this long for another task: a small job that follows from the last is sent in less.
IDLE_S = 30
# Between two looks at the spools (s), which cost the API server nothing.
SPOOL_EVERY_S = 0.5
# Numbers in the names of Jobs that one driver of a run has before the next one's.
NUMBERS = 100_000
# Every look lists them all, those that are done too: in a long run only the last may stay.
DONE_KEPT = 100


@dataclass
class View:
    """The cluster as it was seen at one time, and what was learnt from that.

    Attributes
    ----------
    jobs
        Jobs of this run by name.
    pods
        Their pods, by the Job's name.
    quota_full
        True once a Job was refused for want of quota.
    waits
        How many jobs have been waiting for a while, by what and why.
    unexplained
        True if the reason for one of them is not known.
    """

    jobs: dict[str, dict[str, Any]]
    pods: dict[str, list[dict[str, Any]]]
    quota_full: bool = False
    waits: Counter[Waiting] = field(default_factory=Counter)
    unexplained: bool = False


class Executor(RemoteExecutor):
    """Runs each Snakemake job as a Kubernetes Job on a shared volume."""

    def __init__(self, workflow: WorkflowExecutorInterface, logger: LoggerExecutorInterface):
        # RemoteExecutor starts its thread, which waits for this, before it calls __post_init__.
        self._stop = threading.Event()
        super().__init__(workflow, logger)

    def __post_init__(self) -> None:
        """Check the settings. Nothing is asked of the cluster before there is a job to send."""
        workflow = self.workflow
        check(self.executor_settings, os.getcwd())
        check_rules(self.executor_settings, [rule.name for rule in workflow.rules])
        shared = workflow.storage_settings.shared_fs_usage
        needed = {SharedFSUsage.PERSISTENCE, SharedFSUsage.INPUT_OUTPUT, SharedFSUsage.SOURCES}
        if not needed <= shared:
            raise WorkflowError(
                "Pods work on the shared volume: --shared-fs-usage has to have persistence, "
                "input-output and sources."
            )
        if workflow.remote_execution_settings.immediate_submit:
            raise WorkflowError("--immediate-submit does not work with kubernetes-pvc.")
        self._run = Run(
            workflow=workflow_id(self.executor_settings.claim, os.getcwd()),
            run=secrets.token_hex(4),
            image=workflow.remote_execution_settings.container_image,
            writable=writable_folders(self.executor_settings, os.getcwd()),
        )
        self._live_runs = LiveRuns(Path(".snakemake/kubernetes-pvc"))
        self._spools = Path(".snakemake/kubernetes-pvc/spool")
        self._batches: Batches
        # Snakemake's thread leaves tasks while that of this class looks at them.
        self._one_thread = threading.RLock()
        self._expected = Expected()
        self._terminated = False
        self._contents = Contents(workflow)
        self._tasks: dict[JobExecutorInterface, Task] = {}
        # Whether this driver has the arguments of the one before.
        self._repeats = False
        # Jobs of an earlier driver of this run, with their content, by what they make.
        self._left: dict[str, tuple[str, str]] = {}
        # Those of them that no job of this driver stands for, by name.
        self._strays: set[str] = set()
        self._api: Api | None = None
        self._watched: Watched
        # Counted from two threads, in one step each.
        self._numbers = itertools.count(1)
        # Names of Jobs that may be in the cluster and have not been seen to end.
        self._open: set[str] = set()
        self._done: deque[str] = deque()
        self._told: set[str] = set()
        self._warnings: dict[str, list[dict[str, Any]]] = {}
        self._warnings_due = 0.0
        self._nodes: list[dict[str, Any]] = []
        self._nodes_due = 0.0
        # How often each job was sent again because it was out of memory.
        self._memory_retries: Counter[int | str] = Counter()
        if self.executor_settings.dry_run and workflow.dag.ready_jobs:
            self._print_ready()

    def get_python_executable(self) -> str:
        """Python of the image, unless the driver's own lies on the volume."""
        on_volume = Path(sys.executable).is_relative_to(self.executor_settings.mount_path)
        return super().get_python_executable() if on_volume else "python"

    @property
    def cores(self) -> str:
        """What a pod has is for it to use: the driver's number of cores does not bind it."""
        return "all"

    def get_job_args(self, job: JobExecutorInterface) -> str:
        """Arguments of Snakemake in a pod; of a group no more jobs run at once than it has room."""
        arguments = super().get_job_args(job)
        if not job.is_group():
            return arguments
        cores = resources_of_group(job)["_cores"]
        return arguments.replace(
            format_cli_arg("--cores", self.cores), format_cli_arg("--cores", cores)
        )

    @property
    def tmpdir(self) -> str:
        """Folder on the volume with lists of files that jobs wait for, if they are long."""
        fresh = self._tmpdir is None
        folder = super().tmpdir
        if fresh:
            # It was made for the driver's user alone, and pods may have another one.
            Path(folder).chmod(0o755)
        return folder

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Send a list of jobs, or leave them to the workers."""
        first = self._api is None
        if first:
            self._open_cluster()
        self._tasks = {}
        if self.executor_settings.batch_minutes:
            self._tasks = {job: task for job in jobs if (task := self._task(job))}
        with self._one_thread:
            self._make_way(jobs)
        super().run_jobs(jobs)
        if first:
            with self._one_thread:
                self._batches.drop_left()

    def run_job(self, job: JobExecutorInterface) -> None:
        """Send one job, or leave it to the workers."""
        if task := self._tasks.pop(job, None):
            kind, facts = self._kind(job, task)
            with self._one_thread:
                placed = self._place(job, task, kind, facts)
            info = SubmittedJobInfo(job, external_jobid=task.product, aux={"task": placed})
            self.report_job_submission(info)
            return
        submission = Submission(self._facts(job))
        left, _ = self._left.pop(submission.facts.labels.get(PRODUCT), ("", ""))
        refusal = ""
        if left:
            submission.name, submission.sent = left, True
            self._strays.discard(left)
        else:
            refusal = self._send(submission)
        info = SubmittedJobInfo(job, external_jobid=submission.name, aux={"submission": submission})
        if refusal:
            self._report(info, f"The cluster refuses the Job: {refusal}\n")
        else:
            self.report_job_submission(info)

    def _make_way(self, jobs: list[JobExecutorInterface]) -> None:
        """End what an earlier driver has begun for the outputs of jobs, where it differs."""
        if not (self._left or self._batches.has_left):
            return
        ended: list[str] = []
        for job in jobs:
            if job.is_group():
                continue
            product, task = product_of(job), self._tasks.get(job)
            name, content = self._left.get(product, ("", ""))
            if name and (task or not self._is_same(job, name, content)):
                del self._left[product]
                ended.append(name)
            ended.append(self._batches.in_the_way(product, task.content if task else ""))
        self._end_jobs([name for name in ended if name])
        for job in jobs:
            if job not in self._tasks and not job.is_group():
                self._batches.forget_left(product_of(job))

    def _is_same(self, job: JobExecutorInterface, name: str, content: str) -> bool:
        """Tell whether a Job of an earlier driver does what a job is to do, or has done it."""
        if content != self._contents.of(job):
            return False
        there = all(map(os.path.exists, map(str, job.output)))
        return name in self._open or (there and not self._is_forced(job))

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Look at all jobs at once, and yield those that go on."""
        if not active_jobs:
            return
        going_on = active_jobs
        try:
            async with self.status_rate_limiter:
                view = self._look()
            with self._one_thread:
                self._look_at_strays(view)
                self._look_at_workers(view)
                going_on = [info for info in active_jobs if self._goes_on(info, view)]
                self._send_workers()
            self._tell(view)
            if view.unexplained:
                self._read_warnings()
            while len(self._done) > DONE_KEPT:
                self._api.delete_job(self._done.popleft())
        except Refused as refusal:
            raise _refusal(refusal) from refusal
        except Stopped:
            pass
        for info in going_on:
            yield info

    async def sleep(self) -> None:
        """Wait for the next look, or for a task to end, or for the end of the run."""
        await asyncio.to_thread(self._sleep)

    def _sleep(self) -> None:
        end = time.monotonic() + self.next_seconds_between_status_checks
        while (left_s := end - time.monotonic()) > 0:
            if self._stop.wait(min(left_s, SPOOL_EVERY_S)):
                return
            if self._api is not None:
                with self._one_thread:
                    if self._batches.changed():
                        return

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Leave it to `shutdown`, which follows: it deletes all Jobs of the run by their label.

        The list is not complete: jobs that are being looked at are not in it.
        """

    def shutdown(self) -> None:
        """Stop watching, and delete what has not ended."""
        self._stop.set()
        if self._api is not None:
            self._watched.close()
        super().shutdown()
        if self._api is None:
            return
        if self._terminated and self._owned_by_job:
            self._live_runs.leave()
        else:
            self._end_idle_workers()
            if self._open:
                self._delete_own()
            self._batches.remove()
            self._live_runs.end()
        calls = ", ".join(f"{number} x {purpose}" for purpose, number in self._api.calls.items())
        received = self._api.received.total() / 1000
        self.logger.debug(f"Calls of the Kubernetes API: {calls}; {received:.0f} kB received.")

    def _print_ready(self) -> None:
        """Print the Jobs that would be sent now, and end the run.

        It ends before Snakemake schedules anything: rules that run in the driver are not run, and
        no output is marked as incomplete.
        """
        ready = sorted(self.workflow.dag.ready_jobs, key=lambda job: job.jobid)
        jobs = [job for job in ready if not job.is_local]
        if in_pod():
            self._take_after_driver(*self._connect())
        for job in jobs:
            job.reset_params_and_resources()
        chosen = jobs[: self.workflow.nodes]
        workers = {}
        if self.executor_settings.batch_minutes:
            workers = {job: self._kind(job, task) for job in chosen if (task := self._task(job))}
        drafts = [self._manifest(self._facts(job)) for job in chosen if job not in workers]
        drafts += [self._manifest(facts) for facts in dict(workers.values()).values()]
        sys.stdout.write(yaml.safe_dump_all(drafts, sort_keys=False))
        of = f" of {len(jobs)} that are ready" if len(drafts) < len(jobs) else ""
        first = len(ready) - len(jobs)
        local = f" {first} jobs would run in the driver first." if first else ""
        self.logger.info(f"Dry run: {len(drafts)} Jobs{of} were printed, none was sent.{local}")
        self.shutdown()
        raise SystemExit(0)

    def _open_cluster(self) -> None:
        """Connect, and end what an earlier run of this workflow may have left."""
        self._check_user()
        connection, api = self._connect()
        if threading.current_thread() is threading.main_thread():
            # Snakemake would first let all jobs finish. Who sends SIGTERM to a driver, a cluster
            # that wants its pod back, say, kills it half a minute later.
            signal.signal(signal.SIGTERM, self._terminate)
        self._take_after_driver(connection, api)
        self._make_writable_folders()
        owner = self._run.owner["uid"] if self._owned_by_job else ""
        session = self._begin_session(owner)
        self._repeats = session.same_owner
        self._run = replace(self._run, run=session.run)
        self._selector = f"{WORKFLOW}={self._run.workflow},{RUN}={self._run.run}"
        self._numbers = itertools.count((session.drivers - 1) * NUMBERS + 1)
        self._batches = Batches(
            self._spools / session.run,
            self.executor_settings.infrastructure_retries,
            self.workflow.execution_settings.latency_wait,
            keeps_ends=self._owned_by_job,
        )
        try:
            self._end_earlier_runs(api, session.locks)
            if session.drivers > 1:
                self._take_up(api, session)
        except Refused as refusal:
            raise _refusal(refusal) from refusal
        self._watched = Watched(api, self._selector)
        self._watched.begin()
        self._api = api
        self.logger.info(
            f"Jobs of this run: kubectl get jobs --namespace {api.namespace} "
            f"--selector {RUN}={self._run.run}"
        )

    def _terminate(self, _signal: int, _frame: object) -> None:
        """End the run as Ctrl-C does, once."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._terminated = True
        if self._owned_by_job:
            self.logger.info(
                f"{len(self._open)} Jobs go on: the next pod of this driver takes them up.",
                extra={"goes_on": True},
            )
        raise SystemExit(128 + signal.SIGTERM)

    def _check_user(self) -> None:
        """Check that driver and pods can change what the other one makes."""
        umask = os.umask(0)
        os.umask(umask)
        owner = os.stat(self.tmpdir).st_uid
        settings = self.executor_settings
        warning = check_user(settings, os.getuid(), os.getgid(), umask, owner)
        if warning:
            self.logger.warning(warning)

    def _make_writable_folders(self) -> None:
        """Create the folders that jobs write to, or the kubelet would, for root alone."""
        for name in self._run.writable:
            folder = Path(self.executor_settings.mount_path, name)
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                raise WorkflowError(
                    f"--kubernetes-pvc-writable: the folder {folder} cannot be created "
                    f"({error.strerror}). Create it, or give this user the right to."
                ) from error

    def _connect(self) -> tuple[Connection, Api]:
        """Find the cluster."""
        settings = self.executor_settings
        connection = Connection()
        namespace = settings.namespace or connection.namespace
        api = Api(connection, namespace, settings.api_patience, self._stop, self.logger)
        return connection, api

    def _take_after_driver(self, connection: Connection, api: Api) -> None:
        """Give Jobs the image of the pod in which this runs, and let them go with it."""
        if not in_pod() or api.namespace != connection.namespace:
            return
        try:
            driver = api.pod(socket.gethostname())
        except Refused as refusal:
            raise _refusal(refusal) from refusal
        if driver is None:  # it has another host name
            return
        self._run = replace(self._run, owner=owner_of_jobs(driver))
        given = self.workflow.remote_execution_settings
        if given.container_image == type(given).container_image:  # Snakemake's default
            self._run = replace(self._run, image=driver["spec"]["containers"][0]["image"])

    def _begin_session(self, owner: str) -> Session:
        """Begin a run, or take up one; that of a driver on a lost node once its lock is free."""
        begin = time.monotonic()
        told = False
        while self._live_runs.held_by_another(owner):
            if not told:
                self.logger.warning(
                    "The driver before this one still has its lock, as on a node that was lost: "
                    "waiting for the file system to free it."
                )
                told = True
            if time.monotonic() - begin > self.executor_settings.node_deadline:
                raise WorkflowError(
                    "Another driver of the same Job still runs, or the file system does not free "
                    "its lock (.snakemake/kubernetes-pvc)."
                )
            if self._stop.wait(2):
                break
        return self._live_runs.begin(self._run.run, self._purpose(), owner)

    @property
    def _owned_by_job(self) -> bool:
        """Whether this driver is the pod of a Job, which starts another one if this is lost."""
        return self._run.owner is not None and self._run.owner["kind"] == "Job"

    def _purpose(self) -> str:
        """Return what tells runs of one study in this folder from those of another."""
        workflow = self.workflow
        files = [str(workflow.main_snakefile), *map(str, workflow.configfiles)]
        return digest(files, repr(sorted(workflow.config_settings.config.items())))

    def _take_up(self, api: Api, session: Session) -> None:
        """Find the Jobs and tasks that earlier drivers of this run have left."""
        foreign, going_on = [], 0
        holders: dict[str, set[str]] = {}
        # Those that run come last: a Job that has ended does not hide one that makes the same.
        for job in sorted(api.jobs(self._selector), key=lambda job: not finished(job)):
            name, labels = job["metadata"]["name"], job["metadata"]["labels"]
            if BATCH in labels:
                kind = labels[BATCH]
                # One that was lost matters as long as it has a task: its pod may not have ended.
                if finished(job) and name not in holders.setdefault(
                    kind, self._batches.holders(kind)
                ):
                    continue
                self._batches.queue(kind).workers.append(Submission(None, name, sent=True))
            elif PRODUCT in labels and (succeeded(job) or not finished(job)):
                self._left[labels[PRODUCT]] = name, labels[CONTENT]
                self._strays.add(name)
            elif not finished(job):
                foreign.append(name)
            if not finished(job):
                self._open.add(name)
                going_on += 1
        tasks = self._batches.take_up(session.same_owner)
        self.logger.info(
            f"The driver of this run was replaced: {going_on} of its Jobs still run, and what they "
            f"have done is not done again ({tasks} tasks are known)."
        )
        self._end_jobs(foreign, api)

    def _end_jobs(self, names: list[str], api: Api | None = None) -> None:
        """Delete Jobs, and wait until none of their pods runs."""
        if not names:
            return
        api = api or self._api
        for name in names:
            api.delete_job(name)
        begin = time.monotonic()
        while any(
            active(pod) and pod["metadata"]["labels"]["job-name"] in names
            for pod in api.pods(self._selector)
        ):
            if time.monotonic() - begin > self.executor_settings.node_deadline:
                raise WorkflowError(f"Pods of an earlier driver do not end: {', '.join(names)}.")
            if self._stop.wait(1):
                return
        self._open.difference_update(names)
        self._strays.difference_update(names)

    def _end_earlier_runs(self, api: Api, told_apart: bool) -> None:
        """Delete Jobs of drivers that were killed in this folder, and wait until none runs.

        Jobs of a run that lives, with other targets say, are left alone.
        """

        def left_by(thing: dict[str, Any]) -> str | None:
            """Run that a Job or pod was left by, or None if it lives."""
            run = thing["metadata"]["labels"][RUN]
            return None if told_apart and self._live_runs.lives(run) else run

        earlier = f"{WORKFLOW}={self._run.workflow},{RUN}!={self._run.run}"
        dead = Counter(
            filter(None, (left_by(job) for job in api.jobs(earlier) if not finished(job)))
        )
        if dead and not told_apart and not self.workflow.execution_settings.lock:
            raise WorkflowError(
                f"{dead.total()} Jobs of another run in this folder are in the cluster. The file "
                "system has no locks (flock), and with --nolock that run may still live: leave "
                f"out --nolock, or delete them: kubectl delete jobs -n {api.namespace} -l {earlier}"
            )
        if dead:
            self.logger.warning(
                f"{dead.total()} Jobs of an earlier run in this folder are still in the cluster: "
                "they are deleted before their work is sent again."
            )
        for run in dead:
            api.delete_jobs(f"{WORKFLOW}={self._run.workflow},{RUN}={run}")
        for spool in self._spools.glob("*") if told_apart else ():
            if spool.name != self._run.run and not self._live_runs.lives(spool.name):
                shutil.rmtree(spool, ignore_errors=True)
        begin = time.monotonic()
        while running := [
            pod["metadata"]["name"] for pod in api.pods(earlier) if active(pod) and left_by(pod)
        ]:
            if time.monotonic() - begin > self.executor_settings.node_deadline:
                raise WorkflowError(f"Pods of an earlier run do not end: {', '.join(running)}.")
            if self._stop.wait(2):
                return

    def _facts(self, job: JobExecutorInterface) -> JobFacts:
        """Collect what a Job has to know of a Snakemake job.

        Resources that depend on ``attempt``, here and in the pod, grow with each time that the job
        was out of memory, and not with its other failures, which Snakemake counts.
        """
        with self._counting_memory(job) as counted:
            resources = resources_of_group(job) if job.is_group() else dict(job.resources.items())
            return JobFacts(
                rule=job.name,
                jobid=job.jobid,
                attempt=counted,
                command=self.format_job_exec(job),
                working_directory=os.getcwd(),
                threads=resources["_cores"],
                resources=resources,
                wildcards={} if job.is_group() else dict(job.wildcards_dict),
                variables=tuple(self.envvars()),
                rules=tuple(job.rules),
                labels={}
                if job.is_group()
                else {PRODUCT: product_of(job), CONTENT: self._contents.of(job)},
            )

    @contextmanager
    def _counting_memory(self, job: JobExecutorInterface) -> Iterator[int]:
        """Let ``attempt`` be how often a job was given memory; yield what Snakemake counts."""
        counted, of_memory = job.attempt, 1 + self._memory_retries[job.jobid]
        if of_memory != counted:
            job.attempt = of_memory  # its resources are evaluated anew
        try:
            yield counted
        finally:
            if of_memory != counted:
                job.attempt = counted

    def _task(self, job: JobExecutorInterface) -> Task | None:
        """Make the task of a job, or None for one that has to have a pod of its own."""
        with self._counting_memory(job):
            seconds = self._expected.seconds(job.name)
            return task_of(job, self.workflow, self._contents, seconds)

    def _kind(self, job: JobExecutorInterface, task: Task) -> tuple[str, JobFacts]:
        """Choose the kind of pods for a task: its name, and what a worker there has to know."""
        with self._counting_memory(job):
            resources = dict(job.resources.items())
        asked = {
            name: resources[name]
            for name in ("mem_mb", "disk_mb", "gpu", "gpu_manufacturer")
            if name in resources
        }
        if "mem_mb" in asked:
            asked["mem_mb"] = pod_memory_mb(asked["mem_mb"])
        settings = self.executor_settings
        variables = tuple(self.envvars())
        placement = asdict(placement_of(job.name, settings))
        given = [settings.environment, settings.env_secret, settings.warm_up, self._code_on_path]
        alike = [self._run.image, variables, placement, given, settings.jobs_per_process]
        # Modules beside scripts may have the same names in two folders.
        kind = digest(job.threads, asked, task.search, *alike)
        share_s = 60 * settings.batch_minutes
        command = [
            *("exec", self.get_python_executable(), "-m", WORKER),
            shlex.quote(str(self._spools / self._run.run / kind)),
            *("--name", '"$SNAKEMAKE_JOB"'),
            *("--seconds", str(OVERTIME * share_s), "--idle", str(IDLE_S)),
            *("--per-process", str(settings.jobs_per_process)),
        ]
        if settings.warm_up:
            command += ["--warm-up", shlex.quote(settings.warm_up)]
        return kind, JobFacts(
            rule="batch",
            jobid=0,
            attempt=1,
            command=" ".join(command),
            working_directory=os.getcwd(),
            threads=job.threads,
            resources=asked,
            variables=variables,
            environment=self._search_path(),
            labels={BATCH: kind},
            rules=(job.name,),
        )

    def _is_forced(self, job: JobExecutorInterface) -> bool:
        """Tell whether a person wants a job done again, though it has ended."""
        settings = self.workflow.dag_settings
        return not self._repeats and (settings.forceall or job.name in settings.forcerun)

    def _place(self, job: JobExecutorInterface, task: Task, kind: str, facts: JobFacts) -> InBatch:
        """Leave a task to the workers of a kind, or to those that an earlier driver has sent."""
        placed = self._batches.add(task, kind, self._is_forced(job))
        self._batches.queue(kind).facts = facts
        if placed.queue is not None and placed.queue.facts is None:
            # What its workers were is not known. Others take their place if they are lost.
            other = placed.queue.spool.folder.name
            command = facts.command.replace(kind, other)
            placed.queue.facts = replace(facts, command=command, labels={BATCH: other})
        return placed

    @cached_property
    def _code_on_path(self) -> str:
        """Digest of sizes and times of the Python files that workers may have imported."""
        stamps = []
        for folder in filter(None, self._search_path().get("PYTHONPATH", "").split(os.pathsep)):
            for path in sorted(Path(folder).rglob("*.py")):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    stamps.append([str(path), stat.st_size, stat.st_mtime_ns])
        return digest(stamps)

    def _search_path(self) -> dict[str, str]:
        """What of this process's PYTHONPATH is on the volume."""
        volume = self.executor_settings.mount_path
        folders = [
            folder
            for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep)
            if folder and Path(folder).is_relative_to(volume)
        ]
        return {"PYTHONPATH": os.pathsep.join(folders)} if folders else {}

    def _manifest(self, facts: JobFacts) -> dict[str, Any]:
        """Make the manifest of a further Job."""
        return manifest(facts, self.executor_settings, self._run, next(self._numbers))

    def _send(self, submission: Submission) -> str:
        """Create a Job for a submission, and return why the cluster does not want it, if so.

        With a quota that is full it stays unsent, to be tried again.

        Raises
        ------
        WorkflowError
            If no job of this run could be sent.
        """
        most = self.executor_settings.max_pods
        if most and len(self._open) >= most:
            submission.refusal = f"{most} Jobs are in the cluster (--kubernetes-pvc-max-pods)"
            return ""
        draft = self._manifest(submission.facts)
        submission.name = draft["metadata"]["name"]
        submission.sent, submission.refusal = False, ""
        self.logger.debug(json.dumps(draft, indent=2))
        self._open.add(submission.name)
        try:
            self._watched.add(self._api.create_job(draft))
        except Refused as refusal:
            self._open.discard(submission.name)
            if refusal.concerns_all:
                raise WorkflowError(f"The cluster refuses all Jobs: {refusal}") from refusal
            submission.refusal = refusal.message
            return "" if refusal.over_quota else refusal.message
        submission.sent = True
        return ""

    def _look(self) -> View:
        """See all Jobs and pods of this run."""
        return View(*self._watched.look())

    def _look_at_strays(self, view: View) -> None:
        """Count out Jobs of an earlier driver that have ended and that nobody waits for."""
        for name in list(self._strays):
            now = verdict(view.jobs.get(name), view.pods.get(name, []))
            if isinstance(now, Succeeded | Failed):
                self._strays.discard(name)
                self._open.discard(name)

    def _look_at_workers(self, view: View) -> None:
        """Act upon what has become of workers, and read what they have done."""
        for queue in self._batches.queues.values():
            for each in list(queue.workers):
                now = self._in_time(each, view)
                if isinstance(now, Succeeded | Failed):
                    self._worker_ended(queue, each, now)
            queue.look()

    def _worker_ended(self, queue: Queue, ended: Submission, now: Succeeded | Failed) -> None:
        """Take note of the end of a worker."""
        queue.workers.remove(ended)
        if ended.name:
            self._count_out(ended.name)
            self._done.append(ended.name)
            queue.worker_ended(ended.name, now)
        if isinstance(now, Failed):
            hopeless = ended.fate or (now if not ended.sent else None)
            if hopeless and not hopeless.infrastructure and not queue.works:
                queue.give_up(hopeless)
            else:
                self.logger.warning(f"Worker {ended.name} was lost: {now.reason}")

    def _send_workers(self) -> None:
        """Send as many workers as the tasks need that wait."""
        for queue in self._batches.queues.values():
            wanted = queue.workers_wanted(60 * self.executor_settings.batch_minutes)
            if not wanted:
                queue.workers = [each for each in queue.workers if each.sent]
            while queue.facts is not None and len(queue.workers) < wanted:
                another = Submission(queue.facts)
                refusal = self._send(another)
                if refusal:
                    queue.give_up(Failed(refusal, infrastructure=False))
                    break
                queue.workers.append(another)
                if not another.sent:
                    break

    def _goes_on(self, info: SubmittedJobInfo, view: View) -> bool:
        """Act upon what has become of one job, and tell whether it is still to be watched."""
        if "task" in info.aux:
            return self._stop.is_set() or self._task_goes_on(info)
        submission: Submission = info.aux["submission"]
        if self._stop.is_set():
            return True
        try:
            now = self._in_time(submission, view)
            if isinstance(now, Failed) and now.infrastructure and not submission.fate:
                now = self._replace(submission, now)
            elif isinstance(now, Failed) and now.out_of_memory and not submission.fate:
                now = self._send_with_more_memory(info.job, submission, now)
        except Stopped:
            return True
        if isinstance(now, Running | Waiting):
            return True
        self._count_out(submission.name)
        if isinstance(now, Succeeded):
            self.report_job_success(info)
            self._done.append(submission.name)
        else:
            self._report_failure(info, submission.fate or now)
        return False

    def _task_goes_on(self, info: SubmittedJobInfo) -> bool:
        """Act upon what has become of a task, and tell whether it is still to be watched."""
        placed: InBatch = info.aux["task"]
        now = placed.verdict
        if isinstance(now, Failed) and now.out_of_memory:
            now = self._task_with_more_memory(info, now)
            placed = info.aux["task"]
        if isinstance(now, Running | Waiting):
            return True
        end = placed.queue.end_of(placed.task.product) if placed.queue else None
        self._batches.collect(placed)
        if isinstance(now, Succeeded):
            if end is not None:
                self._expected.learn(info.job.name, end.seconds)
            self.report_job_success(info)
            return False
        info.external_jobid = end.worker if end else placed.task.title
        message = f"{now.reason} (Job {end.worker})\n" if end else f"{now.reason}\n"
        if end and end.said:
            message += f"Last lines of its output:\n{textwrap.indent(end.said, '    ')}\n"
        elif now.pod:
            message += self._last_lines(now.pod)
        self._report(info, message)
        return False

    def _task_with_more_memory(self, info: SubmittedJobInfo, killed: Failed) -> Verdict:
        """Leave a task to larger workers that was out of memory, if it asks for more then."""
        job, placed = info.job, info.aux["task"]
        settled = self._memory_retries[job.jobid]
        had, _ = self._memory_of(job)
        while self._memory_retries[job.jobid] < self.executor_settings.memory_retries:
            self._memory_retries[job.jobid] += 1
            # Sizes of pods have steps: until it gets a larger one.
            has, (task, kind, facts) = self._memory_of(job)
            if has > had:
                break
        else:
            if self._memory_retries[job.jobid] == settled:
                return killed
            return replace(killed, reason=f"{killed.reason}, and mem_mb does not grow with attempt")
        self.logger.warning(
            f"{task.title} was out of memory (limit {killed.out_of_memory}): sent again to a pod "
            f"with {has}M.",
            extra={"sent_again": job.jobid},
        )
        self._batches.collect(placed)
        info.aux["task"] = self._place(job, task, kind, facts)
        return Waiting("sent again with more memory")

    def _memory_of(self, job: JobExecutorInterface) -> tuple[int, tuple[Task, str, JobFacts]]:
        """Return the memory of a pod for a job now (MB), the job's task, and that kind of pod."""

        def ask() -> tuple[int, tuple[Task, str, JobFacts]]:
            task = self._task(job)
            kind, facts = self._kind(job, task)
            return facts.resources.get("mem_mb", 0), (task, kind, facts)

        # In a thread without an event loop, as functions for resources may need one of their own.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(ask).result()

    def _in_time(self, submission: Submission, view: View) -> Verdict:
        """Say what has become of a job or worker, which is given up if it waits too long."""
        now = self._now(submission, view)
        if isinstance(now, Waiting):
            return self._wait(submission, now, view)
        if isinstance(now, Running):
            submission.waiting_since.clear()
        return now

    def _now(self, submission: Submission, view: View) -> Verdict:
        """Say what has become of a job, which may not have been sent yet."""
        if submission.sent:
            pods = view.pods.get(submission.name, [])
            names = [submission.name, *(pod["metadata"]["name"] for pod in pods)]
            warnings = [event for name in names for event in self._warnings.get(name, [])]
            return verdict(view.jobs.get(submission.name), pods, warnings)
        if view.quota_full:  # one question in each interval is enough
            return over_quota(submission.refusal)
        refusal = self._send(submission)
        if refusal:
            return Failed(refusal, infrastructure=False)
        if submission.sent:
            return Running()
        view.quota_full = True
        return over_quota(submission.refusal)

    def _wait(self, submission: Submission, now: Waiting, view: View) -> Verdict:
        """Let a job wait, or give it up at its deadline."""
        since = submission.waiting_since
        if now.kind is Wait.ROOM:
            # It has no node, whatever one once did with it.
            since.pop(Wait.START, None)
            since.pop(Wait.NOTHING, None)
        waited_s = time.monotonic() - since.setdefault(now.kind, time.monotonic())
        if time.monotonic() - min(since.values()) >= TELL_AFTER_S:
            view.waits[now] += 1
            view.unexplained |= not now.explained
        settings = self.executor_settings
        if now.kind is Wait.ROOM and waited_s > settings.start_deadline:
            now = self._unless_too_large(submission, now, view)
        deadline_s = {
            Wait.ROOM: settings.room_deadline or float("inf"),
            Wait.START: settings.node_deadline,
            Wait.END: settings.node_deadline,
            Wait.NOTHING: settings.start_deadline,
        }[now.kind]
        if waited_s <= deadline_s:
            return now
        if now.kind is Wait.NOTHING and self._node_is_coming(submission, view):
            since.clear()
            return now
        fate = Failed(f"waited for {deadline_s} s: {now.why}", infrastructure=now.ending)
        if not submission.sent:
            return fate
        self._api.delete_job(submission.name)
        if now.ending or submission.fate:
            # Its node is silent. It is taken for dead, or the job would never be done.
            return fate
        # The pod may have begun at this moment: what comes next waits until it has ended.
        submission.fate = fate
        submission.waiting_since.clear()
        return now

    def _unless_too_large(self, submission: Submission, now: Waiting, view: View) -> Waiting:
        """Look whether any node is large enough for a job that waits for room."""
        pods = view.pods.get(submission.name, [])
        if not pods or "Insufficient" not in now.why:
            return now
        too_large = larger_than_all(pods[0], self._read_nodes())
        return Waiting(f"{too_large}. {now.why}", Wait.NOTHING) if too_large else now

    def _read_nodes(self) -> list[dict[str, Any]]:
        """Nodes of the cluster, as they were a while ago; none without the right to list them."""
        if time.monotonic() >= self._nodes_due:
            self._nodes_due = time.monotonic() + NODES_EVERY_S
            try:
                self._nodes = self._api.nodes()
            except Refused as refusal:
                self._nodes_due = float("inf")
                self.logger.info(
                    f"Whether any node is large enough for jobs that wait is not known: {refusal}"
                )
        return self._nodes

    def _node_is_coming(self, submission: Submission, view: View) -> bool:
        """Tell whether the cluster is about to start a node for a job that no present one takes."""
        try:
            return any(
                event.get("reason") in SCALE_UP
                for pod in view.pods.get(submission.name, [])
                for event in self._api.events_about(pod["metadata"]["name"])
            )
        except Refused:
            return False

    def _replace(self, submission: Submission, lost: Failed) -> Verdict:
        """Send a job again whose Job was lost to the infrastructure, if that is not too often."""
        submission.losses += 1
        if submission.losses > self.executor_settings.infrastructure_retries:
            return Failed(f"lost {submission.losses} times: {lost.reason}", False, lost.pod)
        self.logger.warning(
            f"Job {submission.name} was lost ({lost.reason}): it is sent again, "
            f"{submission.losses} of {self.executor_settings.infrastructure_retries} times.",
            extra={"sent_again": submission.facts.jobid},
        )
        return self._send_anew(submission)

    def _send_with_more_memory(
        self, job: JobExecutorInterface, submission: Submission, killed: Failed
    ) -> Verdict:
        """Send a job again that was out of memory, if it may have more and asks for more then."""
        if self._memory_retries[job.jobid] >= self.executor_settings.memory_retries:
            return killed
        self._memory_retries[job.jobid] += 1
        # In a thread without an event loop, as functions for resources may need one of their own.
        with ThreadPoolExecutor(1) as thread:
            facts = thread.submit(self._facts, job).result()
        had, has = (one.resources.get("mem_mb", 0) for one in (submission.facts, facts))
        if not has > had:
            self._memory_retries[job.jobid] -= 1
            return replace(killed, reason=f"{killed.reason}, and mem_mb does not grow with attempt")
        self.logger.warning(
            f"Job {submission.name} was out of memory (limit {killed.out_of_memory}): sent again "
            f"with {has}M.",
            extra={"sent_again": submission.facts.jobid},
        )
        submission.facts = facts
        submission.killed = f"OOMKilled, limit {killed.out_of_memory}; sent again with {has}M, "
        return self._send_anew(submission)

    def _send_anew(self, submission: Submission) -> Verdict:
        """Create another Job for a job whose Job is over."""
        self._count_out(submission.name)
        submission.waiting_since.clear()
        refusal = self._send(submission)
        return Failed(refusal, infrastructure=False) if refusal else Running()

    def _count_out(self, name: str) -> None:
        """Count a Job that has ended no longer among those in the cluster."""
        self._open.discard(name)
        self._watched.forget(name)

    def _report_failure(self, info: SubmittedJobInfo, failed: Failed) -> None:
        """Tell Snakemake that a job has failed, with the last that its container said."""
        submission: Submission = info.aux["submission"]
        info.external_jobid = submission.name
        # A job that cannot have more memory must not hide that it needs more.
        reason = failed.reason if failed.pod else f"{submission.killed}{failed.reason}"
        message = f"{reason} (Job {info.external_jobid})\n"
        if failed.pod:
            message += self._last_lines(failed.pod)
        self._report(info, message)

    def _last_lines(self, pod: str) -> str:
        """Return the last lines of a pod's log, under a heading."""
        try:
            log = self._api.last_lines(pod, LOG_LINES)
        except Stopped:
            log = "(not read: the run ends)"
        return f"Last lines of its pod {pod}:\n{textwrap.indent(log, '    ')}\n"

    def _report(self, info: SubmittedJobInfo, message: str) -> None:
        """Tell Snakemake that a job has failed. Of a group it passes on only what has a name."""
        named = {"failure": message} if info.job.is_group() else {}
        self.report_job_error(info, msg=message, **named)

    def _tell(self, view: View) -> None:
        """Tell why jobs wait, once for each reason."""
        for wait, number in view.waits.items():
            # The numbers in "0/12 nodes are available" are others at every look.
            reason = re.sub(r"\d+", "#", wait.why)
            if reason not in self._told:
                self._told.add(reason)
                one = number == 1
                jobs = "1 job" if one else f"{number} jobs"
                does = "waits" if one else "wait"
                if wait.kind is Wait.ROOM:
                    does += " for room"
                elif wait.kind is Wait.NOTHING:
                    deadline_s = self.executor_settings.start_deadline
                    fails = "it fails" if one else "they fail"
                    does = f"cannot start ({fails} after {deadline_s} s)"
                self.logger.warning(f"{jobs} {does}: {wait.why}")

    def _read_warnings(self) -> None:
        """Read what events say, for jobs whose objects do not tell why they wait."""
        if time.monotonic() < self._warnings_due:
            return
        self._warnings_due = time.monotonic() + EVENTS_EVERY_S
        try:
            events = self._api.warnings()
        except Refused as refusal:
            self.logger.warning(f"Why some jobs wait cannot be told: {refusal}")
            self._warnings_due = float("inf")
            return
        self._warnings = defaultdict(list)
        for event in events:
            self._warnings[event["involvedObject"]["name"]].append(event)

    def _end_idle_workers(self) -> None:
        """Delete the workers that wait for more tasks, which do not come."""
        api = self._api.hurried(CLOSING_PATIENCE_S)
        with suppress(Refused, WorkflowError):  # what is left is told of next
            for queue in self._batches.queues.values():
                for idle in [] if queue.entries else queue.workers:
                    if idle.sent:
                        api.delete_job(idle.name)
                    self._open.discard(idle.name)

    def _delete_own(self) -> None:
        """Delete all Jobs of this run."""
        api = self._api.hurried(CLOSING_PATIENCE_S)
        self.logger.info(f"Deleting the Jobs of this run ({len(self._open)} have not ended).")
        try:
            # A creation that was interrupted may arrive after the first deletion.
            while True:
                api.delete_jobs(self._selector)
                left = [
                    job
                    for job in api.jobs(self._selector)
                    if "deletionTimestamp" not in job["metadata"]
                ]
                if not left:
                    return
        except (Refused, WorkflowError) as error:
            self.logger.error(
                f"Jobs may be left in the cluster ({error}). Delete them: kubectl delete jobs "
                f"--namespace {api.namespace} --selector {RUN}={self._run.run}"
            )


def _refusal(refusal: Refused) -> WorkflowError:
    """Turn a refusal into what ends a run: it names the right that is missing."""
    return WorkflowError(f"The cluster refuses what the executor has to do: {refusal}")
