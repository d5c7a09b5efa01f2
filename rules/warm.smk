# Jobs on this machine run their scripts in processes that have imported what they need: most of the
# time of a small job went into imports. benchmarks/README.md has figures. A script of a pod, or in an
# environment of --sdm conda, is run as Snakemake does.

import atexit

from snakemake_warm_scripts.runs import run_warm


def steps_to_come():
    """Scripts of the rules that have something to do, in the order of the work.

    Before those of the shards, kernels are loaded: all processes share them.
    """
    needed = {job.rule.name for job in workflow.dag.needrun_jobs()}
    if "gather" in needed:
        # Not known before the sites are split.
        needed |= {"delineate", "extract_features"}
    for rule in workflow.rules:
        if rule.name in needed and rule.script:
            if rule.name == "delineate":
                yield "snakeshed.precompile:warm_up"
            yield os.path.normpath(os.path.join(str(rule.basedir), rule.script))


def run_scripts_warm():
    """Have jobs on this machine run their scripts so, unless a person debugs them."""
    if not workflow.execution_settings.debug:
        atexit.register(run_warm(steps_to_come).close)
    # Snakemake starts at most 100 jobs a second, which spares a cluster. Here it would look every
    # second whether there may be more, and wait for that at the end.
    if workflow.local_exec and hasattr(workflow.scheduler, "job_rate_limiter"):
        workflow.scheduler.job_rate_limiter = None
