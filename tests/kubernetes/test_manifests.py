"""The manifests of profiles/nautilus and profiles/dask: what Kubernetes, Nautilus and Dask ask."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from real_cluster import leave_out

from snakemake_executor_plugin_kubernetes_pvc.manifest import JobFacts, Run, manifest
from snakemake_executor_plugin_kubernetes_pvc.settings import ExecutorSettings

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "profiles" / "nautilus"
DASK = CHECKOUT / "profiles" / "dask"


def yaml_of(path: Path) -> Any:
    """What a YAML file holds."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def objects_in(folder: Path) -> dict[str, Any]:
    """The objects that are applied from a folder, by file and kind."""
    return {
        f"{name}: {one['kind']}": one
        for name in yaml_of(folder / "kustomization.yaml")["resources"]
        for one in yaml.safe_load_all((folder / name).read_text(encoding="utf-8"))
    }


KUSTOMIZATION = yaml_of(FOLDER / "kustomization.yaml")
PROFILE = yaml_of(FOLDER / "config.yaml")
OBJECTS = objects_in(FOLDER)
DASK_OBJECTS = objects_in(DASK)
VALUES = yaml_of(DASK / "values.yaml")
# What the chart dask/dask documents (its values.yaml, github.com/dask/helm-chart at e581ea8a), of
# what there is to set of each part; threads_per_worker is there as a comment.
CHART_KEYS = {
    "scheduler": {
        *("name", "enabled", "image", "replicas", "serviceType", "loadBalancerIP", "servicePort"),
        *("serviceAnnotations", "extraArgs", "resources", "tolerations", "affinity"),
        *("nodeSelector", "securityContext", "serviceAccountName", "metrics", "livenessProbe"),
        "readinessProbe",
    },
    "worker": {
        *("name", "image", "replicas", "strategy", "custom_scheduler_url", "default_resources"),
        *("env", "extraArgs", "resources", "mounts", "annotations", "tolerations", "affinity"),
        *("nodeSelector", "securityContext", "serviceAccountName", "port", "portDashboard"),
        *("threads_per_worker", "metrics", "livenessProbe", "readinessProbe"),
    },
    "jupyter": {
        *("name", "enabled", "rbac", "image", "serviceType", "servicePort", "password"),
        *("passwordHint", "env", "command", "args", "extraConfig", "resources", "mounts"),
        *("tolerations", "affinity", "nodeSelector", "securityContext", "serviceAccountName"),
        *("ingress", "livenessProbe", "readinessProbe"),
    },
}
CHART_IMAGE_KEYS = {"repository", "tag", "pullPolicy", "pullSecrets", "dask_worker"}


def shard_job() -> dict[str, Any]:
    """A Job as the executor sends it."""
    settings = ExecutorSettings(claim="snakeshed", mount_path="/data")
    resources = {"mem_mb": 2000, "disk_mb": 1000}
    facts = JobFacts("delineate", 1, 1, "true", "/data", 1, resources, {"shard": "07"})
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "run-1", "uid": "1"}
    return manifest(facts, settings, Run("w", "r", "image:1", owner), 1)


ALL = {
    **OBJECTS,
    "Job of a shard": shard_job(),
    **{f"dask/{name}": one for name, one in DASK_OBJECTS.items()},
}


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


# The scheduler of Dask passes tasks on as they are, and needs no file.
@pytest.mark.parametrize("name", sorted(PODS.keys() - {"dask/scheduler.yaml: Deployment"}))
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


@pytest.mark.parametrize("folder", [FOLDER, DASK], ids=lambda folder: folder.name)
def test_a_profile_sets_no_key_of_the_default_one(folder):
    # profiles/default is Snakemake's workflow profile, which wins key by key.
    default = yaml_of(CHECKOUT / "profiles/default/config.yaml")
    assert not set(default) & set(yaml_of(folder / "config.yaml"))


@pytest.mark.parametrize("folder", [FOLDER, DASK], ids=lambda folder: folder.name)
def test_the_profile_is_found_by_its_name(folder):
    assert (CHECKOUT / folder.name).is_symlink()
    assert (CHECKOUT / folder.name).resolve() == folder
    # In a pod, wherever it works.
    copied = f"COPY profiles/{folder.name}/config.yaml /etc/xdg/snakemake/{folder.name}/config.yaml"
    assert copied in (CHECKOUT / "envs/Dockerfile").read_text(encoding="utf-8").splitlines()


