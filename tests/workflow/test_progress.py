"""What a run shows on the screen, with a terminal and without."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading

import pandas as pd

PLACE = "Study tiny: results go to results/tiny/."
DONE = "jobs of shards: 6 of 6; sites: 6 delineated, 1 outside_dem"


def lines_of(text: str) -> list[str]:
    """Lines without Snakemake's note on its profile, and without seconds."""
    lines = [re.sub(r", [\d.]+ s$", "", line) for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("Using workflow specific")]


def test_a_first_run_in_a_few_lines(finished):
    first, *lines = lines_of(finished.first.text)
    assert first == PLACE
    assert "prepare_sites: 7 sites, 0 remarks on rows" in lines
    assert any(re.fullmatch(r"split_shards: 7 sites in \d of 4 shards", line) for line in lines)
    assert lines.count(DONE) == 1
    assert lines.index(DONE) < lines.index(
        "Study tiny: 7 sites, 6 delineated; not delineated: 1 outside_dem (g)."
    )
    assert (
        sum(line.startswith("jobs of shards: ") for line in lines)
        <= finished.first.seconds / 10 + 2
    )
    assert len(lines) < 25
    assert not any("rule " in line or "jobid" in line or "Finished" in line for line in lines)
    # All of it is in Snakemake's own log.
    assert "Finished jobid" in finished.first.log


def test_a_second_run_does_nothing_and_says_so_and_where_the_results_are(study):
    before = study.contents()
    run = study.run()
    assert run.code == 0
    assert not run.jobs
    assert lines_of(run.text) == [PLACE, "Nothing to be done: all files are up to date."]
    assert study.contents() == before


def test_a_terminal_has_a_status_that_is_renewed(study):
    shards = {study.shard_of("a"), study.shard_of("d")}
    folders = [study.results / "shards" / shard for shard in shards]
    sites = sum(len(pd.read_parquet(folder / "sites.parquet")) for folder in folders)
    for folder in folders:
        (folder / "catchments.parquet").unlink()
        (folder / "features.parquet").unlink()
    targets = [f"results/tiny/shards/{shard}/features.parquet" for shard in shards]
    here, there = pty.openpty()
    shown = bytearray()

    def collect() -> None:
        while True:
            try:
                piece = os.read(here, 4096)
            except OSError:  # the other end was closed
                return
            if not piece:
                return
            shown.extend(piece)

    reader = threading.Thread(target=collect)
    reader.start()
    try:
        done = subprocess.run(
            study.command(*targets),
            cwd=study.folder,
            stdout=there,
            stderr=there,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "NUMBA_NUM_THREADS": "1"},
            check=False,
            timeout=300,
        )
    finally:
        os.close(there)
        reader.join(timeout=10)
        os.close(here)
    text = shown.decode()
    assert done.returncode == 0, text
    renewed = re.findall(r"\r\x1b\[2Kjobs of shards: (\d) of 4", text)
    assert set(renewed) >= {"1", "2", "3"}
    # What stays on the screen.
    kept = [line.rpartition("\x1b[2K")[2].strip() for line in text.splitlines()]
    assert f"jobs of shards: 4 of 4; sites: {sites} delineated" in kept


def test_another_logger_takes_its_place(study):
    # Snakemake's own screen, as one has without a profile.
    command = [str(part) for part in study.command()]
    place = command.index("--workflow-profile")
    command[place : place + 2] = ["--workflow-profile", "none"]
    done = subprocess.run(
        [*command, "results/tiny/summary.json", "--forcerun", "summarise"],
        cwd=study.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rule summarise:" in done.stderr
    assert "Study tiny: 7 sites, 6 delineated" in done.stderr


def test_snakemake_itself_is_heard(study):
    run = study.run("results/tiny/nonsense.txt")
    assert run.code != 0
    assert run.text.count("No rule to produce results/tiny/nonsense.txt") == 1
    assert "Traceback" not in run.text
    run = study.run("--dry-run", "--forcerun", "delineate")
    assert run.code == 0
    assert run.text.count("rule delineate:") == 3
