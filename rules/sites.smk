rule prepare_sites:
    input:
        table=site_files,
    output:
        sites=f"{RESULTS}/sites.parquet",
        observations=f"{RESULTS}/observations.parquet",
        rejected=f"{RESULTS}/rejected.csv",
        warnings=f"{RESULTS}/site_warnings.json",
    log:
        f"{RESULTS}/logs/prepare_sites.log",
    benchmark:
        f"{RESULTS}/logs/prepare_sites.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        settings=STUDY["sites"],
        also=named_columns(STUDY, numeric(COLUMNS)),
        inputs=token_of(site_files),
        inputs_of_run=INPUTS.of_run,
        library=library_of("prepare_sites"),
    script:
        "../scripts/prepare_sites.py"


# A checkpoint: shards whose sites and tiles stay the same are recognised by their content, and
# what follows from them is not run again.
checkpoint split_shards:
    input:
        sites=sites_to_split,
        terrain=f"{RESULTS}/terrain.json",
        # Not read: a layer that cannot be used stops the run before any shard. It is no
        # ancient() input, which would hide from Snakemake what else has changed downstream.
        layers=[f"{RESULTS}/layers.json", *PREPARED_LAYERS] if STUDY["layers"] else [],
    output:
        # The first one is what those wait for that follow.
        lost=LOST_FILES,
        index=SHARD_INDEX,
    log:
        f"{RESULTS}/logs/split_shards.log",
    benchmark:
        f"{RESULTS}/logs/split_shards.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        patches=STUDY["patches"],
        radius_m=STUDY["snap"]["radius_m"],
        min_areas_km2=min_areas_km2(STUDY),
        shards=STUDY["shards"],
        recipe=STUDY["recipe"],
        dem={key: STUDY["dem"][key] for key in ("source", "target_crs", "resolution")},
        library=library_of("split_shards"),
    script:
        "../scripts/split_shards.py"
