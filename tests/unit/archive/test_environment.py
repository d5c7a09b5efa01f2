"""An archive is run again here if the packages are right, else in an environment made for it."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from sandboxes import usable

from snakeshed.archive.environment import pack_wheels, python_for
from snakeshed.archive.sandbox import Sandbox, Surroundings
from snakeshed.errors import ArchiveError

pytestmark = pytest.mark.slow

NAME = "snakeshed_probe-1.0-py3-none-any.whl"
FIRST_DATE = (1980, 1, 1, 0, 0, 0)


@pytest.fixture
def wheel(tmp_path) -> Path:
    """A package of one module."""
    path = tmp_path / "packages" / NAME
    path.parent.mkdir()
    info = "snakeshed_probe-1.0.dist-info"
    contents = {
        "snakeshed_probe.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: snakeshed-probe\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    records = []
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=")
        records.append(f"{name},sha256={digest.decode()},{len(content)}\n")
    contents[f"{info}/RECORD"] = "".join(records) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in contents.items():
            file.writestr(zipfile.ZipInfo(name, FIRST_DATE), content)
    return path


@pytest.fixture
def lock(wheel) -> str:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return (
        f"snakeshed-probe==1.0 \\\n    --hash=sha256:{digest}\n    # via -r envs/requirements.in\n"
        "snakeshed-tests==1.0 \\\n    --hash=sha256:00\n    # via -r envs/development.in\n"
    )


@pytest.fixture
def workflow(tmp_path, lock) -> Path:
    (tmp_path / "workflow/envs").mkdir(parents=True)
    (tmp_path / "workflow/envs/requirements.lock").write_text(lock)
    return tmp_path / "workflow"


@pytest.fixture(autouse=True)
def no_index(tmp_path, monkeypatch):
    """An index without a package, in place of that of this machine."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nowhere").as_uri())
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def index(tmp_path, wheel, monkeypatch):
    """An index with the package."""
    folder = tmp_path / "index/snakeshed-probe"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(f'<a href="{wheel.as_uri()}">{NAME}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", folder.parent.as_uri())


@pytest.fixture
def own(tmp_path) -> Surroundings:
    """No sandbox: packages and index are in a folder for temporary files, which it would hide."""
    (tmp_path / "own").mkdir()
    return Surroundings(Sandbox("none"), tmp_path / "own")


def answer(python: str) -> str:
    code = "import snakeshed_probe; print(snakeshed_probe.ANSWER)"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_environment_in_use_if_it_satisfies_the_lock_file(workflow, tmp_path, own):
    (workflow / "envs/requirements.lock").write_text(f"numpy=={version('numpy')} \\\n")
    python, told = python_for(workflow, tmp_path / "wheels", tmp_path / "new", "auto", own)
    assert python == sys.executable
    assert told == f"the one in use, {sys.executable}, which satisfies its lock file"
    assert not (tmp_path / "new").exists()


def test_the_environment_in_use_on_demand_with_what_differs(workflow, tmp_path, own):
    python, told = python_for(workflow, tmp_path / "wheels", tmp_path / "new", "this", own)
    assert python == sys.executable
    assert told.endswith("which differs from its lock file: snakeshed-probe none instead of 1.0")


@pytest.mark.parametrize("choice", ["auto", "wheels"])
def test_packages_of_the_archive_need_no_index(workflow, wheel, tmp_path, choice, own):
    python, told = python_for(workflow, wheel.parent, tmp_path / "new", choice, own)
    assert python == str(tmp_path / "new/bin/python")
    assert answer(python) == "42"
    why = ", since the one in use differs (snakeshed-probe none instead of 1.0)"
    assert told == "a new one of the archive's wheels" + (why if choice == "auto" else "")


@pytest.mark.parametrize("kind", ["unshare", "bubblewrap"])
def test_packages_of_the_archive_are_installed_in_a_sandbox(kind, workflow, wheel, tmp_path):
    (tmp_path / "own").mkdir()
    own = Surroundings(usable(kind), tmp_path / "own")
    python, _ = python_for(workflow, wheel.parent, tmp_path / "new", "wheels", own)
    status, output = own.run(
        [python, "-c", "import snakeshed_probe; print(snakeshed_probe.ANSWER)"],
        start=own.folder,
        variables=own.variables(),
        readable=[tmp_path / "new"],
    )
    assert (status, output) == (0, "42\n")


def test_sources_among_the_packages_of_the_archive_run_no_code(workflow, tmp_path, own):
    folder = tmp_path / "wheels"
    folder.mkdir()
    ran = tmp_path / "ran"
    setup = f"open({str(ran)!r}, 'w')\nfrom setuptools import setup\nsetup(name='snakeshed-probe')"
    with tarfile.open(folder / "snakeshed_probe-1.0.tar.gz", "w:gz") as file:
        info = tarfile.TarInfo("snakeshed_probe-1.0/setup.py")
        info.size = len(setup)
        file.addfile(info, io.BytesIO(setup.encode()))
    with pytest.raises(ArchiveError, match="No matching distribution found for snakeshed-probe"):
        python_for(workflow, folder, tmp_path / "new", "wheels", own)
    assert not ran.exists()


def test_packages_for_another_machine_are_had_from_the_index(workflow, wheel, index, tmp_path, own):
    other = tmp_path / "wheels"
    other.mkdir()
    (other / NAME.replace("py3-none-any", "cp27-cp27m-win32")).write_bytes(wheel.read_bytes())
    python, told = python_for(workflow, other, tmp_path / "new", "auto", own)
    assert answer(python) == "42"
    assert told.startswith("a new one of the package index, since the one in use differs")
    assert "of the archive's wheels: No matching distribution found for snakeshed-probe" in told


def test_an_index_with_another_package_of_that_name_is_refused(
    workflow, wheel, index, tmp_path, own
):
    with zipfile.ZipFile(wheel, "a") as file:
        file.writestr("more.py", "1\n")
    with pytest.raises(ArchiveError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        python_for(workflow, tmp_path / "wheels", tmp_path / "new", "index", own)


def test_no_way_to_an_environment_is_told_with_all_that_was_tried(workflow, tmp_path, own):
    with pytest.raises(ArchiveError) as caught:
        python_for(workflow, tmp_path / "wheels", tmp_path / "new", "auto", own)
    assert str(caught.value) == (
        "the environment for the re-run (--environment auto): found the one in use differs "
        "(snakeshed-probe none instead of 1.0); of the archive's wheels: there are "
        "none; of the package index: No matching distribution found for snakeshed-probe==1.0; "
        "expected one that satisfies envs/requirements.lock of the archive. Connect to a "
        "package index, use the Python version of the archive's wheels, or use the current "
        "environment: --environment this."
    )


def test_a_workflow_without_a_lock_file_is_told(tmp_path, own):
    with pytest.raises(ArchiveError, match="found no file envs/requirements.lock"):
        python_for(tmp_path, tmp_path / "wheels", tmp_path / "new", "auto", own)


@pytest.mark.parametrize("lock_text", [None, "-r /etc/passwd\n", "numpy==1 ; os_name ==\n"])
def test_the_environment_in_use_needs_no_lock_file(tmp_path, own, lock_text):
    (tmp_path / "envs").mkdir()
    if lock_text is not None:
        (tmp_path / "envs/requirements.lock").write_text(lock_text)
    python, description = python_for(tmp_path, tmp_path / "wheels", tmp_path / "new", "this", own)
    assert python == sys.executable
    assert description == (
        f"the one in use, {sys.executable}; the archive's envs/requirements.lock is not used"
    )


def test_wheels_that_a_run_needs_are_packed(lock, wheel, index, tmp_path):
    folder = tmp_path / "packed"
    folder.mkdir()
    (packed,) = pack_wheels(lock, folder)
    assert packed == folder / NAME
    assert packed.read_bytes() == wheel.read_bytes()
    assert list(folder.iterdir()) == [packed]


def test_wheels_that_cannot_be_had_are_told(lock, tmp_path):
    folder = tmp_path / "packed"
    folder.mkdir()
    with pytest.raises(ArchiveError) as caught:
        pack_wheels(lock, folder)
    assert str(caught.value) == (
        "archive.wheels: found packages of envs/requirements.lock that cannot be fetched (No "
        "matching distribution found for snakeshed-probe==1.0); expected a Python with venv and "
        "ensurepip, and a package index that pip reaches. Make the archive where both are, or "
        "without packages: --config 'archive={wheels: false}'."
    )
