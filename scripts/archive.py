"""Rule archive: the study in one file, for those who read of it."""

import os
from collections.abc import Sequence

from snakeshed.archive.write import FinishedRun, write_archive
from snakeshed.jobs.input_record import UnchangedInputs
from snakeshed.jobs.log import job_log
from snakeshed.jobs.versions import made_with
from snakeshed.result_files import check_result


def main(
    *,
    study: dict,
    results: str,
    files: Sequence[str],
    logs: Sequence[str],
    inputs: Sequence[str],
    inputs_of_run: str,
    workflow: str,
    output: str,
    log: str,
    lock: str | None = None,
) -> None:
    """Write the archive of a study."""
    with job_log(log, f"archiving {study['study']}") as logger:
        unchanged = UnchangedInputs(inputs, inputs_of_run)
        for file in files:
            check_result(file)
        locks = [lock] if lock and os.path.isfile(lock) else []
        run = FinishedRun(
            results,
            [*files, *logs, *locks],
            dict(made_with(workflow)),
            os.environ.get("SNAKESHED_IMAGE"),
        )
        archived = write_archive(study, run, workflow, output, unchanged.check)
        absent = [each for each in archived if not each.included]
        logger.info("%d inputs, of which %d are only named", len(archived), len(absent))


if __name__ == "__main__":
    main(
        study=snakemake.params.study,
        results=snakemake.params.results,
        files=snakemake.input.results,
        logs=list(filter(os.path.isfile, snakemake.params.jobs)),
        inputs=[*snakemake.input.sites, *snakemake.input.terrain, *snakemake.input.layers],
        inputs_of_run=snakemake.params.inputs_of_run,
        workflow=snakemake.params.workflow,
        output=snakemake.output.archive,
        log=snakemake.log[0],
        lock=snakemake.params.lock,
    )
