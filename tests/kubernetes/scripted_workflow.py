"""A workflow of Python scripts, run by Snakemake with the executor in warm pods."""

from __future__ import annotations

from pathlib import Path

from small_workflow import SmallWorkflow

SNAKEFILE = """
PIECES = [str(number) for number in range(int(config.get("pieces", 4)))]

rule all:
    input: "all.txt"

rule begin:
    output: "begin.txt"
    script: "begin.py"

rule piece:
    input: "begin.txt"
    output: "piece/{piece}.txt"
    log: "log/{piece}.log"
    benchmark: "log/{piece}.tsv"
    params: given=lambda wildcards: config.get("given", "as ever")
    resources: mem_mb=lambda wildcards, attempt: 300 * attempt, disk_mb=100, estimated_s=2
    script: "piece.py"

rule join:
    input: expand("piece/{piece}.txt", piece=PIECES)
    output: "all.txt"
    shell: "cat {input} > {output}"
"""

PIECE = """
from pathlib import Path

def main(piece, given, output, log):
    Path(log).write_text(f"making {piece}\\n")
    with open("made.txt", "a") as made:
        made.write(f"{piece}\\n")
    DO
    Path(output).write_text(f"{piece} {given}\\n")

if __name__ == "__main__":
    main(snakemake.wildcards.piece, snakemake.params.given, snakemake.output[0], snakemake.log[0])
"""

BEGIN = """
from pathlib import Path

if __name__ == "__main__":
    Path(snakemake.output[0]).write_text("begun\\n")
"""


class ScriptedWorkflow(SmallWorkflow):
    """A folder with the workflow; ``DO`` in piece.py is what a job does besides its file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        (self.folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
        (self.folder / "begin.py").write_text(BEGIN, encoding="utf-8")
        self.does("pass")

    def does(self, statements: str) -> None:
        """Set what the script of a piece does; ``piece`` is its name."""
        lines = statements.strip().replace("\n", "\n    ")
        text = PIECE.replace("DO", lines)
        (self.folder / "piece.py").write_text(text, encoding="utf-8")

    def start(self, *options: str):
        return super().start("--kubernetes-pvc-batch-minutes", "1", *options)

    @property
    def made(self) -> list[str]:
        """Pieces, as often as they were made."""
        return sorted(Path(self.folder, "made.txt").read_text(encoding="utf-8").split())
