"""Runs on a real cluster, each with two pods that run at the same time.

Two of these tests at once could each hold one of the two cores of a node, and wait forever.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from fake_api import task
from real_cluster import EACH_ONCE, sent, whole
from small_workflow import ended, until


def test_pods_that_are_deleted_or_evicted_are_replaced_without_retries(cluster, workflow):
    workflow.does("[ -e began-$1 ] || { touch began-$1; sleep 300; }; echo $1")
    run = workflow.start()
    until(lambda: len(list(workflow.folder.glob("began-*"))) == 2)
    names = {task(pod): pod["metadata"]["name"] for pod in cluster.running("piece")}
    cluster.send("DELETE", f"{cluster.home}/pods/{names['piece-0']}")
    metadata = {"name": names["piece-1"], "namespace": cluster.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    cluster.send("POST", f"{cluster.home}/pods/{names['piece-1']}/eviction", eviction)
    ran = ended(run)
    assert ran.text.count("it is sent again") == 2
    assert whole(workflow, ran)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_run_that_is_stopped_leaves_nothing(cluster, workflow, how):
    workflow.does("sleep 300")
    run = workflow.start()
    until(lambda: len(cluster.running("piece")) == 2)
    os.kill(run.pid, how)
    begin = time.monotonic()
    assert ended(run).code != 0
    assert time.monotonic() - begin < 60
    assert cluster.jobs() == []
    until(lambda: not cluster.api.pods(""))


def kill_driver(cluster, workflow, sign: str) -> None:
    """Start a run, and kill its driver when both pieces have begun, which leave a sign each."""
    run = workflow.start()
    until(lambda: len(list(workflow.folder.glob(f"{sign}-*"))) == 2)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert len(cluster.jobs()) == 2


def test_after_a_kill_the_next_run_waits_for_what_is_left(cluster, workflow):
    workflow.does("touch began-$1; until [ -e go ]; do sleep 0.2; done; echo $1")
    kill_driver(cluster, workflow, "began")
    (workflow.folder / "go").touch()
    ran = workflow.run("--rerun-incomplete", "--nolock")
    assert "what they have done is not done again" in ran.text
    assert whole(workflow, ran)
    assert sent(cluster) == EACH_ONCE, ran.text


def test_after_a_kill_a_run_of_another_study_ends_what_is_left_before_it_begins(cluster, workflow):
    workflow.does("while :; do n=$((n + 1)); echo $n > beat-$1; sleep 0.2; done")
    kill_driver(cluster, workflow, "beat")
    # A piece whose earlier pod still runs would fail.
    workflow.does("before=$(cat beat-$1); sleep 2; [ $before = $(cat beat-$1) ] || exit 1; echo $1")
    ran = workflow.run("--rerun-incomplete", "--nolock", "--config", "another=study")
    assert "2 Jobs of an earlier run" in ran.text
    assert whole(workflow, ran)
    assert sent(cluster) == EACH_ONCE


def test_runs_in_two_folders_do_not_touch_each_other(cluster, workflow, another):
    workflow.does("touch began-$1; until [ -e go ]; do sleep 0.2; done; echo $1")
    first = workflow.start()
    until(lambda: len(list(workflow.folder.glob("began-*"))) == 2)
    second = another("other").start()
    until(lambda: sent(cluster)["piece-0"] == 2)
    os.kill(second.pid, signal.SIGTERM)
    ended(second)
    (workflow.folder / "go").touch()
    assert whole(workflow, ended(first))
    assert sent(cluster) == EACH_ONCE
