"""Rule refit: the coefficients of published models, estimated again from observations."""

from collections.abc import Mapping, Sequence

from snakeshed.jobs.log import job_log
from snakeshed.learning.declared import declared_refits
from snakeshed.learning.refit import refit, write_refits
from snakeshed.learning.tables import refit_rows
from snakeshed.observations.response import Response
from snakeshed.tables.geoparquet import read_arrow


def main(
    *, settings: Mapping, features: Sequence[str], observations: str, output: str, log: str
) -> None:
    """Write refit.json."""
    with job_log(log, f"fitting published models to {observations}") as logger:
        table = read_arrow(observations)
        response = Response.of(settings["observations"]["response"])
        if features:
            logger.info("features: %s; all else is of the site table", ", ".join(features))
        found = []
        for declared in declared_refits(settings, features):
            fitted = refit(declared, refit_rows(table, declared, response, features))
            logger.info(
                "%s: fitted to %d of %d complete observations: %s",
                declared.name,
                fitted.training.observations,
                fitted.complete.observations,
                ", ".join(
                    f"{each.name} {each.refitted.value:.3f} (published {each.published:g})"
                    for each in fitted.coefficients
                ),
            )
            for each in fitted.implausible:
                logger.warning(
                    "warning: %s: %d values of %s (%s) are outside %g to %g",
                    declared.name,
                    each.observations,
                    each.name,
                    each.column,
                    each.low,
                    each.high,
                )
            found.append(fitted)
        write_refits(found, response.column, output)


if __name__ == "__main__":
    main(
        settings=snakemake.params.settings,
        features=snakemake.params.features,
        observations=snakemake.input.observations,
        output=snakemake.output.refit,
        log=snakemake.log[0],
    )
