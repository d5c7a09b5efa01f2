"""Rule compare_classifiers: classifiers and published models, scored with sites not fitted to."""

from collections.abc import Mapping, Sequence

from snakeshed.jobs.log import job_log
from snakeshed.learning.classifiers import Compared, compare, write_comparison
from snakeshed.learning.declared import declared_refits
from snakeshed.learning.tables import classifier_rows
from snakeshed.observations.response import Response
from snakeshed.tables.geoparquet import read_arrow


def main(
    *, settings: Mapping, features: Sequence[str], observations: str, output: str, log: str
) -> None:
    """Write classifiers.json."""
    with job_log(log, f"comparing classifiers for {observations}") as logger:
        table = read_arrow(observations)
        response = Response.of(settings["observations"]["response"])
        if features:
            logger.info("features: %s; all else is of the site table", ", ".join(features))
        declared = settings["observations"]["classifiers"]
        refits = declared_refits(settings, features)
        rows, baselines = classifier_rows(
            table, declared["columns"], refits, response, features, declared["split_by"]
        )
        found = compare(
            rows,
            declared["columns"],
            baselines,
            response.column,
            declared["seeds"],
            declared["test_share"],
            declared["split_by"],
        )
        scored = sum(split.scored for split in found.splits)
        logger.info(
            "%d complete observations, %d of %d splits scored; median threat score: %s",
            found.complete.observations,
            scored,
            len(found.splits),
            ", ".join(
                f"{_named(each)} {each.threat_score_half.median:.3f}" for each in found.compared
            ),
        )
        write_comparison(found, output)


def _named(compared: Compared) -> str:
    return compared.name if compared.model is None else f"{compared.name} {compared.settings}"


if __name__ == "__main__":
    main(
        settings=snakemake.params.settings,
        features=snakemake.params.features,
        observations=snakemake.input.observations,
        output=snakemake.output.classifiers,
        log=snakemake.log[0],
    )
