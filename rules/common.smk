import atexit
import errno
import json
import logging
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# Jobs are processes of their own. Like this one, they import the library of this checkout, not one
# that the environment may have.
SCRIPTS = str(Path(workflow.basedir, "scripts"))
sys.path.insert(0, SCRIPTS)
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [SCRIPTS, os.environ.get("PYTHONPATH")])))

from snakeshed.delineation.bounds import min_areas_km2
from snakeshed.delineation.expected_time import delineation_s, features_s, recipe_s
from snakeshed.delineation.memory_request import (
    CatchmentSizes,
    asked_mb,
    prepared_bytes,
    vector_bytes,
    window_bytes,
)
from snakeshed.delineation.pyramid import shard_name
from snakeshed.delineation.shard_index import FILES, read_shard_index, recorded_files
from snakeshed.errors import SeveralProblems, SnakeshedError
from snakeshed.fetching.input_lock import NAME as LOCK_NAME
from snakeshed.fetching.terrain import LIST, TerrainFiles, files_unlike_lock, require_fetched
from snakeshed.features.columns import numeric
from snakeshed.features.layers import (
    declared_columns,
    indexed,
    prepared_of,
    rasters_of,
    tables_for_shards,
    tables_of,
)
from snakeshed.jobs.bucket import bucket_of, forget_secret
from snakeshed.jobs.checkout import check_library
from snakeshed.jobs.digest import KeptSyntax, script_digest
from snakeshed.jobs.endings import interrupt_once, share_locks_with_handlers
from snakeshed.jobs.fetched_results import check_fetched
from snakeshed.jobs.input_record import InputRecord, settle, times_of
from snakeshed.jobs.kernel_cache import is_filled
from snakeshed.jobs.machine import check_writable, machine_error
from snakeshed.jobs.run_lock import RunLock
from snakeshed.jobs.versions import commit_of
from snakeshed.learning.declared import (
    check_learning,
    features_taken,
    learning_settings,
    refit_settings,
)
from snakeshed.models.configured import StudyModels, hazard_settings
from snakeshed.observations.columns import check_names, own_columns, scored_columns
from snakeshed.raster.input_files import input_files
from snakeshed.report.page import page_digest
from snakeshed.result_files import check_result, read_result, record_of
from snakeshed.sites.file_names import find_site, sites_in_shards
from snakeshed.sites.table_files import table_files
from snakeshed.study.compared import check_compared
from snakeshed.study.configuration import complete, without_publication
from snakeshed.study.left_out import (
    as_run,
    has_terrain,
    left_out,
    refuse_terrain,
)
from snakeshed.study.missing_inputs import check_inputs
from snakeshed.study.named_columns import named_columns
from snakeshed.study.yaml_file import typed
from snakeshed.terrain.dem import dem_files
from snakeshed.terrain.sources import is_fetched

STARTED = time.monotonic()


def user_error(function, *arguments):
    """Call a function; an error that the user can mend ends the run with its message alone."""
    try:
        return function(*arguments)
    except SnakeshedError as error:
        raise WorkflowError(str(error)) from None
    except FileNotFoundError:
        # While Snakemake plans, a file that a job will make.
        raise
    except OSError as error:
        if told := machine_error(error, "reading what the study names"):
            # Snakemake's log may have the same fault, and would tell it again with each line.
            logging.raiseExceptions = False
            raise WorkflowError(str(told)) from None
        raise


user_error(check_library, SCRIPTS)
# Snakemake keeps its own account here, and is at a loss where it cannot.
if workflow.is_main_process:
    user_error(check_writable, ".snakemake")

