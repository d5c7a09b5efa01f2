rule index_layers:
    input:
        layers=layer_files,
        terrain=f"{RESULTS}/terrain.json",
    output:
        layers=f"{RESULTS}/layers.json",
        prepared=PREPARED_LAYERS,
    log:
        f"{RESULTS}/logs/index_layers.log",
    benchmark:
        f"{RESULTS}/logs/index_layers.tsv"
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=layers_mb,
    params:
        layers=list(map(indexed, STUDY["layers"])),
        inputs=token_of(layer_files),
        inputs_of_run=INPUTS.of_run,
        library=library_of("index_layers"),
    script:
        "../scripts/index_layers.py"


rule extract_features:
    input:
        catchments=f"{RESULTS}/shards/{{shard}}/catchments.parquet",
        terrain=of_shard("terrain.json"),
        tiles=tiles_under_shard,
        layers=layer_files_of_shards,
        prepared=PREPARED_LAYERS,
    output:
        features=f"{RESULTS}/shards/{{shard}}/features.parquet",
    log:
        f"{RESULTS}/logs/extract_features/{{shard}}.log",
    benchmark:
        f"{RESULTS}/logs/extract_features/{{shard}}.tsv"
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=features_mb,
        estimated_s=features_estimate,
    params:
        features=STUDY["features"],
        layers=STUDY["layers"],
        max_void_cells=STUDY["dem"]["max_void_cells"],
        inputs=token_of(tiles_under_shard, layer_files_of_shards),
        inputs_of_run=INPUTS.of_run,
        library=library_of("extract_features"),
    script:
        "../scripts/extract_features.py"
