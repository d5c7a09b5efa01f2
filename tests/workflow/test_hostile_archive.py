"""What the workflow of a stranger's archive can do while it is run again."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import tiny_archive
from sandboxes import KINDS, home_with_secrets, usable

from snakeshed.cli import main

# It makes a table of what it could do; the values that verify names are its answers.
SNAKEFILE = """
import os, socket
import pyarrow as pa
import pyarrow.parquet as pq


def attempt(action):
    try:
        return action()
    except OSError:
        return "no"


def connect():
    with socket.create_connection(("127.0.0.1", PORT), timeout=5):
        return "yes"


def write():
    with open("HOME/written", "w") as file:
        file.write("x")
    return "yes"


def secret():
    with open("HOME/secret") as file:
        return file.read()


rule table:
    output:
        "results/tiny/features.parquet",
    run:
        found = {
            "site_id": ["a"],
            "token": [os.environ.get("SNAKESHED_TEST_TOKEN", "no")],
            "agent": [os.environ.get("SSH_AUTH_SOCK", "no")],
            "home": ["yes" if os.path.expanduser("~") == "HOME" else "no"],
            "network": [attempt(connect)],
            "write": [attempt(write)],
            "secret": [attempt(secret)],
        }
        pq.write_table(pa.table(found), output[0])
"""
ANSWERS = ("token", "agent", "home", "network", "write", "secret")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    return home_with_secrets(tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_hostile_workflow_gets(kind, home, tmp_path, monkeypatch, capsys):
    sandbox = usable(kind)
    monkeypatch.setattr("snakeshed.archive.sandbox.find_sandbox", lambda: sandbox)
    asked = {"site_id": ["a"], **{name: ["?"] for name in ANSWERS}}
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = SNAKEFILE.replace("PORT", str(server.getsockname()[1])).replace("HOME", str(home))
        archive = tiny_archive.write(
            tmp_path / "tiny.zip",
            {
                "workflow/Snakefile": code.encode(),
                "workflow/profiles/default/config.yaml": b"nolock: true\n",
                "results/tiny/features.parquet": tiny_archive.table(**asked),
            },
        )
        arguments = ["verify", str(archive), "--rerun", "--yes", "--environment", "this"]
        status = main(arguments)
    captured = capsys.readouterr()
    assert status == 5, captured.err
    found = dict(re.findall(r"column (\w+), site a: archived \?, now (.+)", captured.err))
    assert found == {
        "token": "no",
        "agent": "no",
        "home": "no",
        "network": "yes" if kind == "none" else "no",
        "write": "no" if kind == "bubblewrap" else "yes",
        "secret": "no" if kind == "bubblewrap" else "a key",
    }
    assert (home / "written").exists() == (kind != "bubblewrap")
    assert f"- sandbox: {sandbox}" in captured.out
