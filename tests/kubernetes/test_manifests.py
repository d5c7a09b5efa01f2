"""The manifests of profiles/nautilus and profiles/dask: what Kubernetes, Nautilus and Dask ask."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from dask.utils import parse_bytes
from readme_blocks import fenced
from real_cluster import leave_out

from snakemake_executor_plugin_kubernetes_pvc.manifest import JobFacts, Run, manifest
from snakemake_executor_plugin_kubernetes_pvc.settings import ExecutorSettings, writable_folders

CHECKOUT = Path(__file__).parents[2]
GIB = 2**30
FOLDER = CHECKOUT / "profiles" / "nautilus"
DASK = CHECKOUT / "profiles" / "dask"
CLOUD = CHECKOUT / "profiles" / "cloud"


def yaml_of(path: Path) -> Any:
    """What a YAML file holds."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def objects_in(folder: Path) -> dict[str, Any]:
    """The objects that are applied from a folder."""
    return {
        key: one
        for name in yaml_of(folder / "kustomization.yaml")["resources"]
        for key, one in objects_of(folder / name).items()
    }


def objects_of(path: Path) -> dict[str, Any]:
    """The objects of a file, by file and kind, and name where there are several of a kind."""
    objects = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    kinds = Counter(one["kind"] for one in objects)
    names = [one["metadata"]["name"] if kinds[one["kind"]] > 1 else "" for one in objects]
    return {
        f"{path.name}: {one['kind']} {name}".strip(): one
        for one, name in zip(objects, names, strict=True)
    }


