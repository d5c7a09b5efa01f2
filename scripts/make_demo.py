"""Rule make_demo: terrain, sites, layers, and the synthetic fire of the demo study."""

from pathlib import Path

from snakeshed.demo import make_demo
from snakeshed.jobs.log import job_log


def main(*, folder: Path, log: str) -> None:
    """Write the demo's inputs."""
    with job_log(log, "making the demo's terrain, sites, layers, and synthetic fire"):
        make_demo(folder)


if __name__ == "__main__":
    main(
        folder=Path(snakemake.output.dem).parent,
        log=snakemake.log[0],
    )
