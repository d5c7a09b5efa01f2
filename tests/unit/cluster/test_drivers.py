"""Runs on a cluster: started once, followed whatever becomes of pods and connections."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from fake_kubectl import MINE, NAME, job, pod, said
from readme_blocks import fenced

from snakeshed.cluster import commands, driver
from snakeshed.errors import KubernetesError

CHECKOUT = Path(__file__).parents[3]


def log(*texts: str, first: int = 1) -> str:
    """Lines of a log, with their times."""
    return "".join(
        f"2026-01-01T00:00:{second:02}.5Z {text}\n" for second, text in enumerate(texts, first)
    )


@pytest.mark.parametrize(
    ("arguments", "configuration"),
    [
        ((), "config/config.yaml"),
        (MINE, "config/mine.yaml"),
        (("--forceall", "--configfile=./config/mine.yaml", "--quiet"), "config/mine.yaml"),
        (("results/x.csv", "--configfiles", "config//mine.yaml", "--quiet"), "config/mine.yaml"),
    ],
)
def test_a_run_is_known_by_its_configuration(fake, arguments, configuration):
    fake.answers(
        said(
            "get jobs",
            [job(*arguments), job("--configfile", "b.yaml", name="b"), job(ended="Complete")],
        )
    )
    (found,) = driver.running(fake.kubectl(), configuration)
    assert found["metadata"]["name"] == NAME


def test_a_run_is_started_with_its_configuration_and_the_users_options(fake):
    given = job("results/x.csv", "--configfile", "a.yaml", "b.yaml", "--keep-going")
    known = [job(name=f"snakeshed-mine-{number}", ended="Complete") for number in (3, 11)]
    fake.answers(said("get jobs", known), said("create job", given))
    name = driver.start(fake.kubectl(), "Mine", "config/mine.yaml")
    assert name == "snakeshed-mine-12"
    (container,) = json.loads(fake.given())["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["results/x.csv", "--keep-going", *MINE]
    (call,) = fake.calls("create", "job")
    assert {name, "--from=cronjob/snakeshed", "--dry-run=client"} <= set(call)


def test_two_who_start_the_same_at_once_start_one(fake):
    exists = {"words": "create -f -", "stderr": 'Error from server (AlreadyExists): "x" already\n'}
    fake.answers(said("create job", job()), said("get job ", job(*MINE)), exists)
    assert driver.start(fake.kubectl(), "mine", "config/mine.yaml") == NAME
    with pytest.raises(KubernetesError, match="AlreadyExists"):
        driver.start(fake.kubectl(), "mine", "config/other.yaml")


def test_a_run_is_followed_from_pod_to_pod(fake):
    waits = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}]}
    fake.answers(
        said(f"get job {NAME}", job(), times=4),
        said(f"get job {NAME}", job(ended="Complete")),
        said("get pods", [pod("a", "Pending", 1, **waits)], times=1),
        said("get pods", [pod("a", "Running", 1)], times=1),
        said("get pods", [pod("a", "Failed", 1)], times=1),
        said("get pods", [pod("b", "Running", 2)], times=1),
        said("get pods", [pod("b", "Succeeded", 2)]),
        said("pod/a", log("one", "Stopped. Run the same command again for the rest.")),
        said("pod/b", log("three", first=4)),
    )
    assert driver.follow(fake.kubectl(), NAME) == driver.Ended(True)
    assert fake.said == [
        "The driver's pod waits: : no room",
        "one",
        "Stopped. Run the same command again for the rest.",
        "Pod b takes the run up.",
        "three",
    ]


def test_a_driver_without_a_pod_says_why(fake):
    event = {"type": "Warning", "message": "exceeded quota: pods=1"}
    fake.answers(
        said(f"get job {NAME}", job(), times=2),
        said(f"get job {NAME}", job(ended="Failed")),
        said("get events", [{"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, **event}]),
    )
    assert not driver.follow(fake.kubectl(), NAME).well
    assert fake.said == ["The driver has no pod yet: exceeded quota: pods=1"]


def test_a_line_is_shown_once_where_the_connection_is_cut(fake):
    cut = {"stderr": "error: unexpected EOF\n"}
    fake.answers(
        said(f"get job {NAME}", job(), times=2),
        said(f"get job {NAME}", job(ended="Failed")),
        said("get pods", [pod("a", "Running", 1)], times=2),
        said("get pods", [pod("a", "Failed", 1)]),
        said("pod/a", log("one", "two"), times=1, **cut),
        said("pod/a", log("two", "three", first=2)),
    )
    assert driver.follow(fake.kubectl(), NAME) == driver.Ended(False, "its reason")
    assert fake.said == ["one", "two", "three"]
    assert any("--since-time=2026-01-01T00:00:02Z" in call for call in fake.calls("logs"))


def test_times_of_any_zone_are_in_order(fake):
    fake.answers(
        said(f"get job {NAME}", job(ended="Complete")),
        said("get pods", [pod("a", "Succeeded", 1)]),
        said(
            "pod/a",
            "2026-01-01T02:00:01.100000001+02:00 one\n"
            "2026-01-01T02:00:01.100000002+02:00 two\nthree\n",
        ),
    )
    driver.follow(fake.kubectl(), NAME)
    assert fake.said == ["one", "two", "three"]


def test_an_api_that_does_not_answer_is_waited_for(fake):
    away = {
        "words": "get pods",
        "stderr": "The connection to the server 10.0.0.1:6443 was refused - did you specify it?\n",
    }
    fake.answers(
        said(f"get job {NAME}", job(ended="Complete")),
        {**away, "times": 3},
        said("get pods", [pod("a", "Succeeded", 1)]),
        said("pod/a", log("one")),
    )
    waited = []
    assert driver.follow(fake.kubectl(waited.append), NAME).well
    assert waited == [1.0, 2.0, 4.0]
    refused = "The connection to the server 10.0.0.1:6443 was refused - did you specify it?"
    assert fake.said == [
        f"The cluster does not answer ({refused}). Waiting for it.",
        "The cluster answers again.",
        "one",
    ]


def test_whoever_joins_sees_the_last_lines_of_the_last_pod(fake):
    fake.answers(
        said(f"get job {NAME}", job(), times=1),
        said(f"get job {NAME}", job(ended="Complete")),
        said("get pods", [pod("a", "Failed", 1), pod("b", "Running", 2)], times=2),
        said("get pods", [pod("a", "Failed", 1), pod("b", "Succeeded", 2)]),
        said("pod/b", log("now")),
    )
    assert driver.follow(fake.kubectl(), NAME, joined=True).well
    assert fake.said == ["now"]
    assert "--tail=20" in fake.calls("logs")[0]


def test_a_run_that_is_deleted_ends(fake):
    fake.answers({"words": "get job", "stderr": "Error from server (NotFound): jobs not found\n"})
    assert driver.follow(fake.kubectl(), NAME).deleted


def test_a_run_that_goes_on_is_joined_and_nothing_is_copied(fake, checkout):
    fake.answers(
        said("get jobs", [job(*MINE)]),
        said(f"get job {NAME}", job(ended="Complete")),
        said("get pods", [pod("a", "Succeeded", 1)]),
        said("pod/a", log("done")),
    )
    assert commands.run(Path("config/mine.yaml"), fake.said.append) == 0
    assert f"{NAME} runs config/mine.yaml already." in fake.said[1]
    assert "results/mine is up to date." in fake.said
    assert not fake.calls("apply") + fake.calls("create") + fake.calls("receive")


def test_a_run_that_fails_has_its_status_and_its_results_are_fetched(fake, checkout):
    results = fake.volume / "results/mine"
    results.mkdir(parents=True)
    (results / "rejected.csv").write_text("row\n")
    fake.answers(
        said("get jobs", []),
        said("create job", job()),
        said("get job ", job(ended="Failed")),
        said("get pods", [pod("a", "Failed", 1)]),
        said("pod/a", log("no such file")),
    )
    assert commands.run(Path("config/mine.yaml"), fake.said.append) == 1
    assert fake.said[-2:] == [
        f"{NAME} has failed: its reason",
        "The logs of its jobs are in results/mine/logs.",
    ]
    assert (checkout / "results/mine/rejected.csv").read_text() == "row\n"
    assert (fake.volume / "data/sites.csv").exists()


def test_ctrl_c_leaves_the_run_and_says_how_to_come_back(fake, checkout):
    fake.answers(
        said("get jobs", [job(*MINE)]),
        said(f"get job {NAME}", job()),
        said("get pods", [pod("a", "Running", 1)]),
        said("pod/a", log("working"), sleep=60),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "snakeshed.cli", "cluster", "run", "config/mine.yaml"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "scripts")},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while "working" not in (line := process.stdout.readline()):
            assert line
        os.killpg(process.pid, signal.SIGINT)
        text, _ = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130
    assert (
        f"Detached. {NAME} goes on. To come back: snakeshed cluster run config/mine.yaml." in text
    )
    assert not fake.calls("delete")


def test_a_run_is_stopped_with_its_jobs(fake, checkout):
    owned = {"metadata": {"name": "shard", "uid": "shard", "ownerReferences": [{"uid": NAME}]}}
    of_owned = {"metadata": {"name": "p", "ownerReferences": [{"uid": "shard"}]}}
    fake.answers(
        said("get jobs -l", [job(*MINE), job("--configfile", "b.yaml", name="b")]),
        said("get pods -l job-name", [pod("a", "Running", 1)], times=1),
        said("get jobs", [owned], times=2),
        said("get pods -l snakemake/workflow", [of_owned], times=4),
    )
    began = time.monotonic()
    jobs = driver.running(fake.kubectl(), "config/mine.yaml")
    waited = []
    assert driver.stop(fake.kubectl(waited.append), jobs[0])
    assert len(waited) == 4
    assert time.monotonic() - began < 60
    (call,) = fake.calls("delete")
    assert call[call.index("delete") :][:3] == ["delete", "job", NAME]


@pytest.mark.parametrize("title", ["On a Kubernetes cluster", "On a Dask cluster"])
def test_the_plain_command_follows_until_the_run_has_ended(fake, title):
    """Not until a pod has ended, whose successor goes on; and it needs no other program."""
    (command,) = [line for line in fenced(title) if line.startswith("while s=")]
    ended = "SuccessCriteriaMet Complete"
    fake.answers(
        said("get job ", "", times=1),
        said("logs --follow", "Stopped. Run the same command again for the rest.\n", times=1),
        said("get job ", "", times=1),
        {"words": "logs --follow", "stderr": "container is waiting to start\n", "times": 1},
        said("get job ", "", times=1),
        said("logs --follow", "the rest\n", times=1),
        said("get job ", ended),
    )
    shell = command.replace("sleep 5", "sleep 0")
    assert shell != command
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "Stopped. Run the same command again for the rest.",
        "the rest",
        ended,
    ]
    assert done.returncode == 0


@pytest.mark.parametrize("title", ["On a Kubernetes cluster", "On a Dask cluster"])
def test_the_plain_command_ends_with_a_job_that_is_deleted(fake, title):
    (command,) = [line for line in fenced(title) if line.startswith("while s=")]
    fake.answers({"words": "get job ", "stderr": "Error from server (NotFound): none\n"})
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=30, check=False)
    assert b"NotFound" in done.stderr
    assert not fake.calls("logs")


def test_runs_on_dask_are_runs(fake):
    driver.drivers(fake.kubectl())
    (call,) = fake.calls("get", "jobs")
    labels = call[call.index("-l") + 1]
    for profile in ("nautilus", "dask"):
        text = (CHECKOUT / f"profiles/{profile}/driver.yaml").read_text()
        label = yaml.safe_load(text)["spec"]["jobTemplate"]["metadata"]["labels"]
        assert label["app.kubernetes.io/name"] in re.split(r"[(),]", labels)
