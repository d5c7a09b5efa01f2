"""How far a run is, on the screen: ``snakemake --logger snakeshed``, set in profiles/default.

A logger plugin of Snakemake
(https://github.com/snakemake/snakemake-interface-logger-plugins). It shows what a person wants to
see of a run of this workflow, each error once, and leaves Snakemake's own account to the file in
``.snakemake/log``. With ``--verbose``, ``--debug-dag`` or ``--dry-run`` that is shown instead.
"""

from __future__ import annotations

import re
import sys
import threading
from logging import ERROR, WARNING, LogRecord
from textwrap import dedent

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_snakeshed.dask_jobs import DaskJobs
from snakemake_logger_plugin_snakeshed.job_ends import (
    in_short,
    outcome,
    reason_of,
    state_of,
    warnings_in,
)
from snakemake_logger_plugin_snakeshed.progress import Progress
from snakemake_logger_plugin_snakeshed.screen import Screen, printable

# What Snakemake tells of itself during a run, by how it begins.
_CHATTER = (
    "Assuming unrestricted shared filesystem",
    "Building DAG of jobs",
    "Using shell:",
    "Provided c",
    "Provided nodes",
    "Provided resources",
    "Rules claiming more threads",
    "Conda environments: ignored",
    "Group jobs:",
    "Select jobs to execute",
    "Updating checkpoint dependencies",
    "DAG of jobs will be updated",
    "Removing output files of failed job",
    "Shutting down, this might take",
    "Exiting because a job execution failed",
    "Elapsed time:",
    "Using workflow specific profile",
    "Using profile",
    "host: ",
)
# What an input function had to say, among what Snakemake says of that function.
_TOLD_BY_INPUT = re.compile(r"^  WorkflowError:\n((?:    .*\n?)+)", re.MULTILINE)
_LOG_FILE = "Complete log(s): "
_NOTHING = "Nothing to be done"
_FAILED = "At least one job did not complete successfully"
# What Snakemake says when it was asked to stop (SIGTERM, Ctrl-C), and what that means.
_STOPPING = {
    "Will exit after finishing currently running jobs": "Stopping when the jobs at work are done.",
    "Terminating processes on user request": "Stopping; the jobs at work are ended.",
}
# Snakemake's exceptions that stand for a job's end, which JOB_ERROR tells as well.
_JOB_EXCEPTIONS = ("RuleException", "CalledProcessError", "SpawnedJobError")

# Reasons in the last lines of a run, and letters of each.
_REASONS = 5
_LONGEST_REASON = 400
# Between two looks at jobs that may be at work for long (s).
_LOOK_EVERY_S = 5.0


