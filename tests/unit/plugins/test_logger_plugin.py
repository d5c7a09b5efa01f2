"""What a run shows of itself, from recorded events of Snakemake."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import time
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

import snakemake_logger_plugin_snakeshed as plugin
from snakemake_logger_plugin_snakeshed import LogHandler, screen
from snakemake_logger_plugin_snakeshed.job_ends import in_short, outcome, reason_of, warnings_in
from snakemake_logger_plugin_snakeshed.progress import Progress
from snakemake_logger_plugin_snakeshed.screen import Screen

DONE = "08:00:00 preparing\n08:00:01 warning: odd\n08:00:01 716 sites\n08:00:02 done in 1.50 s\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def settings(**changed) -> SimpleNamespace:
    usual = dict.fromkeys(("nocolor", "debug_dag", "verbose", "stdout", "dryrun"), False)
    usual |= {"quiet": None, "printshellcmds": False, "show_failed_logs": True}
    return SimpleNamespace(**(usual | changed))


@pytest.fixture
def shown(monkeypatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(plugin, "sys", SimpleNamespace(stderr=stream, stdout=io.StringIO()))
    return stream


def tell(handler, message=None, level=logging.INFO, **event) -> None:
    handler.emit(logging.makeLogRecord({"msg": message, "levelno": level} | event))


def job(number: int, rule: str, log="", shard="", output=()) -> dict:
    return {
        "event": LogEvent.JOB_INFO,
        "jobid": number,
        "rule_name": rule,
        "wildcards": {"shard": shard} if shard else {},
        "output": list(output),
        "log": [str(log)] if log else [],
    }


def failed(number: int, rule: str, log="", **more) -> dict:
    return job(number, rule, log) | {"event": LogEvent.JOB_ERROR, "level": logging.ERROR} | more


def test_snakemake_finds_the_plugin():
    assert LoggerPluginRegistry().is_installed("snakeshed")


def test_a_run_in_a_few_lines(shown, tmp_path):
    log, table = tmp_path / "prepare.log", tmp_path / "catchments.parquet"
    log.write_text(DONE)
    pq.write_table(pa.table({"status": ["ok", "ok", "outside_dem"]}), table)
    handler = LogHandler(settings(), None)
    tell(handler, "Building DAG of jobs...")
    tell(handler, "Job stats: ...", event=LogEvent.RUN_INFO, stats={"all": 1, "total": 4})
    tell(handler, **job(1, "prepare_sites", log))
    tell(handler, event=LogEvent.JOB_FINISHED, job_id=1)
    tell(handler, event=LogEvent.PROGRESS, done=1, total=4)
    for number, rule in ((2, "delineate"), (3, "extract_features")):
        tell(handler, **job(number, rule, shard="00", output=[str(table)]))
        tell(handler, event=LogEvent.JOB_FINISHED, job_id=number)
        # The shards' jobs are known since the checkpoint.
        tell(handler, event=LogEvent.PROGRESS, done=number, total=6)
    tell(handler, "Study mine: 3 sites.")
    tell(handler, "Complete log(s): logs/x.log")
    handler.close()
    assert shown.getvalue().splitlines() == [
        "prepare_sites: 716 sites, 1.50 s",
        "warning: odd",
        "jobs of shards: 2 of 2; sites: 2 delineated, 1 outside_dem",
        "Study mine: 3 sites.",
    ]


HOLE = "08:00:01 error: dem.tif: found a hole; expected none. Mend it.\n"


def end(handler) -> list[str]:
    """What is shown when Snakemake ends after a failure."""
    before = len(handler._screen._stream.getvalue())
    final = "WorkflowError:\nAt least one job did not complete successfully."
    tell(handler, final, logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    handler.close()
    return handler._screen._stream.getvalue()[before:].splitlines()


def test_an_error_is_shown_once_with_its_job_and_log(shown, tmp_path):
    log = tmp_path / "07.log"
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "delineate", log, shard="07"))
    log.write_text(f"08:00:00 delineating\n{HOLE}")
    raised = "RuleException:\nCalledProcessError in file rules/delineate.smk, line 20:\nCommand ..."
    error = {"event": LogEvent.ERROR, "exception": "RuleException", "level": logging.ERROR}
    tell(handler, raised, **error)
    tell(handler, **failed(5, "delineate", log))
    tell(handler, "Exiting because a job execution failed.", logging.ERROR)
    tell(handler, **failed(5, "delineate", log))
    tell(handler, "Complete log(s): logs/x.log")
    final = "WorkflowError:\nAt least one job did not complete successfully."
    tell(handler, final, logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    handler.close()
    assert shown.getvalue().splitlines() == [
        "delineate shard 07 failed: dem.tif: found a hole; expected none. Mend it.",
        f"  log: {log}",
        "1 of the jobs failed: delineate shard 07.",
        "What does not depend on them is done. Mend the cause and run the same command again.",
        "Snakemake's own log: logs/x.log",
    ]


def by_executor(number: int, rule: str, reason: str, log="", said="chatter", **more) -> dict:
    """JOB_ERROR as Snakemake makes it of what the executor kubernetes-pvc reports."""
    name = f"{rule}-3f2a9c01-{number}"
    lines = "".join(f"    {line}\n" for line in said.splitlines())
    told = f"{reason} (Job {name})\nLast lines of its pod {name}-x2x:\n{lines}\n"
    told += "For further error details see the cluster/cloud log and the log files of the involved "
    aux = {"aux": {"external_jobid": name}}
    return failed(number, rule, log, rule_msg=f"{told}rule(s).", **aux, **more)


@pytest.mark.parametrize(
    "reason",
    [
        "OOMKilled, limit 18000M",
        'waited for 300 s: Unschedulable: persistentvolumeclaim "data" not found',
        "waited for 300 s: ErrImagePull: failed to pull image x (no such host)",
        "lost 6 times: its pod is gone: deleted, preempted or evicted",
    ],
)
def test_what_the_executor_says_is_the_reason_at_the_failure_and_in_the_last_lines(
    shown, tmp_path, reason
):
    log = tmp_path / "07.log"
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "delineate", log, shard="07"))
    log.write_text("08:00:00 delineating\n08:00:01 patch L0\n")
    tell(handler, **by_executor(5, "delineate", reason, log))
    assert shown.getvalue().splitlines() == [
        f"delineate shard 07 failed: {reason}",
        "  external_jobid: delineate-3f2a9c01-5",
        f"  log: {log}",
    ]
    assert end(handler)[:2] == ["1 of the jobs failed: delineate shard 07.", f"  {reason}"]


def test_a_job_that_failed_by_itself_says_why_in_its_own_words(shown, tmp_path):
    log = tmp_path / "07.log"
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "delineate", log, shard="07"))
    log.write_text(f"08:00:00 delineating\n{HOLE}")
    tell(handler, **by_executor(5, "delineate", "exit code 1", log))
    assert "delineate shard 07 failed: dem.tif: found a hole" in shown.getvalue()
    assert end(handler)[1] == "  dem.tif: found a hole; expected none. Mend it."
    assert "exit code" not in shown.getvalue()


def test_a_job_without_own_words_is_shown_with_the_last_of_its_pod(shown, tmp_path):
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "delineate", tmp_path / "07.log", shard="07"))
    said = "python: can't open file 'x.py'\n\nError in rule delineate"
    tell(handler, **by_executor(5, "delineate", "exit code 2", tmp_path / "07.log", said))
    told = shown.getvalue().splitlines()
    assert told[:3] == [
        "delineate shard 07 failed: exit code 2; the last that it said:",
        "python: can't open file 'x.py'",
        "Error in rule delineate",
    ]


def test_a_log_of_an_earlier_attempt_is_not_the_reason(shown, tmp_path):
    log = tmp_path / "07.log"
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "delineate", log, shard="07"))
    log.write_text(HOLE)
    tell(handler, **by_executor(5, "delineate", "exit code 1", log))
    before = shown.getvalue()
    assert "found a hole" in before
    # The second attempt ends before it opens its log, on a node whose clock is ahead, say.
    tell(handler, **job(5, "delineate", log, shard="07"))
    tell(handler, **by_executor(5, "delineate", "exit code 137", log, said=""))
    told = shown.getvalue().removeprefix(before).splitlines()
    assert told[0] == "delineate shard 07 failed: exit code 137"
    assert not any("log:" in line for line in told)
    assert end(handler)[1] == "  exit code 137"


def test_a_log_of_a_job_that_the_executor_sent_again_is_not_the_reason(shown, tmp_path):
    log = tmp_path / "07.log"
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "delineate", log, shard="07"))
    log.write_text(HOLE)
    tell(handler, "Job x was lost: it is sent again.", logging.WARNING, sent_again=5)
    tell(handler, **by_executor(5, "delineate", "exit code 1", log, said=""))
    assert "delineate shard 07 failed: exit code 1\n" in shown.getvalue()
    assert "hole" not in shown.getvalue()


def test_a_log_of_an_earlier_run_on_this_machine_is_not_the_reason(shown, tmp_path):
    log = tmp_path / "07.log"
    log.write_text(HOLE)
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "delineate", log, shard="07"))
    tell(handler, **failed(5, "delineate", log))
    assert "delineate shard 07 failed: no reason is known." in shown.getvalue()


def test_the_reason_of_a_group_is_that_of_its_jobs(shown, tmp_path):
    handler = LogHandler(settings(), None)
    for number in (5, 6):
        tell(handler, **job(number, "delineate", shard=f"0{number}"))
    group = {"event": LogEvent.GROUP_ERROR, "groupid": "g", "aux_logs": []}
    infos = [{"jobid": 5}, {"jobid": 6}]
    told = "OOMKilled, limit 2000M (Job g-1)\n"
    tell(handler, "Error in group g", logging.ERROR, **group, job_error_info=infos, failure=told)
    for number in (5, 6):
        tell(handler, **failed(number, "delineate", rule_msg=None))
    assert end(handler)[:2] == [
        "2 of the jobs failed: delineate shard 05, delineate shard 06.",
        "  OOMKilled, limit 2000M",
    ]


def test_the_last_lines_have_each_reason_once_with_its_jobs(shown, tmp_path):
    handler = LogHandler(settings(), None)
    for number in range(20):
        tell(handler, **job(number, "delineate", shard=f"{number:02}"))
        reason = "OOMKilled, limit 18000M" if number < 11 else f"no file {max(number, 13)}"
        tell(handler, **by_executor(number, "delineate", reason))
    crash = tmp_path / "crash.log"
    tell(handler, **job(20, "gather", crash))
    frames = 'Traceback:\n  File "a.py"\nKeyError: 7\n'
    crash.write_text(f"08:00:01 failed after 0.10 s\n{frames}")
    tell(handler, **by_executor(20, "gather", "exit code 1", crash))
    head, *reasons, last = end(handler)
    assert head.startswith("21 of the jobs failed: delineate shard 00, ")
    first = ", ".join(f"delineate shard {number:02}" for number in range(8))
    three = ", ".join(f"delineate shard {number}" for number in (11, 12, 13))
    assert reasons == [
        f"  {first} and 3 more: OOMKilled, limit 18000M",
        f"  {three}: no file 13",
        "  delineate shard 14: no file 14",
        "  delineate shard 15: no file 15",
        "  delineate shard 16: no file 16",
        "  and 4 more reasons, which are above",
    ]
    assert last.startswith("What does not depend on them is done.")


def test_a_crash_is_named_by_its_exception():
    assert in_short('Traceback:\n  File "a.py"\nKeyError: 7') == "KeyError: 7"
    assert in_short("- x: bad.\n- y: worse.") == "- x: bad."


def test_a_job_that_was_done_after_a_retry_has_not_failed(shown):
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "gather"))
    tell(handler, **failed(5, "gather"))
    tell(handler, "Trying to restart job 5.")
    tell(handler, **job(5, "gather"))
    tell(handler, event=LogEvent.JOB_FINISHED, job_id=5)
    assert "Trying to restart job 5." in shown.getvalue()
    assert not handler._failed


@pytest.mark.parametrize(
    ("message", "level", "lines"),
    [
        ("Select jobs to execute...", logging.INFO, []),
        ("Unknown to this plugin.", logging.INFO, ["Unknown to this plugin."]),
        ("Building DAG of jobs is slow", logging.WARNING, ["Building DAG of jobs is slow"]),
        (
            "WorkflowError in file Snakefile, line 3:\nstudy.yaml: bad.\n"
            '  File "rules/common.smk", line 31, in <module>',
            logging.ERROR,
            ["study.yaml: bad."],
        ),
        (
            'InputFunctionException in rule site_card in file "rules/report.smk", line 37:\n'
            "Error:\n  WorkflowError:\n    found 'z', which is no site.\n"
            'Wildcards:\n  site=z\nTraceback:\n  File "rules/report.smk", line 9, in site_of',
            logging.ERROR,
            ["found 'z', which is no site."],
        ),
        (
            "MissingRuleException:\nNo rule to produce x.",
            logging.ERROR,
            ["MissingRuleException:", "No rule to produce x."],
        ),
        (
            'Traceback (most recent call last):\n\n  File "a.py", line 1, in b\n    c\n\n'
            "  File \"d.py\", line 2, in e\n    f\n    ^\n\nFileNotFoundError: no 'study.yaml'\n\n",
            logging.ERROR,
            [
                "FileNotFoundError: no 'study.yaml'",
                "(--verbose tells where in Snakemake this was noticed)",
            ],
        ),
        (
            'Traceback (most recent call last):\n  File "a.py", line 1, in b\nKeyError: 1',
            logging.ERROR,
            ["Traceback (most recent call last):", '  File "a.py", line 1, in b', "KeyError: 1"],
        ),
        (
            "Nothing to be done (all requested files are present and up to date).",
            logging.INFO,
            ["Nothing to be done: all files are up to date."],
        ),
        (None, logging.INFO, []),
    ],
)
def test_messages(shown, message, level, lines):
    event = LogEvent.ERROR if level == logging.ERROR else None
    handler = LogHandler(settings(), None)
    tell(handler, message, level, event=event, exception="WorkflowError")
    assert shown.getvalue().splitlines() == lines


def test_a_warning_that_becomes_an_error_is_shown_once(shown):
    handler = LogHandler(settings(), None)
    tell(handler, "results/x: found a read-only file system.", logging.WARNING)
    error = "WorkflowError in file Snakefile, line 40:\nresults/x: found a read-only file system."
    tell(handler, error, logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    assert shown.getvalue() == "results/x: found a read-only file system.\n"


@pytest.mark.parametrize(
    ("said", "shown_first"),
    [
        (
            "Will exit after finishing currently running jobs (scheduler).",
            "Stopping when the jobs at work are done.",
        ),
        (
            "Terminating processes on user request, this might take some time.",
            "Stopping; the jobs at work are ended.",
        ),
    ],
)
def test_a_run_that_is_stopped_by_hand_has_not_failed(shown, said, shown_first):
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "delineate", shard="07"))
    tell(handler, said)
    tell(handler, said)
    if "Terminating" in said:
        tell(handler, **failed(5, "delineate"))
    else:
        tell(handler, event=LogEvent.JOB_FINISHED, job_id=5)
    final = "WorkflowError:\nAt least one job did not complete successfully."
    tell(handler, final, logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    assert shown.getvalue().splitlines() == [
        shown_first,
        "Stopped. Run the same command again for the rest.",
    ]


def test_a_driver_whose_jobs_go_on_does_not_ask_for_another_run(shown):
    handler = LogHandler(settings(), None)
    tell(handler, **job(5, "delineate", shard="07"))
    tell(handler, "1 Jobs go on: the next pod of this driver takes them up.", goes_on=True)
    tell(handler, "Terminating processes on user request, this might take some time.")
    final = "WorkflowError:\nAt least one job did not complete successfully."
    tell(handler, final, logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    assert shown.getvalue().splitlines() == [
        "1 Jobs go on: the next pod of this driver takes them up.",
        "This pod ends. The next pod of its Job continues the run.",
    ]


def test_how_far_a_run_came_stands_above_its_last_word(shown):
    handler = LogHandler(settings(), None)
    tell(handler, event=LogEvent.RUN_INFO, stats={"delineate": 2, "total": 2})
    tell(handler, **job(5, "delineate", shard="07"))
    # Held back, as it comes so soon after the start.
    tell(handler, event=LogEvent.PROGRESS, done=0, total=2)
    tell(handler, "Terminating processes on user request, this might take some time.")
    final = "WorkflowError:\nAt least one job did not complete successfully."
    tell(handler, final, logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    handler.close()
    assert shown.getvalue().splitlines() == [
        "Stopping; the jobs at work are ended.",
        "jobs of shards: 0 of 2",
        "Stopped. Run the same command again for the rest.",
    ]


def test_jobs_have_the_names_that_a_person_gives_them(shown):
    handler = LogHandler(settings(), None)
    for number, kind, value in ((1, "shard", "07"), (2, "gathered", "features")):
        tell(handler, **job(number, "a_rule") | {"wildcards": {kind: value}})
        tell(handler, **failed(number, "a_rule"))
    final = "WorkflowError:\nAt least one job did not complete successfully."
    tell(handler, final, logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    assert "2 of the jobs failed: a_rule features, a_rule shard 07." in shown.getvalue()


def test_a_job_that_fails_while_the_run_stops_is_told(shown):
    handler = LogHandler(settings(), None)
    tell(handler, "Will exit after finishing currently running jobs (scheduler).")
    tell(handler, **failed(5, "delineate"))
    assert "delineate failed: no reason is known." in shown.getvalue()


def test_an_exception_without_a_failed_job_is_not_lost(shown):
    handler = LogHandler(settings(), None)
    error = {"event": LogEvent.ERROR, "exception": "RuleException"}
    tell(handler, "RuleException:\nno job of this", logging.ERROR, **error)
    handler.close()
    assert "no job of this" in shown.getvalue()


def test_verbose_is_as_without_the_plugin(shown):
    handler = LogHandler(settings(verbose=True), None)
    tell(handler, "Select jobs to execute...")
    assert "Select jobs to execute..." in shown.getvalue()


def test_quiet_shows_no_progress_but_errors(shown, tmp_path):
    from snakemake.settings.enums import Quietness

    log = tmp_path / "a.log"
    log.write_text(DONE)
    handler = LogHandler(settings(quiet={Quietness.PROGRESS}), None)
    tell(handler, **job(1, "prepare_sites", log))
    tell(handler, event=LogEvent.JOB_FINISHED, job_id=1)
    assert shown.getvalue() == ""
    tell(handler, **failed(2, "gather"))
    assert "gather failed: no reason is known." in shown.getvalue()


def test_what_goes_wrong_in_the_plugin_ends_no_run(shown, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = LogHandler(settings(), None)
    tell(handler, event=LogEvent.PROGRESS)  # without its numbers
    tell(handler, "Still here.")
    assert shown.getvalue() == "Still here.\n"


# ---- how jobs end ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DONE, "716 sites, 1.50 s"),
        ("08:00:00 summarising\n08:00:00 done in 0.01 s\n", ""),
        ("08:00:00 preparing\n08:00:01 716 sites\n", ""),
        ("", ""),
    ],
)
def test_the_outcome_of_a_job(tmp_path, text, expected):
    log = tmp_path / "job.log"
    log.write_text(text)
    assert outcome([str(log)]) == expected
    assert outcome([str(tmp_path / "absent.log")]) == ""
    assert warnings_in([str(log)]) == (["odd"] if text == DONE else [])


KILLED = "Command 'python x.py' died with <Signals.SIGKILL: 9>."
LACK = (
    "its process was ended from outside (SIGKILL), most likely for want of memory: run with fewer "
    "--cores, or where there is more."
)


@pytest.mark.parametrize(
    ("text", "exception", "reason"),
    [
        ("08:00:00 a\n08:00:01 error: - x: bad.\n- y: worse.\n", "", "- x: bad.\n- y: worse."),
        ("08:00:00 a\n08:00:01 patch L0\n", "status 1", "status 1"),
        ("08:00:00 a\n08:00:01 patch L0\n", KILLED, LACK),
        ("08:00:00 a\n", "exit status 137", LACK),
        ("", "died with <Signals.SIGTERM: 15>", "its process was ended from outside (SIGTERM)."),
        ("08:00:00 a\n08:00:01 done in 1.00 s\n", "cannot rename", "cannot rename"),
        ("08:00:00 a\n", "ModuleNotFoundError: x", "ModuleNotFoundError: x"),
        (
            "",
            "Command 'python x.py' returned non-zero exit status 1.",
            "it ended with exit status 1 and without a word in its log; what it said is above.",
        ),
        (None, "", "no reason is known."),
    ],
)
def test_why_a_job_failed(tmp_path, text, exception, reason):
    log = tmp_path / "job.log"
    if text is not None:
        log.write_text(text)
    assert reason_of([str(log)], exception) == reason


def test_a_crash_shows_the_end_of_its_traceback(tmp_path):
    log = tmp_path / "job.log"
    frames = "".join(f'  File "{k}.py"\n' for k in range(30))
    log.write_text(f"08:00:00 a\n08:00:01 failed after 0.10 s\nTraceback:\n{frames}KeyError: 'z'\n")
    told = reason_of([str(log)], "").splitlines()
    assert told[-1] == "KeyError: 'z'"
    assert len(told) == 6


# ---- how far a run is ------------------------------------------------------------------------


def test_rate_and_time_left(tmp_path):
    now = [0.0]
    progress = Progress(lambda: now[0])
    table = tmp_path / "c.parquet"
    pq.write_table(pa.table({"status": ["ok"] * 5}), table)
    assert str(progress) == ""
    progress.plan({"delineate": 10, "extract_features": 10, "total": 24})
    assert str(progress) == "jobs of shards: 0 of 20"
    progress.started("delineate")
    for k in range(1, 5):
        now[0] = 10.0 * k
        progress.finished("delineate", True, [str(table)])
        progress.steps(24)
    assert str(progress) == (
        "jobs of shards: 4 of 20; sites: 20 delineated; 0.5 sites/s; about 3 min left"
    )
    for _ in range(16):
        assert "; 0.5 sites/s; " in str(progress)
        now[0] += 10.0
        progress.finished("extract_features", True, [])
    assert str(progress) == "jobs of shards: 20 of 20; sites: 20 delineated"


def test_a_table_that_cannot_be_read_counts_nothing(tmp_path):
    progress = Progress()
    (tmp_path / "c.parquet").write_bytes(b"no table")
    progress.finished("delineate", True, [str(tmp_path / "c.parquet"), str(tmp_path / "absent")])
    assert progress.shard_jobs == (1, 1)
    assert not progress.sites


# ---- the screen ------------------------------------------------------------------------------


def test_without_a_terminal_the_status_is_a_line_now_and_then():
    now, stream = [0.0], io.StringIO()
    screen = Screen(stream, lambda: now[0])
    for second in range(31):
        now[0] = second
        screen.status(f"{second} done")
    screen.status("all done", last=True)
    screen.close()
    assert stream.getvalue().splitlines() == ["10 done", "20 done", "30 done", "all done"]


def test_on_a_terminal_the_status_stays_below_the_lines(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    screen = Screen(stream)
    screen.status("a status that is longer than the terminal is wide")
    screen.line("a line")
    clear = "\r\x1b[2K"
    status = "a status that is lo"
    assert stream.getvalue() == f"{clear}{status}{clear}a line\n{clear}{status}"
    monkeypatch.setenv("TERM", "dumb")
    dumb = Terminal()
    Screen(dumb).status("nothing yet")
    assert dumb.getvalue() == ""


def test_how_far_jobs_on_dask_are_is_seen_while_they_run(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(plugin, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(screen, "_PLAIN_EVERY_S", 0.0)
    link = "http://127.0.0.1:8787/status"
    head = f"08:00:00 delineating 07\n08:00:01 dask: dashboard at {link}\n"
    said = "08:00:02 dask: {} of {} patches done, 2 at hand, 2 threads\n"
    first, second = tmp_path / "07.log", tmp_path / "08.log"
    handler = LogHandler(settings(), None)
    tell(handler, event=LogEvent.RUN_INFO, stats={"total": 3, "delineate": 2})
    tell(handler, **job(1, "delineate", first, "07"))
    tell(handler, **job(2, "delineate", second, "08"))
    tell(handler, **job(3, "gather", tmp_path / "none.log"))
    first.write_text(head)
    until_shown(shown, f"Dask dashboard: {link}\n")
    patch = "08:00:03 patch L0_R1_C2: 10 x 10 cells\n"
    first.write_text(head + said.format(1, 9) + patch + said.format(4, 9) + patch * 99)
    until_shown(shown, "jobs of shards: 0 of 2; patches at work: 4 of 9 done\n")
    # All shards are on the same cluster, unless each has its own.
    second.write_text(head + said.format(2, 11))
    until_shown(shown, "patches at work: 6 of 20 done\n")
    first.write_text(head + "08:00:09 dask: 3 of 25 tiles of patch L9_R0_C0 done, 2 at hand\n")
    until_shown(shown, "tiles at work: 3 of 25 done, patches at work: 2 of 11 done\n")
    tell(handler, event=LogEvent.JOB_FINISHED, job_id=1)
    until_shown(shown, "jobs of shards: 1 of 2; patches at work: 2 of 11 done\n")
    tell(handler, event=LogEvent.JOB_FINISHED, job_id=2)
    tell(handler, event=LogEvent.PROGRESS, total=3)
    handler.close()
    assert shown.getvalue().count("Dask dashboard") == 1
    assert shown.getvalue().endswith("jobs of shards: 2 of 2\n")


def until_shown(shown: io.StringIO, text: str) -> None:
    end = time.monotonic() + 10
    while text not in shown.getvalue():
        assert time.monotonic() < end, shown.getvalue()
        time.sleep(0.01)


def test_the_loggers_thread_is_never_the_first_to_import_pyarrow(tmp_path):
    table = tmp_path / "c.parquet"
    pq.write_table(pa.table({"status": ["ok", "ok"]}), table)
    counts = (
        "import sys\n"
        "from snakemake_logger_plugin_snakeshed.progress import statuses_in\n"
        f"before = statuses_in({str(table)!r}).total()\n"
        "assert 'pyarrow' not in sys.modules\n"
        "import pyarrow.parquet\n"
        f"print(before, statuses_in({str(table)!r}).total())\n"
    )
    command = [sys.executable, "-c", counts]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "0 2\n"
