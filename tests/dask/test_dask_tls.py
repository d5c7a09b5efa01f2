"""Connections with certificates: those of the README, others, and those of a job's own cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
from dask_processes import SCRIPTS, DaskProcesses, certificates, dask_processes, later, until
from dask_tasks import hold, starts

from snakeshed.backends.dask_cluster import DaskBackend
from snakeshed.errors import ClusterError

CREATE = 'see "On a Dask cluster" in README.md'
SETTINGS = "distributed.comm.tls"


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> dict[str, str]:
    return certificates(tmp_path_factory.mktemp("tls") / "home")


@pytest.fixture(scope="module")
def other_tls(tmp_path_factory) -> dict[str, str]:
    return certificates(tmp_path_factory.mktemp("tls") / "other")


@pytest.fixture
def processes(tmp_path, tls) -> Iterator[DaskProcesses]:
    with dask_processes(tmp_path / "cluster", tls) as cluster:
        yield cluster


@contextmanager
def configured(variables: dict[str, str]) -> Iterator[None]:
    """Configure Dask in this process as variables would."""
    settings = {
        name.removeprefix("DASK_").replace("__", ".").lower(): dask.config.interpret_value(value)
        for name, value in variables.items()
    }
    with dask.config.set(settings):
        yield


def refused(address: str, variables: dict[str, str], connect: str = "5s") -> ClusterError:
    """The error of a job with some variables."""
    timeout = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": connect}
    with configured(variables | timeout), pytest.raises(ClusterError) as raised:
        DaskBackend(address=address)
    return raised.value


def test_work_is_done_over_tls_and_comes_back_after_a_loss(processes, tls, notes):
    assert len(tls) == 8
    first, _ = processes.start_worker(), processes.start_worker()
    tasks = [(str(notes), number) for number in range(6)]

    def kill() -> None:
        until(lambda: starts(notes, 0) and starts(notes, 1))
        os.killpg(first.pid, 9)
        (notes / "go on").touch()

    with configured(tls), DaskBackend(address=processes.address) as backend:
        assert backend.client.scheduler_info()["address"].startswith("tls://127.0.0.1:")
        killer = later(kill)
        assert list(backend.map(hold, tasks)) == list(range(6))
        killer.join()


def test_certificates_themselves_take_the_place_of_their_files(tmp_path, tls):
    # So they come from a secret to the pods of the chart, see profiles/dask/values.yaml.
    contents = {
        name: Path(value).read_text() if value.endswith(".pem") else value
        for name, value in tls.items()
    }
    with dask_processes(tmp_path / "cluster", contents) as processes:
        processes.start_worker()
        with configured(contents), DaskBackend(address=processes.address) as backend:
            assert list(backend.map(abs, [-1])) == [1]


def test_without_certificates_nothing_is_tried(processes):
    error = refused(processes.address, {})
    assert str(error) == (
        "the Dask setting distributed.comm.tls.ca-file (DASK_DISTRIBUTED__COMM__TLS__CA_FILE): "
        "found nothing; expected the name of a PEM file that can be read, since "
        "DASK_SCHEDULER_ADDRESS starts with tls://. Create the certificates, and set the variables "
        f"of Dask ({CREATE})."
    )


def test_a_certificate_that_is_missing_is_named(processes, tls, tmp_path):
    variable = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"
    error = refused(processes.address, tls | {variable: f"{tmp_path}/key.pem"})
    assert error.where == f"the Dask setting {SETTINGS}.client.key ({variable})"
    assert error.found == f"{tmp_path}/key.pem (No such file or directory)"


def test_files_that_do_not_belong_together_are_named(processes, tls, other_tls):
    variable = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"
    error = refused(processes.address, tls | {variable: other_tls[variable]})
    assert error.where == f"the Dask settings {SETTINGS}.ca-file, client.cert, and client.key"
    assert "mismatch" in error.found
    assert error.next_step == f"Create the certificates again ({CREATE})."


@pytest.mark.parametrize("kept", ["none", "authority"])
def test_a_job_with_the_certificate_of_another_authority_is_refused(
    processes, tls, other_tls, kept
):
    variable = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE"
    own = other_tls | ({variable: tls[variable]} if kept == "authority" else {})
    error = refused(processes.address, own)
    assert error.where == f"the Dask scheduler {processes.address} (DASK_SCHEDULER_ADDRESS)"
    if error.found.startswith("no answer (") and kept == "authority":
        # The scheduler was faster to close the connection than to say why.
        assert error.next_step.startswith("Start it (if it runs, it may not accept the certificate")
        return
    assert error.found.startswith("certificates that do not fit those of this job (")
    assert error.expected == "certificates of one authority, here and there"
    assert error.next_step == (
        "Give scheduler, workers, and this job the same distributed.comm.tls.ca-file, and "
        f"certificates that it has issued ({CREATE})."
    )


def test_an_address_without_tls_is_refused_here_and_there(processes, tls):
    address = processes.address.replace("tls://", "tcp://")
    error = refused(address, tls)
    assert str(error) == (
        f"the Dask scheduler {address} (DASK_SCHEDULER_ADDRESS): found an address without TLS, "
        "while Dask is configured to require it (distributed.comm.require-encryption); expected "
        "an address that starts with tls://. Correct DASK_SCHEDULER_ADDRESS."
    )
    error = refused(address, {}, connect="1s")
    assert error.found.startswith("no answer (")
    assert error.next_step.startswith("Start it (one that takes TLS only has an address that ")


def test_a_worker_without_the_certificate_does_not_join(processes, tls, other_tls, notes):
    processes.settings |= other_tls
    processes.start_worker("--death-timeout", "5")
    with (
        configured(tls),
        DaskBackend(address=processes.address, patience_s=2) as backend,
        pytest.raises(ClusterError) as raised,
    ):
        list(backend.map(abs, [1]))
    assert raised.value.found == "no worker that takes tasks for 2 s"


# ---- a job's own cluster ---------------------------------------------------------------------

INTRUDER = """
import sys
from distributed import Client
from distributed.security import Security
given = {{"none": None, "own": Security.temporary()}}["{certificate}"]
try:
    Client("{address}", timeout="3s", security=given).submit(print, "intruded").result(timeout=3)
except (OSError, TypeError) as error:
    print("refused:", type(error).__name__)
    sys.stdout.flush()
    import os
    os._exit(3)
"""


@pytest.mark.parametrize("certificate", ["none", "own"])
def test_no_other_process_of_this_machine_can_use_a_jobs_own_cluster(certificate):
    with DaskBackend(1, 10**9) as backend:
        info = backend.client.scheduler_info(n_workers=-1)
        (worker,) = info["workers"].values()
        for address in (info["address"], worker["nanny"], backend_worker(info)):
            assert address.startswith("tls://127.0.0.1:")
        schemes = [info["address"], info["address"].replace("tls://", "tcp://")]
        for address in schemes[: 1 if certificate == "own" else 2]:
            script = INTRUDER.format(address=address, certificate=certificate)
            done = subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 3, done.stdout + done.stderr
            assert done.stdout.startswith("refused: ")
        # It still works for the job.
        assert list(backend.map(abs, [-1])) == [1]


def backend_worker(info: dict) -> str:
    """Address of the only worker that a scheduler tells of."""
    (address,) = info["workers"]
    return address


def test_settings_for_another_cluster_do_not_disturb_a_jobs_own(tls, tmp_path):
    missing = {name: f"{tmp_path}/missing.pem" for name in tls if "REQUIRE" not in name}
    with configured(tls | missing), DaskBackend(1, 10**9) as backend:
        assert list(backend.map(abs, [-1])) == [1]
