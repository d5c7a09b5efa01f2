"""Make the inputs of the demo."""

from pathlib import Path

from snakeshed.demo import make_demo

if __name__ == "__main__":
    make_demo(Path(snakemake.output.dem).parent)  # noqa: F821
