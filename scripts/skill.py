"""Rule skill: how good the likelihoods of models are."""

from collections.abc import Sequence

from snakeshed.jobs.log import job_log
from snakeshed.observations.columns import ScoredColumn
from snakeshed.observations.response import DEBRIS_FLOW
from snakeshed.observations.skill import Scored, skill, write_skill
from snakeshed.tables.geoparquet import read_arrow


def main(
    *, response: str, columns: Sequence[ScoredColumn], dataset: str, output: str, log: str
) -> None:
    """Write skill.json."""
    with job_log(log, f"comparing likelihoods with {response}") as logger:
        names = [column for _, _, column in columns]
        table = read_arrow(dataset, ["site_id", DEBRIS_FLOW, *names])
        scored = [
            Scored(model, duration_min, column, table[column].to_pylist())
            for model, duration_min, column in columns
        ]
        sites, events = (table[name].to_pylist() for name in ("site_id", DEBRIS_FLOW))
        found = skill(response, sites, events, scored)
        for each in found.models:
            logger.info(
                "%s: %s",
                each.column,
                each.reason or f"threat score {each.threat_score_best.value:.3f} at best",
            )
        write_skill(found, output)


if __name__ == "__main__":
    main(
        response=snakemake.params.response,
        columns=snakemake.params.columns,
        dataset=snakemake.input.dataset,
        output=snakemake.output.skill,
        log=snakemake.log[0],
    )
