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
    Wait,
    Waiting,
    larger_than_all,
    over_quota,
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
    assert last.out_of_memory == ("50M" if "OOMKilled" in reason else "")
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
def test_what_can_never_start_waits_for_nothing_and_says_why_in_the_words_of_the_cluster(
    case, said
):
    found = verdicts(case)
    assert all(isinstance(one, Waiting) for one in found)
    assert found[-1].explained
    assert found[-1].kind is Wait.NOTHING
    assert said in found[-1].why


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("busy_node", "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu"),
        ("suspended", "the Job is suspended"),
        # The scheduler says of it what it says of a busy node: see `larger_than_all`.
        ("larger_than_any_node", "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu"),
    ],
)
def test_what_may_start_later_waits_for_room(case, said):
    found = verdicts(case)
    assert all(isinstance(one, Waiting) for one in found)
    assert found[-1].kind is Wait.ROOM
    assert said in found[-1].why


def test_a_request_larger_than_any_node_is_told_from_one_that_waits_for_a_busy_node():
    node = {"cpu": "2", "memory": "24581252Ki", "ephemeral-storage": "267847642337"}
    small = {"cpu": "1930m", "memory": "4Gi"}
    nodes = [{"status": {"allocatable": one}} for one in (small, node)]
    (busy,) = snapshots("busy_node")[-1]["pods"]
    (large,) = snapshots("larger_than_any_node")[-1]["pods"]
    assert larger_than_all(busy, nodes) == ""
    assert larger_than_all(large, nodes) == (
        "it asks for more than any node has: cpu 1k (the most that one has is 2)"
    )
    # Without the right to list nodes it is not known.
    assert larger_than_all(large, []) == ""


@pytest.mark.parametrize(
    ("asked", "lacks"),
    [
        ({"cpu": "8", "memory": "64G"}, ""),
        (
            {"cpu": "8", "memory": "65Gi"},
            "it asks for more than any node has: memory 65Gi (the most that one has is 64Gi)",
        ),
        # Each is there, but not on one node.
        (
            {"memory": "20Gi", "nvidia.com/gpu": "1"},
            "it asks for more than any one node has: memory 20Gi, nvidia.com/gpu 1",
        ),
        (
            {"amd.com/gpu": "1"},
            "it asks for more than any node has: amd.com/gpu 1 (the most that one has is 0)",
        ),
        ({}, ""),
    ],
)
def test_a_pod_has_to_fit_on_one_node(asked, lacks):
    nodes = [
        {"status": {"allocatable": {"cpu": "8", "memory": "64Gi"}}},
        {"status": {"allocatable": {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "2"}}},
    ]
    pod = {"spec": {"containers": [{"name": "main", "resources": {"requests": asked}}]}}
    assert larger_than_all(pod, nodes) == lacks


