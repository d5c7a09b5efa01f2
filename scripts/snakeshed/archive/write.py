"""The archive of a study: what a reader needs to judge its results, and to make them again."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import shutil
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from snakeshed.archive.bag import write_bag
from snakeshed.archive.crate import crate_metadata
from snakeshed.archive.environment import LOCK, pack_wheels
from snakeshed.archive.inputs import ArchivedInput, archive_inputs
from snakeshed.archive.workflow_source import WorkflowSource, workflow_source
from snakeshed.atomic import atomic
from snakeshed.errors import ArchiveError
from snakeshed.fetching.input_lock import NAME, read_lock
from snakeshed.jobs.benchmark import read_benchmark
from snakeshed.models.storms import storms_from_table
from snakeshed.study.left_out import DEM, has_terrain, left_out
from snakeshed.terrain.sources import terrain_source

log = logging.getLogger(__name__)

CONFIGURATION = "configuration.yaml"
INPUTS = "inputs.json"
LINKS = "workflow-links.json"
# Results with cells of the site table, and the rows of it in the report.
_WITH_ROWS = ("observations.parquet", "dataset.parquet", "rejected.csv")
# A result that has them if storms are columns of the site table.
_WITH_STORMS = "hazard.parquet"
# Likelihoods of single observations, from which their rainfall can be computed, and scores that may
# be of few observations.
_WITH_LIKELIHOODS = ("skill.json", "refit.json", "classifiers.json")
_REPORT = "report.html"
_ROWS = re.compile(rb"<!-- rows of the site table -->.*?<!-- end of rows -->", re.DOTALL)
RUN = "run.json"
WHEELS = "wheels"
LARGEST_JSON, MOST_VALUES = 128 << 20, 2_500_000
"""What INPUTS and LINKS may take: as many files as an archive may have."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end.

    Attributes
    ----------
    results : str
        Folder of the study's results, relative to where the run took place.
    files : sequence of str
        Result files, and logs, in that folder.
    versions : mapping of str to str
        Of what it was made with.
    image : str or None
        Reference of the container image it ran in.
    """

    results: str
    files: Sequence[str]
    versions: Mapping[str, str]
    image: str | None


def write_archive(
    study: Mapping,
    run: FinishedRun,
    workflow: str | Path,
    output: str | Path,
    before_naming: Callable[[], None] = lambda: None,
) -> list[ArchivedInput]:
    """Write the archive of a finished study.

    Parameters
    ----------
    study : mapping
        The completed configuration.
    run : FinishedRun
    workflow : str or Path
        The folder with the Snakefile.
    output : str or Path
        The ZIP file. The same run gives the same bytes each time; SOURCE_DATE_EPOCH, if it is
        set, is the time of all entries, else the end of the run.
    before_naming : callable
        Called when all files have been read; may raise.

    Returns
    -------
    list of ArchivedInput
        The study's inputs, whether they are in the archive or not.

    Raises
    ------
    ArchiveError
        The workflow differs from its commit, a name cannot be archived, packages that the
        archive is to hold cannot be had, or `redistribute` contradicts itself.
    """
    # Beside the archive, where there is room for it; what a killed job left goes first.
    scratch = Path(output).with_suffix(".wheels")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        return _write_archive(study, run, workflow, output, scratch, before_naming)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_archive(
    study: Mapping,
    run: FinishedRun,
    workflow: str | Path,
    output: str | Path,
    scratch: Path,
    before_naming: Callable[[], None],
) -> list[ArchivedInput]:
    locked = read_lock(Path(run.results, NAME)).values()
    moved, inputs, sources = archive_inputs(study, locked)
    source = workflow_source(workflow, study["archive"]["changed"], inputs)
    if source.left_out:
        log.info("not part of the workflow, so not in the archive: %s", ", ".join(source.left_out))
    results = [name for name in run.files if _may_be_passed_on(name, study, run)]
    begun, ended = _period(run.files)
    payload: dict[str, Path | bytes] = {
        f"workflow/{name}": content for name, content in source.files.items()
    }
    payload |= sources
    payload |= {Path(name).as_posix(): _content(name, study) for name in results}
    payload[CONFIGURATION] = yaml.safe_dump(moved, sort_keys=False, allow_unicode=True).encode()
    payload["configuration-as-run.yaml"] = yaml.safe_dump(
        dict(study), sort_keys=False, allow_unicode=True
    ).encode()
    payload[INPUTS] = _json([each.as_dict() for each in inputs])
    payload[LINKS] = _json(source.links)
    for name in (INPUTS, LINKS):
        _check_size(name, payload[name])
    payload[RUN] = _json(
        {
            "study": study["study"],
            "commit": source.commit,
            "changed": source.changed or None,
            "versions": dict(run.versions),
            "image": run.image,
            "wheels": _machine() if study["archive"]["wheels"] else None,
            "started": _iso(begun),
            "ended": _iso(ended),
            "jobs": _jobs(run.files, run.results),
        }
    )
    if study["archive"]["wheels"]:
        scratch.mkdir()
        packed = pack_wheels(source.files[LOCK].decode(), scratch)
        payload |= {f"{WHEELS}/{wheel.name}": wheel for wheel in packed}
    if source.difference:
        payload["workflow.diff"] = source.difference
    payload["README.md"] = _readme(study, source, inputs).encode()
    payload["CITATION.cff"] = source.files.get("CITATION.cff", b"")
    if not payload["CITATION.cff"]:
        del payload["CITATION.cff"]
    payload["ro-crate-metadata.json"] = crate_metadata(
        study["study"],
        {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in payload.items()
        },
        [CONFIGURATION, *sources],
        [Path(name).as_posix() for name in results],
        _iso(begun),
        _iso(ended),
        run.versions,
        run.image,
    )
    labels = {
        "Bag-Software-Agent": f"snakeshed {run.versions.get('snakeshed', '')}".strip(),
        "External-Description": f"Workflow, inputs and results of the study {study['study']}",
        "External-Identifier": study["study"],
    }
    with atomic(output) as part:
        # The folder within is called like the archive, which is not yet called so.
        programs = {f"workflow/{name}" for name in source.executable}
        write_bag(part, payload, labels, _when(ended), Path(output).stem, programs)
        before_naming()
    return inputs


def _may_be_passed_on(file: str, study: Mapping, run: FinishedRun) -> bool:
    """Whether a result may: some hold cells of the site table."""
    return Path(file) not in [Path(run.results, name) for name in _withheld(study)]


def _withheld(study: Mapping) -> list[str]:
    """Results that may not be passed on."""
    if study["sites"]["redistribute"]:
        return []
    with_storms = study["models"] and storms_from_table(study)
    with_likelihoods = study["observations"]["response"]
    return [
        *_WITH_ROWS,
        *([_WITH_STORMS] if with_storms else []),
        *(_WITH_LIKELIHOODS if with_likelihoods else []),
    ]


def _content(file: str, study: Mapping) -> Path | bytes:
    """Return a result as the archive has it: the report may have rows of the site table."""
    if study["sites"]["redistribute"] or Path(file).name != _REPORT:
        return Path(file)
    return _ROWS.sub(
        b"<p>Rows of the site table are not in this archive.</p>", Path(file).read_bytes()
    )


def _when(ended: float) -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        return int(ended)
    if not given.isdecimal():
        raise ArchiveError(
            "SOURCE_DATE_EPOCH",
            f"the text {given[:50]!r}",
            "seconds since 1970, such as 1767225600",
            "Correct this environment variable, or unset it.",
        )
    return int(given)


def _period(files: Sequence[str]) -> tuple[float, float]:
    """Begin of the first job and end of the last one, by their files, in s since 1970."""
    ends = [Path(name).stat().st_mtime for name in files]
    begins = [
        Path(name).stat().st_mtime - (read_benchmark(name).seconds or 0.0)
        for name in files
        if name.endswith(".tsv")
    ]
    return min(begins + ends), max(ends)


def _jobs(files: Sequence[str], results: str) -> list[dict]:
    """Time in s and peak resident memory in MB of each job; null where it was too short."""
    jobs = {name: read_benchmark(name) for name in sorted(files) if name.endswith(".tsv")}
    return [
        {
            "job": Path(name).relative_to(Path(results, "logs")).with_suffix("").as_posix(),
            "seconds": job.seconds,
            "peak_memory_mb": job.peak_mb,
        }
        for name, job in jobs.items()
    ]


def _machine() -> dict[str, str]:
    """What wheels that are fetched here are for."""
    return {"python": platform.python_version(), "platform": sysconfig.get_platform()}


def number_of_values(content: bytes) -> int:
    """Return at least how many values JSON has: each but the first follows one of these."""
    return sum(map(content.count, (b",", b"[", b"{")))


def _check_size(name: str, content: bytes) -> None:
    """Refuse what a reader would refuse."""
    if len(content) > LARGEST_JSON or number_of_values(content) > MOST_VALUES:
        raise ArchiveError(
            f"the archive, {name}",
            f"{len(content):,} bytes with {number_of_values(content):,} values",
            f"at most {LARGEST_JSON:,} bytes with {MOST_VALUES:,} values",
            "Use fewer files, such as a DEM and layers in larger tiles.",
        )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def _json(value: object) -> bytes:
    return f"{json.dumps(value, indent=1, ensure_ascii=False)}\n".encode()


def _readme(study: Mapping, source: WorkflowSource, inputs: Sequence[ArchivedInput]) -> str:
    name = study["study"]
    missing = [each for each in inputs if not each.included]
    lines = [
        f"# Study {name}",
        "",
        "Catchments of sites and their features: results, and all that made them.",
        "",
        "| here | what |",
        "|---|---|",
        f"| `results/{name}/` | tables, report, logs, and what each job took (`logs/**.tsv`) |",
        f"| `workflow/` | the workflow, {_state(source)} |",
        f"| `{CONFIGURATION}` | the configuration with all defaults; paths as they are here |",
        "| `configuration-as-run.yaml` | the same, with the paths of the machine that ran it |",
        "| `inputs/` | the inputs that may be passed on |",
        f"| `{INPUTS}` | every input: size, SHA-256, origin, licence |",
        f"| `{RUN}` | versions, image, times and peak memory of every job |",
        f"| `{LINKS}` | symbolic links of the workflow, and where they lead |",
        f"| `workflow/{LOCK}` | the exact versions of all packages |",
        *_wheels_row(study),
        "| `ro-crate-metadata.json` | all this for machines (Workflow Run RO-Crate) |",
        "",
        f"`snakeshed verify {name}.zip` checks every byte against the manifest of this BagIt bag;",
        "with `--rerun` it makes the results again from what is here, and compares every value.",
        "",
    ]
    if withheld := [f"`{name}`" for name in _withheld(study)]:
        names = f"{', '.join(withheld[:-1])}, and {withheld[-1]}"
        lines += [f"{names} are not in here: they have rows of the site table.", ""]
    lines += _credits(study)
    if parts := left_out(study):
        lines += [
            "## Inputs that the study goes without",
            "",
            parts["words"],
            "",
            "| input | origin | licence |",
            "|---|---|---|",
        ]
        sections = {DEM: study["dem"], **{layer["name"]: layer for layer in study["layers"]}}
        lines += [
            f"| {name} | {sections[name]['url'] or 'not stated'} "
            f"| {sections[name]['licence'] or 'not stated'} |"
            for name in parts["inputs"]
        ]
        lines.append("")
    if missing:
        lines += [
            "## Inputs that are not in here",
            "",
            "For a re-run, put them in a folder of their own, at these paths, and name it: "
            "`--inputs FOLDER`.",
            *_fetched_words(missing),
            "",
            "| path | bytes | SHA-256 | origin | licence |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| `{each.path}` | {each.size} | `{each.sha256}` "
            f"| {each.address or each.url or 'not stated'} "
            f"| {each.licence or 'not stated'} |"
            for each in missing
        ]
        lines.append("")
    return "\n".join(lines)


def _fetched_words(missing: Sequence[ArchivedInput]) -> list[str]:
    """Return what a reader can do for inputs whose addresses are known."""
    if not any(each.address for each in missing):
        return []
    return ["`--fetch` fetches those whose address is known, and compares their SHA-256."]


def _credits(study: Mapping) -> list[str]:
    """Return whom the terrain is from, if the study names its source."""
    if not has_terrain(study) or study["dem"].get("source") is None:
        return []
    source = terrain_source(study["dem"]["source"])
    license = f"License: {source.license or 'not stated'}."
    return ["## Terrain", "", f"{source.credit} {license}", ""]


def _wheels_row(study: Mapping) -> list[str]:
    if not study["archive"]["wheels"]:
        return []
    machine = _machine()
    return [
        f"| `{WHEELS}/` | these packages, for Python {machine['python']} on {machine['platform']} |"
    ]


def _state(source: WorkflowSource) -> str:
    if source.commit is None:
        return "as it stood, without git"
    if source.difference:
        return f"commit `{source.commit}` with changes, those of its files in `workflow.diff`"
    if source.changed:
        return f"commit `{source.commit}` with new files"
    return f"as committed (`{source.commit}`)"
