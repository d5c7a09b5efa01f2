"""The sandboxes that this machine has, and what they hide."""

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


def home_with_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home folder of the user, with a secret in it and more in the environment."""
    home = folder / "real-home"
    home.mkdir()
    (home / "secret").write_text("a key")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SNAKESHED_TEST_TOKEN", "a token")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    return home
