# What hazard models give at every site. A study without models has no such tables.


if STUDY["models"]:

    rule hazard:
        input:
            features=gathered("features"),
            observations=f"{RESULTS}/observations.parquet" if MODELS.need_observations() else [],
        output:
            hazard=f"{RESULTS}/hazard.parquet",
            thresholds=f"{RESULTS}/thresholds.parquet",
        log:
            f"{RESULTS}/logs/hazard.log",
        benchmark:
            f"{RESULTS}/logs/hazard.tsv"
        conda:
            "../envs/environment.yaml"
        params:
            settings=hazard_settings(STUDY),
            library=library_of("hazard"),
        script:
            "../scripts/hazard.py"
