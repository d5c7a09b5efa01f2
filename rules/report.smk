# What a person looks at: the study as one page, one site as a card, and one site's features.


rule report:
    input:
        catchments=gathered("catchments"),
        features=gathered("features"),
        rejected=f"{RESULTS}/rejected.csv",
        summary=f"{RESULTS}/summary.json",
        hazard=f"{RESULTS}/hazard.parquet" if STUDY["models"] else [],
        thresholds=f"{RESULTS}/thresholds.parquet" if STUDY["models"] else [],
        skill=f"{RESULTS}/skill.json" if SCORED else [],
        refit=f"{RESULTS}/refit.json" if STUDY["observations"]["refits"] else [],
        classifiers=f"{RESULTS}/classifiers.json" if STUDY["observations"]["classifiers"] else [],
        terrain=f"{RESULTS}/terrain.json",
        shard_terrains=of_all_shards("terrain.json"),
        tiles=tiles_under_sites,
    output:
        report=report(
            f"{RESULTS}/report.html",
            caption="captions/report.rst",
            category="Study",
            labels={"study": STUDY["study"]},
        ),
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/logs/report.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        study=STUDY,
        logs=logs_for_report,
        page=page_digest("report"),
        inputs=token_of(tiles_under_sites),
        inputs_of_run=INPUTS.of_run,
        library=library_of("report"),
    script:
        "../scripts/report.py"


rule site_features:
    input:
        features=of_site_shard("features.parquet"),
    output:
        features=f"{RESULTS}/sites/{{site}}/features.parquet",
    log:
        f"{RESULTS}/logs/site_features/{{site}}.log",
    benchmark:
        f"{RESULTS}/logs/site_features/{{site}}.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        site_id=lambda wildcards: site_of(wildcards)[0],
        library=library_of("site_features"),
    script:
        "../scripts/site_features.py"


rule site_card:
    input:
        catchments=of_site_shard("catchments.parquet"),
        features=of_site_shard("features.parquet"),
        # Hazards follow from the site's own features: a card waits for no other shard.
        observations=f"{RESULTS}/observations.parquet" if MODELS.need_observations() else [],
        terrain=of_site_shard("terrain.json"),
        tiles=tiles_under_site,
        layers=layer_files_of_shards,
        prepared=PREPARED_LAYERS,
    output:
        page=f"{RESULTS}/cards/{{site}}.html",
        picture=f"{RESULTS}/cards/{{site}}.png",
    log:
        f"{RESULTS}/logs/site_card/{{site}}.log",
    benchmark:
        f"{RESULTS}/logs/site_card/{{site}}.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        site_id=lambda wildcards: site_of(wildcards)[0],
        study=STUDY,
        page=page_digest("card"),
        inputs=token_of(tiles_under_site, layer_files_of_shards),
        inputs_of_run=INPUTS.of_run,
        library=library_of("site_card"),
    script:
        "../scripts/site_card.py"
