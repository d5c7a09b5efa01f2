rule gather:
    input:
        shards=gathered_shards,
    output:
        table=f"{RESULTS}/{{gathered,catchments|features}}.parquet",
    log:
        f"{RESULTS}/logs/gather_{{gathered}}.log",
    benchmark:
        f"{RESULTS}/logs/gather_{{gathered}}.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        # No input: the checkpoint follows from nothing that is gathered. In a pod, counting brings it.
        index=SHARD_INDEX,
        sites=number_of_sites,
        library=library_of("gather"),
    script:
        "../scripts/gather.py"


rule summarise:
    input:
        catchments=gathered("catchments"),
        features=gathered("features"),
        rejected=f"{RESULTS}/rejected.csv",
        warnings=f"{RESULTS}/site_warnings.json",
        terrain=f"{RESULTS}/terrain.json",
        layers=f"{RESULTS}/layers.json" if STUDY["layers"] else [],
        observations=f"{RESULTS}/observations.parquet" if STUDY["compare"] else [],
        hazard=f"{RESULTS}/hazard.parquet" if STUDY["models"] else [],
    output:
        summary=f"{RESULTS}/summary.json",
    log:
        f"{RESULTS}/logs/summarise.log",
    benchmark:
        f"{RESULTS}/logs/summarise.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        study=STUDY["study"],
        layers=STUDY["layers"],
        area_unit=STUDY["sites"]["area_unit"],
        compare=STUDY["compare"],
        recipe=STUDY["recipe"],
        models=list(MODELS.models),
        storms=[storm.name for storm in MODELS.storms if storm.column is None],
        left_out=LEFT_OUT,
        library=library_of("summarise"),
    script:
        "../scripts/summarise.py"


rule export_csv:
    input:
        table=f"{RESULTS}/{{table}}.parquet",
        split=SPLIT,  # As in rule all.
    output:
        csv=f"{RESULTS}/{{table}}.csv",
    log:
        f"{RESULTS}/logs/export_{{table}}_csv.log",
    benchmark:
        f"{RESULTS}/logs/export_{{table}}_csv.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        library=library_of("export_csv"),
    script:
        "../scripts/export_csv.py"


rule export_geopackage:
    input:
        catchments=f"{RESULTS}/catchments.parquet",
        split=SPLIT,  # As in rule all.
    output:
        geopackage=f"{RESULTS}/catchments.gpkg",
    log:
        f"{RESULTS}/logs/export_geopackage.log",
    benchmark:
        f"{RESULTS}/logs/export_geopackage.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        library=library_of("export_geopackage"),
    script:
        "../scripts/export_geopackage.py"