WHOLE_STUDY = user_error(
    complete,
    typed(config, workflow.config_settings.config),
    Path(workflow.basedir, "config/schema/study.schema.yaml"),
    ", ".join(map(str, workflow.configfiles)),
)
RUN_STUDY = user_error(as_run, WHOLE_STUDY)
STUDY = without_publication(RUN_STUDY)
# A study may go without its DEM. Then it has tables of its sites and observations, and no shards.
HAS_TERRAIN = has_terrain(STUDY)
LEFT_OUT = left_out(WHOLE_STUDY)
# Two columns of the same name are found before anything runs.
COLUMNS = user_error(declared_columns, STUDY["features"], STUDY["layers"])
user_error(check_compared, STUDY["compare"], COLUMNS)
user_error(check_learning, learning_settings(STUDY), COLUMNS)
MODELS = user_error(StudyModels.of, hazard_settings(STUDY), numeric(COLUMNS))
user_error(check_names, own_columns(STUDY["observations"], MODELS), COLUMNS)
SCORED = scored_columns(STUDY["observations"], MODELS)
RESULTS = f"results/{STUDY['study']}"
# With --profile cloud, where driver and jobs share no files but those in a bucket. Of these, results
# that are read while planning have to be brought here first.
BUCKET = user_error(bucket_of, workflow, STUDY["study"])
IN_POD = BUCKET is not None and not BUCKET.driver
# The tiles of a source are fetched as far as the sites need them: a checkpoint lists them. Into a
# bucket, only files get that are there before a run.
FETCHES_TERRAIN = HAS_TERRAIN and is_fetched(STUDY) and not BUCKET
if BUCKET and BUCKET.driver and HAS_TERRAIN:
    user_error(require_fetched, STUDY)
if BUCKET:
    atexit.register(forget_secret, workflow)
    os.environ.update(PYTHONPATH=BUCKET.for_jobs(os.environ.get("PYTHONPATH", "")))
INPUTS = InputRecord(f".snakemake/snakeshed/{STUDY['study']}.inputs.json")
RUN_LOCK = RunLock(f".snakemake/snakeshed/{STUDY['study']}.lock", STUDY["study"])
# What a run makes if nothing else is asked for.
RESULT_FILES = [
    f"{RESULTS}/{name}"
    for name in (
        *(["catchments.parquet", "features.parquet"] if HAS_TERRAIN else []),
        "observations.parquet",
        *(["dataset.parquet"] if HAS_TERRAIN else []),
        "rejected.csv",
        *(["summary.json", "report.html"] if HAS_TERRAIN else []),
        *(["hazard.parquet", "thresholds.parquet"] if STUDY["models"] else []),
        *(["skill.json"] if SCORED else []),
        *(["refit.json"] if STUDY["observations"]["refits"] else []),
        *(["classifiers.json"] if STUDY["observations"]["classifiers"] else []),
    )
]
# What index_layers writes of layers of polygons and points, for all shards.
PREPARED_FOLDER = f"{RESULTS}/layers"
PREPARED_LAYERS = list(
    filter(None, (prepared_of(layer, PREPARED_FOLDER) for layer in STUDY["layers"]))
)
SHARDS = [shard_name(shard, STUDY["shards"]) for shard in range(STUDY["shards"])]
# What the checkpoint makes last, after two files of every shard that are not declared as outputs:
# Snakemake compares each file that a job needs with each output of a rule, and with ten thousand
# shards that takes hours.
SHARD_INDEX = f"{RESULTS}/shards/index.json"


def lost_files():
    """Files of shards that are not there although the checkpoint has run: they are made again."""
    if not HAS_TERRAIN:
        return []
    files = (f"{RESULTS}/shards/{shard}/{name}" for shard in SHARDS for name in FILES)
    if BUCKET:
        # Only files that are declared get into it.
        return list(files)
    if not workflow.is_main_process or not os.path.isfile(SHARD_INDEX):
        return []
    return [file for file in files if not os.path.isfile(file)]


LOST_FILES = lost_files()
# What says that the sites are split as the study has it.
SPLIT = [*LOST_FILES, SHARD_INDEX] if HAS_TERRAIN else []
# The DEM's files where they are fetched, and what they were when they were fetched first.
TERRAIN_LIST = f"{RESULTS}/{LIST}"
INPUT_LOCK = f"{RESULTS}/{LOCK_NAME}"
# That list, if files that it names are gone.
FETCH_AGAIN = []
# The index, if it is of another split than this study's.
SPLIT_AGAIN = []


