"""A study on a cluster without a shared volume gives the tables that it gives on this machine.

The bucket is that of moto's server, which runs beside the cluster, in its network namespace; so
does the driver: nothing outside of it can reach both.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from project_copy import copy_checkout
from readme_blocks import fenced
from real_cluster import IMAGE, Cluster, leave_out
from small_workflow import until

NETWORK = "testcluster"
# As the README has them.
RIGHTS = {
    "secrets": ["create", "delete"],
    "jobs": ["create", "delete"],
    "jobs/status": ["get"],
    "pods": ["list", "delete"],
    "pods/log": ["get"],
}
KEYS = {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "key", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "secret"}
PORT = "5055"


def in_network(*command: str) -> list[str]:
    return ["ip", "netns", "exec", NETWORK, *command]


@pytest.fixture(scope="module")
def bucket(cluster: Cluster) -> Iterator[str]:
    """The address of an S3 server with an empty bucket."""
    python = os.environ.get("SNAKESHED_TEST_S3")
    if python is None:
        leave_out("no S3 server: SNAKESHED_TEST_S3 is to be a Python that has moto[s3] and flask")
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=False).stdout
    if NETWORK not in names.split():
        leave_out(f"no network namespace {NETWORK}: the cluster is not that of ../shared/cluster")
    (node,) = cluster.get("/api/v1/nodes")["items"]
    host = node["status"]["addresses"][0]["address"]
    server = subprocess.Popen(
        in_network(python, "-m", "moto.server", "-H", host, "-p", PORT),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://{host}:{PORT}"

    def made() -> bool:
        assert server.poll() is None
        make = in_network("curl", "--silent", "--fail", "-X", "PUT", f"{address}/my-bucket")
        return subprocess.run(make, stdout=subprocess.DEVNULL, check=False).returncode == 0

    try:
        until(made, 60)
        yield address
    finally:
        server.kill()
        server.wait()


class CloudDriver:
    """A checkout whose driver has only the rights that it needs, and no files that pods see."""

    def __init__(self, cluster: Cluster, folder: Path, bucket: str) -> None:
        self.folder = folder / "checkout"
        copy_checkout(self.folder)
        # Snakemake sends pods what Git knows.
        for words in (["init", "--quiet"], ["add", "."]):
            subprocess.run(["git", *words], cwd=self.folder, check=True)
        path = self.folder / "profiles/cloud/config.yaml"
        text = path.read_text(encoding="utf-8")
        for given, own in (
            ("registry.example.org/my-project/snakeshed:1", IMAGE),
            ("my-namespace", cluster.namespace),
        ):
            assert text.count(given) == 1, given
            text = text.replace(given, own)
        path.write_text(text, encoding="utf-8")

        cluster.account("cloud", RIGHTS)
        kubeconfig = cluster.kubeconfig(folder / "kubeconfig", cluster.token("cloud", "bond"))
        service = cluster.get("/api/v1/namespaces/default/services/kubernetes")["spec"]
        settings = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        for one in settings["clusters"]:
            one["cluster"]["server"] = f"https://{service['clusterIP']}:443"
        kubeconfig.write_text(yaml.safe_dump(settings), encoding="utf-8")
        own = {
            "KUBECONFIG": str(kubeconfig),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": bucket,
            **KEYS,
        }
        self.environment = {**os.environ, **own}
        self.environment.pop("PYTHONPATH", None)

    def types(self, command: str) -> str:
        """Type a command; it has to succeed. A run of Snakemake sees the cluster and the bucket."""
        typed = ["bash", "-c", command]
        done = subprocess.run(
            in_network(*typed) if "snakemake" in command else typed,
            cwd=self.folder,
            env=self.environment,
            timeout=900,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def driver(cluster, bucket, demo_here, tmp_path) -> CloudDriver:
    """With the demo's inputs as data of one's own, in two shards."""
    made = CloudDriver(cluster, tmp_path, bucket)
    shutil.copytree(demo_here.parents[1] / "resources/demo", made.folder / "data")
    text = (made.folder / "config/config.yaml").read_text(encoding="utf-8")
    study = yaml.safe_load(text.replace("resources/demo/", "data/"))
    study |= {"study": "mine", "shards": 2}
    (made.folder / "config/mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return made


def left(cluster: Cluster) -> list[str]:
    """Jobs, pods, and secrets in the namespace, but for the one that tests make."""
    kinds = (
        f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs",
        f"{cluster.home}/pods",
        f"{cluster.home}/secrets",
    )
    names = [one["metadata"]["name"] for kind in kinds for one in cluster.get(kind)["items"]]
    return sorted(set(names) - {"bond"})


def test_the_tables_are_the_same_as_here_and_nothing_is_left(driver, cluster, demo_here):
    install, run = fenced("Clusters without a shared volume")
    driver.types(install)
    said = driver.types(f"{run} --seconds-between-status-checks 1")
    assert "inputs were sent to the bucket" in said
    results = driver.folder / "results/mine"
    for table in ("catchments", "features", "observations", "dataset"):
        expected = (demo_here / f"{table}.parquet").read_bytes()
        assert (results / f"{table}.parquet").read_bytes() == expected, table
    sites = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert sites["study"] == "mine"
    until(lambda: left(cluster) == [], 60)

    # Again: nothing is sent and nothing is done, whatever is here of the results.
    shutil.rmtree(results)
    said = driver.types(run)
    assert "Nothing to be done" in said
    assert "sent to the bucket" not in said
    assert left(cluster) == []
