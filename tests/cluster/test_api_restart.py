"""The API server is away for some seconds: for all runs on the cluster, so by itself."""

from __future__ import annotations

import os
import subprocess

import pytest
from real_cluster import EACH_ONCE, sent, whole
from small_workflow import ended, until


@pytest.mark.skipif(
    "SNAKESHED_TEST_RESTART" not in os.environ,
    reason="SNAKESHED_TEST_RESTART names no command that restarts the API server",
)
def test_the_api_server_may_be_restarted_while_jobs_run(cluster, workflow):
    workflow.does("sleep 15; echo $1")
    run = workflow.start()
    until(lambda: len(cluster.running("piece")) == 2)
    subprocess.run(os.environ["SNAKESHED_TEST_RESTART"], shell=True, check=True, timeout=60)
    ran = ended(run, 120)
    assert "The Kubernetes API does not answer" in ran.text
    assert "The Kubernetes API answers again" in ran.text
    assert whole(workflow, ran)
    assert sent(cluster) == EACH_ONCE
