"""A fake API server, a workflow that uses it, and who has a real cluster when."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from fake_api import FakeApi
from small_workflow import SmallWorkflow


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def workflow(fake, tmp_path) -> SmallWorkflow:
    kubeconfig = fake.write_kubeconfig(tmp_path / "kubeconfig")
    return SmallWorkflow(tmp_path / "work", kubeconfig)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let tests of the group "alone" have the cluster for themselves, from set-up to tear-down."""
    path = Path((os.environ.get("KUBECONFIG") or "~/.kube/config").split(":")[0]).expanduser()
    if item.get_closest_marker("cluster") is None or not path.exists():
        return (yield)
    group = item.get_closest_marker("xdist_group")
    alone = group is not None and "alone" in group.args
    with path.open(encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        return (yield)
