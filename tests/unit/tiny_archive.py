"""An archive of a few kB that can be run again, for tests that damage it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from snakeshed.archive.bag import Bag, open_bag, write_bag
from snakeshed.archive.write import CONFIGURATION, INPUTS, LINKS

DEM = b"dem"


def table(**columns: list) -> bytes:
    """Return a Parquet file."""
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def payload(included: bool = True) -> dict[str, bytes]:
    """Return what the archive holds: one input or its name, a link, and one table of results."""
    inputs = [
        {
            "key": "dem",
            "path": "inputs/dem/a.tif",
            "size": len(DEM),
            "sha256": hashlib.sha256(DEM).hexdigest(),
            "url": "https://dem.example/a.tif",
            "licence": None,
            "included": included,
        }
    ]
    study = {"study": "tiny", "dem": {"path": "inputs/dem/a.tif"}}
    return {
        **({"inputs/dem/a.tif": DEM} if included else {}),
        "workflow/Snakefile": b"rule all:\n",
        "workflow/envs/requirements.lock": b"numpy==2.0 \\\n    --hash=sha256:00\n",
        "workflow/profiles/far/config.yaml": b"cores: 1\n",
        "results/tiny/features.parquet": table(site_id=["a", "b"], relief_m=[1.0, 2.0]),
        CONFIGURATION: yaml.safe_dump(study).encode(),
        INPUTS: json.dumps(inputs).encode(),
        LINKS: json.dumps({"far": "profiles/far"}).encode(),
        "README.md": b"# Study tiny\n",
    }


def write(
    path: Path, changes: Mapping[str, bytes | None] | None = None, included: bool = True
) -> Path:
    """Write the archive, with other contents of some files; None leaves a file out.

    Its manifests suit it.
    """
    contents = {**payload(included), **(changes or {})}
    held = {name: content for name, content in contents.items() if content is not None}
    write_bag(path, held, {"External-Identifier": "tiny"}, 1_700_000_000, "tiny")
    return path


def zipped(path: Path, contents: Mapping[str, bytes]) -> Path:
    """Write a ZIP file of any contents, by the full names of its entries."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return path


def contents_of(path: Path) -> dict[str, bytes]:
    """Return the contents of a ZIP file by the full names of its entries."""
    bag = open_bag(path)
    return {f"{bag.root}/{name}": read(bag, name) for name in bag.entries}


def read(bag: Bag, name: str) -> bytes:
    """Return the content of a file of a bag."""
    return bag.archive.read(f"{bag.root}/{name}")


def changed(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Change the contents of an archive, so that its manifests do not suit it any more."""
    contents = contents_of(path)
    change(contents)
    return zipped(path, contents)
