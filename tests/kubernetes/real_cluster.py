"""A namespace of a real cluster, with a volume that is a folder of this machine."""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from fake_api import task
from small_workflow import Ran, SmallWorkflow
from snakemake_interface_common.exceptions import WorkflowError
from urllib3.exceptions import HTTPError

from snakemake_executor_plugin_kubernetes_pvc.api import Api
from snakemake_executor_plugin_kubernetes_pvc.connection import Connection

IMAGE = os.environ.get("SNAKESHED_TEST_IMAGE", "snakeshed:test")
CLAIM = "shared"
# As the executor's README has them.
RIGHTS = {
    "jobs": ["create", "list", "watch", "delete", "deletecollection"],
    "pods": ["list", "watch"],
    "pods/log": ["get"],
    "events": ["list"],
}


def leave_out(reason: str) -> NoReturn:
    """Skip a test that lacks something of a cluster; where a cluster is required, it fails."""
    if os.environ.get("SNAKESHED_TEST_CLUSTER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


class NoCluster(Exception):
    """No cluster that tests can use is reachable; the text says why."""


class Cluster:
    """A namespace that is made for one test module, with all that is in it.

    Parameters
    ----------
    folder
        Folder of this machine that pods see at the same path; the node has to be this machine.

    Raises
    ------
    NoCluster
        If there is no such cluster.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.connection = Connection()
            nodes = self.get("/api/v1/nodes")["items"]
        except (WorkflowError, HTTPError, OSError) as error:
            raise NoCluster(f"no Kubernetes cluster answers: {error}") from error
        names = {
            name
            for node in nodes
            for image in node["status"]["images"]
            for name in image["names"] or []
        }
        if not any(name.endswith(IMAGE) for name in names):
            raise NoCluster(
                f"the cluster has no image {IMAGE} (with Python and Snakemake): name one with "
                "SNAKESHED_TEST_IMAGE"
            )
        self.namespace = f"test-{secrets.token_hex(4)}"
        self.folder = folder
        self.home = f"/api/v1/namespaces/{self.namespace}"
        self.make("/api/v1/namespaces", "Namespace", self.namespace)
        hostpath = {"path": str(folder), "type": "Directory"}
        of_volume = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        self.make(
            "/api/v1/persistentvolumes",
            "PersistentVolume",
            self.namespace,
            spec={**of_volume, "capacity": {"storage": "1Gi"}, "hostPath": hostpath},
        )
        asked = {"requests": {"storage": "1Gi"}}
        self.make(
            f"{self.home}/persistentvolumeclaims",
            "PersistentVolumeClaim",
            CLAIM,
            spec={**of_volume, "resources": asked, "volumeName": self.namespace},
        )
        self.api = Api(self.connection, self.namespace, 10, threading.Event(), logging.getLogger())

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request that is to succeed."""
        answer = self.connection.send(method, path, body=body)
        assert answer.status < 300, f"{method} {path}: {answer.message}"
        return json.loads(answer.text)

    def get(self, path: str) -> dict[str, Any]:
        """Get an object or list."""
        return self.send("GET", path)

    def make(self, path: str, kind: str, name: str, **content: Any) -> None:
        """Make an object."""
        _, api, *words = path.split("/")
        version = words[0] if api == "api" else "/".join(words[:2])
        head = {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
        self.send("POST", path, {**head, **content})

    def remove(self) -> None:
        """Remove the namespace and its volume."""
        for path in (
            f"/api/v1/namespaces/{self.namespace}",
            f"/api/v1/persistentvolumes/{self.namespace}",
        ):
            self.send("DELETE", path)

    def jobs(self) -> list[dict[str, Any]]:
        """All Jobs in the namespace."""
        return self.api.jobs("")

    def running(self, rule: str) -> list[dict[str, Any]]:
        """Pods of a rule whose container runs."""
        pods = self.api.pods(f"snakemake/rule={rule}")
        return [pod for pod in pods if pod["status"].get("phase") == "Running"]

    def clear(self) -> None:
        """Delete all Jobs, and wait until their pods are gone."""
        for job in self.jobs():
            self.api.delete_job(job["metadata"]["name"])
        while self.api.pods(""):
            time.sleep(0.5)

    def token(self, account: str, secret: str) -> str:
        """Make a token of a service account that is good as long as a secret exists."""
        bound = {"kind": "Secret", "apiVersion": "v1", "name": secret}
        made = self.send(
            "POST",
            f"{self.home}/serviceaccounts/{account}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"boundObjectRef": bound},
            },
        )
        return made["status"]["token"]

    def kubeconfig(self, path: Path, token: str) -> Path:
        """Write the configuration that leads to this namespace with a token."""
        own = os.environ.get("KUBECONFIG") or Path("~/.kube/config").expanduser()
        config = yaml.safe_load(Path(own).read_text(encoding="utf-8"))
        config["users"] = [{"name": "tested", "user": {"token": token}}]
        for context in config["contexts"]:
            context["context"] |= {"user": "tested", "namespace": self.namespace}
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def account(self, name: str, rights: Mapping[str, Sequence[str]]) -> None:
        """Make a service account that may do some things (verbs, by resource)."""
        self.make(f"{self.home}/serviceaccounts", "ServiceAccount", name)
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        rules = [
            {
                "apiGroups": ["batch" if what.startswith("jobs") else ""],
                "resources": [what],
                "verbs": verbs,
            }
            for what, verbs in rights.items()
            if verbs
        ]
        self.make(f"{rbac}/roles", "Role", name, rules=rules)
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        self.make(
            f"{rbac}/rolebindings", "RoleBinding", name, roleRef=reference, subjects=[subject]
        )


EACH_ONCE = Counter(["piece-0", "piece-1", "join"])
"""What is sent when all goes well: the tasks of the small workflow."""


def sent(cluster: Cluster) -> Counter[str]:
    """How often each task is in the cluster."""
    return Counter(task(job) for job in cluster.jobs())


def whole(workflow: SmallWorkflow, ran: Ran) -> bool:
    """Tell whether a run has made all there is to make."""
    assert ran.code == 0, ran.text
    return (workflow.folder / "all.txt").read_text() == "0\n1\n"
