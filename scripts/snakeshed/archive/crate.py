"""The description of an archive for machines: a Workflow Run RO-Crate.

Its metadata follow RO-Crate 1.1 and the profiles Process Run Crate and Workflow Run Crate 0.5 of
https://www.researchobject.org/workflow-run-crate/, and Workflow RO-Crate 1.0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_KINDS = {
    ".parquet": "application/vnd.apache.parquet",
    ".yaml": "application/yaml",
    ".tif": "image/tiff",
    ".tsv": "text/tab-separated-values",
    ".lock": "text/plain",
    ".log": "text/plain",
    ".py": "text/x-python",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".html": "text/html",
    ".json": "application/json",
}
_TERMS = "https://w3id.org/ro/terms/workflow-run#"
# What Workflow RO-Crate calls it.
_SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
_LICENCE = "https://spdx.org/licenses/GPL-3.0-or-later"


def crate_metadata(
    study: str,
    files: Mapping[str, int],
    inputs: Sequence[str],
    results: Sequence[str],
    started: str,
    ended: str,
    versions: Mapping[str, str],
    image: str | None = None,
) -> bytes:
    """Write ``ro-crate-metadata.json``.

    Parameters
    ----------
    study : str
        Its name.
    files : mapping of str to int
        Sizes in bytes of all files of the crate, by name.
    inputs, results : sequence of str
        Those of `files` that the run read and wrote.
    started, ended : str
        Of the run, as ISO 8601 has them.
    versions : mapping of str to str
        Of what the run was made with; ``snakemake`` and ``snakeshed`` are named.
    image : str, optional
        Reference of the container image that the run took place in.

    Returns
    -------
    bytes
        JSON-LD; the same arguments give the same bytes.
    """
    workflow = "workflow/Snakefile"
    things: list[dict] = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [
                {"@id": "https://w3id.org/ro/crate/1.1"},
                {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
            ],
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"Study {study}",
            "description": f"Workflow, configuration, inputs and results of the study {study}: "
            "catchments of sites, and their features.",
            "datePublished": ended,
            "license": {"@id": _LICENCE},
            "conformsTo": [{"@id": profile} for profile in sorted(_PROFILES)],
            "mainEntity": {"@id": workflow},
            "mentions": {"@id": "#run"},
            "hasPart": _references(files),
        },
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": f"Run of the study {study}",
            "description": "Made the results from the inputs; run.json has versions, and what each "
            "job took.",
            "instrument": {"@id": workflow},
            "object": _references(inputs),
            "result": _references(results),
            "startTime": started,
            "endTime": ended,
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
        {
            "@id": _SNAKEMAKE,
            "@type": "ComputerLanguage",
            "name": "Snakemake",
            "identifier": {"@id": "https://snakemake.github.io"},
            "url": {"@id": "https://snakemake.github.io"},
            "version": versions.get("snakemake", "unknown"),
        },
        {
            "@id": _LICENCE,
            "@type": "CreativeWork",
            "name": "GNU General Public License v3.0 or later",
            "description": "Licence of the workflow; that of each input is in inputs.json.",
        },
    ]
    if image is not None:
        things[2]["containerImage"] = {"@id": "#image"}
        things.append({"@id": "#image", "@type": "ContainerImage"} | _image(image))
    for profile, (name, version) in sorted(_PROFILES.items()):
        things.append({"@id": profile, "@type": "CreativeWork", "name": name, "version": version})
    for name in sorted(files):
        thing: dict = {
            "@id": name,
            "@type": "File",
            "name": name,
            "contentSize": str(files[name]),
            "encodingFormat": _kind_of(name),
        }
        if name == workflow:
            thing |= {
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
                "name": "snakeshed",
                "programmingLanguage": {"@id": _SNAKEMAKE},
                "version": versions.get("snakeshed", "unknown"),
                "license": {"@id": _LICENCE},
            }
        if name == "README.md":
            thing["about"] = {"@id": "./"}
        things.append(thing)
    crate = {"@context": _CONTEXT, "@graph": things}
    return f"{json.dumps(crate, indent=1, ensure_ascii=False)}\n".encode()


_CONTEXT = [
    "https://w3id.org/ro/crate/1.1/context",
    "https://w3id.org/ro/terms/workflow-run/context",
]


def _image(reference: str) -> dict:
    """Tell a reference such as ``ghcr.io/a/b:1@sha256:0f`` in parts."""
    rest, _, digest = reference.partition("@")
    first, slash, path = rest.partition("/")
    # By this rule of Docker, a/b is at its own registry.
    registry = first if slash and re.search(r"[.:]|^localhost$", first) else "docker.io"
    name, _, tag = (path if registry == first else rest).partition(":")
    image = {"additionalType": {"@id": _TERMS + "DockerImage"}, "registry": registry, "name": name}
    if tag:
        image["tag"] = tag
    if digest:
        image["sha256"] = digest.removeprefix("sha256:")
    return image


def _references(names: Iterable[str]) -> list[dict] | dict:
    references = [{"@id": name} for name in sorted(names)]
    return references[0] if len(references) == 1 else references


def _kind_of(name: str) -> str:
    return _KINDS.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")