wildcard_constraints:
    shard=r"\d+",
    site="[^/]+",
    table="catchments|features|sites|observations|dataset|hazard|thresholds",


def listed(function):
    """A function that finds files; a job in a pod without the inputs finds what the driver found."""
    return BUCKET.listed(function.__name__, function) if BUCKET else function


@listed
def files_of_dem(path):
    return user_error(dem_files, path)


@listed
def files_of_raster(raster):
    return user_error(input_files, [raster])


@listed
def files_of_table(path):
    return table_files(path)


def files_of(rasters):
    """The local files that rasters are read from."""
    if not BUCKET:
        return user_error(input_files, rasters)
    return sorted({file for raster in rasters for file in files_of_raster(raster)})


def here(paths):
    """Paths of results whose content is read while planning."""
    if BUCKET:
        user_error(BUCKET.bring, paths)
    return paths


@cache
def kept_syntax():
    """What the library's files say, so that only those are parsed that have changed."""
    return KeptSyntax(".snakemake/snakeshed/syntax.json")


def library_of(script):
    """Digest of the library code that a rule's script imports; only computed for rules in use.

    Once, as it was when this process began. One that runs a job of another records nothing.
    """

    @cache
    def digest():
        return script_digest(Path(workflow.basedir, f"scripts/{script}.py"), kept=kept_syntax())

    return lambda wildcards: digest() if workflow.is_main_process else ""


def made_files():
    """The inputs that a job makes, by the paths in the configuration."""
    # No set: a path of the configuration may be a list of paths.
    return [os.path.relpath(file) for file in rules.make_demo.output]


def terrain_files(wildcards):
    """The DEM's files with what VRTs are made of, and with their sidecar files."""
    if not HAS_TERRAIN:
        return []
    if FETCHES_TERRAIN:
        return fetched_terrain()
    path = STUDY["dem"]["path"]
    if path in made_files():
        return [path]  # perhaps made in this run
    return files_of(files_of_dem(path))


def fetched_terrain():
    """The tiles that the checkpoint has fetched."""
    if workflow.is_main_process:
        checkpoints.fetch_terrain.get()
    return list(user_error(TerrainFiles.read, TERRAIN_LIST).sha256)


def terrain_list(wildcards):
    """What says which tiles have been fetched, and what they were."""
    return [TERRAIN_LIST] if FETCHES_TERRAIN else []


def known_terrain_files():
    """The DEM's files that are there before a run."""
    if not FETCHES_TERRAIN:
        return terrain_files(None)
    if not os.path.isfile(TERRAIN_LIST):
        return []
    return [file for file in TerrainFiles.read(TERRAIN_LIST).sha256 if os.path.isfile(file)]


def sites_to_fetch_for(wildcards):
    """The site table; the checkpoint runs again if files that it has listed are gone."""
    if FETCH_AGAIN:
        # As --forcerun would have it, whose settings are not there yet when this file is read.
        workflow.dag.forcefiles.update(FETCH_AGAIN)
    return f"{RESULTS}/sites.parquet"


def terrain_to_index(wildcards):
    """The DEM's files for the job that all others wait for which need terrain."""
    if not HAS_TERRAIN:
        user_error(refuse_terrain, RESULT_FILES)
    return terrain_files(wildcards)


def await_split():
    """Have the jobs of an input function wait for the checkpoint.

    A process that runs a job of its own was started after it.
    """
    if workflow.is_main_process:
        checkpoints.split_shards.get()


def of_shard(name):
    """A file of a shard that the checkpoint makes."""

    def path(wildcards):
        await_split()
        return f"{RESULTS}/shards/{wildcards.shard}/{name}"

    return path


def of_all_shards(name):
    """Such a file of every shard."""

    def paths(wildcards):
        await_split()
        return expand(f"{RESULTS}/shards/{{shard}}/{name}", shard=SHARDS)

    return paths


