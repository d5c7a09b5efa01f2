"""Rule archive: the study in one file, for those who read of it."""

import os
from collections.abc import Sequence

from snakeshed.archive.write import FinishedRun, write_archive
from snakeshed.jobs.log import job_log
from snakeshed.jobs.versions import made_with


def main(
    *, study: dict, results: str, files: Sequence[str], workflow: str, output: str, log: str
) -> None:
    """Write the archive of a study."""
    with job_log(log, f"archiving {study['study']}") as logger:
        run = FinishedRun(
            results, files, dict(made_with(workflow)), os.environ.get("SNAKESHED_IMAGE")
        )
        inputs = write_archive(study, run, workflow, output)
        absent = [each for each in inputs if not each.included]
        logger.info("%d inputs, of which %d are only named", len(inputs), len(absent))


if __name__ == "__main__":
    main(
        study=snakemake.params.study,
        results=snakemake.params.results,
        files=[*snakemake.input.results, *filter(os.path.isfile, snakemake.params.jobs)],
        workflow=snakemake.params.workflow,
        output=snakemake.output.archive,
        log=snakemake.log[0],
    )
