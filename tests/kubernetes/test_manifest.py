"""Manifests: what a pod may, what it gets, and how it is found."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_kubernetes_pvc.manifest import (
    JobFacts,
    Run,
    job_name,
    label_value,
    manifest,
    owner_of_jobs,
    workflow_id,
)
from snakemake_executor_plugin_kubernetes_pvc.settings import (
    LABEL_VALUE,
    ExecutorSettings,
    parse_tolerations,
)

RUN = Run("w0rkfl0w", "abcd1234", "image:1")


def job(**more) -> JobFacts:
    facts = {"resources": {"mem_mb": 2000, "disk_mb": 500}, "wildcards": {"shard": "07"}, **more}
    return JobFacts("delineate", 12, 2, "run", "/data/work", facts.pop("threads", 2), **facts)


def made(facts: JobFacts | None = None, run: Run = RUN, **settings) -> dict:
    chosen = ExecutorSettings(claim="shared", mount_path="/data", **settings)
    return manifest(facts or job(), chosen, run, 3)


def pod(made: dict) -> dict:
    return made["spec"]["template"]["spec"]


def container(made: dict) -> dict:
    (only,) = pod(made)["containers"]
    return only


def test_name_and_labels_tell_run_rule_and_shard():
    one = made()
    assert one["metadata"]["name"] == "delineate-07-abcd1234-3"
    assert one["metadata"]["labels"] == one["spec"]["template"]["metadata"]["labels"]
    assert one["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "snakemake-kubernetes-pvc",
        "snakemake/workflow": "w0rkfl0w",
        "snakemake/run": "abcd1234",
        "snakemake/rule": "delineate",
        "snakemake/job": "12",
        "snakemake/attempt": "2",
        "snakemake/wildcard.shard": "07",
    }


def test_own_labels_are_added_and_do_not_hide_those_of_the_run():
    labels = made(labels={"project": "fires", "snakemake/run": "other"})["metadata"]["labels"]
    assert labels["project"] == "fires"
    assert labels["snakemake/run"] == "abcd1234"


def test_limits_are_requests():
    resources = container(made())["resources"]
    assert resources["limits"] == resources["requests"]
    assert resources["limits"] == {"cpu": "2", "memory": "2000M", "ephemeral-storage": "500M"}


def test_what_a_rule_does_not_ask_for_is_left_to_the_namespace():
    assert container(made(job(resources={})))["resources"]["limits"] == {"cpu": "2"}


@pytest.mark.parametrize(
    ("resources", "name"),
    [({"gpu": 1}, "nvidia.com/gpu"), ({"gpu": 1, "gpu_manufacturer": "AMD"}, "amd.com/gpu")],
)
def test_gpus_are_extended_resources(resources, name):
    assert container(made(job(resources=resources)))["resources"]["limits"][name] == "1"


def test_a_gpu_of_an_unknown_maker_is_refused():
    with pytest.raises(WorkflowError, match="'acme'"):
        made(job(resources={"gpu": 1, "gpu_manufacturer": "acme"}))


def test_runtime_ends_the_pod_and_not_the_job():
    one = made(job(resources={"runtime": 90}))
    assert pod(one)["activeDeadlineSeconds"] == 5400
    assert "activeDeadlineSeconds" not in one["spec"]


def test_one_pod_runs_once_and_is_removed():
    one = made(ttl=700)
    assert one["spec"]["backoffLimit"] == 0
    assert one["spec"]["ttlSecondsAfterFinished"] == 700
    assert pod(one)["restartPolicy"] == "Never"


def test_pods_have_no_rights_they_do_not_need():
    one = made(user_id=1234, group_id=99)
    assert pod(one)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1234,
        "runAsGroup": 99,
        "fsGroup": 99,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(one)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod(one)["automountServiceAccountToken"] is False


def test_what_programs_write_beside_the_volume_goes_to_a_folder_of_the_pod():
    one = made()
    volumes = {volume["name"]: volume for volume in pod(one)["volumes"]}
    places = {mount["mountPath"]: mount["name"] for mount in container(one)["volumeMounts"]}
    assert volumes[places["/tmp"]] == {"name": "temporary", "emptyDir": {}}
    claim = {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}
    assert volumes[places["/data"]] == claim
    variables = {one["name"]: one["value"] for one in container(one)["env"]}
    assert all(variables[name].startswith("/tmp") for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"))
    assert variables["SNAKESHED_IMAGE"] == "image:1"


def test_jobs_can_write_to_the_folders_of_the_run_only():
    shared = [one for one in container(made())["volumeMounts"] if one["name"] == "shared"]
    assert shared == [{"name": "shared", "mountPath": "/data"}]
    run = dataclasses.replace(RUN, writable=(".snakemake", "work/results"))
    shared = [one for one in container(made(run=run))["volumeMounts"] if one["name"] == "shared"]
    assert shared == [
        {"name": "shared", "mountPath": "/data", "readOnly": True},
        {"name": "shared", "mountPath": "/data/.snakemake", "subPath": ".snakemake"},
        {"name": "shared", "mountPath": "/data/work/results", "subPath": "work/results"},
    ]


def test_the_place_of_pods_is_set_by_the_user():
    assert not {"serviceAccountName", "priorityClassName", "tolerations", "nodeSelector"} & set(
        pod(made())
    )
    chosen = pod(
        made(
            service_account="worker",
            priority_class="opportunistic",
            tolerations=parse_tolerations(["slow:NoSchedule"]),
            node_selector={"zone": "west"},
            image_pull_secrets=["registry"],
        )
    )
    assert chosen["serviceAccountName"] == "worker"
    assert chosen["priorityClassName"] == "opportunistic"
    assert chosen["tolerations"] == [{"operator": "Exists", "key": "slow", "effect": "NoSchedule"}]
    assert chosen["nodeSelector"] == {"zone": "west"}
    assert chosen["imagePullSecrets"] == [{"name": "registry"}]


def test_values_of_variables_are_never_sent_but_by_reference(monkeypatch):
    monkeypatch.setenv("PASSWORD", "s3cr3t")
    one = made(job(variables=("PASSWORD",)), env_secret="passwords")
    assert container(one)["env"][-1] == {
        "name": "PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "passwords", "key": "PASSWORD"}},
    }
    assert "s3cr3t" not in json.dumps(one)


def test_a_variable_without_a_secret_is_asked_for():
    with pytest.raises(WorkflowError, match="PASSWORD: put it in a secret"):
        made(job(variables=("PASSWORD",)))


def test_a_variable_that_is_set_openly_needs_no_secret():
    one = made(job(variables=("THREADS",)), environment={"THREADS": "2"})
    assert container(one)["env"][-1] == {"name": "THREADS", "value": "2"}


@given(
    rule=st.text(min_size=1),
    wildcards=st.dictionaries(st.text(), st.text()),
    number=st.integers(1, 99_999),
)
def test_every_job_has_a_name_that_kubernetes_takes(rule, wildcards, number):
    facts = JobFacts(rule, 1, 1, "run", "/data", 1, {}, wildcards)
    name = job_name(facts, RUN.run, number)
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name)
    assert name.endswith(f"-{RUN.run}-{number}")


@given(st.text())
def test_every_text_makes_a_label(text):
    assert LABEL_VALUE.fullmatch(label_value(text))


def test_runs_in_one_folder_of_one_volume_know_each_other():
    assert workflow_id("shared", "/data/a") == workflow_id("shared", "/data/a")
    others = [("shared", "/data/b"), ("other", "/data/a")]
    assert workflow_id("shared", "/data/a") not in {workflow_id(*other) for other in others}


def test_jobs_go_with_the_job_of_their_driver():
    of_job = {"apiVersion": "batch/v1", "kind": "Job", "name": "run-1", "uid": "1-2"}
    metadata = {"name": "run-1-abcde", "uid": "3-4"}
    bare, owned = (
        {"metadata": metadata},
        {"metadata": {**metadata, "ownerReferences": [{**of_job, "controller": True}]}},
    )
    assert owner_of_jobs(owned) == of_job
    assert owner_of_jobs(bare) == {"apiVersion": "v1", "kind": "Pod", **metadata}
    chosen = ExecutorSettings(claim="shared", mount_path="/data")
    (reference,) = manifest(
        job(), chosen, Run("w0rkfl0w", "abcd1234", "image:1", owner_of_jobs(owned)), 3
    )["metadata"]["ownerReferences"]
    # Deletion of the owner must not wait for rights that drivers do not have.
    assert reference == of_job
    assert "ownerReferences" not in made()["metadata"]
