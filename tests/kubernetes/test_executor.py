"""Runs of Snakemake against a fake API server: what users see, and what is left there."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from fake_api import FakeApi, Fault, task
from small_workflow import SmallWorkflow, at_once, ended, until

pytestmark = pytest.mark.workflow

CHECKOUT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "recorded"
RESET, HANG = 0, -1


def only(chosen: str, fate):
    """Give one task a fate; all others are done at once."""
    return lambda job: fate if task(job) == chosen else at_once


def vanish(api: FakeApi, job: dict) -> None:
    """Fate of a Job: its pod is taken away."""
    job["status"]["conditions"] = [{"type": "Failed", "status": "True"}]


def stay_pending(api: FakeApi, job: dict) -> None:
    """Fate of a Job: no node has room."""
    message = "0/7 nodes are available: 7 Insufficient memory."
    no_room = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    api.add_pod(job, phase="Pending", conditions=[{**no_room, "message": message}])


def on_a_silent_node(api: FakeApi, job: dict) -> None:
    """Fate of a Job: its node is not ready, and its pod, which is to end, says nothing more."""
    reason = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
    pod = api.add_pod(job, phase="Running", conditions=[reason])
    pod["spec"] = {**pod["spec"], "nodeName": "n1"}
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:05:00Z"


def recorded(case: str) -> Callable[[FakeApi, dict], None]:
    """Fate of a Job: in the end the cluster says of it what a real one said in a case."""
    last = json.loads((RECORDED / f"{case}.json").read_text(encoding="utf-8"))[-1]

    def fate(api: FakeApi, job: dict) -> None:
        name = job["metadata"]["name"]
        for pod in last["pods"]:
            api.add_pod(job, **pod["status"])["spec"] = pod["spec"]
        api.events += [{**one, "involvedObject": {"name": name}} for one in last["warnings"]]
        if last["job"] is None:
            api.jobs.pop(name)
        else:
            job["status"] = last["job"]["status"]

    return fate


def sent(fake: FakeApi) -> Counter[str]:
    """How often each task was sent."""
    return Counter(task(job) for job in fake.created)


EACH_ONCE = Counter(["piece-0", "piece-1", "join"])


def test_jobs_run_on_the_shared_folder(fake, workflow):
    ran = workflow.run()
    assert ran.code == 0, ran.text
    assert (workflow.folder / "all.txt").read_text() == "0\n1\n"
    assert sent(fake) == EACH_ONCE
    assert (workflow.folder / "log/1.log").exists()
    # Finished Jobs are left to their time to live; nothing else was made.
    assert {(call.method, call.kind) for call in fake.writes()} == {("POST", "jobs")}


def test_a_run_without_work_asks_nothing_of_the_cluster(fake, workflow):
    (workflow.folder / "all.txt").write_text("done before\n")
    ran = workflow.run("--rerun-triggers", "mtime")
    assert "Nothing to be done" in ran.text
    assert fake.calls == []


def test_no_trouble_of_the_api_loses_a_job_or_starts_one_twice(fake, workflow):
    fake.stream_s = 1
    fake.faults = [
        Fault(503, "GET", "jobs"),
        Fault(500, "POST", done=True),
        Fault(RESET, "POST", done=True, skip=1),
        Fault(429, "POST", retry_after="1", skip=1),
        Fault(RESET, "GET", "pods", skip=2),
        Fault(500, "GET", "pods", skip=3),
        Fault(504, "GET", "jobs", skip=4),
    ]
    ran = workflow.run()
    assert ran.code == 0, ran.text
    assert sent(fake) == EACH_ONCE
    assert set(fake.most_at_once.values()) == {1}
    assert not any(fault.times for fault in fake.faults)


def test_a_failure_is_shown_and_harms_no_other_job(fake, workflow):
    workflow.does("[ $1 = 0 ] || { sleep 3; exec >&2; echo no such tile; exit 3; }; echo $1")
    ran = workflow.run("--keep-going", "--show-failed-logs")
    assert ran.code == 1
    assert "exit code 1 (Job piece-1-" in ran.text
    assert "Last lines of its pod piece-1-" in ran.text
    assert "Error in rule piece" in ran.text
    assert "no such tile" in ran.text
    assert (workflow.folder / "piece/0.txt").read_text() == "0\n"
    assert sent(fake) == Counter(["piece-0", "piece-1"])


def test_a_group_is_one_job(fake, workflow):
    ran = workflow.run("--groups", "piece=pair", "--group-components", "pair=2")
    assert ran.code == 0, ran.text
    assert len(fake.created) == 2
    assert (workflow.folder / "all.txt").read_text() == "0\n1\n"


def test_the_size_of_a_group_is_the_same_whatever_cores_the_driver_has(fake, workflow):
    def end_all(api: FakeApi, job: dict) -> None:
        for piece in "0123":
            (workflow.folder / "piece").mkdir(exist_ok=True)
            (workflow.folder / f"piece/{piece}.txt").write_text("made\n")
        api.end(job, api.add_pod(job), "Succeeded")

    fake.fate = lambda job: at_once if task(job) == "join" else end_all
    sizes = set()
    for cores in ("1", "2", "all"):
        ran = workflow.run(
            *("--config", "pieces=4", "--forceall", "--cores", cores),
            *("--groups", "piece=four", "--group-components", "four=4"),
        )
        assert ran.code == 0, ran.text
        group, _ = fake.created[-2:]
        container = group["spec"]["template"]["spec"]["containers"][0]
        inside = re.findall(r"--cores '?(\w+)", container["command"][-1])
        sizes.add((json.dumps(container["resources"]["requests"], sort_keys=True), *inside))
    assert sizes == {('{"cpu": "4", "ephemeral-storage": "400M", "memory": "800M"}', "4")}


def test_retries_are_those_of_snakemake(fake, workflow):
    workflow.does("[ $1 = 0 -o -e once ] || { touch once; exit 1; }; echo $1")
    ran = workflow.run("--retries", "1")
    assert ran.code == 0, ran.text
    assert sent(fake)["piece-1"] == 2
    attempts = [job["metadata"]["labels"]["snakemake/attempt"] for job in fake.created]
    assert sorted(attempts) == ["1", "1", "1", "2"]


def memory(fake: FakeApi) -> list[str]:
    """Memory limit of each Job that was sent."""
    pods = [job["spec"]["template"]["spec"]["containers"][0] for job in fake.created]
    return [pod["resources"]["limits"]["memory"] for pod in pods]


def with_profile_nautilus() -> list[str]:
    """What the profile says of memory and retries."""
    profile = yaml.safe_load((CHECKOUT / "profiles/nautilus/config.yaml").read_text("utf-8"))
    defaults = [f"{name}={value}" for name, value in profile["default-resources"].items()]
    return ["--retries", str(profile["retries"]), "--default-resources", *defaults]


def out_of_memory(api: FakeApi, job: dict) -> None:
    """Fate of a Job: its container is killed at its limit."""
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    api.end(job, api.add_pod(job), "Failed", terminated=killed)


def test_memory_grows_when_a_job_was_out_of_it_and_never_without_end(fake, workflow):
    fake.fate = lambda job: out_of_memory
    ran = workflow.run("plain.txt", *with_profile_nautilus())
    assert ran.code == 1
    # The last is Snakemake's own retry.
    assert memory(fake) == ["2000M", "6000M", "18000M", "18000M"]
    said = " ".join(ran.text.split())
    assert re.search(
        r"Job plain-\S+ was out of memory \(limit 2000M\): sent again with 6000M\.", said
    ), ran.text
    assert "(limit 6000M): sent again with 18000M." in said
    assert ran.text.count("message: OOMKilled, limit 18000M (Job plain-") == 2
    # Snakemake in the pod evaluates the same resources.
    pods = [job["spec"]["template"]["spec"]["containers"][0] for job in fake.created]
    attempts = [re.search(r"--attempt (\d+)", pod["command"][2])[1] for pod in pods]
    assert attempts == ["1", "2", "3", "3"]


def test_memory_does_not_grow_with_other_failures(fake, workflow):
    workflow.does("exit 1")
    ran = workflow.run("plain.txt", *with_profile_nautilus())
    assert ran.code == 1
    assert memory(fake) == ["2000M", "2000M"]


def test_memory_that_a_job_was_given_stays_when_it_fails_otherwise(fake, workflow):
    fates = iter([out_of_memory])
    fake.fate = lambda job: next(fates, None)
    workflow.does("exit 1")
    ran = workflow.run("plain.txt", *with_profile_nautilus())
    assert ran.code == 1
    assert memory(fake) == ["2000M", "6000M", "6000M"]


def test_a_function_for_memory_may_look_at_the_size_of_inputs(fake, workflow):
    fates = iter([out_of_memory])
    fake.fate = lambda job: next(fates, at_once)
    (workflow.folder / "given").mkdir()
    for number in range(30):
        (workflow.folder / f"given/{number}.txt").write_text("x" * 100_000)
    ran = workflow.run("many.txt", "--set-resources", "many:mem_mb=int(input.size_mb) * attempt")
    assert memory(fake) == ["2M", "4M"], ran.text


def test_a_job_whose_memory_does_not_grow_is_not_sent_again(fake, workflow):
    fake.fate = lambda job: out_of_memory
    ran = workflow.run("plain.txt", "--default-resources", "mem_mb=300")
    assert ran.code == 1
    assert "OOMKilled, limit 300M, and mem_mb does not grow with attempt (Job" in ran.text
    assert memory(fake) == ["300M"]


def test_memory_retries_can_be_switched_off(fake, workflow):
    fake.fate = lambda job: out_of_memory
    ran = workflow.run("piece/0.txt", "--kubernetes-pvc-memory-retries", "0")
    assert "message: OOMKilled, limit 200M (Job piece-0-" in ran.text
    assert memory(fake) == ["200M"]


def test_more_memory_than_the_cluster_has_does_not_hide_that_more_is_needed(fake, workflow):
    fates = iter([out_of_memory])
    fake.fate = lambda job: next(fates, stay_pending)
    ran = workflow.run("piece/0.txt", "--kubernetes-pvc-room-deadline", "1")
    assert (
        "message: OOMKilled, limit 200M; sent again with 400M, waited for 1 s: Unschedulable: 0/7"
    ) in ran.text


def test_a_job_that_the_cluster_lost_is_sent_again_without_retries(fake, workflow):
    fates = iter([vanish, vanish])
    fake.fate = lambda job: next(fates, at_once) if task(job) == "piece-1" else at_once
    ran = workflow.run()
    assert ran.code == 0, ran.text
    assert ran.text.count("it is sent again") == 2
    assert sent(fake) == EACH_ONCE + Counter({"piece-1": 2})


def test_a_job_that_someone_deleted_is_sent_again(fake, workflow):
    deleted = []

    def delete(api: FakeApi, job: dict) -> None:
        if not deleted:
            deleted.append(api.jobs.pop(job["metadata"]["name"]))
        else:
            at_once(api, job)

    fake.fate = only("piece-1", delete)
    ran = workflow.run()
    assert ran.code == 0, ran.text
    assert sent(fake)["piece-1"] == 2


ENDS = {
    "exit_code": "exit code 3",
    "command_missing": "exit code 127",
    "out_of_memory": "OOMKilled, limit 50M",
    "runtime_exceeded": "ran longer than its runtime of 3 s",
    "disk_full": "Evicted: Pod ephemeral local storage usage exceeds",
}
LOSSES = ["pod_deleted", "pod_evicted", "preempted", "job_deleted"]


def test_own_failures_are_named_and_losses_are_sent_again(fake, workflow):
    """Every end that a real cluster was seen to give a Job."""
    fates = [recorded(case) for case in [*ENDS, *LOSSES]]
    lost = {f"piece-{number}" for number in range(len(ENDS), len(fates))}

    def fate_of(job: dict) -> Callable:
        if task(job) in lost and sent(fake)[task(job)] > 1:
            return at_once
        return fates[int(job["metadata"]["labels"]["snakemake/wildcard.piece"])]

    fake.fate = fate_of
    ran = workflow.run("--config", f"pieces={len(fates)}", "--keep-going")
    assert ran.code == 1
    for number, said in enumerate(ENDS.values()):
        assert re.search(rf"message: {re.escape(said)}.* \(Job piece-{number}-", ran.text), ran.text
        assert f"Last lines of its pod piece-{number}-" in ran.text
    assert ran.text.count("it is sent again") == len(LOSSES)
    once = Counter(f"piece-{number}" for number in range(len(fates)))
    # Whose memory was not enough has more of it twice.
    assert sent(fake) == once + Counter(lost) + Counter({"piece-2": 2})
    made = {path.stem for path in (workflow.folder / "piece").iterdir()}
    assert {f"piece-{piece}" for piece in made} == lost


CANNOT_START = {
    "no_such_node": "didn't match Pod's node affinity/selector",
    "claim_missing": 'persistentvolumeclaim "nothing" not found',
    "volume_missing": "FailedMount: MountVolume.SetUp failed",
    "secret_missing": 'secret "nothing" not found',
    "image_missing": 'pull and unpack image "nowhere.invalid/none:1"',
    "image_name_invalid": "couldn't parse image name",
    "quota_exceeded": "exceeded quota: small, requested: cpu=1",
    "priority_class_missing": "no PriorityClass with name nothing",
    "service_account_missing": 'serviceaccount "nothing" not found',
    "larger_than_any_node": "it asks for more than any node has: cpu 1k (the most that one has "
    "is 2). Unschedulable: 0/1 nodes are available: 1 Insufficient cpu",
}


def test_what_can_never_start_fails_at_its_deadline_with_the_clusters_words(fake, workflow):
    """Every reason that a real cluster was seen to give."""
    fates = [recorded(case) for case in CANNOT_START]
    fake.fate = lambda job: fates[int(job["metadata"]["labels"]["snakemake/wildcard.piece"])]
    fake.nodes = {"n1": {"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "2"}}}}
    ran = workflow.run(
        *("--config", f"pieces={len(fates)}", "--keep-going"),
        *("--kubernetes-pvc-start-deadline", "3"),
    )
    assert ran.code == 1
    for number, said in enumerate(CANNOT_START.values()):
        told = re.search(rf"message: waited for 3 s: (.*) \(Job piece-{number}-", ran.text)
        assert told, ran.text
        assert said in told.group(1)
    assert "1 job cannot start (it fails after 3 s): FailedMount: " in ran.text
    assert fake.jobs == {}


FOR_ROOM = {
    "busy_node": "1 job waits for room: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu",
    "suspended": "1 job waits for room: the Job is suspended",
}


def test_waiting_for_room_is_no_failure_and_costs_no_memory(fake, workflow):
    """Neither does the wait for what a node makes ready."""

    def creating(api: FakeApi, job: dict) -> None:
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        api.add_pod(job, phase="Pending", containerStatuses=[{"name": "main", "state": waiting}])

    fates = [*map(recorded, FOR_ROOM), creating]
    fake.fate = lambda job: (
        fates[int(job["metadata"]["labels"]["snakemake/wildcard.piece"])]
        if task(job) != "join"
        else at_once
    )
    fake.nodes = {"n1": {"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "2"}}}}
    run = workflow.start("--config", f"pieces={len(fates)}", "--kubernetes-pvc-start-deadline", "3")
    until(lambda: len(fake.created) == len(fates))
    time.sleep(24)
    with fake.lock:
        assert len(fake.jobs) == len(fates)
        for job in fake.jobs.values():
            job["status"] = {}
            at_once(fake, job)
    ran = ended(run)
    assert ran.code == 0, ran.text
    for said in FOR_ROOM.values():
        assert said in ran.text
    # Sent once, with the memory of the first attempt.
    assert len(fake.created) == len(fates) + 1
    assert set(memory(fake)) == {"200M"}
    assert sum(call.kind == "nodes" for call in fake.calls) == 1


def test_without_the_right_to_list_nodes_what_may_be_too_large_is_waited_for(fake, workflow):
    fake.fate = only("piece-1", recorded("larger_than_any_node"))
    refusal = 'nodes is forbidden: "me" cannot list resource "nodes"'
    fake.faults = [Fault(403, "GET", "nodes", message=refusal)]
    ran = workflow.run(
        *("--keep-going", "--kubernetes-pvc-start-deadline", "1"),
        *("--kubernetes-pvc-room-deadline", "4"),
    )
    assert f"Whether any node is large enough for jobs that wait is not known: {refusal}" in (
        " ".join(ran.text.split())
    )
    assert "waited for 4 s: Unschedulable: 0/1 nodes" in ran.text


def test_a_node_that_the_cluster_is_about_to_start_is_waited_for(fake, workflow):
    def grow(api: FakeApi, job: dict) -> None:
        recorded("no_such_node")(api, job)
        coming = {"reason": "TriggeredScaleUp", "type": "Normal", "message": "0 -> 1"}
        name = f"{job['metadata']['name']}-pod"
        api.events.append({**coming, "involvedObject": {"name": name}})

    fake.fate = only("piece-1", grow)
    run = workflow.start("--kubernetes-pvc-start-deadline", "1")
    until(lambda: len(fake.created) == 2)
    time.sleep(6)
    with fake.lock:
        (job,) = [job for job in fake.jobs.values() if task(job) == "piece-1"]
        at_once(fake, job)
    ran = ended(run)
    assert ran.code == 0, ran.text
    assert sent(fake) == EACH_ONCE


def test_losses_end_at_their_limit(fake, workflow):
    fake.fate = only("piece-1", vanish)
    ran = workflow.run("--kubernetes-pvc-infrastructure-retries", "2")
    assert ran.code == 1
    assert "lost 3 times: its pod is gone" in ran.text
    assert sent(fake)["piece-1"] == 3


def test_a_deadline_for_room_can_be_set(fake, workflow):
    fake.fate = only("piece-1", stay_pending)
    ran = workflow.run("--kubernetes-pvc-room-deadline", "2", "--keep-going")
    assert ran.code == 1
    assert "waited for 2 s: Unschedulable: 0/7 nodes are available" in ran.text
    assert not any(task(job) == "piece-1" for job in fake.jobs.values())
    assert (workflow.folder / "piece/0.txt").exists()


def test_a_job_on_a_node_that_is_not_ready_is_sent_again_after_the_deadline(fake, workflow):
    fates = iter([on_a_silent_node])
    fake.fate = lambda job: next(fates, at_once) if task(job) == "piece-1" else at_once
    ran = workflow.run("--kubernetes-pvc-node-deadline", "2")
    assert ran.code == 0, ran.text
    lost = (
        r"was lost \(waited for 2 s: pod \S+ has not ended on n1\): it is sent again, 1 of 5 times"
    )
    assert re.search(lost, " ".join(ran.text.split())), ran.text
    assert sent(fake) == EACH_ONCE + Counter(["piece-1"])


def test_jobs_over_quota_are_sent_when_there_is_room(fake, workflow):
    fake.fate = lambda job: at_once
    refusal = 'jobs.batch "x" is forbidden: exceeded quota: small, used: count/jobs.batch=1'
    fake.faults = [Fault(403, "POST", times=6, message=refusal)]
    ran = workflow.run()
    assert ran.code == 0, ran.text
    assert sent(fake) == EACH_ONCE
    asked = [call.at for call in fake.calls if call.status == 403]
    # Two when the jobs were ready, perhaps one at a first look, then one in each interval.
    assert sum(later - earlier > 0.5 for earlier, later in itertools.pairwise(asked)) >= 3


@pytest.mark.parametrize(
    ("numbers", "deadline"),
    [
        ("requested: count/jobs.batch=1, used: count/jobs.batch=4, limited: count/jobs.batch=4",
         "room"),
        ("requested: count/jobs.batch=1, used: count/jobs.batch=0, limited: count/jobs.batch=0",
         "start"),
    ],
    ids=["full", "too small"],
)  # fmt: skip
def test_a_quota_that_stays_full_fails_jobs_at_their_deadline(fake, workflow, numbers, deadline):
    refusal = f"is forbidden: exceeded quota: small, {numbers}"
    fake.faults = [Fault(403, "POST", times=999, message=refusal)]
    ran = workflow.run(f"--kubernetes-pvc-{deadline}-deadline", "2", "--keep-going")
    assert ran.code == 1
    assert ran.text.count("waited for 2 s: is forbidden: exceeded quota: small") == 2


def test_admission_may_refuse_one_job(fake, workflow):
    fake.fate = lambda job: at_once
    refusal = 'admission webhook "policy" denied the request: no such project'
    fake.faults = [Fault(403, "POST", message=refusal)]
    ran = workflow.run("--keep-going")
    assert ran.code == 1
    assert f"The cluster refuses the Job: {refusal}" in ran.text
    assert len(fake.created) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            Fault(403, "POST", "jobs", message='"me" cannot create resource "jobs"'),
            'cannot create resource "jobs"',
        ),
        (
            Fault(403, "GET", "pods", times=99, message='"me" cannot list resource "pods"'),
            'cannot list resource "pods"',
        ),
        (Fault(404, "POST", "jobs", message='namespaces "here" not found'), "not found"),
        (Fault(401, times=99, message="Unauthorized"), "Unauthorized"),
    ],
    ids=["create", "list", "namespace", "token"],
)
def test_a_missing_right_ends_the_run_and_is_named(fake, workflow, fault, said):
    fake.faults = [fault]
    ran = workflow.run()
    assert ran.code == 1
    assert said in ran.text
    assert "Traceback" not in ran.text
    assert fake.jobs == {}


@pytest.mark.parametrize(
    ("method", "kind", "said"),
    [
        ("GET", "pods", '"me" cannot list resource "pods"'),
        ("POST", "jobs", '"me" cannot create resource "jobs"'),
    ],
)
def test_a_right_that_is_revoked_in_the_midst_ends_the_run_and_loses_nothing(
    fake, workflow, method, kind, said
):
    def revoke(api: FakeApi, job: dict) -> None:
        at_once(api, job)
        if len(sent(api)) == 2:
            api.faults = [Fault(403, method, kind, times=99, message=said)]

    fake.fate = lambda job: revoke
    ran = workflow.run()
    assert ran.code == 1
    assert said in ran.text
    assert "Traceback" not in ran.text
    assert sent(fake) == Counter(["piece-0", "piece-1"])
    # With the right, the same command finishes it.
    fake.faults, fake.fate = [], lambda job: at_once
    ran = workflow.run("--rerun-incomplete")
    assert ran.code == 0, ran.text
    assert sent(fake)["join"] == 1


def test_an_api_that_stays_away_ends_the_run_and_says_how_to_clean_up(fake, workflow):
    def disappear(api: FakeApi, job: dict) -> None:
        api.faults = [Fault(503, times=9999)]

    fake.fate = lambda job: disappear
    ran = workflow.run("--kubernetes-pvc-api-patience", "2", "--config", "pieces=1", timeout_s=60)
    assert ran.code == 1
    assert "did not answer for" in ran.text
    assert "kubectl delete jobs --namespace here --selector snakemake/run=" in ran.text


def test_without_the_right_to_watch_a_run_lists_and_says_so_once(fake, workflow):
    said = 'jobs.batch is forbidden: "me" cannot watch resource "jobs" in API group "batch"'
    fake.faults = [Fault(403, "GET", watch=True, times=999, message=said)]
    ran = workflow.run("--verbose")
    assert ran.code == 0, ran.text
    assert sent(fake) == EACH_ONCE
    text = " ".join(ran.text.split())
    assert text.count(f"does not let the driver watch its Jobs and pods ({said})") == 1
    assert re.search(r"Calls of the Kubernetes API: .*\d+ x list jobs.*; \d+ kB received", text)


def test_streams_that_break_all_the_time_lose_nothing(fake, workflow):
    over = threading.Event()

    def break_them() -> None:
        while not over.wait(0.7):
            fake.break_streams()

    threading.Thread(target=break_them, daemon=True).start()
    ran = workflow.run("--config", "pieces=4")
    over.set()
    assert ran.code == 0, ran.text
    assert sent(fake) == EACH_ONCE + Counter(["piece-2", "piece-3"])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_run_that_is_stopped_deletes_its_jobs(fake, workflow, how):
    workflow.does("sleep 100")
    run = workflow.start()
    until(lambda: len(fake.processes) == 2)
    time.sleep(1)
    fake.faults = [Fault(503, "DELETE", times=2)]
    begin = time.monotonic()
    os.kill(run.pid, how)
    ran = ended(run)
    assert time.monotonic() - begin < 20
    assert ran.code != 0
    assert fake.jobs == {}
    assert all(process.poll() is not None for process in fake.processes.values())


def test_a_run_that_is_stopped_while_the_api_is_away_does_not_hang(fake, workflow):
    workflow.does("sleep 100")
    run = workflow.start()
    until(lambda: len(fake.processes) == 2)
    fake.faults = [Fault(503, "GET", times=9999)]
    until(lambda: fake.faults[0].times < 9998)
    os.kill(run.pid, signal.SIGTERM)
    time.sleep(1)
    fake.faults = []
    assert ended(run, 30).code != 0
    assert fake.jobs == {}


def test_a_run_that_cannot_send_can_be_stopped(fake, workflow):
    fake.faults = [Fault(503, "POST", times=9999)]
    run = workflow.start()
    until(lambda: fake.faults[0].times < 9999)
    os.kill(run.pid, signal.SIGTERM)
    assert ended(run, 20).code != 0
    assert fake.jobs == {}


def killed_at_work(workflow, fake, *options: str) -> None:
    """Kill a driver while its Jobs run, which go on."""
    workflow.does("touch began-$1; until [ -e go ]; do sleep 0.2; done; echo $1")
    run = workflow.start(*options)
    until(lambda: len(list(workflow.folder.glob("began-*"))) == 2)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert len(fake.jobs) == 2


def test_after_a_kill_the_next_run_waits_for_what_is_left(fake, workflow):
    killed_at_work(workflow, fake)
    asked = len(fake.calls)
    process = workflow.start("--rerun-incomplete", "--nolock")
    # It lists what there is, and then follows it.
    until(lambda: len(fake.calls) >= asked + 4)
    (workflow.folder / "go").touch()
    ran = ended(process)
    assert ran.code == 0, ran.text
    assert "2 of its Jobs still run" in ran.text
    assert sent(fake) == EACH_ONCE
    assert (workflow.folder / "all.txt").read_text() == "0\n1\n"


def test_what_ended_while_there_was_no_driver_is_not_done_again_unless_it_failed(fake, workflow):
    workflow.does("touch began-$1; until [ -e go ]; do sleep 0.2; done; [ $1 = 0 ]; echo $1")
    killed_at_work(workflow, fake)
    workflow.does("[ $1 = 1 ] && exit 1; echo $1")
    (workflow.folder / "go").touch()
    until(lambda: all(job["status"].get("conditions") for job in fake.jobs.values()))
    ran = workflow.run("--rerun-incomplete", "--nolock")
    assert ran.code == 0, ran.text
    assert sent(fake) == EACH_ONCE


def test_what_is_left_of_another_study_is_ended_before_a_run_begins(fake, workflow):
    killed_at_work(workflow, fake)
    left = list(fake.processes.values())
    workflow.does("echo $1")
    ran = workflow.run("--rerun-incomplete", "--nolock", "--config", "another=study")
    assert ran.code == 0, ran.text
    assert "2 Jobs of an earlier run" in ran.text
    assert all(process.poll() == -signal.SIGKILL for process in left)
    assert set(fake.most_at_once.values()) == {1}
    assert (workflow.folder / "all.txt").read_text() == "0\n1\n"


def test_runs_in_one_folder_leave_each_others_jobs_alone(fake, workflow):
    workflow.does("[ $1 = 1 ] || sleep 8; echo $1")
    first = workflow.start("piece/0.txt")
    until(lambda: len(fake.processes) == 1)
    ran = workflow.run("--nolock", "piece/1.txt")
    assert ran.code == 0, ran.text
    ran = ended(first)
    assert ran.code == 0, ran.text
    assert sent(fake) == Counter(["piece-0", "piece-1"])
    assert list((workflow.folder / ".snakemake/kubernetes-pvc").iterdir()) == []


def test_runs_in_two_folders_do_not_touch_each_other(fake, workflow, tmp_path):
    workflow.does("sleep 8; echo $1")
    first = workflow.start()
    until(lambda: len(fake.processes) == 2)
    other = SmallWorkflow(tmp_path / "other", workflow.kubeconfig)
    other.does("sleep 100")
    second = other.start()
    until(lambda: len(fake.processes) == 4)
    os.kill(second.pid, signal.SIGTERM)
    ended(second)
    ran = ended(first)
    assert ran.code == 0, ran.text
    assert sent(fake) == EACH_ONCE + Counter(["piece-0", "piece-1"])


def test_the_number_of_calls_does_not_grow_with_the_number_of_jobs(fake, workflow):

    def end_all() -> None:
        for job in fake.created:
            at_once(fake, job)

    def run_until_all_do(api: FakeApi, job: dict) -> None:
        if task(job) == "join":
            at_once(api, job)
            return
        api.add_pod(job, phase="Running")
        if len(api.created) == 200:
            threading.Timer(4, end_all).start()

    fake.fate = lambda job: run_until_all_do
    ran = workflow.run("--config", "pieces=200", "--jobs", "200")
    assert ran.code == 0, ran.text
    assert len(fake.created) == 201
    looks = Counter((call.kind, call.watch) for call in fake.calls if call.method == "GET")
    # What earlier runs have left is listed once, what there is of this one too.
    assert looks == {
        (kind, watch): 1 if watch else 2 for kind in ("jobs", "pods") for watch in (False, True)
    }
    # Of those that are done only the last are kept, so that lists do not grow either.
    assert len(fake.jobs) <= 101


def test_a_dry_run_prints_what_would_be_sent_with_the_settings_of_a_profile(fake, workflow):
    profile = workflow.folder / "profile"
    profile.mkdir()
    settings = {
        "kubernetes-pvc-tolerations": ["dedicated=batch:NoSchedule", "slow"],
        "kubernetes-pvc-labels": ["project=fires", "team=water"],
        "kubernetes-pvc-priority-class": "opportunistic",
        "kubernetes-pvc-user-id": 4321,
        "kubernetes-pvc-dry-run": True,
        "default-resources": ["mem_mb=700"],
    }
    (profile / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    ran = workflow.run("--profile", str(profile), "--cores", "1")
    assert ran.code == 0, ran.text
    assert "Dry run: 2 Jobs were printed, none was sent.\n" in ran.text
    assert "error" not in ran.text.lower()
    printed = re.search(r"^apiVersion:.*?(?=^Dry run)", ran.text, re.DOTALL | re.MULTILINE)
    drafts = [one for one in yaml.safe_load_all(printed.group()) if isinstance(one, dict)]
    assert len(drafts) == 2
    for draft in drafts:
        pod = draft["spec"]["template"]["spec"]
        assert draft["metadata"]["labels"]["project"] == "fires"
        assert draft["metadata"]["labels"]["team"] == "water"
        assert [one["key"] for one in pod["tolerations"]] == ["dedicated", "slow"]
        assert pod["priorityClassName"] == "opportunistic"
        # The driver's cores bind no pod.
        assert "--cores 'all'" in pod["containers"][0]["command"][-1]
        assert pod["securityContext"]["runAsUser"] == 4321
    assert fake.calls == []
    # Nothing is left that a run would trip over.
    left = {path.name for path in (workflow.folder / ".snakemake/incomplete").rglob("*")}
    assert left == set()
    assert not list((workflow.folder / ".snakemake").glob("locks/*"))
    assert not list((workflow.folder / ".snakemake").glob("tmp.*"))


def test_a_dry_run_prints_no_more_than_may_be_sent_at_once_and_runs_nothing_itself(fake, workflow):
    dry = ("--kubernetes-pvc-dry-run", "--jobs")
    ran = workflow.run(*dry, "2", "--config", "pieces=3")
    assert ran.code == 0, ran.text
    assert "Dry run: 2 Jobs of 3 that are ready were printed, none was sent.\n" in ran.text
    with (workflow.folder / "Snakefile").open("a", encoding="utf-8") as file:
        file.write("localrules: piece\n")
    ran = workflow.run(*dry, "2")
    assert ran.code == 0, ran.text
    said = "Dry run: 0 Jobs were printed, none was sent. 2 jobs would run in the driver first."
    assert said in ran.text
    assert not (workflow.folder / "piece").exists()
    (workflow.folder / "all.txt").write_text("done before\n")
    ran = workflow.run(*dry, "2", "--rerun-triggers", "mtime")
    assert ran.code == 0, ran.text
    assert "Nothing to be done" in ran.text
    assert fake.calls == []


def test_rules_go_to_their_places(fake, workflow):
    text = "rules: {piece: {nodeSelector: {size: large}, queue: large}}"
    (workflow.folder / "placement.yaml").write_text(text, encoding="utf-8")
    options = ("--kubernetes-pvc-placement", "placement.yaml", "--kubernetes-pvc-queue", "small")
    fake.fate = lambda job: at_once
    ran = workflow.run(*options)
    assert ran.code == 0, ran.text
    assert sent(fake) == EACH_ONCE
    for job in fake.created:
        piece = task(job) != "join"
        selector = job["spec"]["template"]["spec"].get("nodeSelector")
        assert selector == ({"size": "large"} if piece else None)
        queue = job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
        assert queue == ("large" if piece else "small")
    (workflow.folder / "placement.yaml").write_text("rules: {peace: {}}", encoding="utf-8")
    ran = workflow.run(*options, "--forceall")
    assert ran.code == 1
    said = "placement.yaml: rules: peace: the workflow has no rule of this name; do you mean piece?"
    assert said in ran.text
    assert len(fake.created) == 3


@pytest.mark.skipif(os.getuid() == 4321, reason="this is the user of the pods")
def test_a_driver_whose_folders_pods_cannot_write_to_is_stopped_at_the_start(fake, workflow):
    workflow.umask = 0o022
    ran = workflow.run("--kubernetes-pvc-user-id", "4321")
    assert ran.code == 1
    said = f"The driver runs as user {os.getuid()}, and its pods as user 4321, which cannot write"
    assert said in ran.text
    assert fake.created == []


def test_folders_that_jobs_write_to_are_created_before_the_first_job(fake, workflow):
    there = []

    def look(api: FakeApi, job: dict) -> None:
        there.append((workflow.folder / "piece").is_dir() and (workflow.folder / ".cache").is_dir())
        at_once(api, job)

    fake.fate = lambda job: look
    ran = workflow.run("--kubernetes-pvc-writable", "piece", ".cache")
    assert ran.code == 0, ran.text
    assert there == [True] * 3
    for job in fake.created:
        mounts = job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        assert mounts[0]["readOnly"] is True
        assert [one["subPath"] for one in mounts[1:-1]] == [".cache", ".snakemake", "piece"]


def test_a_folder_to_write_to_that_cannot_be_created_is_named(fake, workflow):
    (workflow.folder / "file").touch()
    ran = workflow.run("--kubernetes-pvc-writable", "file/results")
    assert ran.code == 1
    folder = workflow.folder / "file/results"
    assert (
        f"--kubernetes-pvc-writable: the folder {folder} cannot be created (Not a directory). "
        "Create it, or give this user the right to."
    ) in " ".join(ran.text.split())
    assert fake.created == []


def test_a_secret_variable_reaches_pods_by_reference_only(fake, workflow, monkeypatch):
    monkeypatch.setenv("PASSWORD", "s3cr3t")
    fake.fate = lambda job: at_once
    ran = workflow.run("--envvars", "PASSWORD", "--verbose")
    assert ran.code == 1
    assert "put it in a secret" in ran.text
    assert fake.created == []
    ran = workflow.run(
        "--envvars", "PASSWORD", "--kubernetes-pvc-env-secret", "passwords", "--verbose"
    )
    assert ran.code == 0, ran.text
    assert "s3cr3t" not in ran.text + json.dumps(fake.created)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--kubernetes-pvc-mount-path", "/elsewhere"), "is not in /elsewhere"),
        (("--kubernetes-pvc-ttl", "5"), "--kubernetes-pvc-ttl is 5"),
        (("--shared-fs-usage", "persistence", "input-output"), "input-output and sources"),
        (("--kubernetes-pvc-labels", "two words"), "NAME=VALUE is expected"),
        (("--kubernetes-pvc-writable", "/elsewhere"), "/elsewhere is not in /"),
    ],
)
def test_settings_that_cannot_work_are_named_at_once(fake, workflow, options, said):
    ran = workflow.run(*options)
    assert ran.code == 1
    assert said in ran.text
    assert "Traceback" not in ran.text
    assert fake.calls == []


def test_the_driver_without_a_cluster_says_so(workflow):
    workflow.kubeconfig = Path("/no/such/file")
    ran = workflow.run()
    assert ran.code == 1
    assert "No Kubernetes cluster is configured" in ran.text
