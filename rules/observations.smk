# What is known of each observation: the features of its site, and what the models make of it.


rule dataset:
    input:
        observations=f"{RESULTS}/observations.parquet",
        features=gathered("features"),
    output:
        table=f"{RESULTS}/dataset.parquet",
    log:
        f"{RESULTS}/logs/dataset.log",
    benchmark:
        f"{RESULTS}/logs/dataset.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        declared=STUDY["observations"],
        library=library_of("dataset"),
    script:
        "../scripts/dataset.py"
