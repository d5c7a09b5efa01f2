# What keeps planning small: ten thousand shards are twenty thousand jobs, and Snakemake holds all of
# them. benchmarks/planning.py measures it.

from snakemake.io import AnnotatedString, _IOFile
from snakemake.iocontainers import Params, Snakemake
from snakemake.persistence import PersistenceBase

FILES = {}


def once(file):
    """An input file as one object for all jobs, without what Snakemake made on the way.

    Files that are flagged, as those in a bucket are, stay as they are.
    """
    if callable(file) or isinstance(file, AnnotatedString):
        return file
    if not isinstance(file, _IOFile):
        return AnnotatedString(file)
    if file.flags:
        return file
    if file not in FILES:
        alone = _IOFile(str(file), file.rule)
        FILES[alone] = alone
    return FILES[file]


inputflags:
    once,


def store_params(self, params):
    """Keep the parameters of a job for its script."""
    self._params_store, self._params_types = Params(toclone=params), {}


# Snakemake imports pandas to ask of each parameter whether it is a table. None is, and pandas takes
# 70 MB and half a second. With a version that asks otherwise, it takes them again.
if hasattr(PersistenceBase, "_serialize_param_builtin"):
    PersistenceBase._serialize_param = PersistenceBase._serialize_param_builtin
if hasattr(Snakemake, "_safely_store_params"):
    Snakemake._safely_store_params = store_params
