"""What `snakeshed cluster` says where it cannot do what it is asked, and how things are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fake_kubectl import MINE, job, pod, said

from snakeshed.cli import main
from snakeshed.cluster import access
from snakeshed.delineation.memory_request import ShardMemory
from snakeshed.delineation.shard_index import ShardFacts, shard_index_text
from snakeshed.errors import KubernetesError

REFUSALS = {
    "The connection to the server localhost:8080 was refused - did you specify the right host?": (
        "found no cluster in the kubeconfig"
    ),
    "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host?": (
        "found a cluster that does not answer"
    ),
    'Error from server (NotFound): namespaces "mine" not found': (
        "namespace: found no namespace mine in this cluster; expected one that exists and is "
        "yours. Correct namespace in profiles/nautilus/kustomization.yaml, or make it: kubectl "
        "create namespace mine"
    ),
    "Error from server (Forbidden): persistentvolumeclaims is forbidden: User cannot get it": (
        "User cannot get it; expected the right to do that in the namespace mine."
    ),
    "error: You must be logged in to the server (Unauthorized)": (
        "expected credentials that the cluster accepts. Log in again"
    ),
    'Error from server (NotFound): persistentvolumeclaims "snakeshed" not found': (
        "namespace mine: found no volume (persistentvolumeclaim snakeshed)"
    ),
    'error: unknown command "x"': 'found error: unknown command "x"; expected kubectl to do it.',
}


def cluster(*words: str) -> int:
    return main(["cluster", *words])


@pytest.mark.parametrize(("stderr", "message"), REFUSALS.items())
def test_what_kubectl_cannot_do_is_named(fake, checkout, capsys, stderr, message):
    noise = 'E1128 18:51:27.331307 14676 memcache.go:265] "Unhandled Error" err="noise"\n'
    fake.answers({"words": "get persistentvolumeclaim", "stderr": f"{noise}{stderr}\n"})
    assert cluster("pull") == 3
    told = capsys.readouterr().err
    assert message in told
    assert "noise" not in told


def test_without_kubectl_it_says_so(checkout, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cluster("run", "config/mine.yaml") == 3
    assert capsys.readouterr().err == (
        "kubectl: found no such program; expected kubectl on the PATH: it knows your cluster and "
        "your credentials. Install it: https://kubernetes.io/docs/tasks/tools/\n"
    )


def test_without_a_context_it_says_so(fake, checkout, capsys):
    fake.answers({"words": "current-context", "stderr": "error: current-context is not set\n"})
    assert cluster("status") == 3
    assert (
        "found error: current-context is not set; expected a kubeconfig" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("given", "wrong", "message"),
    [
        ("namespace: mine", "namespace: my-namespace", "namespace: found the example my-namespace"),
        ("namespace: mine", "", "namespace: found nothing; expected your namespace"),
        (
            "registry.test/snakeshed",
            "registry.example.org/my-project/snakeshed",
            "images[0].newName: found the example registry.example.org/my-project/snakeshed",
        ),
        ("images:", "images: x\nother:", "found something else than a kustomization"),
        ("images:", "images: [", "found something else than a kustomization"),
    ],
)
def test_values_that_are_not_set_are_named(fake, checkout, capsys, given, wrong, message):
    path = checkout / "profiles/nautilus/kustomization.yaml"
    path.write_text(path.read_text().replace(given, wrong))
    assert cluster("run", "config/mine.yaml") == 3
    told = capsys.readouterr().err
    assert told.startswith("profiles/nautilus/kustomization.yaml: ")
    assert message in told
    assert not fake.calls()


def test_elsewhere_than_in_a_checkout_it_says_so(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cluster("status") == 3
    assert f"{tmp_path}: found no Snakefile or no profiles/nautilus" in capsys.readouterr().err


def test_a_wrong_configuration_is_named_before_anything_is_done(fake, checkout, capsys):
    (checkout / "config/mine.yaml").write_text("study: mine\n")
    assert cluster("push", "config/mine.yaml") == 1
    assert "config/mine.yaml: sites" in capsys.readouterr().err
    (checkout / "data/sites.csv").unlink()
    (checkout / "config/mine.yaml").unlink()
    assert cluster("push", "config/mine.yaml") == 1
    assert "a file that cannot be read" in capsys.readouterr().err
    assert not fake.calls()


def test_a_storage_class_that_was_changed_is_named(fake, checkout, capsys):
    text = 'The PersistentVolumeClaim "snakeshed" is invalid: spec: Forbidden: spec is immutable'
    fake.answers({"words": "apply", "stderr": f"{text}\n"})
    assert cluster("push", "config/mine.yaml") == 3
    told = capsys.readouterr().err
    assert "found a value that cannot be changed in the cluster" in told
    assert "Put the old one back." in told


def deployment(**status) -> dict:
    return {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, **status}}


def waiting(reason: str, message: str) -> dict:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod("a", "Pending", 1, containerStatuses=[{"state": state}])


def unscheduled(message: str) -> dict:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return pod("a", "Pending", 1, conditions=[{**condition, "message": message}])


def event(reason: str, message: str) -> dict:
    metadata = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "reason": reason, "message": message, "type": "Warning"}


NO_CLAIM = "pod has unbound immediate PersistentVolumeClaims"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            [said("get pods", [waiting("ErrImagePull", "no such image")])],
            r"images\[0\]: found a pod that cannot start \(ErrImagePull: no such image\).* "
            r"Build the image from envs/Dockerfile",
        ),
        (
            [
                said("get pods", [unscheduled(NO_CLAIM)]),
                said("get events", [event("ProvisioningFailed", "storageclass x not found")]),
            ],
            r"patches\[0\] \(storage class\): found .*the volume: ProvisioningFailed: "
            r"storageclass x not found.* kubectl get storageclass",
        ),
        (
            [
                said(
                    "get deployment",
                    deployment(
                        conditions=[{"type": "ReplicaFailure", "message": "exceeded quota"}]
                    ),
                )
            ],
            r"deployment snakeshed-access: found a pod that cannot start \(exceeded quota\)",
        ),
    ],
)
def test_an_access_pod_that_cannot_start_is_named(fake, monkeypatch, answers, message):
    monkeypatch.setattr(access, "_CHANCE_S", 0.0)
    fake.answers(*answers, said("get deployment", deployment()))
    with pytest.raises(KubernetesError, match=message):
        access.wait_for_access(fake.kubectl())


def test_an_access_pod_that_waits_for_room_is_waited_for(fake, monkeypatch):
    monkeypatch.setattr(access, "_CHANCE_S", 0.0)
    fake.answers(
        said("get pods", [unscheduled("0/3 nodes are available: 3 Insufficient memory.")]),
        said("get deployment", deployment(), times=4),
    )
    access.wait_for_access(fake.kubectl())
    assert fake.said == [
        "The access pod waits: Unschedulable: 0/3 nodes are available: 3 Insufficient memory."
    ]


def test_an_access_pod_that_is_evicted_while_files_are_copied_is_waited_for(fake, checkout, capsys):
    gone = 'Error from server (NotFound): pods "snakeshed-access-1" not found\n'
    fake.answers({"words": "exec -i", "order": "receive", "stderr": gone, "times": 1})
    assert cluster("push", "config/mine.yaml") == 0
    assert "The copy was cut off (Error from server (NotFound)" in capsys.readouterr().out
    assert (fake.volume / "data/dem/a.tif").exists()


def test_an_image_without_what_is_needed_is_named(fake, checkout, capsys):
    (fake.bin / "python").write_text("#!/bin/sh\necho 'ModuleNotFoundError: numpy' >&2; exit 1\n")
    assert cluster("push", "config/mine.yaml") == 3
    told = capsys.readouterr().err
    assert "found a program that failed (ModuleNotFoundError: numpy); expected the image" in told


@pytest.fixture
def volume_with_logs(fake, checkout) -> Path:
    for study, name in (("mine", "delineate/07"), ("mine", "gather_features"), ("b", "report")):
        path = fake.volume / f"results/{study}/logs/{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"log of {name}\x1b\n")
    everything = "sites", "catchments", "features"
    # The last one was emptied after it had been delineated.
    for shard, names in {"00": everything, "01": ("sites",), "02": everything}.items():
        for name in names:
            path = fake.volume / f"results/mine/shards/{shard}/{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    facts = {
        name: ShardFacts(sites, 0, ShardMemory(0, ()), ())
        for name, sites in (("00", 3), ("01", 4), ("02", 0))
    }
    index = fake.volume / "results/mine/shards/index.json"
    index.write_text(shard_index_text(facts))
    damaged = fake.volume / "results/b/shards/index.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    return fake.volume


@pytest.mark.parametrize("wanted", ["7", "07", "delineate"])
def test_logs_of_a_shard_or_rule_are_shown(volume_with_logs, capsys, wanted):
    assert cluster("logs", wanted, "config/mine.yaml") == 0
    shown = capsys.readouterr().out
    assert "== results/mine/logs/delineate/07.log\nlog of delineate/07\\x1b\n" in shown
    assert "gather" not in shown


def test_logs_that_are_not_there_are_named(volume_with_logs, capsys):
    assert cluster("logs", "8", "config/mine.yaml") == 3
    assert (
        "found no log of 8; expected a shard, such as 07, or one of delineate, gather_features"
        in (capsys.readouterr().err)
    )
    assert cluster("logs", "7") == 3
    told = capsys.readouterr().err
    assert "found logs of several studies (b, mine)" in told
    assert "snakeshed cluster logs 7 CONFIG" in told


def sent(name: str, ended: str = "", **labels: str) -> dict:
    made = job(name=name, ended=ended)
    made["metadata"]["labels"] = {f"snakemake/{key}": value for key, value in labels.items()}
    return made


def owned(one: dict, by: str) -> dict:
    one["metadata"]["ownerReferences"] = [{"uid": by}]
    return one


def test_the_status_is_one_screen(fake, volume_with_logs, capsys):
    jobs = [
        sent("a", "Complete", rule="delineate"),
        sent("b", rule="delineate"),
        sent("c", rule="delineate"),
        sent("d", "Failed", rule="gather"),
        sent("e", batch="3"),
        sent("f", batch="4"),
    ]
    pods = [
        owned(pod("b-1", "Running", 1), "b"),
        owned(unscheduled("no room"), "c"),
        owned(unscheduled("no room"), "e"),
    ]
    fake.answers(
        said("get jobs -l app", [job(*MINE), job(name="old", ended="Failed")]),
        said("get jobs -l snakemake/workflow", jobs),
        said("get pods -l snakemake/workflow", pods),
        said("get pods -l job-name", [pod("driver", "Running", 1)]),
        said("logs --tail=1", "jobs of shards: 1 of 4\n"),
        said("involvedObject.name=f", [event("FailedCreate", "exceeded quota: cpu")]),
    )
    assert cluster("status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("Run snakeshed-mine-1 (config/mine.yaml): runs for ")
    assert lines[2] == "  says: jobs of shards: 1 of 4"
    assert lines[3] == "Run old (config/config.yaml): failed (its reason)"
    assert [line.split() for line in lines[4:8]] == [
        ["Jobs", "waiting", "running", "done", "failed"],
        ["batch", "2", "0", "0", "0"],
        ["delineate", "1", "1", "1", "0"],
        ["gather", "0", "0", "0", "1"],
    ]
    assert lines[8:10] == [
        "  2 wait: Unschedulable: no room",
        "  1 wait: no pod yet (exceeded quota: cpu)",
    ]
    assert lines[10] == "Study b: 0 shards, 0 delineated, 0 with features."
    assert lines[11] == "Study mine: 3 shards, 2 with sites, 1 delineated, 1 with features."


def test_status_changes_nothing(fake, checkout, capsys):
    fake.answers({"words": "get deployment", "stderr": "Error from server (NotFound): none\n"})
    assert cluster("status") == 0
    assert "because the access pod does not run" in capsys.readouterr().out
    assert not fake.calls("apply")


def test_an_access_pod_that_is_gone_is_made_again_for_results(fake, checkout, capsys):
    gone = {"words": "get deployment", "stderr": "Error from server (NotFound): none\n"}
    fake.answers({**gone, "times": 1})
    assert cluster("pull") == 0
    assert len(fake.calls("apply")) == 1


def test_clean_asks_and_needs_a_terminal_for_it(fake, checkout, capsys):
    assert cluster("clean") == 2
    assert "it removes the volume, and there is no terminal" in capsys.readouterr().err
    assert not fake.calls()


GONE = {"words": "get persistentvolumeclaim", "stderr": "Error from server (NotFound): none\n"}


def test_clean_names_the_pods_that_keep_the_volume(fake, checkout, capsys, monkeypatch):
    monkeypatch.setattr("snakeshed.cluster.commands._CLAIM_S", 0)
    claim = {"persistentVolumeClaim": {"claimName": "snakeshed"}}
    user = {"metadata": {"name": "shell"}, "spec": {"volumes": [{"name": "x"}, claim]}}
    other = {"metadata": {"name": "other"}, "spec": {}}
    fake.answers(said("kustomize", "kind: Deployment\n"), said("get pods", [user, other]))
    assert cluster("clean", "--yes") == 3
    assert "is still there. It goes when no pod uses it any more. Pods that do: shell. " in (
        capsys.readouterr().out
    )
    assert "--wait=false" in fake.calls("delete")[0]


def test_clean_removes_nothing_while_a_run_does_not_end(fake, checkout, monkeypatch):
    monkeypatch.setattr("snakeshed.cluster.driver._STOP_S", 0)
    fake.answers(said("get jobs -l", [job()]))
    assert cluster("clean", "--yes") == 3
    assert not fake.calls("delete", "--ignore-not-found")


@pytest.mark.parametrize("keep", [True, False])
def test_clean_removes_what_the_manifests_make(fake, checkout, capsys, keep):
    kinds = ["PersistentVolumeClaim", "CronJob", "Deployment"]
    fake.answers(said("kustomize", yaml.safe_dump_all([{"kind": kind} for kind in kinds])), GONE)
    assert cluster("clean", "--yes", *(["--keep-volume"] if keep else [])) == 0
    deleted = [one["kind"] for one in yaml.safe_load_all(fake.given())]
    assert deleted == kinds[keep:]
    assert ("is kept" in capsys.readouterr().out) is keep


def test_clean_says_what_goes_and_takes_no_for_an_answer(fake, checkout):
    from snakeshed.cluster.commands import clean

    questions = []

    def no(question: str) -> bool:
        questions.append(question)
        return False

    assert clean(False, no, fake.said.append) == 0
    assert questions == [
        "Remove all of snakeshed from the namespace mine, and the volume with all data and results "
        "on it? [y/N] "
    ]
    assert not fake.calls("delete")


def test_only_the_words_that_there_are(capsys):
    with pytest.raises(SystemExit, match="^2$"):
        cluster("up")
    assert "invalid choice: 'up'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="^0$"):
        cluster("--help")
    assert "Exit status: 0 all is well; 1 the run has failed" in " ".join(
        capsys.readouterr().out.split()
    )
