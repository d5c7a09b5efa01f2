"""Pods that are there as long as a command: when they come, and when they go."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

import pytest
from small_workflow import until
from urllib3.exceptions import ProtocolError

from snakemake_executor_plugin_kubernetes_pvc import scaled
from snakemake_executor_plugin_kubernetes_pvc.connection import Answer
from snakemake_executor_plugin_kubernetes_pvc.scaled import Deployment, needed, run

WORD = "import sys; sys.exit(int(sys.argv[1]))"
WAIT = "import time; print('up', flush=True); time.sleep(60)"


def job(name: str, condition: str = "", deleted: bool = False) -> dict:
    metadata = {"name": name, **({"deletionTimestamp": "now"} if deleted else {})}
    conditions = [{"type": condition, "status": "True"}] if condition else []
    return {"metadata": metadata, "status": {"conditions": conditions}}


class Cluster:
    """An API server with one Deployment and some Jobs; it has faults at will."""

    namespace = "here"

    def __init__(self) -> None:
        self.replicas = 0
        self.asked: list[int] = []
        self.jobs = [job("own")]
        self.refusals: list[Answer | Exception] = []

    def send(self, method, path, query=None, body=None) -> Answer:
        if self.refusals:
            refusal = self.refusals.pop(0)
            if isinstance(refusal, Exception):
                raise refusal
            return refusal
        if path == "/apis/batch/v1/namespaces/here/jobs":
            assert query == {"labelSelector": "app.kubernetes.io/name=runs"}
            return Answer(200, {}, json.dumps({"items": self.jobs}))
        assert path == "/apis/apps/v1/namespaces/here/deployments/workers/scale"
        if method == "PUT":
            self.replicas = body["spec"]["replicas"]
            self.asked.append(self.replicas)
        # The server leaves out a number that is 0.
        spec = {"replicas": self.replicas} if self.replicas else {}
        return Answer(200, {}, json.dumps({"kind": "Scale", "spec": spec}))


@pytest.fixture
def cluster(monkeypatch) -> Cluster:
    monkeypatch.setattr(scaled, "AGAIN_S", 0)
    return Cluster()


def ran(cluster: Cluster, code: str, *arguments: str) -> int:
    command = [sys.executable, "-c", code, *arguments]
    return run(Deployment(cluster, "workers"), 3, "runs", "own", command)


@pytest.mark.parametrize("status", [0, 1])
def test_pods_come_with_the_command_and_go_with_it_however_it_ends(cluster, status):
    assert ran(cluster, WORD, str(status)) == status
    assert cluster.asked == [3, 0]


def test_more_pods_than_asked_for_are_left_alone_and_none_are_noticed(cluster, monkeypatch):
    monkeypatch.setattr(scaled, "LOOK_EVERY_S", 0.05)
    cluster.replicas = 5
    running = threading.Timer(0.5, lambda: setattr(cluster, "replicas", 0))
    running.start()
    ran(cluster, "import time; time.sleep(1.5)")
    assert cluster.asked == [3, 0]


def test_pods_that_another_run_needs_stay(cluster):
    cluster.jobs += [job("done", "Complete"), job("failed", "Failed"), job("going", deleted=True)]
    assert ran(cluster, WORD, "0") == 0
    assert cluster.asked == [3, 0]
    cluster.jobs.append(job("other"))
    assert ran(cluster, WORD, "0") == 0
    assert cluster.replicas == 3


def test_pods_stay_for_the_next_pod_of_a_run_and_go_if_the_run_was_deleted():
    there, gone = [job("own")], [job("own", deleted=True)]
    assert needed(there, "own", interrupted=True)
    assert not needed(there, "own", interrupted=False)
    assert not needed(gone, "own", interrupted=True)
    assert not needed([], "own", interrupted=True)


def test_a_command_that_is_told_to_end_is(cluster):
    cluster.jobs = []

    def stop() -> None:
        until(lambda: cluster.replicas == 3, 20)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    assert ran(cluster, WAIT) == 128 + signal.SIGTERM
    assert cluster.asked == [3, 0]


def test_what_the_api_does_not_answer_is_asked_again_when_pods_are_to_go(cluster):
    cluster.replicas = 3
    lost = ProtocolError("Connection aborted.")

    def fail() -> None:
        cluster.refusals = [lost, Answer(503, {}, "not now")]

    threading.Timer(0.3, fail).start()
    assert ran(cluster, "import time; time.sleep(1)") == 0
    assert cluster.asked == [0]


def test_a_command_runs_without_the_right_to_scale_and_says_what_to_do(cluster, caplog):
    message = 'deployments.apps "workers" is forbidden'
    cluster.refusals = [Answer(403, {}, json.dumps({"message": message}))] * 100
    assert ran(cluster, WORD, "0") == 0
    assert cluster.asked == []
    assert [record.getMessage() for record in caplog.records] == [
        f"Deployment workers cannot be scaled ({message}): kubectl scale deployment/workers "
        "--replicas=3",
        f"Pods of deployment workers may be left ({message}): kubectl scale deployment/workers "
        "--replicas=0",
    ]


def test_a_command_runs_without_a_cluster(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert scaled.main(["workers", "3", "runs", sys.executable, "-c", WORD, "4"]) == 4
    assert "Deployment workers is not scaled: No Kubernetes cluster is configured" in caplog.text


@pytest.mark.parametrize("words", [["workers", "3", "runs"], ["workers", "some", "runs", "true"]])
def test_wrong_arguments_are_named(words):
    with pytest.raises(SystemExit) as raised:
        scaled.main(words)
    assert str(raised.value).startswith(
        f"'{' '.join(words)}' was found where DEPLOYMENT PODS LABEL COMMAND... is expected"
    )


STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").close()
time.sleep(4)
"""


def test_pods_go_before_a_command_that_does_not_end_when_it_is_asked_to(cluster, tmp_path):
    cluster.jobs = []
    ready, at_zero = tmp_path / "ready", []

    def stop() -> None:
        until(lambda: cluster.replicas == 3 and ready.exists(), 20)
        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: cluster.replicas == 0, 20)
        at_zero.append(time.monotonic())

    stopping = threading.Thread(target=stop)
    stopping.start()
    ran(cluster, STUBBORN, str(ready))
    ended = time.monotonic()
    stopping.join()
    assert ended - at_zero[0] > 1
