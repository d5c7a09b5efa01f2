"""The real cluster of the current kubeconfig context: a small workflow there, and the project."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from project_copy import Project, copy_checkout, run_here
from real_cluster import IMAGE, RIGHTS, Cluster, NoCluster, leave_out
from small_workflow import SmallWorkflow, until

from snakemake_executor_plugin_kubernetes_pvc.status import active, finished


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
def another(cluster, tmp_path) -> Iterator[Callable[..., SmallWorkflow]]:
    """More of the small workflow on the volume, each in a folder of its own."""
    made = []

    def make(name: str, account: str = "driver") -> SmallWorkflow:
        token = cluster.token(account, "bond")
        kubeconfig = cluster.kubeconfig(tmp_path / f"kubeconfig-{name}", token)
        folder = cluster.folder / tmp_path.name / name
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        made.append(SmallWorkflow(folder, kubeconfig, mount_path=cluster.folder, image=IMAGE))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture
def workflow(cluster, another) -> Iterator[SmallWorkflow]:
    """The small workflow, for a driver with no more rights than it needs.

    Afterwards nothing may be left but Jobs that are done, which go by their time to live.
    """
    made = another("workflow")
    yield made
    left = [job["metadata"]["name"] for job in cluster.jobs() if not finished(job)]
    try:
        until(lambda: not any(active(pod) for pod in cluster.api.pods("")), 10 if left else 60)
    finally:
        cluster.clear()
    secrets = {one["metadata"]["name"] for one in cluster.get(f"{cluster.home}/secrets")["items"]}
    assert left == []
    assert secrets == {"bond"}
    assert list(made.folder.parent.rglob("twice-at-once-*")) == []


@pytest.fixture(scope="session")
def kernels(tmp_path_factory) -> Path:
    """Where compiled kernels are kept between projects."""
    return tmp_path_factory.mktemp("kernels") / "kept"


@pytest.fixture
def project(tmp_path, kernels) -> Iterator[Project]:
    if shutil.which("kubectl") is None:
        leave_out("no kubectl on this machine")
    try:
        found = subprocess.run(
            ["kubectl", "get", "nodes", "-o", "jsonpath={.items[*].status.images[*].names}"],
            timeout=30,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except subprocess.SubprocessError as error:
        leave_out(f"no Kubernetes cluster answers: {error}")
    if f'{IMAGE}"' not in found:
        leave_out(f"the cluster has no image {IMAGE}: build one from envs/Dockerfile")
    made = Project(tmp_path)
    yield made
    made.leave_kernels(kernels)
    made.remove()


@pytest.fixture(scope="session")
def demo_here(tmp_path_factory) -> Path:
    """The demo's tables as this machine makes them."""
    folder = tmp_path_factory.mktemp("here") / "checkout"
    copy_checkout(folder)
    return run_here(folder) / "demo"