class LogHandler(LogHandlerBase):
    """Shows the events of a run."""

    def __post_init__(self) -> None:
        settings = self.common_settings
        stream = sys.stdout if settings.stdout else sys.stderr
        self._screen = Screen(stream)
        self._progress = Progress()
        self._dask = DaskJobs()
        self._ended = threading.Event()
        self._looking: threading.Thread | None = None
        self._quiet = bool({Quietness.ALL, Quietness.PROGRESS} & set(settings.quiet or ()))
        self._jobs: dict[int, LogRecord] = {}
        # Logs as they were when a job began, which an earlier attempt may have left.
        self._logs_before: dict[int, dict[str, tuple[int, ...] | None]] = {}
        # What failed: name and reason. Of runs on a cluster the reason is repeated at the end.
        self._failed: dict[int, tuple[str, str]] = {}
        self._told_of_group: dict[int, str] = {}
        self._on_cluster = False
        self._told: set[tuple[int, str]] = set()
        self._complaints: set[str] = set()
        self._stopping = ""
        self._goes_on = False
        self._exceptions: list[str] = []
        self._log_file = ""
        self._snakemake = None
        if settings.verbose or settings.debug_dag or settings.dryrun:
            self._snakemake = _as_without_plugin(settings, stream)

    def emit(self, record: LogRecord) -> None:
        """Show a record, or take note of it; nothing that goes wrong here ends a run."""
        try:
            if self._snakemake is None:
                self._show(record)
            elif all(each.filter(record) for each in self._snakemake.filters):
                self._snakemake.emit(record)
        except Exception:  # noqa: BLE001 - see above
            self.handleError(record)

    def close(self) -> None:
        """Show what was held back, and leave the screen in order."""
        self._ended.set()
        for text in self._exceptions:
            self._screen.line(text)
        self._exceptions.clear()
        self._screen.close()
        super().close()

    def _show(self, record: LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            self._progress.plan(record.stats)
        elif event == LogEvent.JOB_INFO:
            self._jobs[record.jobid] = record
            self._failed.pop(record.jobid, None)
            self._note_logs(record.jobid)
            self._progress.started(record.rule_name)
            if record.rule_name == "delineate":
                self._dask.started(record.jobid, record.log)
                self._look_at_jobs()
        elif event == LogEvent.JOB_FINISHED:
            self._failed.pop(record.job_id, None)
            self._logs_before.pop(record.job_id, None)
            self._dask.ended(record.job_id)
            self._finished(self._jobs.pop(record.job_id, None))
        elif event == LogEvent.PROGRESS:
            self._progress.steps(record.total)
            self._show_status()
        elif event == LogEvent.JOB_ERROR:
            self._job_failed(record)
        elif event == LogEvent.GROUP_ERROR:
            for job in record.job_error_info:
                self._told_of_group[job["jobid"]] = getattr(record, "failure", "")
            self._message(record)
        elif event == LogEvent.ERROR and record.exception in _JOB_EXCEPTIONS:
            self._exceptions.append(record.getMessage())
        elif event is None or event == LogEvent.ERROR:
            # The executor starts a job once more without Snakemake.
            self._note_logs(getattr(record, "sent_again", None))
            self._message(record)

    def _note_logs(self, jobid: int | None) -> None:
        """Note how the logs of a job are before it begins."""
        if jobid in self._jobs:
            logs = self._jobs[jobid].log or ()
            self._logs_before[jobid] = {path: state_of(path) for path in logs}

    def _finished(self, job: LogRecord | None) -> None:
        if job is None or job.rule_name == "all":
            return
        shard = "shard" in dict(job.wildcards or {})
        self._progress.finished(job.rule_name, shard, list(job.output))
        if not shard and not self._quiet:
            if said := outcome(job.log):
                self._screen.line(f"{job.rule_name}: {said}")
            for warning in warnings_in(job.log):
                self._screen.line(f"warning: {warning}")

    def _show_status(self) -> None:
        if not self._quiet:
            done, total = self._progress.shard_jobs
            parts = filter(None, map(str, (self._progress, self._dask)))
            self._screen.status("; ".join(parts), last=done == total)

    def _look_at_jobs(self) -> None:
        """From now on, look at times how far the jobs at work are: Snakemake tells of ends only."""
        if self._looking is None and self._snakemake is None and not self._quiet:
            self._looking = threading.Thread(target=self._look, daemon=True)
            self._looking.start()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            with self.lock:
                for address in self._dask.new_dashboards():
                    self._screen.line(f"Dask dashboard: {address}")
                done, total = self._progress.shard_jobs
                if str(self._dask) and done < total:
                    self._show_status()

    def _job_failed(self, record: LogRecord) -> None:
        self._dask.ended(record.jobid)
        exception = self._exceptions.pop(0) if self._exceptions else ""
        if self._stopping == _STOPPING["Terminating processes on user request"]:
            return
        told = self._told_of_group.pop(record.jobid, "") or getattr(record, "rule_msg", None) or ""
        before = self._logs_before.get(record.jobid, {})
        logs = [
            path
            for path in record.log or ()
            if before.get(path) is None or before[path] != state_of(path)
        ]
        reason = reason_of(logs, exception, told)
        name = _name(self._jobs.get(record.jobid, record))
        if record.jobid in self._failed:  # Snakemake tells all errors once more at the end.
            return
        self._failed[record.jobid] = (name, reason)
        self._on_cluster |= bool(told)
        if (record.jobid, reason) in self._told:
            return
        self._told.add((record.jobid, reason))
        self._screen.line(f"{name} failed: {reason}")
        aux = getattr(record, "aux", None) or {}
        for key, value in aux.items():
            if key != "failure":  # of a group
                self._screen.line(f"  {key}: {value}")
        if logs:
            self._screen.line(f"  log: {', '.join(logs)}")

    def _message(self, record: LogRecord) -> None:
        text = record.getMessage()
        self._goes_on |= getattr(record, "goes_on", False)
        if text in {"", "None"}:
            return
        stopping = next((said for start, said in _STOPPING.items() if text.startswith(start)), "")
        if stopping:
            # Said again for each job that ends.
            if stopping != self._stopping and not self._goes_on:
                self._screen.line(stopping)
            self._stopping = stopping
        elif text.startswith(_LOG_FILE):
            self._log_file = text.removeprefix(_LOG_FILE)
        elif _FAILED in text and (self._failed or self._stopping):
            # How far the run came goes above its last word.
            self._screen.close()
            stopped = "Stopped. Run the same command again for the rest."
            if self._goes_on:
                stopped = "This pod ends. The next pod of its Job continues the run."
            self._screen.line(self._what_failed() if self._failed else stopped)
        elif text.startswith(_NOTHING):
            self._screen.line("Nothing to be done: all files are up to date.")
        elif record.levelno == WARNING or not text.lstrip().startswith(_CHATTER):
            text = _without_frames(_without_place(text)) if record.levelno >= ERROR else text
            if record.levelno < WARNING or text not in self._complaints:
                self._screen.line(text)
            self._complaints.add(text)

    def _what_failed(self) -> str:
        names = sorted({name for name, _ in self._failed.values()})
        lines = [
            f"{len(names)} of the jobs failed: {_listed(names)}.",
            *(self._why() if self._on_cluster else []),
        ]
        lines.append(
            "What does not depend on them is done. Mend the cause and run the same command again."
        )
        if self._log_file:
            lines.append(f"Snakemake's own log: {self._log_file}")
        return "\n".join(lines)

    def _why(self) -> list[str]:
        """Each reason once, with the jobs that failed for it."""
        by_reason: dict[str, set[str]] = {}
        for name, reason in self._failed.values():
            by_reason.setdefault(in_short(reason)[:_LONGEST_REASON], set()).add(name)
        if len(by_reason) == 1:
            return [f"  {next(iter(by_reason))}"]
        most_first = sorted(by_reason.items(), key=lambda item: (-len(item[1]), min(item[1])))
        lines = [f"  {_listed(sorted(names))}: {why}" for why, names in most_first[:_REASONS]]
        if len(most_first) > _REASONS:
            lines.append(f"  and {len(most_first) - _REASONS} more reasons, which are above")
        return lines

    @property
    def writes_to_stream(self) -> bool:
        """It does."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """It does not."""
        return False

    @property
    def has_filter(self) -> bool:
        """All records come here."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Records are formatted here."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """It does not."""
        return False


def _listed(names: list[str]) -> str:
    """Some names, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _name(job: LogRecord) -> str:
    """Name a job as a person would: "delineate shard 07", "gather features"."""
    wildcards = dict(getattr(job, "wildcards", None) or {})
    chosen = (f"shard {v}" if k == "shard" else str(v) for k, v in wildcards.items())
    return " ".join([job.rule_name, *chosen])


class _PrintableFormatter(DefaultFormatter):
    """What Snakemake says, without what names in it could do to a terminal."""

    def format(self, record: LogRecord) -> str:
        return printable(str(super().format(record) or ""), keep="\n")


def _as_without_plugin(settings, stream) -> ColorizingTextHandler:
    """Return the handler that Snakemake has by default."""
    return ColorizingTextHandler(
        nocolor=settings.nocolor,
        stream=stream,
        formatter=_PrintableFormatter(settings.quiet, settings.show_failed_logs),
        filter=DefaultFilter(
            settings.quiet,
            settings.debug_dag,
            settings.verbose,
            settings.dryrun,
            settings.printshellcmds,
        ),
    )


def _without_place(text: str) -> str:
    """An error of the workflow without the lines of the workflow that noticed it."""
    first, _, rest = text.partition("\n")
    if first.startswith("InputFunctionException ") and (told := _TOLD_BY_INPUT.search(rest)):
        return dedent(told[1]).strip()
    if not (first.startswith("WorkflowError in file ") and rest):
        return text
    return "\n".join(line for line in rest.splitlines() if not line.startswith('  File "'))


def _without_frames(text: str) -> str:
    """An exception that Snakemake did not expect without the lines that it came through."""
    if not text.startswith("Traceback "):
        return text
    # Snakemake puts an empty line behind each frame.
    told = text.rpartition('\n  File "')[2].partition("\n\n")[2].strip()
    return f"{told}\n(--verbose tells where in Snakemake this was noticed)" if told else text
