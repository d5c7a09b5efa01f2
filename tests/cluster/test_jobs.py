"""The behaviour of runs on a real cluster: the one of the current kubeconfig context."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from fake_api import Fault, FaultyProxy
from real_cluster import EACH_ONCE, IMAGE, RIGHTS, sent, whole
from small_workflow import ended, until

from snakemake_executor_plugin_kubernetes_pvc.connection import Connection

RESET, HANG = 0, -1


CONFINED = """
{
    id -u; id -g; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status
    touch /here 2>/dev/null || echo read-only
    touch $HOME/x $TMPDIR/x && mkdir -p $XDG_CACHE_HOME && echo temporary
    [ -e /var/run/secrets/kubernetes.io ] || echo no token
} > confined-$1
echo $1
"""


def test_jobs_work_on_the_volume_and_may_do_nothing_else(cluster, workflow):
    # The names of many inputs come in a file that the driver writes as another user.
    (workflow.folder / "given").mkdir()
    for number in range(30):
        (workflow.folder / f"given/{number}.txt").write_text(f"{number}\n")
    workflow.does(CONFINED)
    assert whole(workflow, workflow.run("all", "many.txt"))
    assert sent(cluster) == EACH_ONCE + Counter(["many"])
    assert len((workflow.folder / "many.txt").read_text().split()) == 30
    for piece in ("0", "1"):
        said = re.sub(r"[\t ]+", " ", (workflow.folder / f"confined-{piece}").read_text())
        assert said.splitlines() == [
            "1000",
            "1000",
            "CapEff: 0000000000000000",
            "NoNewPrivs: 1",
            "Seccomp: 2",
            "read-only",
            "temporary",
            "no token",
        ]


def test_what_failed_is_shown_tried_again_with_more_memory_and_harms_no_other_job(
    cluster, workflow
):
    workflow.does(
        "[ $1 = 0 ] && { python -c \"b'x' * 200_000_000\" || exit 1; }\n"
        "[ $1 = 2 ] && [ ! -e once ] && { touch once; exit 3; }\n"
        "[ $1 = 3 ] && { echo no such tile >&2; exit 4; }\n"
        "echo $1"
    )
    ran = workflow.run(
        *("--config", "pieces=4", "--retries", "1", "--keep-going", "--show-failed-logs")
    )
    assert ran.code == 1
    assert re.search(
        r"Job piece-0-\S+ was out of memory \(limit 200M\): sent again with 400M\.",
        " ".join(ran.text.split()),
    ), ran.text
    assert ran.text.count("exit code 1 (Job piece-3-") == 2
    assert ran.text.count("Last lines of its pod piece-3-") == 2
    assert "no such tile" in ran.text
    made = sorted(path.name for path in (workflow.folder / "piece").iterdir())
    assert made == ["0.txt", "1.txt", "2.txt"]
    assert sent(cluster) == Counter({"piece-0": 2, "piece-1": 1, "piece-2": 2, "piece-3": 2})


# What else can keep a pod from its start: see test_executor.py, which has it from records.
CANNOT_START = {
    "selector": (
        ("--kubernetes-pvc-node-selector", "disk=fast"),
        "didn't match Pod's node affinity/selector",
    ),
    "account": (("--kubernetes-pvc-service-account", "none"), 'serviceaccount "none" not found'),
}


def test_what_cannot_start_fails_at_its_deadline_with_the_clusters_words(
    cluster, workflow, another
):
    deadline = ("--kubernetes-pvc-start-deadline", "10")
    runs = {
        name: another(name).start("piece/0.txt", *deadline, *options)
        for name, (options, _) in CANNOT_START.items()
    }
    # The second one's reason is in an event: without the right to read them it cannot be told.
    cluster.account("no-events", rights_without("events", "list"))
    untold = another("no-events", "no-events").start(
        *("piece/0.txt", "--kubernetes-pvc-node-deadline", "30", *CANNOT_START["account"][0])
    )
    for name, (_, said) in CANNOT_START.items():
        ran = ended(runs[name])
        assert ran.code == 1, name
        message = re.search(r"message: waited for 10 s: (.*)", ran.text)
        assert message, ran.text
        assert said in message.group(1), name
    ran = ended(untold)
    assert ran.code == 1
    assert re.search(r'cannot be told: .* cannot list resource "events"', ran.text), ran.text
    assert cluster.jobs() == []


@pytest.fixture
def sees_nodes(cluster) -> Iterator[str]:
    """Account of a driver that may list nodes, too, which takes a right in the whole cluster."""
    cluster.account("sees-nodes", RIGHTS)
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    name = cluster.namespace
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}
    cluster.make(f"{rbac}/clusterroles", "ClusterRole", name, rules=[rule])
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"kind": "ServiceAccount", "name": "sees-nodes", "namespace": name}
    cluster.make(
        f"{rbac}/clusterrolebindings",
        "ClusterRoleBinding",
        name,
        roleRef=reference,
        subjects=[subject],
    )
    yield "sees-nodes"
    cluster.send("DELETE", f"{rbac}/clusterrolebindings/{name}")
    cluster.send("DELETE", f"{rbac}/clusterroles/{name}")


def test_the_last_lines_of_a_run_say_why_a_job_failed(cluster, workflow, another, sees_nodes):
    soon = ("--kubernetes-pvc-start-deadline", "3")
    too_small, claim, large = another("memory"), another("claim"), another("large", sees_nodes)
    too_small.does("python -c \"b'x' * 600_000_000\" || exit 1")
    shown = ("piece/0.txt", "--logger", "snakeshed")
    runs = {
        "OOMKilled, limit 400M": too_small.start(*shown, "--kubernetes-pvc-memory-retries", "1"),
        'persistentvolumeclaim "nothing" not found': claim.start(
            *shown, *soon, "--kubernetes-pvc-claim", "nothing"
        ),
        "it asks for more than any node has: cpu 1k (the most that one has is": large.start(
            *shown, *soon, "--set-threads", "piece=1000", "--cores", "1000"
        ),
    }
    for reason, run in runs.items():
        ran = ended(run)
        assert ran.code == 1
        last = ran.text.splitlines()[-6:]
        (first,) = [n for n, line in enumerate(last) if "1 of the jobs failed: piece 0." in line]
        assert reason in last[first + 1], ran.text
    assert sent(cluster)["piece-0"] == 2


def test_a_job_that_waits_for_a_busy_node_has_not_failed(cluster, workflow):
    nodes = cluster.get("/api/v1/nodes")["items"]
    (memory,) = [node["status"]["allocatable"]["memory"].removesuffix("Ki") for node in nodes]
    most_mb = int(memory) * 1024 * 6 // 10_000_000
    container = {"name": "fills", "image": IMAGE, "command": ["sleep", "300"]}
    container["resources"] = {"requests": {"memory": f"{most_mb}M"}}
    pods = f"{cluster.home}/pods"
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    cluster.make(pods, "Pod", "fills", spec=spec)
    try:
        until(lambda: cluster.get(f"{pods}/fills")["status"]["phase"] == "Running")
        run = workflow.start(
            *("piece/0.txt", "--set-resources", f"piece:mem_mb={most_mb} * attempt"),
            *("--retries", "1", "--kubernetes-pvc-start-deadline", "3"),
        )
        until(lambda: sent(cluster)["piece-0"])
        # A wait is told after twenty seconds.
        time.sleep(25)
    finally:
        cluster.send("DELETE", f"{pods}/fills")
    ran = ended(run)
    assert ran.code == 0, ran.text
    assert re.search(
        r"1 job waits for room: Unschedulable: 0/1 nodes .* Insufficient mem", ran.text
    )
    (job,) = cluster.jobs()
    (main,) = job["spec"]["template"]["spec"]["containers"]
    assert main["resources"]["limits"]["memory"] in {f"{most_mb}M", f"{most_mb / 1000:g}G"}


@pytest.fixture
def quota(cluster) -> Iterator[Callable[..., None]]:
    """Limit what the namespace may have."""
    path = f"{cluster.home}/resourcequotas"

    def limit(**hard: str) -> None:
        cluster.make(path, "ResourceQuota", "small", spec={"hard": hard})
        until(lambda: cluster.get(f"{path}/small").get("status", {}).get("hard"))

    yield limit
    cluster.send("DELETE", f"{path}/small")


@pytest.mark.parametrize(
    "hard",
    [{"count/jobs.batch": "1"}, {"limits.memory": "300M"}],
    ids=["jobs", "memory"],
)
def test_a_quota_is_waited_for(cluster, workflow, quota, hard):
    quota(**hard)
    # There is room for both pieces but for the quota.
    workflow.does("exec 8> room; flock -n 8 || touch together; sleep 4; echo $1")
    # Jobs that have ended count until they are gone, but no sooner than they were seen to end.
    ran = workflow.run("--kubernetes-pvc-ttl", "10", "--kubernetes-pvc-api-patience", "1")
    assert whole(workflow, ran)
    assert not (workflow.folder / "together").exists()
    # Finished Jobs go by themselves.
    until(lambda: not cluster.jobs() and not cluster.api.pods(""))


LACKING = {
    "create jobs": (("jobs", "create"), 'cannot create resource "jobs" in API group "batch"'),
    "list jobs": (("jobs", "list"), 'cannot list resource "jobs" in API group "batch"'),
    "list pods": (("pods", "list"), 'cannot list resource "pods" in API group ""'),
}


def rights_without(what: str, *verbs: str) -> dict[str, list[str]]:
    """All rights that a driver needs but some."""
    return {**RIGHTS, what: [verb for verb in RIGHTS[what] if verb not in verbs]}


def test_a_missing_right_is_named(cluster, workflow, another):
    runs = {}
    for name, (right, _) in LACKING.items():
        account = name.replace(" ", "-")
        cluster.account(account, rights_without(*right))
        runs[name] = another(account, account).start()
    for name, (_, said) in LACKING.items():
        ran = ended(runs[name])
        assert ran.code == 1, name
        assert said in ran.text, ran.text
        assert "Traceback" not in ran.text


def test_without_the_right_to_watch_all_is_listed(cluster, workflow, another):
    rights = {**rights_without("jobs", "watch"), "pods": ["list"]}
    cluster.account("no-watch", rights)
    one = another("no-watch", "no-watch")
    ran = one.run()
    assert whole(one, ran)
    text = " ".join(ran.text.split())
    assert text.count("does not let the driver watch its Jobs and pods") == 1
    assert re.search(r'cannot watch resource "(jobs|pods)" in API group', text)


def test_without_the_right_to_logs_less_is_told(cluster, workflow, another):
    cluster.account("no-logs", rights_without("pods/log", "get"))
    one = another("no-logs", "no-logs")
    one.does("exit 3")
    ran = one.run("piece/0.txt")
    assert ran.code == 1
    assert re.search(r'\(no log: .* cannot get resource "pods/log"', ran.text), ran.text


def test_without_the_right_to_delete_what_is_left_is_told(cluster, workflow, another):
    cluster.account("one-by-one", rights_without("jobs", "deletecollection"))
    cluster.account("no-delete", rights_without("jobs", "delete", "deletecollection"))
    runs = {}
    for account in ("one-by-one", "no-delete"):
        made = another(account, account)
        made.does("sleep 300")
        runs[account] = made.start()
    until(lambda: len(cluster.jobs()) == 4)
    time.sleep(2)
    for run in runs.values():
        os.kill(run.pid, signal.SIGTERM)
    assert "may be left" not in ended(runs["one-by-one"]).text
    said = ended(runs["no-delete"]).text
    assert re.search(r'Jobs may be left .* cannot delete resource "jobs"', said), said
    (selector,) = re.findall(r"--selector (snakemake/run=\w+)$", said, flags=re.MULTILINE)[-1:]
    left = cluster.jobs()
    assert len(left) == 2
    assert len(cluster.api.jobs(selector)) == 2
    cluster.api.delete_jobs(selector)


def test_the_drivers_rights_do_not_reach_secrets(cluster, workflow, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(workflow.kubeconfig))
    driver = Connection()
    for path in (f"{cluster.home}/secrets", "/api/v1/namespaces/default/pods"):
        assert driver.send("GET", path).status == 403
    assert driver.send("POST", f"{cluster.home}/pods/any/exec").status == 403


def test_no_trouble_of_the_api_loses_a_job_or_starts_one_twice(
    cluster, workflow, tmp_path, monkeypatch
):
    monkeypatch.setenv("KUBECONFIG", str(workflow.kubeconfig))
    faults = [
        Fault(503, "GET", "jobs"),
        Fault(500, "POST", done=True),
        Fault(RESET, "POST", done=True, skip=1),
        Fault(429, "POST", retry_after="2", skip=1),
        Fault(HANG, "GET", "jobs", hang_s=30, skip=3),
        Fault(RESET, "GET", "pods", skip=2),
    ]
    with FaultyProxy(connection=Connection(), faults=faults) as proxy:
        workflow.kubeconfig = proxy.write_kubeconfig(
            tmp_path / "proxied", namespace=cluster.namespace
        )
        assert whole(workflow, workflow.run())
    assert not any(fault.times for fault in faults)
    assert sent(cluster) == EACH_ONCE


def test_a_token_may_be_replaced_while_jobs_run(cluster, workflow):
    cluster.make(f"{cluster.home}/secrets", "Secret", "old")
    cluster.kubeconfig(workflow.kubeconfig, cluster.token("driver", "old"))
    workflow.does("touch began; until [ -e go ]; do sleep 0.2; done; echo $1")
    run = workflow.start()
    until((workflow.folder / "began").exists)
    cluster.send("DELETE", f"{cluster.home}/secrets/old")
    time.sleep(12)  # the API server remembers a good token for ten seconds
    cluster.kubeconfig(workflow.kubeconfig, cluster.token("driver", "bond"))
    (workflow.folder / "go").touch()
    ran = ended(run)
    assert "401" in ran.text
    assert whole(workflow, ran)
    assert sent(cluster) == EACH_ONCE
