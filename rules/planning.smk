# What keeps planning small: ten thousand shards are twenty thousand jobs, and Snakemake holds all of
# them. benchmarks/planning.py measures it.

from snakemake.io import AnnotatedString, _IOFile
from snakemake.iocontainers import Params, Snakemake
from snakemake.persistence import PersistenceBase

# All files of rules share their names.
SHARED_INPUTS = {}


def shared_input(file):
    """An input file as one object for all jobs, without what Snakemake made on the way.

    Files that are flagged, as those in a bucket are, stay as they are.
    """
    if callable(file) or isinstance(file, AnnotatedString):
        return file
    if not isinstance(file, _IOFile):
        return AnnotatedString(file)
    if file.flags:
        return file
    if file not in SHARED_INPUTS:
        alone = _IOFile(str(file), file.rule)
        SHARED_INPUTS[alone] = alone
    return SHARED_INPUTS[file]


inputflags:
    shared_input,


def store_plain_params(self, params):
    """Keep the parameters of a job for its script."""
    self._params_store, self._params_types = Params(toclone=params), {}


# Snakemake imports pandas to see whether a parameter is a table. No parameter here is one, and pandas
# takes 70 MB and half a second. A version that checks in another way loads pandas again.
if hasattr(PersistenceBase, "_serialize_param_builtin"):
    PersistenceBase._serialize_param = PersistenceBase._serialize_param_builtin
if hasattr(Snakemake, "_safely_store_params"):
    Snakemake._safely_store_params = store_plain_params
