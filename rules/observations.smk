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
        declared={key: STUDY["observations"][key] for key in ("rainfall", "response")},
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


# What is fitted to observations. Where it takes columns of the site table alone, it waits for no site.
if STUDY["observations"]["refits"]:

    rule refit:
        input:
            observations=fitted_to(refit_settings(STUDY)),
        output:
            refit=f"{RESULTS}/refit.json",
        log:
            f"{RESULTS}/logs/refit.log",
        benchmark:
            f"{RESULTS}/logs/refit.tsv"
        conda:
            "../envs/environment.yaml"
        params:
            settings=refit_settings(STUDY),
            features=features_taken(refit_settings(STUDY), COLUMNS),
            library=library_of("refit"),
        script:
            "../scripts/refit.py"


if STUDY["observations"]["classifiers"]:

    rule compare_classifiers:
        input:
            observations=fitted_to(learning_settings(STUDY)),
        output:
            classifiers=f"{RESULTS}/classifiers.json",
        log:
            f"{RESULTS}/logs/compare_classifiers.log",
        benchmark:
            f"{RESULTS}/logs/compare_classifiers.tsv"
        conda:
            "../envs/environment.yaml"
        params:
            settings=learning_settings(STUDY),
            features=features_taken(learning_settings(STUDY), COLUMNS),
            library=library_of("compare_classifiers"),
        script:
            "../scripts/compare_classifiers.py"