HELPS_NOT = "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
OWNER = "node(s) had untolerated taint {dedicated: others}"
SILENT = "node(s) had untolerated taint {node.kubernetes.io/unreachable: }"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (
            "0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu. preemption: 0/3 "
            "nodes are available: 3 No preemption victims found for incoming pod.",
            Wait.ROOM,
        ),
        # Kubernetes from 1.34 on.
        (f"0/3 nodes are available: 3 Insufficient memory. {HELPS_NOT}", Wait.NOTHING),
        (
            f"0/3 nodes are available: 1 {OWNER}, 2 Insufficient memory. no new claims to "
            f"deallocate, {HELPS_NOT}",
            Wait.NOTHING,
        ),
        (
            f"0/3 nodes are available: 1 {OWNER}, 2 Insufficient memory. preemption: 0/3 nodes are "
            "available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found "
            "for incoming pod.",
            Wait.ROOM,
        ),
        (f"0/3 nodes are available: 1 {SILENT}, 2 Insufficient memory. {HELPS_NOT}", Wait.ROOM),
        (f"0/3 nodes are available: 3 {OWNER}. {HELPS_NOT}", Wait.ROOM),
        (
            f"0/3 nodes are available: 1 {OWNER}, 2 node(s) didn't match Pod's node "
            f"affinity/selector. {HELPS_NOT}",
            Wait.NOTHING,
        ),
        (
            f"0/3 nodes are available: 1 {SILENT}, 2 node(s) didn't match Pod's node "
            f"affinity/selector. {HELPS_NOT}",
            Wait.ROOM,
        ),
        (
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. "
            "preemption: not eligible due to preemptionPolicy=Never.",
            Wait.NOTHING,
        ),
        (
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match Pod's "
            f"node affinity/selector. {HELPS_NOT}",
            Wait.ROOM,
        ),
        ("0/3 nodes are available: 3 Too many pods.", Wait.ROOM),
        ("no nodes available to schedule pods", Wait.ROOM),
        (
            "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. "
            f"{HELPS_NOT}",
            Wait.START,
        ),
    ],
)
def test_what_the_scheduler_says_tells_whether_a_node_may_have_room(message, kind):
    told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    pod = {"metadata": {"name": "p"}, "status": {"conditions": [{**told, "message": message}]}}
    now = verdict({"metadata": {}}, [pod])
    assert (now.kind, now.why) == (kind, f"Unschedulable: {message}")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("exceeded quota: q, requested: cpu=1, used: cpu=4, limited: cpu=4", Wait.ROOM),
        (
            "exceeded quota: q, requested: cpu=1,memory=20G, used: cpu=0,memory=0, "
            "limited: cpu=4,memory=16Gi",
            Wait.NOTHING,
        ),
        ("forbidden: status unknown for quota: q, resources: pods", Wait.ROOM),
    ],
)
def test_a_quota_is_waited_for_unless_a_job_needs_more_than_all_of_it(message, kind):
    assert over_quota(message) == Waiting(message, kind)
    event = {"reason": "FailedCreate", "message": message}
    assert verdict({"metadata": {}}, [], [event]).kind is kind


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('admission webhook "policy" denied the request: no such project', Wait.NOTHING),
        ('pods "p" is forbidden: violates PodSecurity "restricted:latest"', Wait.NOTHING),
        ('Internal error occurred: failed calling webhook "policy": timeout', Wait.START),
    ],
)
def test_admission_refuses_for_good_or_does_not_answer(message, kind):
    event = {"reason": "FailedCreate", "message": f"Error creating: {message}"}
    assert verdict({"metadata": {}}, [], [event]).kind is kind


def on_a_node(reason: str, message: str = "") -> dict:
    state = {"waiting": {"reason": reason, "message": message}}
    containers = [{"name": "main", "state": state}]
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": containers}}


@pytest.mark.parametrize(
    ("pod", "events", "kind"),
    [
        (on_a_node("ContainerCreating"), [], Wait.START),
        (on_a_node("ErrImageNeverPull", 'image "x" is not present'), [], Wait.NOTHING),
        (on_a_node("ErrImagePull", "429 Too Many Requests - toomanyrequests"), [], Wait.START),
        (
            on_a_node("ContainerCreating"),
            [("FailedMount", "MountVolume.MountDevice failed: rpc error: DeadlineExceeded")],
            Wait.START,
        ),
        (
            on_a_node("ContainerCreating"),
            [("FailedMount", 'references non-existent secret key: "x" not found')],
            Wait.NOTHING,
        ),
        # It had to wait for its claim, and has a node now.
        (
            on_a_node("ContainerCreating"),
            [("FailedScheduling", 'persistentvolumeclaim "shared" not found')],
            Wait.START,
        ),
    ],
)
def test_a_node_may_take_its_time_but_not_for_what_does_not_exist(pod, events, kind):
    warnings = [{"reason": reason, "message": message} for reason, message in events]
    assert verdict({"metadata": {}}, [pod], warnings).kind is kind


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
