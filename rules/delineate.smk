rule delineate:
    input:
        sites=of_shard("sites.parquet"),
        terrain=of_shard("terrain.json"),
        tiles=tiles_under_shard,
    output:
        catchments=f"{RESULTS}/shards/{{shard}}/catchments.parquet",
    log:
        f"{RESULTS}/logs/delineate/{{shard}}.log",
    benchmark:
        f"{RESULTS}/logs/delineate/{{shard}}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: 1
    resources:
        backend="auto",
        mem_mb=delineation_mb,
        estimated_s=delineation_estimate,
    params:
        recipe=STUDY["recipe"],
        patches=STUDY["patches"],
        rule={
            "snap": STUDY["snap"],
            "network": STUDY["network"],
            "dem": {
                key: STUDY["dem"][key] for key in ("conditioning", "max_void_cells", "max_pit_m")
            },
        },
        inputs=token_of(tiles_under_shard),
        inputs_of_run=INPUTS.of_run,
        library=library_of("delineate"),
    script:
        "../scripts/delineate.py"