def shard_index():
    """What is known of the shards."""
    here([SHARD_INDEX])
    return user_error(read_shard_index, SHARD_INDEX)


def shard_facts(shard):
    """What is known of a shard; Snakemake takes one of a split that is still to come as unknown."""
    index = shard_index()
    if shard not in index:
        awaited = (LOST_FILES or [SHARD_INDEX])[0]
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), awaited)
    return index[shard]


def number_of_sites(wildcards):
    """How many rows a gathered table has."""
    await_split()
    return shard_index().sites


def tiles_under_shard(wildcards):
    """The DEM's files under the patches of a shard, at every level that its sites may reach."""
    await_split()
    return files_of(shard_facts(wildcards.shard).tiles)


def tiles_under_sites(wildcards):
    """The DEM's files that any shard may read."""
    await_split()
    return files_of(shard_index().tiles)


def tiles_under_site(wildcards):
    """The DEM's files that the shard of a site may read."""
    shard = site_of(wildcards)[1]
    return files_of(shard_facts(shard).tiles)


def delineation_mb(wildcards, attempt, threads):
    """MB for delineating a shard: its sites may go up a level, and one more on each attempt."""
    expected = shard_facts(wildcards.shard).memory
    if STUDY["recipe"]:
        return asked_mb(threads * window_bytes(expected.cells), attempt)
    return asked_mb(threads * expected.delineation_bytes(levels_up=attempt), attempt)


def delineation_estimate(wildcards):
    """Seconds that delineating a shard is expected to take."""
    facts = shard_facts(wildcards.shard)
    if STUDY["recipe"]:
        return recipe_s(facts.sites, facts.patch_cells)
    return delineation_s(facts.sites, facts.patch_cells)


def features_mb(wildcards, input, attempt):
    """MB for extracting a shard's features; not known before its catchments are there."""
    if not workflow.is_main_process:
        return asked_mb(0, attempt)  # It has what was asked for.
    needed = catchment_sizes(input).features_bytes() + prepared_bytes(PREPARED_LAYERS)
    return asked_mb(needed, attempt)


def layers_mb(wildcards, attempt):
    """MB for looking at layers; of polygons and points, each file is read as a whole."""
    if not workflow.is_main_process:
        return asked_mb(0, attempt)  # It has what was asked for.
    return asked_mb(vector_bytes(filter(os.path.isfile, prepared_from())), attempt)


def features_estimate(wildcards, input):
    """Seconds that extracting a shard's features is expected to take."""
    if not workflow.is_main_process:
        return 1
    sizes = catchment_sizes(input)
    return features_s(sizes.sites, sizes.total, len(STUDY["layers"]))


def catchment_sizes(input):
    """How large the catchments are whose features a job extracts."""
    here([input.catchments])
    return user_error(CatchmentSizes.of, str(input.catchments))


def logs_of_run(shards=SHARDS):
    """The logs of all jobs that the results come from, by rule."""
    logs = {
        "prepare_sites": ["prepare_sites"],
        "fetch_terrain": ["fetch_terrain"],
        "index_terrain": ["index_terrain"],
        "index_layers": ["index_layers"],
        "split_shards": ["split_shards"],
        "delineate": [f"delineate/{shard}" for shard in shards],
        "extract_features": [f"extract_features/{shard}" for shard in shards],
        "gather": ["gather_catchments", "gather_features"],
        "dataset": ["dataset"],
        "summarise": ["summarise"],
    }
    if STUDY["models"]:
        logs["hazard"] = ["hazard"]
    if SCORED:
        logs["skill"] = ["skill"]
    if STUDY["observations"]["refits"]:
        logs["refit"] = ["refit"]
    if STUDY["observations"]["classifiers"]:
        logs["compare_classifiers"] = ["compare_classifiers"]
    return {rule: [f"{RESULTS}/logs/{name}.log" for name in names] for rule, names in logs.items()}


