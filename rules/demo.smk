# The inputs of the demo study (config/config.yaml), made from terrain that comes with matplotlib.


rule make_demo:
    output:
        dem="resources/demo/dem.tif",
        sites="resources/demo/sites.csv",
        roughness="resources/demo/roughness.tif",
        fuel="resources/demo/fuel.tif",
    log:
        "resources/demo/make_demo.log",
    conda:
        "../envs/environment.yaml"
    params:
        library=library_of("make_demo"),
    script:
        "../scripts/make_demo.py"
