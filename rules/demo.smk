# The inputs of the demo study (config/config.yaml), made from terrain that comes with matplotlib,
# and a synthetic fire on it.


rule make_demo:
    output:
        dem="resources/demo/dem.tif",
        sites="resources/demo/sites.csv",
        roughness="resources/demo/roughness.tif",
        fuel="resources/demo/fuel.tif",
        dnbr="resources/demo/synthetic_dnbr.tif",
        kf="resources/demo/synthetic_kf.tif",
        perimeter="resources/demo/synthetic_perimeter.geojson",
        rock="resources/demo/synthetic_rock.geojson",
    log:
        "resources/demo/make_demo.log",
    conda:
        "../envs/environment.yaml"
    params:
        library=library_of("make_demo"),
    script:
        "../scripts/make_demo.py"