def logs_for_report(wildcards):
    """The logs of all jobs; in a pod they are brought, as far as there are any."""
    logs = logs_of_run(shards_to_gather())
    if IN_POD:
        names = [name for of_rule in logs.values() for name in of_rule]
        both = [*names, *(f"{name[:-4]}.tsv" for name in names)]
        user_error(lambda: BUCKET.bring(both, required=False))
    return logs


def logs_of_jobs():
    """Those logs that this study's jobs write."""
    absent = set() if STUDY["layers"] else {"index_layers"}
    if not FETCHES_TERRAIN:
        absent.add("fetch_terrain")
    if not HAS_TERRAIN:
        absent = logs_of_run().keys() - {"prepare_sites", "refit", "compare_classifiers"}
    return [name for rule, names in logs_of_run().items() if rule not in absent for name in names]


def token_of(*functions):
    """What changes with the content of the files that input functions give, for a rule's params."""

    def token(wildcards):
        if not workflow.is_main_process:
            return ""  # It records nothing.
        files = [file for function in functions for file in function(wildcards)]
        return INPUTS.token(files, made=made_files())

    return token


def study_inputs():
    """All files that the study is made from, but for what jobs make."""
    files = {*site_files(None), *known_terrain_files(), *layer_files(None)}
    return sorted(files.difference(made_files()))


def look_at_inputs():
    """Find inputs that were replaced, and results that would seem newer than any input."""
    check_fetched(STUDY)
    inputs = study_inputs()
    if BUCKET:
        BUCKET.check_owner()
        BUCKET.drop_old(times_of(RESULTS))
    # Copies of objects keep their times, by which they are known.
    INPUTS.update(inputs, time.time_ns() if BUCKET else settle(times_of(RESULTS)))
    if BUCKET:
        # Of each tile by itself, for the shards.
        files_of(inputs)
        if sent := BUCKET.send_inputs(inputs):
            logger.info(f"{len(sent)} of {len(inputs)} inputs were sent to the bucket.")


def look_at_results():
    """Find damaged results that no job would read any more, and results without their split."""
    files = [file for file in RESULT_FILES if os.path.isfile(file) and record_of(file).is_file()]
    if HAS_TERRAIN and os.path.isfile(SHARD_INDEX):
        # Jobs are planned from the index of all shards, which was made of these.
        made = (f"{RESULTS}/shards/{shard}/{name}" for shard in SHARDS for name in FILES)
        files += [SHARD_INDEX, *filter(os.path.isfile, made)]
    problems = []
    for file in files:
        try:
            check_result(file)
        except SnakeshedError as problem:
            problems.append(problem)
    if problems:
        raise SeveralProblems(problems)
    if not HAS_TERRAIN:
        return
    look_at_fetched_terrain()
    if reason := other_split():
        # Nothing else might: the history of results that were copied stayed where they were made.
        logger.info(f"{reason}: the sites are split again.")
        SPLIT_AGAIN.append(SHARD_INDEX)
    missing = LOST_FILES or [file for file in [SHARD_INDEX] if not os.path.isfile(file)]
    if missing and not BUCKET and os.path.isfile(f"{RESULTS}/features.parquet"):
        logger.warning(
            f"{missing[0]} is missing, so tables in {RESULTS} may be older than the configuration. "
            "A run without targets brings all of them up to date."
        )


def look_at_fetched_terrain():
    """Find fetched files that are gone, which Snakemake takes for inputs that nobody makes.

    And their list: what was made of it may be there.
    """
    made = [TERRAIN_LIST, f"{RESULTS}/terrain.json"]
    if not FETCHES_TERRAIN or not any(map(os.path.isfile, made)):
        return
    listed = {}
    if os.path.isfile(TERRAIN_LIST):
        listed = TerrainFiles.read(TERRAIN_LIST).sha256
    needed = [TERRAIN_LIST, INPUT_LOCK, *listed]
    if gone := [file for file in needed if not os.path.isfile(file)]:
        reason = f"{gone[0]} is missing"
    elif other := files_unlike_lock(listed, INPUT_LOCK):
        reason = f"{INPUT_LOCK} has other content for {other[0]}"
    else:
        return
    logger.info(f"{reason}: the terrain is fetched again.")
    FETCH_AGAIN.append(TERRAIN_LIST)


