# The study in one file, for those who read of it: snakemake archive


rule archive:
    input:
        results=[*RESULT_FILES, f"{RESULTS}/sites.parquet"],
        split=SPLIT,
        sites=site_files,
        terrain=terrain_files,
        layers=layer_files,
    output:
        archive=f"{RESULTS}/archive/{STUDY['study']}.zip",
    log:
        f"{RESULTS}/logs/archive.log",
    conda:
        "../envs/environment.yaml"
    params:
        study=WHOLE_STUDY,
        results=lambda wildcards, input: str(Path(input.results[0]).parent),
        jobs=lambda wildcards: [name for log in logs_of_jobs() for name in (log, f"{log[:-4]}.tsv")],
        inputs=token_of(site_files, terrain_files, layer_files),
        inputs_of_run=INPUTS.of_run,
        lock=INPUT_LOCK if FETCHES_TERRAIN else None,
        workflow=workflow.basedir,
        commit=lambda wildcards: commit_of(workflow.basedir),
        library=library_of("archive"),
    script:
        "../scripts/archive.py"
