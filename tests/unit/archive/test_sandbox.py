"""What foreign code can do in each sandbox: see secrets, change files, reach the network."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest
from sandboxes import usable

from snakeshed.archive.sandbox import (
    Sandbox,
    Surroundings,
    find_sandbox,
    hidden_folders,
    python_files,
)
from snakeshed.errors import ArchiveError

PROBE = """
import json, os, socket, sys

port, home, secret, own = int(sys.argv[1]), *sys.argv[2:]
found = {"variables": dict(os.environ), "home": os.path.expanduser("~")}


def attempt(name, action):
    try:
        found[name] = action()
    except OSError as error:
        found[name] = f"no: {type(error).__name__}"


def connect():
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return "connected"


def loopback():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=5):
            return "connected"


def write(folder):
    with open(os.path.join(folder, "written"), "w") as file:
        file.write("x")
    return "written"


def parent():
    with open(f"/proc/{os.getppid()}/environ", "rb") as file:
        return "TOKEN" if b"SNAKESHED_TEST_TOKEN" in file.read() else "nothing"


attempt("network", connect)
attempt("loopback", loopback)
attempt("real home", lambda: write(home))
attempt("own home", lambda: write(found["home"]))
attempt("secret", lambda: open(secret).read())
attempt("own folder", lambda: write(own))
attempt("parent", parent)
attempt("processes", lambda: sum(name.isdigit() for name in os.listdir("/proc")))
print(json.dumps(found))
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home folder of the user, with a secret, and secrets in the environment."""
    folder = tmp_path / "real-home"
    folder.mkdir()
    (folder / "secret").write_text("a key")
    monkeypatch.setenv("HOME", str(folder))
    for name in ("SNAKESHED_TEST_TOKEN", "AWS_SECRET_ACCESS_KEY", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "a token")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("LC_TIME", "C.UTF-8")
    return folder


@pytest.fixture
def surroundings(tmp_path):
    (tmp_path / "scratch").mkdir()
    return lambda kind: Surroundings(usable(kind), tmp_path / "scratch")


@pytest.fixture
def listener():
    """A port of this machine that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def probe(surroundings: Surroundings, home: Path, port: int, network: bool = False) -> dict:
    own = surroundings.folder / "work"
    own.mkdir()
    status, output = surroundings.run(
        [sys.executable, "-c", PROBE, str(port), str(home), str(home / "secret"), str(own)],
        start=own,
        variables=surroundings.variables(),
        writable=[own],
        network=network,
    )
    assert status == 0, output
    assert (own / "written").read_text() == "x"
    return json.loads(output)


@pytest.mark.parametrize("kind", ["none", "unshare", "bubblewrap"])
def test_no_sandbox_passes_on_secrets_in_the_environment(kind, surroundings, home, listener):
    found = probe(surroundings(kind), home, listener)
    assert "a token" not in found["variables"].values()
    assert "SSH_AUTH_SOCK" not in found["variables"]
    assert found["variables"]["LC_TIME"] == "C.UTF-8"
    assert found["variables"]["PATH"] == os.environ["PATH"]
    assert found["home"] != str(home)
    assert found["own home"] == found["own folder"] == "written"


@pytest.mark.parametrize("kind", ["unshare", "bubblewrap"])
def test_in_a_sandbox_there_is_no_network_but_the_own_one(kind, surroundings, home, listener):
    found = probe(surroundings(kind), home, listener)
    assert found["network"].startswith("no: ")
    assert found["loopback"] == "connected"


@pytest.mark.parametrize("kind", ["unshare", "bubblewrap"])
def test_in_a_sandbox_no_other_process_is_seen(kind, surroundings, home, listener):
    found = probe(surroundings(kind), home, listener)
    assert found["processes"] <= 3
    assert found["parent"] != "TOKEN"


def test_bubblewrap_hides_the_home_folder(surroundings, home, listener):
    found = probe(surroundings("bubblewrap"), home, listener)
    assert found["secret"] == "no: FileNotFoundError"
    assert not (home / "written").exists()


