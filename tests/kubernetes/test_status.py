"""What has become of a job: verdicts on objects that a real cluster gave (``recorded``)."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from snakemake_executor_plugin_kubernetes_pvc.status import (
    Failed,
    Running,
    Succeeded,
    Verdict,
    Waiting,
    verdict,
)

RECORDED = Path(__file__).parent / "recorded"


def snapshots(case: str) -> list[dict]:
    return json.loads((RECORDED / f"{case}.json").read_text(encoding="utf-8"))


def verdicts(case: str) -> list[Verdict]:
    """Verdicts on a case as it went on, each once."""
    seen: list[Verdict] = []
    for now in snapshots(case):
        one = verdict(now["job"], now["pods"], now["warnings"])
        if not seen or one != seen[-1]:
            seen.append(one)
    return seen


def test_a_job_waits_then_runs_then_has_succeeded():
    kinds = [type(one) for one in verdicts("success")]
    assert kinds[0] is Waiting
    assert kinds[-2:] == [Running, Succeeded]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("exit_code", "exit code 3"),
        ("command_missing", "exit code 127"),
        ("out_of_memory", "OOMKilled, limit 50M"),
        ("child_out_of_memory", "OOMKilled, limit 50M"),
        ("runtime_exceeded", "ran longer than its runtime of 3 s"),
        ("disk_full", "Evicted: Pod ephemeral local storage usage exceeds"),
    ],
)
def test_what_a_job_did_itself_is_its_own_failure_and_has_a_log(case, reason):
    *before, last = verdicts(case)
    assert isinstance(last, Failed)
    assert last.reason.startswith(reason)
    assert not last.infrastructure
    assert last.pod == snapshots(case)[-1]["pods"][0]["metadata"]["name"]
    assert not any(isinstance(one, Failed | Succeeded) for one in before)


@pytest.mark.parametrize("case", ["pod_deleted", "pod_evicted", "preempted", "job_deleted"])
def test_what_the_cluster_did_is_infrastructure_and_told_when_the_pod_has_ended(case):
    *before, last = verdicts(case)
    assert isinstance(last, Failed)
    assert last.infrastructure
    assert any(isinstance(one, Waiting) and one.ending for one in before)
    assert not any(isinstance(one, Failed | Succeeded) for one in before)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("unschedulable", "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu"),
        ("no_such_node", "didn't match Pod's node affinity/selector"),
        ("claim_missing", 'persistentvolumeclaim "nothing" not found'),
        ("volume_missing", "FailedMount: MountVolume.SetUp failed"),
        ("secret_missing", 'secret "nothing" not found'),
        ("image_missing", 'pull and unpack image "nowhere.invalid/none:1"'),
        ("image_name_invalid", "couldn't parse image name"),
        ("quota_exceeded", "exceeded quota: small, requested: cpu=1"),
        ("priority_class_missing", "no PriorityClass with name nothing"),
        ("service_account_missing", 'serviceaccount "nothing" not found'),
    ],
)
def test_what_cannot_start_waits_and_says_why_in_the_words_of_the_cluster(case, said):
    found = verdicts(case)
    assert all(isinstance(one, Waiting) for one in found)
    assert found[-1].explained
    assert said in found[-1].why


@pytest.mark.parametrize("case", ["quota_exceeded", "volume_missing"])
def test_without_events_it_is_said_that_there_may_be_a_reason(case):
    last = snapshots(case)[-1]
    assert not verdict(last["job"], last["pods"]).explained


@pytest.fixture
def failed() -> dict:
    """The last snapshot of a job that failed, to be changed."""
    return copy.deepcopy(snapshots("exit_code")[-1])


def test_a_job_that_has_failed_is_not_told_while_a_pod_may_run(failed):
    failed["pods"][0]["status"]["phase"] = "Running"
    now = verdict(failed["job"], failed["pods"])
    assert isinstance(now, Waiting)
    assert now.ending
    assert "on testnode" in now.why


def test_a_job_that_is_gone_is_not_told_while_a_pod_may_run(failed):
    failed["pods"][0]["status"]["phase"] = "Running"
    assert verdict(None, failed["pods"]).ending
    failed["pods"][0]["status"]["phase"] = "Failed"
    assert verdict(None, failed["pods"]).infrastructure


# Not to be had from a cluster of one node: as the documentation of Kubernetes has them.


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
        ("TerminationByKubelet", "The node was low on resource: memory."),
        ("DeletionByPodGC", "PodGC: node no longer exists"),
    ],
)
def test_a_disruption_is_infrastructure(failed, reason, message):
    status = failed["pods"][0]["status"]
    told = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    status["conditions"].append(told)
    now = verdict(failed["job"], failed["pods"])
    assert (now.infrastructure, now.reason) == (True, f"{reason}: {message}")


@pytest.mark.parametrize(
    ("reason", "message", "infrastructure"),
    [
        ("Evicted", "The node was low on resource: ephemeral-storage.", True),
        ("Evicted", 'Usage of EmptyDir volume "temporary" exceeds the limit "1M".', False),
        ("NodeLost", "Node n1 which was running pod p is unresponsive", True),
        ("UnexpectedAdmissionError", "Allocate failed", True),
        ("OutOfcpu", "Node didn't have enough resource: cpu", True),
    ],
)
def test_a_pod_that_failed_as_a_whole_tells_whose_fault_it_was(
    failed, reason, message, infrastructure
):
    failed["pods"][0]["status"] |= {"reason": reason, "message": message}
    now = verdict(failed["job"], failed["pods"])
    assert (now.infrastructure, now.reason) == (infrastructure, f"{reason}: {message}")


def test_a_container_that_the_kubelet_lost_is_infrastructure(failed):
    state = failed["pods"][0]["status"]["containerStatuses"][0]["state"]
    state["terminated"]["reason"] = "ContainerStatusUnknown"
    assert verdict(failed["job"], failed["pods"]).infrastructure
