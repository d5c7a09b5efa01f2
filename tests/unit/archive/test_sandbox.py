"""What foreign code can do in each sandbox: see secrets, change files, reach the network."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from sandboxes import home_with_secrets, usable

from snakeshed.archive.sandbox import (
    Sandbox,
    Surroundings,
    find_sandbox,
    hidden_folders,
    python_files,
    remove,
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
    for name in ("AWS_SECRET_ACCESS_KEY", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "a token")
    monkeypatch.setenv("LC_TIME", "C.UTF-8")
    return home_with_secrets(tmp_path, monkeypatch)


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
        "the sandbox (none): found /not/there, which cannot be started in it (No such file "
        "or directory); expected a program, with a few thousand files that stay visible. Put the "
        "inputs in few folders, or outside of the home folder."
    )


def test_of_much_output_the_end_is_kept(surroundings):
    own = surroundings("none")
    code = "import sys; sys.stdout.write('x' * 1_000_000 + 'end')"
    _, output = own.run([sys.executable, "-c", code], start=own.folder, variables=own.variables())
    assert len(output) == 64 << 10
    assert output.endswith("xend")


def test_a_sandbox_that_does_not_work_is_not_taken(tmp_path, monkeypatch):
    for name in ("bwrap", "unshare"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'no namespaces here' >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_sandbox()
    assert found == Sandbox("none", why="bubblewrap is installed and failed: no namespaces here")
    assert found.why in str(found)


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


def run_python(own: Surroundings, code: str, *arguments: str, **options) -> tuple[int, str]:
    """Run some lines of Python in a sandbox."""
    return own.run(
        [sys.executable, "-c", code, *arguments],
        **{"start": own.folder, "variables": own.variables()} | options,
    )


LINKED_PYTHON = """
import sys
from pathlib import Path
from snakeshed.archive.sandbox import Surroundings, find_sandbox
found = find_sandbox()
own = Surroundings(found, Path(sys.argv[1]))
command = [sys.executable, "-c", "import sys; print(sys.prefix)"]
print(found.kind, *own.run(command, start=own.folder, variables=own.variables()), sys.prefix)
"""


@pytest.mark.slow
@pytest.mark.parametrize("linked", [False, True])
def test_a_virtual_environment_in_a_hidden_folder_works(tmp_path, surroundings, linked):
    """Its program is a link to a link in the same folder."""
    own = surroundings("bubblewrap")
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    program = folder / "bin/python"
    assert program.is_symlink()
    if linked:
        (tmp_path / "elsewhere").symlink_to(folder)
        program = tmp_path / "elsewhere/bin/python"
    done = subprocess.run(
        [program, "-c", LINKED_PYTHON, own.folder],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    prefix = program.parents[1]
    assert done.stdout.split() == ["bubblewrap", "0", str(prefix), str(prefix)], done.stderr


def test_a_home_folder_behind_a_link_is_hidden_and_what_is_named_in_it_is_not(
    tmp_path, surroundings, monkeypatch
):
    own = surroundings("bubblewrap")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/secret").write_text("a key")
    (tmp_path / "disk/input").write_text("an input")
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    monkeypatch.setattr("snakeshed.archive.sandbox._HIDDEN", ())
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert str(tmp_path / "disk") in hidden_folders()
    code = "import os, sys; print(os.listdir(sys.argv[1]), open(sys.argv[1] + '/input').read())"
    status, output = run_python(
        own, code, str(tmp_path / "home"), readable=[tmp_path / "home/input"]
    )
    assert (status, output) == (0, "['input'] an input\n")


def test_links_to_named_files_lead_there(tmp_path, surroundings):
    own = surroundings("bubblewrap")
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "real/deep/file").write_text("content")
    (tmp_path / "one").symlink_to("real")
    (tmp_path / "two").symlink_to("one/deep/../deep")
    (tmp_path / "circle").symlink_to("circle")
    named = [tmp_path / each for each in ("two/file", "one/deep", "real/deep", "circle")]
    (tmp_path / "more").touch()
    code = (
        "import os, sys; print(*(open(each).read() for each in sys.argv[2:]), "
        "*sorted(os.listdir(sys.argv[1])))"
    )
    files = [str(tmp_path / each) for each in ("two/file", "one/deep/file", "real/deep/file")]
    status, output = run_python(own, code, str(tmp_path), *files, readable=named)
    seen = "circle one real scratch two"
    assert (status, output) == (0, f"content content content {seen}\n")


def test_a_scratch_folder_in_shared_memory_is_seen(surroundings):
    sandbox = surroundings("bubblewrap").sandbox
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("there is no shared memory")
    with tempfile.TemporaryDirectory(dir=memory) as made:
        own = Surroundings(sandbox, Path(made, "own"))
        own.folder.mkdir()
        Path(made, "archived").write_text("archived")
        code = "import sys; print(open(sys.argv[1]).read())"
        status, output = run_python(
            own,
            code,
            f"{made}/archived",
            start=own.folder / "home",
            readable=[Path(made, "archived")],
        )
        assert (status, output) == (0, "archived\n")


@pytest.mark.parametrize("network", [False, True])
def test_the_name_server_is_seen_with_the_network_alone(
    tmp_path, surroundings, monkeypatch, network
):
    own = surroundings("bubblewrap")
    (tmp_path / "resolvconf").mkdir()
    (tmp_path / "resolvconf/resolv.conf").write_text("nameserver 192.0.2.1")
    (tmp_path / "resolv.conf").symlink_to("resolvconf/resolv.conf")
    monkeypatch.setattr("snakeshed.archive.sandbox._RESOLVER", tmp_path / "resolv.conf")
    code = "import sys; print(open(sys.argv[1]).read())"
    status, output = run_python(own, code, str(tmp_path / "resolv.conf"), network=network)
    if network:
        assert (status, output) == (0, "nameserver 192.0.2.1\n")
    else:
        assert "FileNotFoundError" in output


def test_two_thousand_five_hundred_files_in_as_many_folders_are_seen(tmp_path, surroundings):
    own = surroundings("bubblewrap")
    files = [tmp_path / f"inputs/{k}/a" for k in range(2500)]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    code = "import os, sys; print(len(os.listdir(sys.argv[1])))"
    status, output = run_python(own, code, str(tmp_path / "inputs"), readable=files)
    assert (status, output) == (0, "2500\n")


@pytest.mark.parametrize("kind", ["none", "unshare", "bubblewrap"])
@pytest.mark.parametrize("path", ["/opt/lib:", ":/opt/lib", "/opt/lib::/opt/lib64", ".:lib", ""])
def test_libraries_are_not_looked_for_in_the_folder_of_the_archive(
    kind, path, surroundings, monkeypatch
):
    """An empty part of the search path means the current folder."""
    own = surroundings(kind)
    monkeypatch.setenv("LD_LIBRARY_PATH", path)
    monkeypatch.setenv("PATH", f"bin::{os.environ['PATH']}:")
    variables = own.variables()
    assert all(map(os.path.isabs, variables.get("LD_LIBRARY_PATH", "/").split(":")))
    assert all(map(os.path.isabs, variables["PATH"].split(":")))


def test_bubblewrap_starts_outside_of_the_folder_of_the_archive(tmp_path, surroundings):
    """Its own libraries come from there otherwise, before there is a sandbox."""
    real = surroundings("bubblewrap").sandbox
    program = tmp_path / "bwrap"
    program.write_text(f'#!/bin/sh\npwd > {tmp_path}/started\nexec {real.program} "$@"\n')
    program.chmod(0o755)
    own = Surroundings(Sandbox("bubblewrap", str(program)), tmp_path / "scratch")
    status, output = run_python(own, "import os; print(os.getcwd())", start=own.folder / "home")
    assert (status, output) == (0, f"{own.folder}/home\n")
    assert (tmp_path / "started").read_text() == "/\n"


def test_a_program_in_the_current_folder_is_no_sandbox(tmp_path, monkeypatch):
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ":.:")
    assert find_sandbox() == Sandbox("none")


def test_a_user_that_no_file_knows_has_hidden_folders(monkeypatch):
    def unknown(_):
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert "/tmp" in hidden_folders()


def test_such_a_user_has_no_settings_of_pip(surroundings, monkeypatch):
    own = surroundings("none")

    def unknown(_):
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "PIP_CONFIG_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert "PIP_CONFIG_FILE" not in own.variables(for_pip=True)


def test_of_the_packages_of_a_user_nothing_else_below_the_home_folder_is_seen(home, monkeypatch):
    packages = home / ".local/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    monkeypatch.setattr("site.ENABLE_USER_SITE", True)
    monkeypatch.setattr("site.USER_BASE", str(home / ".local"))
    monkeypatch.setattr("site.USER_SITE", str(packages))
    assert packages in python_files()
    assert home / ".local" not in python_files()


def nested(folder: Path, count: int, name: str) -> None:
    """Make folders within folders, deeper than a path can say."""
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys\nfor _ in range(int(sys.argv[1])): os.mkdir(sys.argv[2]); "
            "os.chdir(sys.argv[2])",
            str(count),
            name,
        ],
        cwd=folder,
        check=True,
    )


@pytest.mark.parametrize(("count", "name"), [(1200, "x"), (60, "x" * 200)])
def test_nested_folders_are_removed(tmp_path, count, name):
    (tmp_path / "made").mkdir()
    nested(tmp_path / "made", count, name)
    try:
        remove(tmp_path / "made")
        assert not (tmp_path / "made").exists()
    finally:
        # What is left would stop pytest.
        subprocess.run(["rm", "-rf", tmp_path / "made"], check=True)
