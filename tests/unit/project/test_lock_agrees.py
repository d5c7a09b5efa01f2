"""The files that say what snakeshed needs agree with each other."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

CHECKOUT = Path(__file__).parents[3]
LOCK = (CHECKOUT / "envs" / "requirements.lock").read_text(encoding="utf-8")
DEVELOPMENT = (CHECKOUT / "envs" / "development.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Names of conda's packages; most are those without what only a person at a screen needs.
CONDA_NAMES = {
    "dask-core": "dask",
    "geopandas-base": "geopandas",
    "matplotlib-base": "matplotlib",
    "python-kubernetes": "kubernetes",
    "snakemake-minimal": "snakemake",
}


def locked(lock: str = LOCK) -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", lock, flags=re.MULTILINE)
    versions = dict(pins)
    assert len(versions) == len(pins), "a package has two versions"
    return versions


def asked_for(*files: str) -> dict[str, Requirement]:
    lines = []
    for file in files:
        lines += (CHECKOUT / "envs" / file).read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {requirement.name: requirement for requirement in wanted}


def conda() -> dict[str, str]:
    text = (CHECKOUT / "envs" / "environment.yaml").read_text(encoding="utf-8")
    environment = yaml.safe_load(text)
    assert environment["channels"] == ["conda-forge", "bioconda", "nodefaults"]
    *from_conda, from_pip = environment["dependencies"]
    from_conda.remove("pip")
    return dict(line.split(" ", 1) for line in [*from_conda, *from_pip["pip"]])


def test_conda_has_the_versions_of_the_lock():
    pins = conda()
    assert pins.pop("python") == PROJECT["requires-python"]
    versions = locked()
    assert pins == {name: f"=={versions[CONDA_NAMES.get(name, name)]}" for name in pins}


def test_conda_has_all_that_the_workflow_needs():
    needed = set(asked_for("requirements.in"))
    assert {CONDA_NAMES.get(name, name) for name in conda()} == needed | {"python"}


@pytest.mark.parametrize(
    ("lock", "files"),
    [(LOCK, ["requirements.in", "build.in"]), (DEVELOPMENT, ["development.in"])],
    ids=["requirements", "development"],
)
def test_lock_satisfies_what_is_asked_for(lock, files):
    versions = locked(lock)
    for name, requirement in asked_for(*files).items():
        assert requirement.specifier.contains(versions[name]), name


def test_both_locks_can_be_installed_in_one_environment():
    running, developing = locked(), locked(DEVELOPMENT)
    shared = running.keys() & developing.keys()
    assert {name: running[name] for name in shared} == {name: developing[name] for name in shared}


def test_a_run_installs_no_test_tool():
    assert not locked().keys() & asked_for("development.in").keys()


def test_the_package_is_built_with_what_the_lock_pins():
    text = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["build-system"]["requires"] == list(asked_for("build.in"))


def test_the_extra_kubernetes_pins_what_its_lock_does():
    text = (CHECKOUT / "envs/kubernetes.lock").read_text(encoding="utf-8")
    versions = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE))
    asked = asked_for("kubernetes.in")
    assert versions.keys() == asked.keys()
    for name, requirement in asked.items():
        assert requirement.specifier.contains(versions[name]), name
    extra = map(Requirement, PROJECT["optional-dependencies"]["kubernetes"])
    pins = {each.name: str(each.specifier) for each in extra}
    assert pins == {name: f"=={versions[name]}" for name in asked if name.startswith("snakemake-")}


def test_package_asks_for_what_the_lock_is_made_from():
    # The extra kubernetes has a lock file of its own.
    extras = itertools.chain.from_iterable(
        packages
        for extra, packages in PROJECT["optional-dependencies"].items()
        if extra != "kubernetes"
    )
    declared = [Requirement(line) for line in (*PROJECT["dependencies"], *extras)]
    wanted = asked_for("requirements.in", "development.in")
    assert {each.name: each.specifier for each in declared} == {
        name: requirement.specifier for name, requirement in wanted.items()
    }


@pytest.mark.parametrize("lock", [LOCK, DEVELOPMENT], ids=["requirements", "development"])
def test_every_locked_package_has_hashes_and_no_address(lock):
    entries = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked(lock))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock
    assert "index-url" not in lock


@pytest.mark.parametrize(
    ("lock", "files"),
    [
        (LOCK, "envs/requirements.in envs/build.in"),
        (DEVELOPMENT, "envs/development.in --constraint envs/requirements.lock"),
    ],
    ids=["requirements", "development"],
)
def test_lock_says_how_to_renew_it(lock, files):
    how, command = lock.splitlines()[:2]
    assert how.startswith("# ")
    assert command.startswith(f"#    uv pip compile {files} --universal")
    assert "--generate-hashes" in command


@pytest.mark.parametrize(
    ("version", "supported"), [("3.10", 0), ("3.11", 1), ("3.13", 1), ("3.14", 0)]
)
def test_makefile_accepts_the_supported_pythons(version, supported):
    assert SpecifierSet(PROJECT["requires-python"]).contains(version) == bool(supported)
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    [bounds] = re.findall(r"\((3), (\d+)\) <= sys.version_info\[:2\] <= \((3), (\d+)\)", makefile)
    low, high = tuple(map(int, bounds[:2])), tuple(map(int, bounds[2:]))
    assert (low <= tuple(map(int, version.split("."))) <= high) == bool(supported)
