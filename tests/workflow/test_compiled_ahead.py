"""After `snakeshed compile`, the demo has nothing left to compile, filled or carved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from numba import config

pytestmark = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")

# What all kernels would leave there: else the run compiles them first, those for tiles, too.
NOTE = "import sys; from snakeshed.jobs.kernel_cache import note_filled; note_filled(sys.argv[1])"


def test_the_demo_compiles_nothing_after_compile(workflow, tmp_path):
    kept = tmp_path / "kernels"
    environment = os.environ | {
        "PYTHONPATH": str(workflow / "scripts"),
        "NUMBA_CACHE_DIR": str(kept),
    }

    def run(*words: str | Path) -> None:
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def compiled() -> set[Path]:
        return set(kept.rglob("*.nb[ic]"))

    run("-m", "snakeshed.cli", "compile")
    run("-c", NOTE, kept)
    before = compiled()
    assert len(before) > 50
    demo = yaml.safe_load((workflow / "config/config.yaml").read_text())
    demo["layers"][1]["table"] = str(workflow / "config/fbfm40.csv")
    for conditioning in ("fill", "carve"):
        demo["dem"]["conditioning"] = conditioning
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(demo))
        run(
            *("-m", "snakemake", "--snakefile", workflow / "Snakefile", "--cores", "2"),
            *("--workflow-profile", workflow / "profiles/default", "--configfile", "study.yaml"),
        )
        assert compiled() == before
        assert Path(tmp_path, "results/demo/features.parquet").is_file()
