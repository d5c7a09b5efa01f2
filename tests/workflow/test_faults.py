"""What a machine does to a run: what the user reads, and that the next run completes it.

After each fault no file looks complete that is not, and when the fault is gone, the same command
ends with the tables of a run that nothing disturbed, byte for byte.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from faulty_runs import bytes_of, completes, parts_of, remove, run_with_fault, wait_until
from tiny_study import content_of

# Those with sites.
SHARDS = ["00", "01", "02"]


def test_each_run_that_was_killed_is_continued_by_the_next(study):
    undisturbed = bytes_of(study)
    remove(study, "sites.parquet", "observations.parquet", "shards/*/sites.parquet")
    remove(study, "shards/01/catchments.parquet", "shards/01/features.parquet")
    remove(study, "catchments.parquet", "features.parquet", "summary.json")
    for rule in ("prepare_sites", "split_shards", "delineate", "extract_features", "gather"):
        run = run_with_fault(study, rule, "whole-run-killed")
        assert run.code == -signal.SIGKILL
        assert run.jobs[rule] >= 1
        # Killed between the writing of a file and its naming.
        assert parts_of(study)
        assert bytes_of(study).items() < undisturbed.items()
    completes(study, undisturbed)


def test_what_stops_a_run_or_a_job_is_named_and_the_next_run_completes_it(study):
    undisturbed = bytes_of(study)
    remove(study, "shards/0[12]/features.parquet", "features.parquet", "catchments.parquet")
    run = run_with_fault(study, "extract_features", "interrupted")
    assert run.code == 1
    *before, last = run.text.splitlines()
    assert "Stopping; the jobs at work are ended." in before
    assert last == "Stopped. Run the same command again for the rest."
    assert "Traceback" not in run.text
    assert "failed" not in run.text
    assert not parts_of(study)

    # Jobs that were killed are named, and the others go on.
    run = run_with_fault(study, "extract_features", "killed")
    assert run.code == 1
    for shard in ("01", "02"):
        message = (
            f"extract_features shard {shard} failed: its process was ended from outside (SIGKILL), "
            "most likely for want of memory: run with fewer --cores, or where there is more."
        )
        assert run.text.count(message) == 1
    assert "Traceback" not in run.text
    assert set(undisturbed) - set(bytes_of(study)) == {
        "shards/01/features.parquet",
        "shards/02/features.parquet",
        "features.parquet",
    }

    shard = study.shard_of("a")
    remove(study, f"shards/{shard}/catchments.parquet")
    target = f"results/tiny/shards/{shard}/catchments.parquet"
    run = run_with_fault(study, "delineate", "no-memory", target)
    assert run.code == 1
    message = (
        f"delineate shard {shard} failed: delineating results/tiny/shards/{shard}/sites.parquet: "
        "found no memory left; expected enough for it. Run with fewer --cores or where there is "
        "more memory: run the same command again."
    )
    assert run.text.count(message) == 1, run.text
    assert "Traceback" not in run.text
    completes(study, undisturbed)


def test_a_second_run_is_turned_away_and_the_first_goes_on(study):
    undisturbed = bytes_of(study)
    remove(study, "summary.json")
    lock = study.folder / ".snakemake/snakeshed/tiny.lock"
    before = lock.read_text()
    first = subprocess.Popen(
        study.command(), cwd=study.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        # The first run stands still meanwhile: it cannot be done before the second has begun.
        wait_until(lambda: lock.read_text() not in {"", before}, first)
        first.send_signal(signal.SIGSTOP)
        second = study.run()
        looks = study.plan()
    finally:
        first.send_signal(signal.SIGCONT)
        text = first.communicate()[0].decode()
    assert second.code == 1
    assert not second.jobs
    message = f"study tiny: found another run of it at work (process {first.pid} of "
    assert second.text.count(message) == 1
    assert "Traceback" not in second.text
    assert looks == {"summarise": 1, "report": 1}
    assert first.returncode == 0, text
    assert bytes_of(study) == undisturbed


def test_a_read_only_output_folder_is_named_before_any_job(study, surroundings):
    undisturbed = bytes_of(study)
    remove(study, "summary.json")
    left = bytes_of(study)
    surroundings.do("mount", "--bind", study.results, study.results)
    surroundings.do("mount", "-o", "remount,bind,ro", study.results)
    run = study.run(within=surroundings.within(study.folder))
    assert run.code == 1
    assert not run.jobs
    message = (
        "results/tiny: found a read-only file system; expected one that can be written to. "
        "Mount it for writing or work in another folder, and run the same command again."
    )
    assert run.text.count(message) == 1
    assert "Traceback" not in run.text
    assert bytes_of(study) == left
    completes(study, undisturbed)


def test_a_full_disk_is_named_once_a_file(exported, tmp_path, surroundings):
    study = exported.copy(tmp_path / "study")
    undisturbed = bytes_of(study)
    # The results move to a small disk.
    results, aside = study.folder / "results", study.folder / "aside"
    aside.mkdir()
    surroundings.do("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", aside)
    surroundings.do("cp", "-a", f"{results}/.", aside)
    surroundings.do("mount", "--bind", aside, results)
    disk, within = surroundings.seen(aside), surroundings.within(study.folder)
    message = (
        "found no space left on its disk; expected room for it. Make room or move the study's "
    )

    # It fills while a job runs that writes GeoPackage, CSV, JSON, an index, or Parquet: one at a
    # time, since what one leaves may be room enough for another.
    written = ["catchments.gpkg", "features.csv", "summary.json", "terrain.json"]
    written += [
        f"shards/{study.shard_of('a')}/{table}.parquet" for table in ("features", "catchments")
    ]
    targets = [f"results/tiny/{name}" for name in written]
    for name, target in zip(written, targets, strict=True):
        (disk / "filler").unlink(missing_ok=True)
        shutil.move(disk / "tiny" / name, tmp_path / "kept")
        run = run_with_fault(study, "any", "full-disk", target, within=within)
        assert run.code == 1
        assert run.text.count(f"{target}: {message}") == 1, run.text
        assert "Traceback" not in run.text
        left = {path.relative_to(disk / "tiny").as_posix() for path in disk.rglob("tiny/**/*")}
        assert name not in left
        assert not any(".part" in other for other in left)
        if name == "terrain.json":
            # While it is missing, it is made again first.
            (disk / "filler").unlink()
            shutil.move(tmp_path / "kept", disk / "tiny" / name)

    # A job that has too little memory for a patch works on tiles of it, in files.
    (disk / "filler").unlink()
    tiles = ("--set-resources", "delineate:mem_mb=1", "delineate:backend=serial")
    run = run_with_fault(study, "delineate", "full-disk-for-tiles", target, *tiles, within=within)
    assert run.code == 1
    (line,) = [line for line in run.text.splitlines() if message in line]
    assert f"{Path(target).parent}/.tiles-L" in line
    assert "Traceback" not in run.text
    assert not list(disk.rglob(".tiles-*"))

    # It is still full: no job begins.
    run = study.run(*targets, within=within)
    assert run.code == 1
    assert not run.jobs
    assert run.text.count(f"results/tiny: {message}") == 1

    (disk / "filler").unlink()
    run = study.run(*targets, within=within)
    assert run.code == 0, run.text
    for name, content in undisturbed.items():
        assert content_of(disk / "tiny" / name) == content, name


@pytest.mark.parametrize("fault", ["read-only", "full"])
def test_a_study_folder_where_nothing_can_be_written(study, surroundings, fault):
    remove(study, "features.parquet")
    left = bytes_of(study)
    # Snakemake's own files are on that disk too.
    surroundings.do("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", study.folder.parent)
    disk = surroundings.seen(study.folder.parent)
    shutil.copytree(study.folder, disk / study.folder.name)
    if fault == "full":
        with pytest.raises(OSError, match="No space left"), (disk / "filler").open("wb") as file:
            while True:
                file.write(bytes(4096))
    else:
        surroundings.do("mount", "-o", "remount,ro", study.folder.parent)
    run = study.run(within=surroundings.within(study.folder))
    assert run.code == 1
    found = {"full": "no space left on its disk", "read-only": "a read-only file system"}[fault]
    assert run.text.count(f".snakemake: found {found}; expected ") == 1, run.text
    assert "Traceback" not in run.text
    seen = disk / study.results.relative_to(study.folder.parent)
    for name, content in left.items():
        assert content_of(seen / name) == content, name
    assert not (seen / "features.parquet").exists()


def test_a_job_with_too_little_memory_is_named_and_the_next_run_completes_it(study, memory_limit):
    undisturbed = bytes_of(study)
    shard = study.shard_of("a")
    remove(study, f"shards/{shard}/catchments.parquet", "catchments.parquet")
    target = f"results/tiny/shards/{shard}/catchments.parquet"
    limit = memory_limit(8_000_000)
    run = run_with_fault(study, "delineate", "little-memory", target, AT=str(limit))
    assert run.code == 1
    message = f"delineate shard {shard} failed: its process was ended from outside (SIGKILL), most "
    assert run.text.count(f"{message}likely for want of memory") == 1, run.text
    assert "Traceback" not in run.text
    completes(study, undisturbed)


def test_a_disk_that_fails_is_named_and_the_next_run_completes_the_rest(study):
    undisturbed = bytes_of(study)
    catchments = f"shards/{study.shard_of('a')}/catchments.parquet"
    failed = (
        ("summarise", "failing-disk", "summary.json", "summary.json: found"),
        ("delineate", "failing-index", catchments, "terrain.json: found"),
        ("delineate", "failing-disk", catchments, f"{catchments}: found"),
        ("index_terrain", "failing-disk", "terrain.json", "terrain.json: found"),
    )
    for rule, fault, name, told in failed:
        (study.results / name).unlink(missing_ok=True)
        run = run_with_fault(study, rule, fault, f"results/tiny/{name}")
        assert run.code == 1
        found = f"{told} an error of its disk or of the network to it; expected a disk that reads "
        assert run.text.count(found) == 1, run.text
        assert "Traceback" not in run.text
    missing = {"summary.json", "terrain.json", catchments}
    assert bytes_of(study).items() == undisturbed.items() - {(k, undisturbed[k]) for k in missing}
    assert not parts_of(study)
    (study.results / "catchments.parquet").unlink()
    completes(study, undisturbed)


@pytest.mark.parametrize("name", ["dem/tile_0_13.tif", "catchments"])
def test_an_input_that_cannot_be_read_is_named(study, name):
    if not shutil.which("strace"):
        pytest.skip("no strace on this machine")
    undisturbed = bytes_of(study)
    shard = study.shard_of("c")
    if name == "catchments":
        name = f"results/tiny/shards/{shard}/catchments.parquet"
    remove(study, f"shards/{shard}/features.parquet", "features.parquet")
    strace = ["strace", "--follow-forks", "--seccomp-bpf", "--output=/dev/null"]
    strace += [f"--trace-path={study.folder / name}", "--trace=read,pread64"]
    strace += ["--inject=read,pread64:error=EIO"]
    if subprocess.run([*strace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no rights to trace processes on this machine")
    run = study.run(f"results/tiny/shards/{shard}/features.parquet", within=strace)
    assert run.code == 1
    assert f"{name}: found " in run.text, run.text
    assert "Traceback" not in run.text
    completes(study, undisturbed)


@pytest.mark.parametrize("clock", ["clock-ahead", "clock-back"])
def test_a_clock_that_moves_an_hour_changes_nothing(study, clock):
    undisturbed = bytes_of(study)
    remove(study, f"shards/{study.shard_of('d')}/catchments.parquet", "catchments.parquet")
    run = run_with_fault(study, "delineate", clock)
    assert run.code == 0, run.text
    completes(study, undisturbed)
    assert not study.run().jobs
    # What changes from now on is seen.
    study.write_tile(0, 3, raised_m=500.0)
    readers = study.readers("dem/tile_0_3.tif")
    targets = [f"results/tiny/shards/{shard}/catchments.parquet" for shard in sorted(readers)]
    assert study.run(*targets).shards("delineate") == readers


def test_a_tile_that_is_truncated_or_deleted_during_a_run_is_named(study):
    undisturbed = bytes_of(study)
    shard, tile = study.shard_of("c"), "dem/tile_0_13.tif"
    for fault in ("truncated", "deleted"):
        for name in ("catchments.parquet", f"shards/{shard}/catchments.parquet"):
            (study.results / name).unlink(missing_ok=True)
        run = run_with_fault(study, "delineate", fault, AT=tile)
        assert run.code == 1
        assert f"delineate shard {shard} failed: {tile}: found " in run.text, run.text
        assert "Traceback" not in run.text
        assert bytes_of(study).items() < undisturbed.items()
        study.write_tile(0, 13)
    completes(study, undisturbed)


def test_a_tile_that_is_replaced_during_a_run_never_gives_two_terrains(study, tmp_path):
    undisturbed = bytes_of(study)
    shard, tile = study.shard_of("c"), "dem/tile_0_13.tif"
    twin = study.copy(tmp_path / "twin")
    other = twin.write_tile(0, 13, raised_m=500.0)
    assert twin.run().code == 0
    assert bytes_of(twin) != undisturbed

    remove(study, "catchments.parquet", f"shards/{shard}/catchments.parquet")
    # Nothing but the file itself tells that it is another: neither its size nor its time.
    shutil.copy2(study.folder / tile, study.folder / "kept.tif")
    shutil.copy(other, study.folder / f"{tile}.other")
    times = (study.folder / tile).stat()
    os.utime(study.folder / f"{tile}.other", ns=(times.st_atime_ns, times.st_mtime_ns))
    run = run_with_fault(study, "delineate", "replaced", AT=tile)
    assert run.code == 1
    assert f"delineate shard {shard} failed: {tile}: found " in run.text, run.text
    assert "the file changed during the run" in run.text
    assert "Traceback" not in run.text
    assert bytes_of(study).items() < undisturbed.items()
    # With the new tile as in a study that never had another, and with the old one as before.
    completes(study, bytes_of(twin))
    shutil.copy2(study.folder / "kept.tif", study.folder / tile)
    completes(study, undisturbed)


def test_a_damaged_table_is_named_and_made_again_when_it_is_deleted(study):
    undisturbed = bytes_of(study)
    chance = random.Random(17)
    shards = study.results / "shards"
    for damage in ("flipped", "flipped", "flipped", "truncated", "swapped"):
        name = chance.choice(["catchments", "features"])
        # What was deleted before is made again by the next run.
        there = [path for shard in SHARDS if (path := shards / shard / f"{name}.parquet").exists()]
        one, other = chance.sample(there, 2)
        contents, times = [one.read_bytes(), other.read_bytes()], one.stat()
        if damage == "flipped":
            damaged = bytearray(contents[0])
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            one.write_bytes(damaged)
        elif damage == "truncated":
            os.truncate(one, chance.randrange(len(contents[0])))
        else:
            one.write_bytes(contents[1])
            other.write_bytes(contents[0])
        # As by a disk or a copy; what has a new time could be made again.
        os.utime(one, ns=(times.st_atime_ns, times.st_mtime_ns))
        (study.results / f"{name}.parquet").unlink(missing_ok=True)
        run = study.run()
        assert run.code == 1
        assert "found a damaged or modified file (SHA-256 " in run.text, run.text
        assert "Traceback" not in run.text
        assert not (study.results / f"{name}.parquet").exists()
        for path in (one, other)[: 1 + (damage == "swapped")]:
            path.unlink()
    completes(study, undisturbed)

    # Nothing would read the gathered table any more.
    table = study.results / "features.parquet"
    damaged = bytearray(table.read_bytes())
    damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    table.write_bytes(damaged)
    run = study.run()
    assert run.code == 1
    assert not run.jobs
    assert "results/tiny/features.parquet: found a damaged or modified file" in run.text
    table.unlink()
    completes(study, undisturbed)


def test_results_that_are_deleted_during_a_run_are_made_again(study):
    undisturbed = bytes_of(study)
    remove(study, "shards/*/catchments.parquet", "catchments.parquet")
    run = run_with_fault(study, "delineate", "results-deleted")
    assert run.code == 1
    assert "Traceback" not in run.text, run.text
    message = (
        "found no such file, or folder for it; expected a file that stays in place during a run."
    )
    assert message in run.text, run.text
    completes(study, undisturbed)
