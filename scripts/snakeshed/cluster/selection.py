"""The files that a study needs on the volume of a cluster: code, configuration, and inputs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from snakeshed.archive.workflow_source import workflow_source
from snakeshed.cluster.inputs import MADE, SCHEMA, study_inputs
from snakeshed.errors import ConfigurationError, SeveralProblems, SnakeshedError
from snakeshed.features.layers import rasters_of, tables_of
from snakeshed.raster.input_files import input_files
from snakeshed.sites.table_files import table_files
from snakeshed.study.configuration import complete
from snakeshed.study.left_out import as_run
from snakeshed.study.missing_inputs import check_inputs
from snakeshed.study.yaml_file import read_study

_PROFILE = "profiles/nautilus/config.yaml"
_PLACEMENT = "kubernetes-pvc-placement"


@dataclass(frozen=True)
class Local:
    """A file or link of this machine, to be at the same path on the volume.

    Attributes
    ----------
    path : str
        Relative to the checkout, with slashes.
    size : int
        In bytes.
    mtime_ns, ctime_ns : int
        Times of change of the content and of anything.
    executable : bool
    link : str or None
        Where a link leads. Only links of the workflow are copied as links.
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    executable: bool = False
    link: str | None = None

    @property
    def times(self) -> list[int]:
        """What tells that a file is the one that was looked at before."""
        return [self.size, self.mtime_ns, self.ctime_ns]


@dataclass(frozen=True)
class Selection:
    """What a study needs.

    Attributes
    ----------
    study : str
        Its name.
    configuration : str
        The file with it, as the driver is given it.
    files : list of Local
    inputs : list of str
        Those of the files that the study reads.
    """

    study: str
    configuration: str
    files: list[Local]
    inputs: list[str]


def select(configuration: str | Path) -> Selection:
    """Find all that a study needs, in the checkout that is the working directory.

    Parameters
    ----------
    configuration : str or Path
        Its file.

    Raises
    ------
    SeveralProblems
        The configuration is wrong, or a file that it names is missing, or lies elsewhere.
    """
    name = configuration_name(configuration)
    study = as_run(complete(read_study(name), SCHEMA, name))
    check_inputs(study, MADE)
    inputs = study_inputs(study)
    problems = list(_outside(study, inputs))
    if problems:
        raise SeveralProblems(problems)
    inputs = [Path(os.path.normpath(each)).as_posix() for each in inputs]
    source = workflow_source(".", changed=True)
    names = dict.fromkeys([*sorted(source.files), name, *_placement(), *inputs])
    files = [_local(each) for each in names]
    files += [_link(each, source.links[each]) for each in sorted(source.links)]
    return Selection(study["study"], name, files, sorted(set(inputs)))


def configuration_name(configuration: str | Path) -> str:
    """Return the path of a configuration in the checkout, as it is on the volume too.

    Raises
    ------
    SeveralProblems
        It lies outside of the checkout.
    """
    place = Path(os.path.abspath(configuration))
    if not place.is_relative_to(Path.cwd()):
        problem = ConfigurationError(
            str(configuration),
            "a configuration outside of the checkout",
            f"one in {Path.cwd()}, of which the volume has a copy",
            "Copy it to config/.",
        )
        raise SeveralProblems([problem])
    return place.relative_to(Path.cwd()).as_posix()


def _placement() -> list[str]:
    """Return the file that says where jobs of each rule may run, if the profile names one."""
    profile = yaml.safe_load(Path(_PROFILE).read_text(encoding="utf-8")) or {}
    file = profile.get(_PLACEMENT)
    if file is None:
        return []
    found = "no such file" if not os.path.isfile(file) else ""
    if os.path.isabs(file) or os.path.normpath(file).startswith(".."):
        found = "a path out of the checkout"
    if found:
        problem = ConfigurationError(
            f"{_PROFILE}, {_PLACEMENT}: {file}",
            found,
            "a file of the checkout, such as config/placement.yaml",
            "Correct the path, or take the line out.",
        )
        raise SeveralProblems([problem])
    return [Path(os.path.normpath(file)).as_posix()]


def _outside(study: dict, inputs: Iterable[str]) -> Iterator[SnakeshedError]:
    """Yield a problem for each input that would not be found at the same path on the volume."""
    for file in inputs:
        key = _key_of(file, study)
        if os.path.isabs(file) or os.path.normpath(file).startswith(".."):
            folder = os.path.dirname(os.path.abspath(file))
            yield ConfigurationError(
                f"{key}: {file}",
                "an absolute path" if os.path.isabs(file) else "a path out of the checkout",
                f"a path below {Path.cwd()}, such as data/{os.path.basename(file)}",
                f"Link the folder, and name it so (ln -s {folder} data/): files behind links are "
                "copied. A VRT has to name its files relatively to itself.",
            )


def _key_of(file: str, study: dict) -> str:
    if file in table_files(study["sites"]["path"]):
        return "sites.path"
    for layer in study["layers"]:
        files = {key: input_files([path]) for key, path in rasters_of(layer).items()}
        files |= {key: table_files(path) for key, path in tables_of(layer).items()}
        for key, named in files.items():
            if file in named:
                return f"layers[{layer['name']}].{key}"
    return "dem.path"


def _local(name: str) -> Local:
    found = os.stat(name)
    executable = bool(found.st_mode & stat.S_IXUSR)
    return Local(name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, executable)


def _link(name: str, target: str) -> Local:
    return Local(name, 0, 0, 0, link=target)
