"""The behaviour of runs on a real cluster: the one of the current kubeconfig context."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import IMAGE, Cluster, NoCluster, leave_out
from fake_api import Fault, FaultyProxy, task
from small_workflow import Ran, SmallWorkflow, ended, until

from snakemake_executor_plugin_kubernetes_pvc.connection import Connection
from snakemake_executor_plugin_kubernetes_pvc.status import active, finished

pytestmark = pytest.mark.cluster

RESET, HANG = 0, -1
# As the executor's README has them.
RIGHTS = {
    "jobs": ["create", "list", "delete", "deletecollection"],
    "pods": ["list"],
    "pods/log": ["get"],
    "events": ["list"],
}
EACH_ONCE = Counter(["piece-0", "piece-1", "join"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Not below /tmp, where pods have a folder of their own.
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="kubernetes-pvc-"))
    folder.chmod(0o777)
    try:
        made = Cluster(folder)
    except NoCluster as reason:
        folder.rmdir()
        leave_out(str(reason))
    made.make(f"{made.home}/secrets", "Secret", "bond")
    made.account("driver", RIGHTS)
    yield made
    made.remove()
    shutil.rmtree(folder)


@pytest.fixture
def another(cluster, tmp_path) -> Callable[[str], SmallWorkflow]:
    """More of the small workflow on the volume, each in a folder of its own."""

    def make(name: str, account: str = "driver") -> SmallWorkflow:
        token = cluster.token(account, "bond")
        kubeconfig = cluster.kubeconfig(tmp_path / f"kubeconfig-{name}", token)
        folder = cluster.folder / tmp_path.name / name
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        return SmallWorkflow(folder, kubeconfig, mount_path=cluster.folder, image=IMAGE)

    return make


@pytest.fixture
def workflow(cluster, another) -> Iterator[SmallWorkflow]:
    """The small workflow, for a driver with no more rights than it needs.

    Afterwards nothing may be left but Jobs that are done, which go by their time to live.
    """
    made = another("workflow")
    yield made
    left = [job["metadata"]["name"] for job in cluster.jobs() if not finished(job)]
    until(lambda: not any(active(pod) for pod in cluster.api.pods("")))
    secrets = {one["metadata"]["name"] for one in cluster.get(f"{cluster.home}/secrets")["items"]}
    cluster.clear()
    assert left == []
    assert secrets == {"bond"}
    assert list(made.folder.parent.rglob("twice-at-once-*")) == []


def sent(cluster: Cluster) -> Counter[str]:
    """How often each task is in the cluster."""
    return Counter(task(job) for job in cluster.jobs())


def whole(workflow: SmallWorkflow, ran: Ran) -> bool:
    """Tell whether a run has made all there is to make."""
    assert ran.code == 0, ran.text
    return (workflow.folder / "all.txt").read_text() == "0\n1\n"


def test_jobs_run_on_the_volume(cluster, workflow):
    assert whole(workflow, workflow.run())
    assert sent(cluster) == EACH_ONCE


def test_a_pod_may_do_nothing_but_its_work(cluster, workflow):
    workflow.does(
        "id -u; id -g; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status;"
        "touch /here 2>/dev/null || echo read-only;"
        "touch $HOME/x $TMPDIR/x && mkdir -p $XDG_CACHE_HOME && echo temporary;"
        "[ -e /var/run/secrets/kubernetes.io ] || echo no token"
    )
    ran = workflow.run("piece/0.txt")
    assert ran.code == 0, ran.text
    said = re.sub(r"[\t ]+", " ", (workflow.folder / "piece/0.txt").read_text()).splitlines()
    assert said == [
        "1000",
        "1000",
        "CapEff: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "read-only",
        "temporary",
        "no token",
    ]


def test_a_job_may_have_many_inputs(cluster, workflow):
    # Their names come in a file that the driver writes as another user.
    (workflow.folder / "given").mkdir()
    for number in range(30):
        (workflow.folder / f"given/{number}.txt").write_text(f"{number}\n")
    ran = workflow.run("many.txt")
    assert ran.code == 0, ran.text
    assert len((workflow.folder / "many.txt").read_text().split()) == 30


def test_a_failure_is_shown_and_harms_no_other_job(cluster, workflow):
    workflow.does("[ $1 = 0 ] || { sleep 3; exec >&2; echo no such tile; exit 3; }; echo $1")
    ran = workflow.run("--keep-going", "--show-failed-logs")
    assert ran.code == 1
    assert "Last lines of its pod piece-1-" in ran.text
    assert "no such tile" in ran.text
    assert (workflow.folder / "piece/0.txt").exists()
    assert sent(cluster) == Counter(["piece-0", "piece-1"])


def test_what_failed_once_is_tried_again_with_more_memory(cluster, workflow):
    workflow.does(
        "[ $1 = 0 ] && { python -c \"b'x' * 200_000_000\" || exit 1; }\n"
        "[ $1 = 2 ] && [ ! -e once ] && { touch once; exit 3; }\n"
        "[ $1 = 3 ] && exit 4\n"
        "echo $1"
    )
    ran = workflow.run("--config", "pieces=4", "--retries", "1", "--keep-going")
    assert ran.code == 1
    assert "OOMKilled, limit 200M" in ran.text, ran.text
    assert ran.text.count("exit code 1 (Job piece-3-") == 2
    made = sorted(path.name for path in (workflow.folder / "piece").iterdir())
    assert made == ["0.txt", "1.txt", "2.txt"]
    assert sent(cluster) == Counter({"piece-0": 2, "piece-1": 1, "piece-2": 2, "piece-3": 2})


def test_a_full_disk_is_named(cluster, workflow):
    workflow.does("[ $1 = 0 ] || dd if=/dev/zero of=/tmp/big bs=1M count=300 && sleep 150; echo $1")
    ran = workflow.run("piece/1.txt", timeout_s=240)
    assert ran.code == 1
    assert re.search(r"Evicted: .*ephemeral.* storage .*(usage|limit)", ran.text), ran.text
    assert "it is sent again" not in ran.text


@pytest.fixture
def urgent(cluster) -> Iterator[str]:
    """A priority class above that of other pods."""
    path, name = "/apis/scheduling.k8s.io/v1/priorityclasses", cluster.namespace
    cluster.make(path, "PriorityClass", name, value=1000)
    yield name
    cluster.send("DELETE", f"{path}/{name}")


def test_a_pod_that_gave_way_to_an_urgent_one_is_replaced(cluster, workflow, another, urgent):
    (node,) = cluster.get("/api/v1/nodes")["items"]
    all_cores = int(node["status"]["allocatable"]["cpu"])
    workflow.does("[ $1 = 0 -o -e began ] || { touch began; sleep 100; }; echo $1")
    run = workflow.start("--set-threads", f"piece={all_cores}", "--cores", str(all_cores))
    until((workflow.folder / "began").exists)
    other = another("urgent")
    other.does("sleep 2; echo $1")
    ran = other.run(
        *("piece/0.txt", "--kubernetes-pvc-priority-class", urgent),
        *("--set-threads", f"piece={all_cores}", "--cores", str(all_cores)),
    )
    assert ran.code == 0, ran.text
    ran = ended(run, 120)
    assert re.search(r"was lost \(.*[Pp]reempt.*it is sent again", ran.text), ran.text
    assert whole(workflow, ran)


@pytest.mark.parametrize("how", ["deleted", "evicted"])
def test_a_pod_that_is_taken_away_is_replaced_without_retries(cluster, workflow, how):
    workflow.does("[ $1 = 0 -o -e began ] || { touch began; sleep 100; }; echo $1")
    run = workflow.start()
    until((workflow.folder / "began").exists)
    (pod,) = [pod for pod in cluster.running("piece") if task(pod) == "piece-1"]
    name = pod["metadata"]["name"]
    if how == "deleted":
        cluster.send("DELETE", f"{cluster.home}/pods/{name}")
    else:
        metadata = {"name": name, "namespace": cluster.namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        cluster.send("POST", f"{cluster.home}/pods/{name}/eviction", eviction)
    ran = ended(run)
    assert ran.text.count("it is sent again") == 1
    assert whole(workflow, ran)


CANNOT_START = {
    "image": (("--container-image", "nowhere.invalid/none:1"), "nowhere.invalid/none:1"),
    "cores": (("--set-threads", "piece=1000", "--cores", "1000"), "Insufficient cpu"),
    "claim": (("--kubernetes-pvc-claim", "none"), 'persistentvolumeclaim "none" not found'),
    "priority": (("--kubernetes-pvc-priority-class", "none"), "no PriorityClass with name none"),
    "account": (("--kubernetes-pvc-service-account", "none"), 'serviceaccount "none" not found'),
    "node": (("--kubernetes-pvc-node-selector", "disk=fast"), "didn't match Pod's node affinity"),
}


def test_what_cannot_start_fails_at_its_deadline_with_the_clusters_words(
    cluster, workflow, another
):
    deadline = ("--kubernetes-pvc-start-deadline", "30")
    runs = {
        name: another(name).start("piece/0.txt", *deadline, *options)
        for name, (options, _) in CANNOT_START.items()
    }
    for name, (_, said) in CANNOT_START.items():
        ran = ended(runs[name], 150)
        assert ran.code == 1, name
        message = re.search(r"message: waited for 30 s: (.*)", ran.text)
        assert message, ran.text
        assert said in message.group(1), name
    assert cluster.jobs() == []


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
    ran = workflow.run("--kubernetes-pvc-ttl", "15", "--kubernetes-pvc-api-patience", "1")
    assert whole(workflow, ran)
    assert not (workflow.folder / "together").exists()


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


def test_without_the_right_to_logs_and_events_less_is_told(cluster, workflow, another):
    cluster.account("no-logs", rights_without("pods/log", "get"))
    one = another("no-logs", "no-logs")
    one.does("exit 3")
    cluster.account("no-events", rights_without("events", "list"))
    other = another("no-events", "no-events").start(
        *("piece/0.txt", "--kubernetes-pvc-start-deadline", "30"),
        *("--kubernetes-pvc-priority-class", "none"),
    )
    ran = one.run("piece/0.txt")
    assert ran.code == 1
    assert re.search(r'\(no log: .* cannot get resource "pods/log"', ran.text), ran.text
    ran = ended(other, 90)
    assert ran.code == 1
    assert re.search(r'cannot be told: .* cannot list resource "events"', ran.text), ran.text


def test_without_the_right_to_delete_what_is_left_is_told(cluster, workflow, another):
    cluster.account("one-by-one", rights_without("jobs", "deletecollection"))
    cluster.account("no-delete", rights_without("jobs", "delete", "deletecollection"))
    runs = {}
    for account in ("one-by-one", "no-delete"):
        made = another(account, account)
        made.does("sleep 100")
        runs[account] = made.start()
    until(lambda: len(cluster.jobs()) == 4, 60)
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


@pytest.mark.skipif(
    "SNAKESHED_TEST_RESTART" not in os.environ,
    reason="SNAKESHED_TEST_RESTART names no command that restarts the API server",
)
def test_the_api_server_may_be_restarted_while_jobs_run(cluster, workflow):
    workflow.does("sleep 15; echo $1")
    run = workflow.start()
    until(lambda: len(cluster.running("piece")) == 2)
    subprocess.run(os.environ["SNAKESHED_TEST_RESTART"], shell=True, check=True, timeout=60)
    ran = ended(run, 120)
    assert "The Kubernetes API does not answer" in ran.text
    assert "The Kubernetes API answers again" in ran.text
    assert whole(workflow, ran)
    assert sent(cluster) == EACH_ONCE


def test_a_token_may_be_replaced_while_jobs_run(cluster, workflow):
    cluster.make(f"{cluster.home}/secrets", "Secret", "old")
    cluster.kubeconfig(workflow.kubeconfig, cluster.token("driver", "old"))
    workflow.does("sleep 25; echo $1")
    run = workflow.start()
    until(lambda: len(cluster.running("piece")) == 2)
    cluster.send("DELETE", f"{cluster.home}/secrets/old")
    time.sleep(12)  # the API server remembers a good token for ten seconds
    cluster.kubeconfig(workflow.kubeconfig, cluster.token("driver", "bond"))
    ran = ended(run)
    assert "401" in ran.text
    assert whole(workflow, ran)
    assert sent(cluster) == EACH_ONCE


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_run_that_is_stopped_leaves_nothing(cluster, workflow, how):
    workflow.does("sleep 100")
    run = workflow.start()
    until(lambda: len(cluster.running("piece")) == 2)
    os.kill(run.pid, how)
    begin = time.monotonic()
    assert ended(run).code != 0
    assert time.monotonic() - begin < 10
    assert cluster.jobs() == []
    until(lambda: not cluster.api.pods(""))


def test_after_a_kill_the_next_run_ends_what_is_left_before_it_begins(cluster, workflow):
    workflow.does("while :; do n=$((n + 1)); echo $n > beat-$1; sleep 0.2; done")
    run = workflow.start()
    until(lambda: len(list(workflow.folder.glob("beat-*"))) == 2)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert len(cluster.jobs()) == 2
    # A piece whose earlier pod is still at work would fail.
    workflow.does("before=$(cat beat-$1); sleep 2; [ $before = $(cat beat-$1) ] || exit 1; echo $1")
    ran = workflow.run("--rerun-incomplete", "--nolock")
    assert "2 Jobs of an earlier run" in ran.text
    assert whole(workflow, ran)
    assert sent(cluster) == EACH_ONCE


def test_runs_in_two_folders_do_not_touch_each_other(cluster, workflow, another):
    workflow.does("touch began-$1; sleep 15; echo $1")
    first = workflow.start()
    until(lambda: len(list(workflow.folder.glob("began-*"))) == 2)
    second = another("other").start()
    until(lambda: sent(cluster)["piece-0"] == 2)
    os.kill(second.pid, signal.SIGTERM)
    ended(second)
    assert whole(workflow, ended(first))
    assert sent(cluster) == EACH_ONCE


def test_runs_in_one_folder_leave_each_others_jobs_alone(cluster, workflow):
    workflow.does("[ $1 = 1 ] || { touch began; sleep 12; }; echo $1")
    first = workflow.start("piece/0.txt")
    until((workflow.folder / "began").exists)
    ran = workflow.run("piece/1.txt", "--nolock")
    assert ran.code == 0, ran.text
    ran = ended(first)
    assert ran.code == 0, ran.text
    assert sent(cluster) == Counter(["piece-0", "piece-1"])


def test_finished_jobs_go_by_themselves(cluster, workflow):
    ran = workflow.run(
        "piece/0.txt", "--kubernetes-pvc-ttl", "5", "--kubernetes-pvc-api-patience", "5"
    )
    assert ran.code == 0, ran.text
    assert len(cluster.jobs()) == 1
    until(lambda: not cluster.jobs() and not cluster.api.pods(""))
