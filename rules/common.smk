import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

sys.path.insert(0, str(Path(workflow.basedir, "scripts")))

from snakeshed.configuration import complete
from snakeshed.dem import dem_files
from snakeshed.digest import library_digest
from snakeshed.errors import SnakeshedError
from snakeshed.inputs import check_inputs
from snakeshed.layers import declared_columns
from snakeshed.machine import check_writable, machine_error
from snakeshed.patches import shard_name
from snakeshed.raster_file import files_behind
from snakeshed.run_lock import RunLock

STARTED = time.monotonic()


def user_error(function, *arguments):
    """Call a function; an error that the user can mend ends the run with its message alone."""
    try:
        return function(*arguments)
    except SnakeshedError as error:
        raise WorkflowError(str(error)) from None
    except OSError as error:
        if told := machine_error(error, "reading what the study names"):
            # Snakemake's log may have the same fault, and would tell it again with each line.
            logging.raiseExceptions = False
            raise WorkflowError(str(told)) from None
        raise


# Snakemake keeps its own account here, and is at a loss where it cannot.
if workflow.is_main_process:
    user_error(check_writable, ".snakemake")

STUDY = user_error(
    complete,
    config,
    Path(workflow.basedir, "config/schema/study.schema.yaml"),
    ", ".join(map(str, workflow.configfiles)),
)
# Two columns of the same name are found before anything runs.
user_error(declared_columns, STUDY["features"], STUDY["layers"])
RESULTS = f"results/{STUDY['study']}"
RUN_LOCK = RunLock(f".snakemake/snakeshed/{STUDY['study']}.lock", STUDY["study"])
SHARDS = [shard_name(shard, STUDY["shards"]) for shard in range(STUDY["shards"])]


wildcard_constraints:
    shard=r"\d+",
    table="catchments|features|sites|observations",


def terrain_files(wildcards):
    """The DEM's files and, of a VRT, what it is made of."""
    path = STUDY["dem"]["path"]
    if path in rules.make_demo.output:
        return path  # perhaps made in this run
    files = user_error(dem_files, path)
    return sorted({behind for file in files for behind in user_error(files_behind, file)})


def tiles_under_shard(wildcards):
    """The DEM's files under the patches of a shard, at every level that its sites may reach."""
    checkpoints.split_shards.get()
    index = json.loads(Path(RESULTS, "shards", wildcards.shard, "terrain.json").read_text())
    files = [tile["path"] for tile in index["tiles"]]
    return sorted({behind for file in files for behind in user_error(files_behind, file)})


def gathered_shards(wildcards):
    """A table's part from every shard.

    Known without the checkpoint, but waiting for it: a job that is planned before is run even if
    no shard turns out to have changed.
    """
    checkpoints.split_shards.get()
    return expand(f"{RESULTS}/shards/{{shard}}/{wildcards.gathered}.parquet", shard=SHARDS)


def gathered(table):
    """A gathered table; it waits for the checkpoint as `gathered_shards` does."""

    def path(wildcards):
        checkpoints.split_shards.get()
        return f"{RESULTS}/{table}.parquet"

    return path


def layer_files(wildcards):
    """The files that declared layers are read from, tables included."""
    files = [layer["path"] for layer in STUDY["layers"]]
    return files + [layer["table"] for layer in STUDY["layers"] if layer["type"] == "fbfm40"]


def warn_of_read_only_results():
    """Say so before Snakemake complains of the files in it; only looking needs no right to write."""
    if Path(RESULTS).is_dir() and not os.access(RESULTS, os.W_OK):
        try:
            user_error(check_writable, RESULTS)
        except WorkflowError as error:
            logger.warning(str(error))


def claim_results():
    """Have the study's folder for this run alone, and free of what a killed one left half-written."""
    from snakeshed.tables import remove_parts

    alone = RUN_LOCK.take()
    check_writable(RESULTS)
    if alone:
        remove_parts(RESULTS)
    else:
        logger.warning(
            f"The file system of {Path.cwd()} has no locks (flock): "
            f"see to it that no other run of study {STUDY['study']} is at work."
        )


def compile_kernels():
    """Fill the folder that NUMBA_CACHE_DIR names: shards that start together would each do it.

    Nothing of it is a file of the workflow: whether it is there depends on the machine. Where the
    variable is not set, the environment has been compiled when it was made.
    """
    if folder := os.environ.get("NUMBA_CACHE_DIR"):
        logger.info(f"Compiled kernels are kept in {folder}.")
        scripts = str(Path(workflow.basedir, "scripts"))
        subprocess.run(
            [sys.executable, "-m", "snakeshed.cli", "compile"],
            env={**os.environ, "PYTHONPATH": scripts},
            check=True,
        )


def last_words():
    """What a person wants to know first, and how long the run took."""
    from snakeshed.summary import summary_text

    path = Path(RESULTS, "summary.json")
    text = f"{summary_text(json.loads(path.read_text()), RESULTS)}\n" if path.is_file() else ""
    return f"{text}{time.monotonic() - STARTED:.0f} s in all."