@pytest.mark.parametrize("kind", ["none", "unshare"])
def test_without_bubblewrap_files_can_be_read_and_changed_and_that_is_said(
    kind, surroundings, home, listener
):
    own = surroundings(kind)
    found = probe(own, home, listener)
    assert found["secret"] == "a key"
    assert found["real home"] == "written"
    assert "CAN READ AND CHANGE YOUR FILES" in str(own.sandbox)


def test_without_a_sandbox_the_network_is_there_and_that_is_said(surroundings, home, listener):
    own = surroundings("none")
    assert probe(own, home, listener)["network"] == "connected"
    assert "USE THE NETWORK" in str(own.sandbox)


@pytest.mark.parametrize("kind", ["none", "unshare", "bubblewrap"])
def test_pip_gets_its_network_and_settings(kind, surroundings, home, listener, monkeypatch):
    configuration = home / ".config/pip/pip.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("[global]\n")
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    own = surroundings(kind)
    variables = own.variables(for_pip=True)
    assert variables["PIP_INDEX_URL"] == "a token"
    assert "SNAKESHED_TEST_TOKEN" not in variables
    code = (
        "import os, socket; "
        f"socket.create_connection(('127.0.0.1', {listener}), timeout=5); "
        "print(open(os.environ['PIP_CONFIG_FILE']).read().strip())"
    )
    command = [sys.executable, "-c", code]
    status, output = own.run(command, start=own.folder, variables=variables, network=True)
    assert (status, output) == (0, "[global]\n")


@pytest.mark.parametrize("kind", ["none", "unshare", "bubblewrap"])
def test_named_files_are_readable_but_not_writable(kind, surroundings, home):
    own = surroundings(kind)
    code = "import sys; print(open(sys.argv[1]).read()); open(sys.argv[1], 'w')"
    command = [sys.executable, "-c", code, str(home / "secret")]
    status, output = own.run(
        command, start=own.folder, variables=own.variables(), readable=[home / "secret"]
    )
    assert "a key\n" in output
    assert (status != 0) == (kind == "bubblewrap")


@pytest.mark.parametrize("kind", ["none", "unshare", "bubblewrap"])
def test_nothing_is_left_running(kind, surroundings, tmp_path):
    own = surroundings(kind)
    work = own.folder / "work"
    work.mkdir()
    loop = f"while sleep 0.05; do echo x >> {work}/alive; done"
    status, _ = own.run(
        ["sh", "-c", f"({loop}) & sleep 0.3"],
        start=work,
        variables=own.variables(),
        writable=[work],
    )
    assert status == 0
    size = (work / "alive").stat().st_size
    assert size > 0
    time.sleep(0.3)
    assert (work / "alive").stat().st_size == size


def test_a_program_that_cannot_be_started_is_told(surroundings):
    own = surroundings("none")
    with pytest.raises(ArchiveError) as caught:
        own.run(["/not/there"], start=own.folder, variables=own.variables())
    assert str(caught.value) == (
        "the sandbox (none): found no way to start /not/there in it (No such file or directory); "
        "expected a program, with a few thousand files that stay visible. Put the inputs in few "
        "folders, or outside of the home folder."
    )


def test_of_much_output_the_end_is_kept(surroundings):
    own = surroundings("none")
    code = "import sys; sys.stdout.write('x' * 1_000_000 + 'end')"
    _, output = own.run([sys.executable, "-c", code], start=own.folder, variables=own.variables())
    assert len(output) == 64 << 10
    assert output.endswith("xend")


def test_a_sandbox_that_does_not_work_is_not_taken(tmp_path, monkeypatch):
    for name in ("bwrap", "unshare"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_sandbox() == Sandbox("none")


def test_the_best_sandbox_that_works_is_taken(monkeypatch):
    found = find_sandbox()
    for kind in ("bubblewrap", "unshare"):
        if found.kind == kind:
            break
        with pytest.raises(pytest.skip.Exception):
            usable(kind)


def test_folders_within_hidden_ones_are_not_hidden_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    hidden = hidden_folders()
    assert "/tmp" in hidden
    assert str(tmp_path) not in hidden
    assert "/" not in hidden


def test_the_python_in_use_is_readable():
    assert Path(sys.prefix) in python_files()
    assert Path(sys.base_prefix) in python_files()
