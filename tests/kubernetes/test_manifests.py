"""The manifests of profiles/nautilus: what Kubernetes and the rules of Nautilus ask of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import leave_out

from snakemake_executor_plugin_kubernetes_pvc.manifest import JobFacts, Run, manifest
from snakemake_executor_plugin_kubernetes_pvc.settings import ExecutorSettings

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "profiles" / "nautilus"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
PROFILE = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
OBJECTS = {
    f"{name}: {one['kind']}": one
    for name in KUSTOMIZATION["resources"]
    for one in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))
}


def shard_job() -> dict[str, Any]:
    """A Job as the executor sends it."""
    settings = ExecutorSettings(claim="snakeshed", mount_path="/data")
    resources = {"mem_mb": 2000, "disk_mb": 1000}
    facts = JobFacts("delineate", 1, 1, "true", "/data", 1, resources, {"shard": "07"})
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "run-1", "uid": "1"}
    return manifest(facts, settings, Run("w", "r", "image:1", owner), 1)


ALL = {**OBJECTS, "Job of a shard": shard_job()}


def pod_of(thing: dict[str, Any]) -> dict[str, Any] | None:
    """Find the pod template in an object."""
    spec = thing.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template", {}).get("spec")


PODS = {name: pod for name, thing in ALL.items() if (pod := pod_of(thing))}


@pytest.mark.parametrize("name", ALL)
def test_kubernetes_knows_every_field(name):
    try:
        from kubernetes_validate import validate
    except ImportError:
        leave_out("no kubernetes-validate: pip install kubernetes-validate")
    validate(ALL[name], "1.33", strict=True)


@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_more_rights_than_they_need(name):
    pod = PODS[name]
    (container,) = pod["containers"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    # Only the driver speaks to the cluster.
    assert pod.get("automountServiceAccountToken", True) == ("serviceAccountName" in pod)


@pytest.mark.parametrize("name", PODS)
def test_limits_are_requests(name):
    (container,) = PODS[name]["containers"]
    resources = container["resources"]
    assert resources["limits"] == resources["requests"]
    assert set(resources["limits"]) == {"cpu", "memory", "ephemeral-storage"}


@pytest.mark.parametrize("name", PODS)
def test_all_have_the_volume_at_the_same_path(name):
    pod = PODS[name]
    (container,) = pod["containers"]
    claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"][:1]]
    assert claims == [PROFILE["kubernetes-pvc-claim"]]
    assert container["volumeMounts"][0]["mountPath"] == PROFILE["kubernetes-pvc-mount-path"]
    assert container["workingDir"] == PROFILE["kubernetes-pvc-mount-path"]


def test_a_driver_is_small_enough_for_nautilus():
    (container,) = PODS["driver.yaml: CronJob"]["containers"]
    assert container["resources"]["limits"]["cpu"] == "1"
    assert container["resources"]["limits"]["memory"] == "2G"


def test_a_driver_may_do_what_the_executor_says_it_needs():
    readme = CHECKOUT / "scripts/snakemake_executor_plugin_kubernetes_pvc/README.md"
    rights = readme.read_text(encoding="utf-8").split("## Rights of the driver")[1].split("\n\n")[1]
    told = {}
    for line in rights.splitlines()[2:]:
        resource, verbs = (cell.strip() for cell in line.strip("|").split("|"))
        told[resource.split("`")[1]] = [verb.strip("` ") for verb in verbs.split(",")]
    given = OBJECTS["rbac.yaml: Role"]["rules"]
    assert {resource: rule["verbs"] for rule in given for resource in rule["resources"]} == told


def test_a_profile_sets_no_key_of_the_default_one():
    # profiles/default is Snakemake's workflow profile, which wins key by key.
    default = yaml.safe_load((CHECKOUT / "profiles/default/config.yaml").read_text("utf-8"))
    assert not set(default) & set(PROFILE)


def test_the_profile_is_found_by_its_name():
    assert (CHECKOUT / "nautilus").is_symlink()
    assert (CHECKOUT / "nautilus").resolve() == FOLDER


def test_nothing_secret_is_in_a_manifest():
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.iterdir())
    assert not re.search(r"\b(password|token|secret|secretKeyRef)\b", text, re.IGNORECASE)
