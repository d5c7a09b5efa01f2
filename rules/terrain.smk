rule index_terrain:
    input:
        files=terrain_to_index,
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