def sites_to_split(wildcards):
    """The site table; the checkpoint runs again if its index is of another split."""
    if SPLIT_AGAIN:
        # As --forcerun would have it, whose settings are not there yet when this file is read.
        workflow.dag.forcefiles.update(SPLIT_AGAIN)
    return f"{RESULTS}/sites.parquet"


def other_split():
    """Why the index of all shards is of another split than this study's, if it is."""
    if BUCKET:
        user_error(lambda: BUCKET.bring([SHARD_INDEX], required=False))
    if not os.path.isfile(SHARD_INDEX):
        return None
    index = user_error(read_shard_index, SHARD_INDEX)
    if index.names != tuple(SHARDS):
        return f"{SHARD_INDEX} is of {len(index.names)} shards, not of {len(SHARDS)}"
    if BUCKET or LOST_FILES:
        return None  # They are not all here; lost ones are made again anyway.
    made_from = ["sites.parquet", "terrain.json", *(["layers.json"] if STUDY["layers"] else [])]
    for file in (*(f"{RESULTS}/{name}" for name in made_from), *PREPARED_LAYERS):
        # Planned from the index, a job that needs it would have it made, and so the index removed.
        if not os.path.isfile(file):
            return f"{file} is missing"
    for shard in SHARDS:
        folder = f"{RESULTS}/shards/{shard}"
        if recorded_files(folder) != index[shard].files:
            return f"{SHARD_INDEX} was made with other files than those in {folder}"
    return None


def site_of(wildcards):
    """Identifier and shard of the site that a file is named after."""
    tables = of_all_shards("sites.parquet")(wildcards)
    sites = user_error(sites_in_shards, here(tables))
    return user_error(find_site, wildcards.site, sites, f"a target in {RESULTS}")


def of_site_shard(name):
    """A file of the shard that a site is in."""

    def path(wildcards):
        _, shard = site_of(wildcards)
        return f"{RESULTS}/shards/{shard}/{name}"

    return path


def shards_to_gather():
    """The shards that have sites; one if none has, for the columns of an empty table."""
    await_split()
    return shard_index().with_sites or SHARDS[:1]


def gathered_shards(wildcards):
    """A table's part from every shard that has sites; the jobs of empty shards would bring no row."""
    files = f"{RESULTS}/shards/{{shard}}/{wildcards.gathered}.parquet"
    return expand(files, shard=shards_to_gather())


def fitted_to(settings):
    """The table of observations that has what refits and classifiers take."""
    table = "dataset" if features_taken(settings, COLUMNS) else "observations"
    return f"{RESULTS}/{table}.parquet"


def gathered(table):
    """A gathered table; it waits for the checkpoint as `gathered_shards` does."""

    def path(wildcards):
        await_split()
        return f"{RESULTS}/{table}.parquet"

    return path


def site_files(wildcards):
    """The site table and, of a shapefile, the other files that it is made of."""
    return files_of_table(STUDY["sites"]["path"])


def layer_files(wildcards):
    """The files that declared layers are read from, with sidecar files and tables."""
    return files_of_layers(tables_of)


def layer_files_of_shards(wildcards):
    """Those of them that shards read themselves."""
    return files_of_layers(tables_for_shards)


def prepared_from():
    """The files of layers that shards do not read themselves."""
    return [
        path
        for layer in STUDY["layers"]
        for key, path in tables_of(layer).items()
        if key not in tables_for_shards(layer)
    ]


