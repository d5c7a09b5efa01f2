"""The behaviour of runs on a real cluster: the one of the current kubeconfig context."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import IMAGE, Cluster, NoCluster, leave_out
from fake_api import Fault, FaultyProxy, task
from small_workflow import Ran, SmallWorkflow, ended, until

from snakemake_executor_plugin_kubernetes_pvc.connection import Connection

pytestmark = pytest.mark.slow

RESET, HANG = 0, -1
JOB_VERBS = ["create", "get", "list", "delete", "deletecollection"]
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
    made.account("driver", JOB_VERBS, ["list"])
    yield made
    made.remove()
    shutil.rmtree(folder)


@pytest.fixture
def workflow(cluster, tmp_path) -> Iterator[SmallWorkflow]:
    """The small workflow on the volume, for a driver with no more rights than it needs."""
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", cluster.token("driver", "bond"))
    folder = cluster.folder / tmp_path.name
    folder.mkdir()
    folder.chmod(0o777)
    yield SmallWorkflow(folder, kubeconfig, mount_path=cluster.folder, image=IMAGE)
    cluster.clear()


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


def test_out_of_memory_is_named_and_the_next_attempt_has_more(cluster, workflow):
    workflow.does("[ $1 = 0 ] || python -c \"b'x' * 200_000_000\" || exit 1; echo $1")
    ran = workflow.run("--retries", "1")
    assert "OOMKilled, limit 200M" in ran.text, ran.text
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--container-image", "nowhere.invalid/none:1"), "nowhere.invalid/none:1"),
        (("--set-threads", "piece=1000"), "Insufficient cpu"),
        (("--kubernetes-pvc-claim", "nothing"), 'persistentvolumeclaim "nothing" not found'),
        (("--kubernetes-pvc-priority-class", "nothing"), "no PriorityClass with name nothing"),
        (("--kubernetes-pvc-service-account", "nothing"), 'serviceaccount "nothing" not found'),
        (("--kubernetes-pvc-node-selector", "disk=fast"), "didn't match Pod's node affinity"),
    ],
    ids=["image", "cpu", "claim", "priority", "account", "node"],
)
def test_what_cannot_start_fails_at_its_deadline_with_the_clusters_words(
    cluster, workflow, options, said
):
    ran = workflow.run("piece/0.txt", "--kubernetes-pvc-start-deadline", "30", *options)
    assert ran.code == 1
    message = re.search(r"message: waited for 30 s: (.*)", ran.text)
    assert message, ran.text
    assert said in message.group(1)
    assert cluster.jobs() == []


@pytest.fixture
def quota(cluster) -> Iterator[None]:
    path = f"{cluster.home}/resourcequotas"
    cluster.make(path, "ResourceQuota", "small", spec={"hard": {"count/jobs.batch": "1"}})
    until(lambda: cluster.get(f"{path}/small").get("status", {}).get("hard"))
    yield
    cluster.send("DELETE", f"{path}/small")


def test_a_quota_of_jobs_is_waited_for(cluster, workflow, quota):
    ran = workflow.run("--kubernetes-pvc-ttl", "1", "--kubernetes-pvc-api-patience", "1")
    assert whole(workflow, ran)


def test_a_missing_right_is_named(cluster, workflow):
    cluster.account("reader", ["get", "list"], ["list"])
    workflow.kubeconfig = cluster.kubeconfig(workflow.kubeconfig, cluster.token("reader", "bond"))
    ran = workflow.run()
    assert ran.code == 1
    assert 'cannot create resource "jobs" in API group "batch"' in ran.text
    assert "Traceback" not in ran.text


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
    assert workflow.run("--unlock").code == 0
    ran = workflow.run("--rerun-incomplete")
    assert "2 Jobs of an earlier run" in ran.text
    assert whole(workflow, ran)
    assert sent(cluster) == EACH_ONCE


def test_runs_in_two_folders_do_not_touch_each_other(cluster, workflow):
    workflow.does("touch began-$1; sleep 15; echo $1")
    first = workflow.start()
    until(lambda: len(list(workflow.folder.glob("began-*"))) == 2)
    other = SmallWorkflow(
        workflow.folder / "other", workflow.kubeconfig, mount_path=cluster.folder, image=IMAGE
    )
    second = other.start()
    until(lambda: sent(cluster)["piece-0"] == 2)
    os.kill(second.pid, signal.SIGTERM)
    ended(second)
    assert whole(workflow, ended(first))
    assert sent(cluster) == EACH_ONCE


def test_finished_jobs_go_by_themselves(cluster, workflow):
    ran = workflow.run(
        "piece/0.txt", "--kubernetes-pvc-ttl", "5", "--kubernetes-pvc-api-patience", "5"
    )
    assert ran.code == 0, ran.text
    assert len(cluster.jobs()) == 1
    until(lambda: not cluster.jobs() and not cluster.api.pods(""))
