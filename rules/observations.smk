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
        settings=hazard_settings(STUDY),
        library=library_of("dataset"),
    script:
        "../scripts/dataset.py"


# Only where there is something to compare: likelihoods of observations, and a response.
if SCORED:

    rule skill:
        input:
            dataset=f"{RESULTS}/dataset.parquet",
        output:
            skill=f"{RESULTS}/skill.json",
        log:
            f"{RESULTS}/logs/skill.log",
        benchmark:
            f"{RESULTS}/logs/skill.tsv"
        conda:
            "../envs/environment.yaml"
        params:
            response=STUDY["observations"]["response"]["column"],
            columns=SCORED,
            library=library_of("skill"),
        script:
            "../scripts/skill.py"
