"""Calls: troubles of the API server are waited out, refusals are told, nothing happens twice."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time

import pytest
from fake_api import Fault
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_kubernetes_pvc.api import Api, Refused, Stopped
from snakemake_executor_plugin_kubernetes_pvc.connection import Connection
from snakemake_executor_plugin_kubernetes_pvc.manifest import JobFacts, Run, manifest
from snakemake_executor_plugin_kubernetes_pvc.settings import ExecutorSettings

RESET, HANG = 0, -1


@pytest.fixture
def read_s() -> float:
    return 0.3


@pytest.fixture
def job(fake, tmp_path):
    (tmp_path / ".snakemake").mkdir()
    settings = ExecutorSettings(claim="shared", mount_path=str(tmp_path))
    facts = JobFacts("piece", 1, 1, "true", str(tmp_path), 1)
    return manifest(facts, settings, Run("workflow", "run", "image"), 1)


TROUBLES = [
    Fault(500),
    Fault(502),
    Fault(503),
    Fault(504),
    Fault(429),
    Fault(409, reason="Conflict"),
    Fault(RESET),
    Fault(HANG, hang_s=1),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda fault: str(fault.status))
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_job_is_created_once_whatever_the_server_answers_first(api, fake, job, trouble, done):
    fake.faults = [dataclasses.replace(trouble, method="POST", times=2, done=done)]
    api.create_job(job)
    assert [one["metadata"]["name"] for one in fake.created] == [job["metadata"]["name"]]
    assert len(fake.calls) == 3


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda fault: str(fault.status))
def test_lists_come_after_troubles(api, fake, job, trouble):
    api.create_job(job)
    fake.faults = [dataclasses.replace(trouble, method="GET", times=2)]
    (found,) = api.jobs("snakemake/run=run")
    assert found["metadata"]["name"] == job["metadata"]["name"]


def test_retry_after_is_obeyed(api, fake):
    fake.faults = [Fault(429, retry_after="1")]
    api.pods("snakemake/run=run")
    first, second = fake.calls
    assert second.at - first.at >= 1


def test_delays_grow(api, fake):
    fake.faults = [Fault(503, times=5)]
    api.pods("snakemake/run=run")
    times = [call.at for call in fake.calls]
    assert times[5] - times[4] > 4 * (times[1] - times[0])


def test_patience_ends_with_the_last_answer(kubeconfig, fake, stop):
    api = Api(Connection(), "here", 0.5, stop, logging.getLogger("test"))
    fake.faults = [Fault(503, times=1000, message="etcd is down")]
    begin = time.monotonic()
    with pytest.raises(WorkflowError, match=r"list pods\): 503 etcd is down"):
        api.pods("snakemake/run=run")
    assert time.monotonic() - begin < 2


def test_a_server_that_is_not_there_is_waited_for(kubeconfig, fake, stop):
    fake.server.server_close()
    fake.server.shutdown()
    api = Api(Connection(), "here", 0.5, stop, logging.getLogger("test"))
    with pytest.raises(WorkflowError, match="refused"):
        api.pods("snakemake/run=run")


def test_trouble_is_told_once_and_so_is_its_end(api, fake, caplog):
    fake.faults = [Fault(503, times=3)]
    with caplog.at_level(logging.WARNING, "test"):
        api.pods("snakemake/run=run")
    first, last = (record.message for record in caplog.records)
    assert "503 made for the test" in first
    assert "answers again" in last


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_refusal_is_not_repeated(api, fake, job, status):
    fake.faults = [Fault(status, message='cannot create resource "jobs"')]
    with pytest.raises(Refused, match='cannot create resource "jobs"'):
        api.create_job(job)
    assert len(fake.calls) == 1


def test_a_token_that_was_replaced_is_read_again(api, fake, kubeconfig):
    api.pods("snakemake/run=run")
    fake.token = "a-new-one"
    fake.write_kubeconfig(kubeconfig, token="a-new-one")
    api.pods("snakemake/run=run")
    assert [call.status for call in fake.calls] == [200, 401, 200]


def test_a_token_is_waited_for_that_comes_later(api, fake, kubeconfig):
    api.pods("snakemake/run=run")
    fake.token = "a-new-one"
    later = threading.Timer(0.4, fake.write_kubeconfig, (kubeconfig, "a-new-one"))
    later.start()
    api.pods("snakemake/run=run")
    assert fake.calls[-1].status == 200


def test_a_token_that_was_never_good_is_refused_soon(api, fake):
    fake.token = "another"
    with pytest.raises(Refused, match="Unauthorized"):
        api.pods("snakemake/run=run")
    assert len(fake.calls) == 2


def test_the_end_of_a_run_interrupts_waiting(kubeconfig, fake, stop):
    api = Api(Connection(), "here", 600, stop, logging.getLogger("test"))
    fake.faults = [Fault(503, times=1000, retry_after="300")]
    threading.Timer(0.3, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Stopped):
        api.pods("snakemake/run=run")
    assert time.monotonic() - begin < 2
    fake.faults = []
    assert api.hurried(5).pods("snakemake/run=run") == []


def test_deletion_of_what_is_gone_is_fine(api, fake, job):
    api.create_job(job)
    api.delete_job(job["metadata"]["name"])
    api.delete_job(job["metadata"]["name"])
    assert fake.jobs == {}


@pytest.mark.parametrize("allowed", [True, False])
def test_only_jobs_with_the_label_are_deleted_even_one_by_one(api, fake, job, allowed):
    other = {**job, "metadata": {"name": "other", "labels": {**job["metadata"]["labels"]}}}
    other["metadata"]["labels"]["snakemake/run"] = "other"
    api.create_job(job)
    api.create_job(other)
    fake.faults = [] if allowed else [Fault(403, "DELETE", message="cannot deletecollection")]
    api.delete_jobs("snakemake/run=run")
    assert list(fake.jobs) == ["other"]


def test_a_log_that_cannot_be_read_says_why(api, fake):
    fake.faults = [Fault(400, kind="pods", message="container is waiting to start")]
    assert api.last_lines("pod", 5) == "(no log: container is waiting to start)"
