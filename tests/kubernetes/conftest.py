"""A fake API server, and a workflow that uses it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_api import FakeApi
from small_workflow import SmallWorkflow

from snakemake_executor_plugin_kubernetes_pvc import api as calls
from snakemake_executor_plugin_kubernetes_pvc import connection
from snakemake_executor_plugin_kubernetes_pvc.api import Api
from snakemake_executor_plugin_kubernetes_pvc.connection import Connection


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def workflow(fake, tmp_path) -> SmallWorkflow:
    kubeconfig = fake.write_kubeconfig(tmp_path / "kubeconfig")
    return SmallWorkflow(tmp_path / "work", kubeconfig)


@pytest.fixture
def read_s() -> float:
    """How long an answer is waited for."""
    return 1


@pytest.fixture
def kubeconfig(fake, tmp_path, monkeypatch, read_s) -> Path:
    """Credentials for the fake API server, whose troubles do not take long here."""
    path = fake.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr(calls, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(connection, "READ_S", read_s)
    return path


@pytest.fixture
def stop() -> threading.Event:
    """What ends a run."""
    return threading.Event()


@pytest.fixture
def api(kubeconfig, stop) -> Api:
    """Calls of the fake API server."""
    return Api(Connection(), "here", 5, stop, logging.getLogger("test"))