def files_of_layers(tables_of_layer):
    """The rasters of the layers, and such tables of them."""
    layers = STUDY["layers"]
    files = files_of(path for layer in layers for path in rasters_of(layer).values())
    tables = [path for layer in layers for path in tables_of_layer(layer).values()]
    return files + [file for path in tables for file in files_of_table(path)]


def warn_of_read_only_results():
    """Say so before Snakemake complains of the files in it; only looking needs no right to write."""
    if Path(RESULTS).is_dir() and not os.access(RESULTS, os.W_OK):
        try:
            user_error(check_writable, RESULTS)
        except WorkflowError as error:
            logger.warning(str(error))


def claim_results():
    """Have the study's folder for this run alone, and free of what a killed one left half-written."""
    from snakeshed.atomic import remove_parts

    alone = RUN_LOCK.take()
    check_writable(RESULTS)
    for warning in INPUTS.bring_back(study_inputs()):
        logger.warning(warning)
    if BUCKET:
        BUCKET.claim()
    INPUTS.begin_run()
    if alone and not jobs_may_run():
        remove_parts(RESULTS)
    elif not alone:
        logger.warning(
            f"The file system of {Path.cwd()} has no locks (flock): "
            f"see to it that no other run of study {STUDY['study']} is at work."
        )


def jobs_may_run():
    """Whether Jobs of a driver that was killed may still write: the executor takes them up later."""
    return any(path.is_file() for path in Path(".snakemake/kubernetes-pvc").glob("*"))


def read_large_files_once():
    """Have Snakemake read a large input once for its checksum.

    It does so after each job that reads the input, one job after the other. Here a file that is
    the same by size, times, and inode has the checksum that it had.
    """
    from snakemake.io import _IOFile

    checksum_of = _IOFile.checksum
    known = {}

    async def checksum(self, threshold=None, force=False, algorithm=None):
        try:
            stat = os.stat(self)
        except OSError:
            stat = None
        if stat is None or stat.st_size < 1_000_000 or self.is_storage:
            return await checksum_of(self, threshold, force, algorithm)
        times = stat.st_mtime_ns, stat.st_ctime_ns
        key = str(self), stat.st_size, *times, stat.st_ino, threshold, force, algorithm
        if key not in known:
            known[key] = await checksum_of(self, threshold, force, algorithm)
        return known[key]

    _IOFile.checksum = checksum


def compile_kernels():
    """Fill the folder that NUMBA_CACHE_DIR names: shards that start together would each do it.

    Nothing of it is a file of the workflow: whether it is there depends on the machine. Where the
    variable is not set, the environment has been compiled when it was made.
    """
    if (folder := os.environ.get("NUMBA_CACHE_DIR")) and not BUCKET and not is_filled(folder):
        logger.info(f"Compiled kernels are kept in {folder}.")
        # All of them, since jobs may not be able to write there; a driver's pod has one core.
        command = [sys.executable, "-m", "snakeshed.cli", "compile", "--all", "--cores", "1"]
        subprocess.run(command, check=True)


def bring_results():
    """Have the results here, too, and what else was asked for."""
    if BUCKET:
        asked = [file for file in workflow.dag_settings.targets if file.startswith(f"{RESULTS}/")]
        files = {*RESULT_FILES, *map(os.path.normpath, asked)}
        BUCKET.check_inputs(study_inputs())
        BUCKET.drop_old(times_of(RESULTS))
        BUCKET.bring(files, required=False)


def last_words():
    """What a person wants to know first, and how long the run took."""
    from snakeshed.report.summary import files_text, summary_text

    names = [Path(file).name for file in RESULT_FILES if file.endswith(".json") or not HAS_TERRAIN]
    path, text = Path(RESULTS, "summary.json"), ""
    try:
        if not HAS_TERRAIN:
            text = "\n".join(["Open:", *files_text(RESULTS, names), ""])
        elif path.is_file():
            text = f"{summary_text(json.loads(read_result(path)), RESULTS, names)}\n"
    except SnakeshedError as error:
        text = f"{error}\n"
    return f"{text}{time.monotonic() - STARTED:.0f} s in all."
