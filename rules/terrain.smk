# A checkpoint: which tiles the sites need is not known before. It runs where the workflow was started:
# jobs may have no network.
checkpoint fetch_terrain:
    input:
        sites=sites_to_fetch_for,
    output:
        files=TERRAIN_LIST,
    log:
        f"{RESULTS}/logs/fetch_terrain.log",
    benchmark:
        f"{RESULTS}/logs/fetch_terrain.tsv"
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        study=STUDY["study"],
        dem={key: STUDY["dem"][key] for key in ("source", "target_crs", "resolution")},
        patches=STUDY["patches"],
        folder=STUDY["dem"]["path"],
        lock=INPUT_LOCK,
        library=library_of("fetch_terrain"),
    script:
        "../scripts/fetch_terrain.py"


rule index_terrain:
    input:
        files=terrain_to_index,
        fetched=terrain_list,
    output:
        terrain=f"{RESULTS}/terrain.json",
    log:
        f"{RESULTS}/logs/index_terrain.log",
    benchmark:
        f"{RESULTS}/logs/index_terrain.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        settings={
            key: STUDY["dem"][key]
            for key in (
                "path",
                "source",
                "nodata",
                "max_step_m",
                "vertical_unit",
                "target_crs",
                "resolution",
            )
        },
        inputs=token_of(terrain_files),
        inputs_of_run=INPUTS.of_run,
        library=library_of("index_terrain"),
    script:
        "../scripts/index_terrain.py"
