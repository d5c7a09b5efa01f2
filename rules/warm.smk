# Local jobs run their scripts in processes that have already imported what they need: most of a small
# job's time went into imports. benchmarks/README.md has figures. Scripts in conda environments or
# containers, or with --skip-script-cleanup, run as usual.

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
    for each in workflow.rules:
        if each.name in needed and each.script:
            if each.name == "delineate":
                yield "snakeshed.precompile:warm_up"
            yield os.path.realpath(os.path.join(str(each.basedir), each.script))


def run_scripts_warm():
    """Run the scripts of local jobs in warm processes, except with --debug."""
    if not workflow.execution_settings.debug:
        atexit.register(run_warm(steps_to_come()).close)
    # Snakemake starts at most 100 jobs a second, to spare a cluster. For local jobs, that only makes
    # it wake up every second, and wait up to a second at the end.
    if workflow.local_exec and hasattr(workflow.scheduler, "job_rate_limiter"):
        workflow.scheduler.job_rate_limiter = None