def test_nothing_secret_is_in_a_manifest():
    text = "".join(
        path.read_text(encoding="utf-8") for folder in (FOLDER, DASK) for path in folder.iterdir()
    )
    # The notebook's token is asked for by the name of its secret, and made by whoever wants one.
    named = "secretKeyRef: {name: snakeshed-jupyter, key: token}"
    made = 'create secret generic snakeshed-jupyter --from-literal=token="$(openssl rand -hex 24)"'
    assert text.count(named) == text.count(made) == 1
    text = text.replace(named, "").replace(made, "")
    text = text.replace("Its token is that of a secret", "")
    assert not re.search(r"\b(password|token|secret|secretKeyRef)\b", text, re.IGNORECASE)


def container_of(name: str) -> dict[str, Any]:
    (container,) = pod_of(DASK_OBJECTS[name])["containers"]
    return container


def variables_of(container: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def test_a_dask_worker_has_one_thread_and_the_memory_of_its_container():
    worker = container_of("workers.yaml: Deployment")
    words = worker["command"]
    assert words[:2] == ["dask", "worker"]
    assert words[words.index("--nthreads") + 1] == "1"
    assert words[words.index("--memory-limit") + 1] == "$(MEMORY)"
    told = variables_of(worker)
    assert told["MEMORY"] == {"resourceFieldRef": {"resource": "limits.memory"}}
    assert told["NUMBA_NUM_THREADS"] == worker["resources"]["limits"]["cpu"] == "1"


def test_dask_itself_takes_the_settings_and_options():
    import dask
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    for name, command in (("scheduler", scheduler), ("workers", worker)):
        container = container_of(f"{name}.yaml: Deployment")
        known = {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert {word for word in container["command"] if word.startswith("--")} <= known
        for variable in variables_of(container):
            if variable.startswith("DASK_DISTRIBUTED__"):
                key = variable.removeprefix("DASK_").replace("__", ".").lower()
                # Raises an error if there is no such setting.
                dask.config.get(key)


def test_jobs_and_workers_look_for_the_scheduler_where_it_is():
    service = DASK_OBJECTS["scheduler.yaml: Service"]
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    address = f"tcp://{service['metadata']['name']}:{ports['scheduler']}"
    for name in ("workers.yaml: Deployment", "driver.yaml: CronJob"):
        assert variables_of(container_of(name))["DASK_SCHEDULER_ADDRESS"] == address
    scheduler = DASK_OBJECTS["scheduler.yaml: Deployment"]
    labels = scheduler["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    words = container_of("scheduler.yaml: Deployment")["command"]
    assert words[words.index("--port") + 1] == str(ports["scheduler"])
    assert words[words.index("--dashboard-address") + 1] == f":{ports['dashboard']}"


def test_a_dask_driver_ends_as_that_of_nautilus_does():
    own, other = (
        one["spec"]["jobTemplate"]["spec"]
        for one in (DASK_OBJECTS["driver.yaml: CronJob"], OBJECTS["driver.yaml: CronJob"])
    )
    for key in ("backoffLimit", "podReplacementPolicy", "podFailurePolicy"):
        assert own[key] == other[key]
    *words, _ = container_of("driver.yaml: CronJob")["command"]
    expected = pod_of(OBJECTS["driver.yaml: CronJob"])["containers"][0]["command"][2]
    assert words[2] == expected.replace("--profile nautilus", "--profile dask --cores 8")


def test_the_chart_knows_every_value():
    assert set(VALUES) <= set(CHART_KEYS)
    for part, values in VALUES.items():
        assert set(values) <= CHART_KEYS[part], part
        assert set(values["image"]) <= CHART_IMAGE_KEYS


def test_the_chart_makes_the_workers_that_the_manifests_make():
    worker, container = VALUES["worker"], container_of("workers.yaml: Deployment")
    pod = pod_of(DASK_OBJECTS["workers.yaml: Deployment"])
    assert worker["replicas"] == DASK_OBJECTS["workers.yaml: Deployment"]["spec"]["replicas"]
    assert worker["threads_per_worker"] == 1
    memory = container["resources"]["limits"]["memory"]
    assert worker["resources"]["limits"] == {"cpu": 1, "memory": memory}
    assert worker["resources"]["requests"] == worker["resources"]["limits"]
    assert worker["mounts"]["volumes"] == pod["volumes"][:1]
    assert worker["mounts"]["volumeMounts"] == container["volumeMounts"][:1]
    assert worker["securityContext"].items() <= pod["securityContext"].items()
    told = variables_of(container)
    assert all(told[one["name"]] == one["value"] for one in worker["env"])
    image = yaml_of(DASK / "kustomization.yaml")["images"][0]
    for part in ("scheduler", "worker"):
        chosen = VALUES[part]["image"]
        assert chosen == {"repository": image["newName"], "tag": image["newTag"]}
    assert VALUES["jupyter"]["enabled"] is False