KUSTOMIZATION = yaml_of(FOLDER / "kustomization.yaml")
PROFILE = yaml_of(FOLDER / "config.yaml")
OBJECTS = objects_in(FOLDER)
DASK_OBJECTS = objects_in(DASK)
HELM_OBJECTS = objects_of(DASK / "helm.yaml")
VALUES = yaml_of(DASK / "values.yaml")
# What the chart dask/dask documents (its values.yaml, github.com/dask/helm-chart at e25bf51), of
# what there is to set of each part; threads_per_worker is there as a comment.
CHART_KEYS = {
    "scheduler": {
        *("name", "enabled", "image", "replicas", "serviceType", "loadBalancerIP", "servicePort"),
        *("serviceAnnotations", "env", "extraArgs", "resources", "tolerations", "affinity"),
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
    settings = ExecutorSettings(
        claim="snakeshed", mount_path="/data", writable=PROFILE["kubernetes-pvc-writable"]
    )
    resources = {"mem_mb": 2000, "disk_mb": 1000}
    facts = JobFacts("delineate", 1, 1, "true", "/data", 1, resources, {"shard": "07"})
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "run-1", "uid": "1"}
    run = Run("w", "r", "image:1", owner, writable_folders(settings, "/data"))
    return manifest(facts, settings, run, 1)


ALL = {
    **OBJECTS,
    "Job of a shard": shard_job(),
    **{f"dask/{name}": one for name, one in (DASK_OBJECTS | HELM_OBJECTS).items()},
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


def test_jobs_can_write_to_no_code_and_no_input():
    (container,) = PODS["Job of a shard"]["containers"]
    whole, *folders = [one for one in container["volumeMounts"] if one["name"] == "shared"]
    assert whole == {"name": "shared", "mountPath": "/data", "readOnly": True}
    writable = {one["subPath"] for one in folders}
    assert writable == {"results", "resources", ".cache", ".snakemake"}
    assert all(one["mountPath"] == f"/data/{one['subPath']}" for one in folders)
    tracked = {path.name for path in CHECKOUT.iterdir()} - {"results", "resources"}
    assert {"Snakefile", "rules", "scripts", "profiles", "config", "envs"} <= tracked
    image = (CHECKOUT / "envs/Dockerfile").read_text(encoding="utf-8")
    assert "NUMBA_CACHE_DIR=/data/.cache/numba" in image


def test_the_base_image_is_one_that_nobody_can_replace():
    image = (CHECKOUT / "envs/Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^ARG BASE=(.+)$", image, flags=re.MULTILINE)
    assert re.fullmatch(
        r"docker\.io/library/debian:bookworm-\d{8}-slim@sha256:[0-9a-f]{64}", base
    ), base
    # It is the only thing that an image is made from, besides stages of its own.
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", image, flags=re.MULTILINE))
    assert set(re.findall(r"^FROM (\S+)", image, flags=re.MULTILINE)) - stages == {"${BASE}"}


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


@pytest.mark.parametrize("folder", [FOLDER, DASK, CLOUD], ids=lambda folder: folder.name)
def test_a_profile_sets_no_key_of_the_default_one(folder):
    # profiles/default is Snakemake's workflow profile, which wins key by key.
    default = yaml_of(CHECKOUT / "profiles/default/config.yaml")
    assert not set(default) & set(yaml_of(folder / "config.yaml"))


def test_the_pods_of_the_profile_cloud_look_where_the_image_has_it():
    profile = yaml_of(CLOUD / "config.yaml")
    dockerfile = (CHECKOUT / "envs/Dockerfile").read_text(encoding="utf-8")
    command = profile["precommand"]
    # It defines a function, so that what the executor calls is not pip.
    assert command.startswith("pip() { :; } && ")
    for path in ("/opt/snakeshed/kernels", "/opt/snakeshed/cloud"):
        assert path in command
        assert path in dockerfile
    # Kernels are kept by the path of their source.
    assert "PYTHONPATH=/workdir/scripts:" in command
    assert "cd /workdir" in dockerfile
    # As in the pods of the profile nautilus.
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        values = re.findall(rf"{name}=(\S*)", dockerfile)
        assert len(values) == 2
        assert len(set(values)) == 1


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
    # Certificates come from a secret that the README's commands create.
    mounted = "secret: {secretName: snakeshed-dask-tls, defaultMode: 0440}"
    assert text.count(mounted) == 3
    assert "-----BEGIN" not in text
    reference = r"\{secretKeyRef: \{name: snakeshed-dask-tls, key: \w+\.pem\}\}"
    text = re.sub(reference, "", text.replace(mounted, ""))
    text = re.sub(r"^ *#.*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"\b(password|token|secret|secretKeyRef)\b", text, re.IGNORECASE)


def container_of(name: str) -> dict[str, Any]:
    (container,) = pod_of(DASK_OBJECTS[name])["containers"]
    return container


def variables_of(container: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def words_of(container: dict[str, Any], **variables: str) -> list[str]:
    """Words of the command that a container runs, as its shell makes them, if it has one."""
    command = container["command"]
    if command[0] != "sh":
        return command
    script = re.sub(r"\bexec ", "printf '%s\\n' ", command[2])
    made = subprocess.run(
        ["sh", "-c", script], env=variables, capture_output=True, text=True, check=True
    )
    return made.stdout.splitlines()


@pytest.mark.parametrize(("cores", "memory"), [(1, 4 * GIB), (4, 16640 * 2**20), (7, 20 * GIB)])
def test_a_pod_of_workers_has_one_of_one_thread_for_each_core_and_memory_for_all(cores, memory):
    worker = container_of("workers.yaml: Deployment")
    words = words_of(worker, WORKERS=str(cores), MEMORY=str(memory))
    assert words[:2] == ["dask", "worker"]
    assert words[words.index("--nworkers") + 1] == str(cores)
    assert words[words.index("--nthreads") + 1] == "1"
    limit = int(words[words.index("--memory-limit") + 1])
    # What all of them may take, and the process that watches over them, is what the pod has.
    assert memory - cores < cores * limit + 256 * 2**20 <= memory
    told = variables_of(worker)
    assert told["MEMORY"] == {"resourceFieldRef": {"resource": "limits.memory"}}
    assert told["WORKERS"] == {"resourceFieldRef": {"resource": "limits.cpu"}}
    assert told["NUMBA_NUM_THREADS"] == "1"


def test_workers_are_there_only_while_a_run_goes_on():
    workers = DASK_OBJECTS["workers.yaml: Deployment"]
    assert workers["spec"]["replicas"] == 0
    driver = pod_of(DASK_OBJECTS["driver.yaml: CronJob"])
    script = container_of("driver.yaml: CronJob")["command"][2]
    words = re.sub(r"\\\n", " ", script).split()
    at = words.index("snakemake_executor_plugin_kubernetes_pvc.scaled")
    name, pods, label = words[at + 1 : at + 4]
    assert name == workers["metadata"]["name"]
    # The variable that kustomization.yaml sets.
    assert pods == '"$WORKER_PODS"'
    first = container_of("driver.yaml: CronJob")["env"][0]
    assert first["name"] == "WORKER_PODS"
    patched = "/spec/jobTemplate/spec/template/spec/containers/0/env/0/value"
    assert patched in (DASK / "kustomization.yaml").read_text(encoding="utf-8")
    # Jobs of other runs are found by the label that Jobs of the pattern have.
    job = DASK_OBJECTS["driver.yaml: CronJob"]["spec"]["jobTemplate"]
    assert job["metadata"]["labels"] == {"app.kubernetes.io/name": label}
    # It may do that, and nothing else.
    role, binding = (DASK_OBJECTS[f"rbac.yaml: {kind}"] for kind in ("Role", "RoleBinding"))
    scale, jobs = role["rules"]
    assert (scale["resources"], scale["resourceNames"]) == (["deployments/scale"], [name])
    assert (scale["verbs"], jobs["resources"], jobs["verbs"]) == (
        ["get", "update"],
        ["jobs"],
        ["list"],
    )
    assert binding["subjects"][0]["name"] == driver["serviceAccountName"]
    assert VALUES["worker"]["replicas"] == 0


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
        words = words_of(container, WORKERS="1", MEMORY=str(GIB))
        assert {word for word in words if word.startswith("--")} <= known
        for variable in variables_of(container):
            if variable.startswith("DASK_DISTRIBUTED__"):
                key = variable.removeprefix("DASK_").replace("__", ".").lower()
                # Raises an error if there is no such setting.
                dask.config.get(key)


def test_jobs_and_workers_look_for_the_scheduler_where_it_is():
    service = DASK_OBJECTS["scheduler.yaml: Service"]
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    address = f"tls://{service['metadata']['name']}:{ports['scheduler']}"
    for name in ("workers.yaml: Deployment", "driver.yaml: CronJob"):
        assert variables_of(container_of(name))["DASK_SCHEDULER_ADDRESS"] == address
    scheduler = DASK_OBJECTS["scheduler.yaml: Deployment"]
    labels = scheduler["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    words = container_of("scheduler.yaml: Deployment")["command"]
    assert words[words.index("--port") + 1] == str(ports["scheduler"])
    # Where ports are forwarded from, and nobody else comes.
    assert words[words.index("--dashboard-address") + 1] == f"127.0.0.1:{ports['dashboard']}"
    words = words_of(container_of("workers.yaml: Deployment"), WORKERS="1", MEMORY=str(GIB))
    assert words[words.index("--dashboard-address") + 1] == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("scheduler.yaml: Deployment", "SCHEDULER"),
        ("workers.yaml: Deployment", "WORKER"),
        ("driver.yaml: CronJob", "CLIENT"),
    ],
)
def test_all_of_the_cluster_takes_tls_only(name, role):
    pod, container = pod_of(DASK_OBJECTS[name]), container_of(name)
    assert {"name": "tls", "mountPath": "/tls", "readOnly": True} in container["volumeMounts"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "tls"]
    assert volume["secret"] == {"secretName": "snakeshed-dask-tls", "defaultMode": 0o440}
    tls = {key: value for key, value in variables_of(container).items() if "__COMM__" in key}
    assert tls == {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "/tls/ca.pem",
        f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT": "/tls/cert.pem",
        f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY": "/tls/key.pem",
    }
    # The secret has these files under the names of the README.
    (command,) = (line for line in fenced("On a Dask cluster") if "create secret" in line)
    files = re.findall(r"--from-file ~/dask-tls/(\S+)", command)
    assert sorted(files) == ["ca.pem", "cert.pem", "key.pem"]
    assert command.split()[4] == "snakeshed-dask-tls"


def test_a_dask_driver_ends_as_that_of_nautilus_does():
    own, other = (
        one["spec"]["jobTemplate"]["spec"]
        for one in (DASK_OBJECTS["driver.yaml: CronJob"], OBJECTS["driver.yaml: CronJob"])
    )
    for key in ("backoffLimit", "podReplacementPolicy", "podFailurePolicy"):
        assert own[key] == other[key]
    *words, _ = container_of("driver.yaml: CronJob")["command"]
    expected = pod_of(OBJECTS["driver.yaml: CronJob"])["containers"][0]["command"][2]
    # Workers of Dask can write bytecode, and are there as long as the run.
    compiling = '(python -m compileall -q scripts; exec snakemake --profile nautilus "$@")'
    scaled = (
        "python -m snakemake_executor_plugin_kubernetes_pvc.scaled \\\n"
        '  snakeshed-dask-worker "$WORKER_PODS" snakeshed-dask-driver \\\n'
        '  snakemake --profile dask --cores 8 "$@"'
    )
    assert words[2] == expected.replace(compiling, scaled)


def test_the_chart_knows_every_value():
    assert set(VALUES) <= set(CHART_KEYS)
    for part, values in VALUES.items():
        assert set(values) <= CHART_KEYS[part], part
        assert set(values["image"]) <= CHART_IMAGE_KEYS


@pytest.mark.parametrize(
    ("part", "name"),
    [("scheduler", "scheduler.yaml: Deployment"), ("worker", "workers.yaml: Deployment")],
)
def test_the_chart_makes_the_pods_that_the_manifests_make(part, name):
    values, container, pod = VALUES[part], container_of(name), pod_of(DASK_OBJECTS[name])
    for kind in ("requests", "limits"):
        given = {key: str(value) for key, value in values["resources"][kind].items()}
        assert given == container["resources"][kind]
    assert values["securityContext"] == pod["securityContext"]
    # No token: of its account the chart says nothing.
    account = HELM_OBJECTS["helm.yaml: ServiceAccount"]
    assert values["serviceAccountName"] == account["metadata"]["name"]
    assert pod["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False
    # Both have the variables of the other, but those that the chart gives as options.
    theirs = variables_of(container)
    given = variables_of(values)
    assert theirs.keys() - given.keys() <= {"DASK_SCHEDULER_ADDRESS", "MEMORY", "WORKERS"}
    assert given.keys() <= theirs.keys()
    for variable, value in given.items():
        if isinstance(value, dict):
            reference = value["secretKeyRef"]
            assert reference["name"] == "snakeshed-dask-tls"
            assert f"/tls/{reference['key']}" == theirs[variable]
        else:
            assert value == theirs[variable], variable
    # They follow those of the chart, which shows the dashboard to all: the last ones count.
    words = [word for one in values["extraArgs"] for word in one.split("=")]
    options = dict(zip(words[::2], words[1::2], strict=True))
    cores, memory = values["resources"]["limits"]["cpu"], values["resources"]["limits"]["memory"]
    command = words_of(container, WORKERS=str(cores), MEMORY=str(parse_bytes(f"{memory}B")))
    for option, value in options.items():
        expected = command[command.index(option) + 1]
        assert value == expected or parse_bytes(value) == int(expected)
    assert "--dashboard-address" in options
    image = yaml_of(DASK / "kustomization.yaml")["images"][0]
    assert values["image"] == {"repository": image["newName"], "tag": image["newTag"]}


def test_the_chart_makes_the_workers_that_the_manifests_make():
    worker, container = VALUES["worker"], container_of("workers.yaml: Deployment")
    pod = pod_of(DASK_OBJECTS["workers.yaml: Deployment"])
    assert worker["replicas"] == DASK_OBJECTS["workers.yaml: Deployment"]["spec"]["replicas"]
    assert worker["threads_per_worker"] == 1
    assert worker["custom_scheduler_url"].startswith("tls://")
    assert worker["mounts"]["volumes"] == pod["volumes"][:1]
    assert worker["mounts"]["volumeMounts"] == container["volumeMounts"][:1]
    assert VALUES["jupyter"]["enabled"] is False
    # Its port is forwarded. Another one than the token would let in whoever reaches it.
    command = VALUES["jupyter"]["command"]
    assert "--ip=127.0.0.1" in command
    assert not {"password", "passwordHint"} & set(VALUES["jupyter"])
    (opened,) = (word.partition("/lab/tree/")[2] for word in command if "default_url" in word)
    assert (CHECKOUT / opened).is_file()


# ---- network policies ------------------------------------------------------------------------

CHART = {"app": "dask", "release": "snakeshed"}  # labels of the chart's pods
LABELS = {
    **{
        name: (thing["spec"].get("jobTemplate", thing)["spec"]["template"]["metadata"]["labels"])
        for name, thing in ALL.items()
        if name in PODS
    },
    **{f"chart: {one}": CHART | {"component": one} for one in ("scheduler", "worker", "jupyter")},
    "another pod": {"app": "another"},
}
POLICIES = [one["spec"] for one in ALL.values() if one["kind"] == "NetworkPolicy"]
SCHEDULER, WORKER = "dask/scheduler.yaml: Deployment", "dask/workers.yaml: Deployment"
DRIVER = "dask/driver.yaml: CronJob"
ANY = 40_000
"""A port of no special meaning, on which a worker may listen."""


def selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a selector takes a pod with some labels, as Kubernetes does."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "In"
        if labels.get(one["key"]) not in one["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def passes(way: str, own: dict[str, str], peer: dict[str, str] | None, port: int) -> bool:
    """Tell whether the policies let a pod's connection pass, one way.

    Parameters
    ----------
    way : {"ingress", "egress"}
    own, peer
        Labels of the pod whose policies are asked, and of the other end; None is none of our
        pods, but an address.
    port
        Of TCP, at the end that listens.
    """
    own_policies = [
        one
        for one in POLICIES
        if way.capitalize() in one["policyTypes"] and selected(one["podSelector"], own)
    ]
    if not own_policies:
        return True
    for rule in (rule for policy in own_policies for rule in policy.get(way, [])):
        ports = [one["port"] for one in rule.get("ports", []) if one["protocol"] == "TCP"]
        peers = rule.get("from" if way == "ingress" else "to")
        assert peers is None or all(set(one) == {"podSelector"} for one in peers)
        reached = peers is None or (
            peer is not None and any(selected(one["podSelector"], peer) for one in peers)
        )
        if reached and ("ports" not in rule or port in ports):
            return True
    return False


def connects(client: str, server: str, port: int) -> bool:
    """Tell whether one pod can connect to a port of another one."""
    ends = LABELS[client], LABELS[server]
    return passes("egress", *ends, port) and passes("ingress", *reversed(ends), port)


def test_only_what_has_to_work_together_connects():
    cluster = {WORKER, DRIVER}
    expected = {(one, SCHEDULER, 8786) for one in cluster}
    expected |= {(one, WORKER, port) for one in (SCHEDULER, WORKER) for port in (8786, 8787, ANY)}
    chart = {name: f"chart: {name}" for name in ("scheduler", "worker", "jupyter")}
    clients = (chart["worker"], chart["jupyter"], DRIVER)
    expected |= {(one, chart["scheduler"], 8786) for one in clients}
    expected |= {
        (chart[one], chart["worker"], port)
        for one in ("scheduler", "worker")
        for port in (8786, 8787, ANY)
    }
    guarded = set(LABELS) - {"another pod"}
    found = {
        (client, server, port)
        for client in LABELS
        for server in guarded
        for port in (8786, 8787, 8888, 53, ANY)
        if connects(client, server, port)
    }
    # To the ports of DNS, nothing but other workers and the scheduler comes in, either.
    expected |= {(client, server, 53) for client, server, port in expected if port == ANY}
    expected |= {(client, server, 8888) for client, server, port in expected if port == ANY}
    assert found == expected


def test_what_may_leave_the_namespace():
    # The driver of nautilus and the access pod are not bound, nor is a notebook.
    free = {"driver.yaml: CronJob", "access.yaml: Deployment", "chart: jupyter", "another pod"}
    for name, labels in LABELS.items():
        # The driver with Dask reaches the Kubernetes API, wherever it is, and nothing else.
        assert passes("egress", labels, None, 443) == (name in free | {DRIVER}), name
        assert passes("egress", labels, None, 80) == (name in free), name
        # Jobs have no network; all else looks names up.
        assert passes("egress", labels, None, 53) == (name != "Job of a shard"), name
        assert passes("ingress", labels, None, 443) == (name == "another pod"), name
