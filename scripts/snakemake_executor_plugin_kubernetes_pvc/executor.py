"""The executor: sends Jobs, watches them all with two calls per interval, and cleans up."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import secrets
import signal
import socket
import sys
import textwrap
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface
from snakemake_interface_executor_plugins.settings import SharedFSUsage
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from snakemake_executor_plugin_kubernetes_pvc.api import Api, Refused, Stopped
from snakemake_executor_plugin_kubernetes_pvc.connection import Connection, in_pod
from snakemake_executor_plugin_kubernetes_pvc.live_runs import LiveRuns
from snakemake_executor_plugin_kubernetes_pvc.manifest import (
    RUN,
    WORKFLOW,
    JobFacts,
    Run,
    manifest,
    owner_of_jobs,
    workflow_id,
)
from snakemake_executor_plugin_kubernetes_pvc.placement import check_rules
from snakemake_executor_plugin_kubernetes_pvc.settings import (
    check,
    check_user,
    writable_folders,
)
from snakemake_executor_plugin_kubernetes_pvc.status import (
    Failed,
    Running,
    Succeeded,
    Verdict,
    Waiting,
    active,
    finished,
    verdict,
)

LOG_LINES = 20
# Reasons that last are told; that an image is being pulled for a few seconds is none.
TELL_AFTER_S = 20
EVENTS_EVERY_S = 30
# A pod that Kubernetes deletes is given half a minute before it gets SIGKILL.
CLOSING_PATIENCE_S = 20
# Every look lists them all, those that are done too: in a long run only the last may stay.
DONE_KEPT = 100


@dataclass
class Submission:
    """One Snakemake job, and the Job that stands for it now.

    Attributes
    ----------
    facts
        What is to be run.
    name
        Name of the Job.
    sent
        False as long as the API server has not taken it.
    refusal
        Why it has not.
    losses
        How many Jobs were lost to the infrastructure.
    waiting_since
        When it was first seen not to run, by this machine's clock; None while it runs.
    fate
        How this will be reported once its pod has ended: set when the executor gave it up.
    """

    facts: JobFacts
    name: str = ""
    sent: bool = False
    refusal: str = ""
    losses: int = 0
    waiting_since: float | None = None
    fate: Failed | None = None


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
        How many jobs have been waiting for a while, by the reason.
    unexplained
        True if the reason for one of them is not known.
    """

    jobs: dict[str, dict[str, Any]]
    pods: dict[str, list[dict[str, Any]]]
    quota_full: bool = False
    waits: Counter[str] = field(default_factory=Counter)
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
        self._selector = f"{WORKFLOW}={self._run.workflow},{RUN}={self._run.run}"
        self._live_runs = LiveRuns(Path(".snakemake/kubernetes-pvc"))
        self._api: Api | None = None
        # Counted from two threads, in one step each.
        self._numbers = itertools.count(1)
        # Names of Jobs that may be in the cluster and have not been seen to end.
        self._open: set[str] = set()
        self._done: deque[str] = deque()
        self._told: set[str] = set()
        self._warnings: dict[str, list[dict[str, Any]]] = {}
        self._warnings_due = 0.0
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
        """Send a list of jobs."""
        if self._api is None:
            self._open_cluster()
        super().run_jobs(jobs)

    def run_job(self, job: JobExecutorInterface) -> None:
        """Send one job."""
        submission = Submission(self._facts(job))
        refusal = self._send(submission)
        info = SubmittedJobInfo(job, external_jobid=submission.name, aux={"submission": submission})
        if refusal:
            self.report_job_error(info, msg=f"The cluster refuses the Job: {refusal}\n")
        else:
            self.report_job_submission(info)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Look at all jobs with one list of Jobs and one of pods, and yield those that go on."""
        if not active_jobs:
            return
        going_on = active_jobs
        try:
            async with self.status_rate_limiter:
                view = self._look()
            going_on = [info for info in active_jobs if self._goes_on(info, view)]
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
        """Wait for the next look, or for the end of the run."""
        await asyncio.to_thread(self._stop.wait, self.next_seconds_between_status_checks)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Leave it to `shutdown`, which follows: it deletes all Jobs of the run by their label.

        The list is not complete: jobs that are being looked at are not in it.
        """

    def shutdown(self) -> None:
        """Stop watching, and delete what has not ended."""
        self._stop.set()
        super().shutdown()
        if self._api is None:
            return
        if self._open:
            self._delete_own()
        self._live_runs.end()
        calls = ", ".join(f"{number} x {purpose}" for purpose, number in self._api.calls.items())
        self.logger.debug(f"Calls of the Kubernetes API: {calls}")

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
        drafts = [self._manifest(self._facts(job)) for job in jobs[: self.workflow.nodes]]
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
            signal.signal(signal.SIGTERM, _terminate)
        self._take_after_driver(connection, api)
        self._make_writable_folders()
        try:
            self._end_earlier_runs(api)
        except Refused as refusal:
            raise _refusal(refusal) from refusal
        self._api = api
        self.logger.info(
            f"Jobs of this run: kubectl get jobs --namespace {api.namespace} "
            f"--selector {RUN}={self._run.run}"
        )

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

    def _end_earlier_runs(self, api: Api) -> None:
        """Delete Jobs of drivers that were killed in this folder, and wait until none runs.

        Jobs of a run that lives, with other targets say, are left alone.
        """
        told_apart = self._live_runs.begin(self._run.run)

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
        begin = time.monotonic()
        while running := [
            pod["metadata"]["name"] for pod in api.pods(earlier) if active(pod) and left_by(pod)
        ]:
            if time.monotonic() - begin > self.executor_settings.start_deadline:
                raise WorkflowError(f"Pods of an earlier run do not end: {', '.join(running)}.")
            if self._stop.wait(2):
                return

    def _facts(self, job: JobExecutorInterface) -> JobFacts:
        """Collect what a Job has to know of a Snakemake job."""
        return JobFacts(
            rule=job.name,
            jobid=job.jobid,
            attempt=job.attempt,
            command=self.format_job_exec(job),
            working_directory=os.getcwd(),
            threads=job.threads,
            resources=dict(job.resources.items()),
            wildcards={} if job.is_group() else dict(job.wildcards_dict),
            variables=tuple(self.envvars()),
            rules=tuple(job.rules),
        )

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
        draft = self._manifest(submission.facts)
        submission.name = draft["metadata"]["name"]
        submission.sent, submission.refusal = False, ""
        self.logger.debug(json.dumps(draft, indent=2))
        self._open.add(submission.name)
        try:
            self._api.create_job(draft)
        except Refused as refusal:
            self._open.discard(submission.name)
            if refusal.concerns_all:
                raise WorkflowError(f"The cluster refuses all Jobs: {refusal}") from refusal
            submission.refusal = refusal.message
            return "" if refusal.over_quota else refusal.message
        submission.sent = True
        return ""

    def _look(self) -> View:
        """Ask for all Jobs and pods of this run."""
        jobs = {job["metadata"]["name"]: job for job in self._api.jobs(self._selector)}
        pods = defaultdict(list)
        for pod in self._api.pods(self._selector):
            pods[pod["metadata"]["labels"]["job-name"]].append(pod)
        return View(jobs, pods)

    def _goes_on(self, info: SubmittedJobInfo, view: View) -> bool:
        """Act upon what has become of one job, and tell whether it is still to be watched."""
        submission: Submission = info.aux["submission"]
        if self._stop.is_set():
            return True
        try:
            now = self._now(submission, view)
            if isinstance(now, Waiting):
                now = self._wait(submission, now, view)
            elif isinstance(now, Running):
                submission.waiting_since = None
            if isinstance(now, Failed) and now.infrastructure and not submission.fate:
                now = self._replace(submission, now)
        except Stopped:
            return True
        if isinstance(now, Running | Waiting):
            return True
        self._open.discard(submission.name)
        if isinstance(now, Succeeded):
            self.report_job_success(info)
            self._done.append(submission.name)
        else:
            self._report_failure(info, submission.fate or now)
        return False

    def _now(self, submission: Submission, view: View) -> Verdict:
        """Say what has become of a job, which may not have been sent yet."""
        if submission.sent:
            pods = view.pods.get(submission.name, [])
            names = [submission.name, *(pod["metadata"]["name"] for pod in pods)]
            warnings = [event for name in names for event in self._warnings.get(name, [])]
            return verdict(view.jobs.get(submission.name), pods, warnings)
        if view.quota_full:  # one question in each interval is enough
            return Waiting(submission.refusal)
        refusal = self._send(submission)
        if refusal:
            return Failed(refusal, infrastructure=False)
        if submission.sent:
            return Running()
        view.quota_full = True
        return Waiting(submission.refusal)

    def _wait(self, submission: Submission, now: Waiting, view: View) -> Verdict:
        """Let a job wait, or give it up at its deadline."""
        if submission.waiting_since is None:
            submission.waiting_since = time.monotonic()
        waited_s = time.monotonic() - submission.waiting_since
        if waited_s >= TELL_AFTER_S:
            view.waits[now.why] += 1
            view.unexplained |= not now.explained
        deadline_s = self.executor_settings.start_deadline
        if waited_s <= deadline_s:
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
        submission.waiting_since = None
        return now

    def _replace(self, submission: Submission, lost: Failed) -> Verdict:
        """Send a job again whose Job was lost to the infrastructure, if that is not too often."""
        submission.losses += 1
        if submission.losses > self.executor_settings.infrastructure_retries:
            return Failed(f"lost {submission.losses} times: {lost.reason}", False, lost.pod)
        self._open.discard(submission.name)
        self.logger.warning(
            f"Job {submission.name} was lost ({lost.reason}): it is sent again, "
            f"{submission.losses} of {self.executor_settings.infrastructure_retries} times."
        )
        submission.waiting_since = None
        refusal = self._send(submission)
        return Failed(refusal, infrastructure=False) if refusal else Running()

    def _report_failure(self, info: SubmittedJobInfo, failed: Failed) -> None:
        """Tell Snakemake that a job has failed, with the last that its container said."""
        info.external_jobid = info.aux["submission"].name
        message = f"{failed.reason} (Job {info.external_jobid})\n"
        if failed.pod:
            try:
                log = self._api.last_lines(failed.pod, LOG_LINES)
            except Stopped:
                log = "(not read: the run ends)"
            message += f"Last lines of its pod {failed.pod}:\n{textwrap.indent(log, '    ')}\n"
        self.report_job_error(info, msg=message)

    def _tell(self, view: View) -> None:
        """Tell why jobs wait, once for each reason."""
        for why, number in view.waits.items():
            # The numbers in "0/12 nodes are available" are others at every look.
            reason = re.sub(r"\d+", "#", why)
            if reason not in self._told:
                self._told.add(reason)
                jobs = "1 job waits" if number == 1 else f"{number} jobs wait"
                self.logger.warning(f"{jobs}: {why}")

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


def _terminate(_signal: int, _frame: object) -> None:
    """End the run as Ctrl-C does, once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signal.SIGTERM)
