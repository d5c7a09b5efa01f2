"""What the processes of a run listen on, with each profile: nothing, or what this machine reaches.

The README's commands for a Dask cluster are typed word for word, in a network of their own that
has the addresses of the README.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from dask_processes import certificates
from fake_api import FakeApi
from listening import is_loopback, listening, marked, watched
from readme_blocks import indented
from small_workflow import SmallWorkflow, at_once

CHECKOUT = Path(__file__).parents[2]
SECTION = "On a Dask cluster"
MARK = "SNAKESHED_TEST_SOCKETS"


@pytest.fixture
def mark(tmp_path, monkeypatch) -> str:
    """What all processes of a run have in their environment."""
    monkeypatch.setenv(MARK, str(tmp_path))
    return str(tmp_path)


def of_run(mark: str) -> set[int]:
    return marked(MARK, mark) - {os.getpid()}


def test_a_listening_socket_is_seen(mark, tmp_path):
    script = """
import socket, sys
found = [socket.create_server((host, 0), family=family) for host, family in (
    ("127.0.0.1", socket.AF_INET), ("0.0.0.0", socket.AF_INET), ("::1", socket.AF_INET6))]
print(*(one.getsockname()[1] for one in found), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        ["python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        ports = child.stdout.readline().split()
        assert of_run(mark) == {child.pid}
        found = {address for address, _ in listening(child.pid)}
        child.stdin.close()
    assert found == {f"127.0.0.1:{ports[0]}", f"0.0.0.0:{ports[1]}", f"::1:{ports[2]}"}
    assert [is_loopback(one) for one in sorted(found)] == [False, True, True]


def test_the_default_profile_listens_on_nothing(fresh, mark):
    with watched(lambda: of_run(mark)) as found:
        done = fresh.run("--set-threads", "delineate=2")
    assert done.code == 0, done.text
    assert found == set()


def test_the_profile_dask_listens_on_the_loopback_alone(study, mark):
    profile = study.workflow / "profiles/dask"
    target = "results/tiny/shards/00/catchments.parquet"
    with watched(lambda: of_run(mark)) as found:
        done = study.run("--profile", str(profile), target, "--forcerun", "delineate")
    assert done.code == 0, done.text
    # Scheduler, dashboard, a worker, and its nanny.
    assert len({address for address, _ in found}) >= 4
    assert [one for one in found if not is_loopback(one[0])] == []


def test_the_driver_of_the_profile_nautilus_listens_on_nothing(mark, tmp_path):
    with FakeApi() as fake:
        fake.fate = lambda job: at_once
        kubeconfig = fake.write_kubeconfig(tmp_path / "kubeconfig")
        workflow = SmallWorkflow(tmp_path / "work", kubeconfig)
        profile = CHECKOUT / "profiles/nautilus"
        with watched(lambda: of_run(mark)) as found:
            ran = workflow.run("--profile", str(profile), "--kubernetes-pvc-writable", "piece")
    assert ran.code == 0, ran.text
    assert len(fake.created) == 3
    assert found == set()


class OwnNetwork:
    """A network that only its processes are in, with the addresses of the README.

    Parameters
    ----------
    folder
        The home of those who type commands there, and where they type them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.typed: list[subprocess.Popen] = []
        setup = ["ip link set lo up"]
        setup += [f"ip address add 192.0.2.{number}/32 dev lo" for number in (1, 2)]
        script = " && ".join([*setup, "echo ready", "exec sleep infinity"])
        self.keeper = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = self.keeper.stdout.readline()
        if said != "ready\n":
            self.keeper.kill()
            pytest.skip(f"no network of one's own on this machine: {said}")

    def type(self, *lines: str) -> subprocess.Popen:
        """Type lines into a shell of their own."""
        log = self.folder / f"shell-{len(self.typed)}.log"
        entering = ["nsenter", "--preserve-credentials", "--user", "--net"]
        with log.open("w") as file:
            process = subprocess.Popen(
                [*entering, "--target", str(self.keeper.pid), "bash", "-c", "\n".join(lines)],
                cwd=self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    # The README's commands are typed in the environment.
                    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "HOME": str(self.home),
                    "NUMBA_NUM_THREADS": "1",
                },
                start_new_session=True,
            )
        process.log = log
        self.typed.append(process)
        return process

    def end(self) -> None:
        """End all that was typed, and the network."""
        for process in [*self.typed, self.keeper]:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL) if process in self.typed else process.kill()
            process.wait()
        self.keeper.stdout.close()


@pytest.fixture
def network(fresh, mark):
    """The network of a checkout whose study has two sites."""
    folder = fresh.folder
    fresh.rows = fresh.rows[:2]
    fresh.config |= {"shards": 1, "layers": []}
    fresh.write()
    for path in fresh.workflow.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "config").unlink()
    shutil.copytree(fresh.workflow / "config", folder / "config")
    (folder / "config/config.yaml").write_text(yaml.safe_dump(fresh.config))
    (folder / "dask").symlink_to("profiles/dask")
    made = OwnNetwork(folder)
    yield made
    made.end()


def run_by_hand(network: OwnNetwork, mark: str, commands: list[str], *before: str):
    """Type the three commands of a cluster, and return all that was listened on."""
    with watched(lambda: of_run(mark)) as found:
        scheduler, worker = (network.type(*before, line) for line in commands[:2])
        done = network.type(*before, commands[2])
        assert done.wait(timeout=300) == 0, done.log.read_text()
    for process in (scheduler, worker):
        assert process.poll() is None, process.log.read_text()
    assert "Study tiny: 2 sites, 2 delineated" in done.log.read_text()
    return found


def test_the_cluster_of_the_readme_on_one_machine(network, mark):
    commands = indented(SECTION, "--host 127.0.0.1")
    found = run_by_hand(network, mark, commands)
    addresses = {address for address, _ in found}
    assert {"127.0.0.1:8786", "127.0.0.1:8787"} <= addresses
    # And the worker, and its nanny.
    assert len(addresses) >= 4
    assert [one for one in found if not is_loopback(one[0])] == []


def test_the_cluster_of_the_readme_on_several_machines(network, mark):
    certificates(network.home)
    exports = indented(SECTION, "export DASK_")
    commands = indented(SECTION, "--host 192.0.2.1")
    found = run_by_hand(network, mark, commands, *exports)
    # All but the dashboards is what is meant to be reached from elsewhere, and it takes TLS only.
    open_to_others = {address for address, _ in found if not is_loopback(address)}
    assert "192.0.2.1:8786" in open_to_others
    assert "127.0.0.1:8787" in {address for address, _ in found}
    workers = {address for address in open_to_others if address.startswith("192.0.2.2:")}
    assert len(workers) >= 2
    assert open_to_others == {"192.0.2.1:8786", *workers}
    for address in sorted(open_to_others):
        asking = network.type(f"sleep 2 | openssl s_client -connect {address}")
        assert asking.wait(timeout=60) != 0
        assert "alert certificate required" in asking.log.read_text(), asking.log.read_text()

    # A run without the certificate is refused.
    (run,) = (line for line in commands if "snakemake" in line)
    refused = network.type("rm -r results", f"{run} --retries 0")
    assert refused.wait(timeout=120) == 1
    assert "the Dask setting distributed.comm.tls.ca-file" in refused.log.read_text()
