"""The sandboxes that this machine has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from snakeshed.archive.sandbox import Sandbox

KINDS = ("none", "unshare", "bubblewrap")


def usable(kind: str) -> Sandbox:
    """Return the sandbox of a kind, or skip the test."""
    if kind == "none":
        return Sandbox("none")
    name = {"bubblewrap": "bwrap", "unshare": "unshare"}[kind]
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    sandbox = Sandbox(kind, program)
    trial = sandbox.command(["true"], Path("/"), (), (), network=False)
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip(f"{name} may not make namespaces here")
    return sandbox
