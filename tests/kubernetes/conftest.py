"""A fake API server, and a workflow that uses it."""

from __future__ import annotations

from collections.abc import Iterator

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
