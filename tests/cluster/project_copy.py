"""A copy of the checkout that is run on the cluster of the current kubeconfig context."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from readme_blocks import fenced
from real_cluster import IMAGE
from small_workflow import until

CHECKOUT = Path(__file__).parents[2]
TABLES = ["catchments", "features", "observations", "dataset", "sites"]
KERNELS = ".cache/numba"


def commands_for_kubernetes() -> list[str]:
    """Those that bring a study to a Kubernetes cluster, and its results back."""
    return fenced("On a Kubernetes cluster")


def copy_checkout(folder: Path) -> None:
    """Copy what is tracked of the checkout."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, stdout=subprocess.PIPE
    ).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target, follow_symlinks=False)


def run_here(folder: Path, *options: str) -> Path:
    """Run the workflow of a folder on this machine, and return where its results are."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return folder / "results"


class Project:
    """A copy of the checkout, in a shell whose kubectl has a namespace of its own.

    Parameters
    ----------
    folder
        For the copy and for the kubeconfig.
    """

    def __init__(self, folder: Path) -> None:
        self.namespace = f"test-{secrets.token_hex(4)}"
        self.volume = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="nautilus-"))
        self.volume.chmod(0o777)
        self.folder = folder / "checkout"
        copy_checkout(self.folder)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(self.kubectl("config", "view", "--raw"), encoding="utf-8")
        self.environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self.kubectl("create", "namespace", self.namespace)
        self.kubectl("config", "set-context", "--current", "--namespace", self.namespace)
        self.make_volume()
        self.set_values()

    environment: dict[str, str] | None = None

    def shell(self, command: str, timeout_s: float = 600) -> str:
        """Type a command; it has to succeed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=getattr(self, "folder", None),
            env=self.environment,
            timeout=timeout_s,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Call kubectl; it has to succeed."""
        done = subprocess.run(
            ["kubectl", *words],
            env=self.environment,
            input=stdin,
            timeout=120,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}\n{done.stderr}"
        return done.stdout

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Objects of a kind in the namespace."""
        return json.loads(self.kubectl("get", kind, "-o", "json", "-l", selector))["items"]

    def make_volume(self) -> None:
        """Offer a volume of a storage class of its own, as an administrator would."""
        spec = {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": self.namespace,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(self.volume), "type": "Directory"},
        }
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.namespace},
            "spec": spec,
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(volume))

    def set_values(self) -> None:
        """Set the three values, and leave the few cores of a test machine to the shards."""
        self.fill_in("nautilus", ("value: rook-cephfs-central", f"value: {self.namespace}"))
        for kind, container in (
            ("CronJob", "/spec/jobTemplate/spec/template/spec/containers/0"),
            ("Deployment", "/spec/template/spec/containers/0"),
        ):
            self.patch("nautilus", {"kind": kind}, f"{container}/resources/requests/cpu", "0")
        # Half a core would do, but not soon: all kernels are loaded there.
        limit = "/spec/template/spec/containers/0/resources/limits/cpu"
        self.patch("nautilus", {"kind": "Deployment"}, limit, "2")

    def fill_in(self, profile: str, *more: tuple[str, str]) -> None:
        """Set the values that are marked in a profile's kustomization, each there once."""
        path = self.folder / "profiles" / profile / "kustomization.yaml"
        text = path.read_text(encoding="utf-8")
        name, _, tag = IMAGE.rpartition(":")
        for given, own in (
            ("namespace: my-namespace", f"namespace: {self.namespace}"),
            ("newName: registry.example.org/my-project/snakeshed", f"newName: {name}"),
            ('newTag: "1"', f'newTag: "{tag}"'),
            *more,
        ):
            assert text.count(given) == 1, given
            text = text.replace(given, own)
        path.write_text(text, encoding="utf-8")

    def patch(self, profile: str, target: dict[str, str], path: str, value: object) -> None:
        """Add a patch to a profile's kustomization."""
        file = self.folder / "profiles" / profile / "kustomization.yaml"
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        operation = [{"op": "replace", "path": path, "value": value}]
        settings["patches"].append({"target": target, "patch": yaml.safe_dump(operation)})
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")

    def give(self, *arguments: str) -> None:
        """Set what the driver gets behind ``snakemake --profile nautilus``."""
        path = self.folder / "profiles/nautilus/kustomization.yaml"
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        (patch,) = [one for one in settings["patches"] if "/args" in one["patch"]]
        operation = yaml.safe_load(patch["patch"])
        patch["patch"] = yaml.safe_dump([{**operation[0], "value": list(arguments)}])
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.shell("kubectl apply -k profiles/nautilus")

    def start(self, run: str) -> None:
        """Start a run as the README does."""
        (command,) = [
            line for line in commands_for_kubernetes() if line.startswith("kubectl create job")
        ]
        self.shell(command.replace("run-1", run))

    def finish(self, run: str, end: str = "Complete", limit_s: float = 600) -> str:
        """Wait for the end of a run, and return what it said."""

        def ends() -> set[str]:
            (job,) = [one for one in self.items("jobs") if one["metadata"]["name"] == run]
            return {one["type"] for one in job["status"].get("conditions", [])}

        until(lambda: {"Complete", "Failed"} & ends(), limit_s, every_s=1)
        said = self.kubectl("logs", f"job/{run}")
        assert end in ends(), said
        return said

    def jobs_of_last_run(self) -> Counter[str]:
        """How many jobs of each rule the last run has begun, by Snakemake's log."""
        logs = sorted((self.volume / ".snakemake/log").glob("*.snakemake.log"))
        text = logs[-1].read_text(encoding="utf-8")
        begun = re.findall(r"^(?:rule|checkpoint|localrule) (\w+):$", text, flags=re.MULTILINE)
        return Counter(name for name in begun if name != "all")

    def works(self) -> bool:
        """Tell whether a warm pod has a task and has not ended it."""
        spool = self.volume / ".snakemake/kubernetes-pvc/spool"
        return any(not claim.with_suffix(".end").exists() for claim in spool.rglob("*.claim"))

    def table(self, study: str, table: str) -> bytes:
        """A table as it is on the volume."""
        return (self.volume / f"results/{study}/{table}.parquet").read_bytes()

    def take_kernels(self, kept: Path) -> None:
        """Put compiled kernels on the volume that pods of an earlier project have left, if any."""
        if kept.exists():
            shutil.copytree(kept, self.volume / KERNELS)
            for path in (self.volume / ".cache", *(self.volume / ".cache").rglob("*")):
                os.chown(path, 1000, 1000)

    def leave_kernels(self, kept: Path) -> None:
        """Keep what pods have compiled for later projects, whose checkout is the same."""
        if not kept.exists() and (self.volume / KERNELS).exists():
            shutil.copytree(self.volume / KERNELS, kept)

    def remove(self) -> None:
        """Remove the namespace and the volume."""
        self.kubectl("delete", "namespace", self.namespace)
        self.kubectl("delete", "persistentvolume", self.namespace)
        shutil.rmtree(self.volume)
