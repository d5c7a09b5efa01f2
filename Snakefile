from snakemake.utils import min_version

min_version("9.0")


# Snakemake merges several configuration files, so the demo's is read only when no other is given:
# no key of it survives in a user's study.
if not workflow.configfiles:

    configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/planning.smk"
include: "rules/warm.smk"
include: "rules/demo.smk"
include: "rules/sites.smk"
include: "rules/terrain.smk"
include: "rules/delineate.smk"
include: "rules/features.smk"
include: "rules/gather.smk"
include: "rules/models.smk"
include: "rules/observations.smk"
include: "rules/report.smk"
include: "rules/archive.smk"


# A pod has no inputs before its job gets them.
if not IN_POD:
    user_error(check_inputs, RUN_STUDY, made_files())


if workflow.is_main_process:
    read_large_files_once()
    logger.info(f"Study {STUDY['study']}: results go to {RESULTS}/.")
    if LEFT_OUT:
        logger.info(LEFT_OUT["words"])
    if not HAS_TERRAIN and Path(RESULTS, "catchments.parquet").is_file():
        logger.warning(f"Results in {RESULTS} that need the DEM are of an earlier run, and stay.")
    warn_of_read_only_results()
    user_error(look_at_inputs)
    user_error(look_at_results)


rule all:
    default_target: True
    input:
        RESULT_FILES,
        # While one is missing, Snakemake does not see what else has changed for what follows.
        SPLIT,


onstart:
    interrupt_once()
    share_locks_with_handlers(workflow.scheduler)
    # Before Snakemake's loggers do so in a thread of their own.
    import pyarrow.parquet

    user_error(claim_results)
    compile_kernels()
    run_scripts_warm()


onsuccess:
    user_error(INPUTS.end_run)
    user_error(bring_results)
    logger.info(last_words())


onerror:
    user_error(INPUTS.end_run)
