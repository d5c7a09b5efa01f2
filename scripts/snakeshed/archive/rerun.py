"""A re-run of an archive: what is made ready for it, and the run itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snakeshed.archive.bag import UntrustedArchive
from snakeshed.archive.compare import TABLES
from snakeshed.archive.description import NamedInput, read_inputs, read_links, read_study_name
from snakeshed.archive.entry_names import shown
from snakeshed.archive.links import link_faults
from snakeshed.archive.sandbox import Surroundings
from snakeshed.archive.write import CONFIGURATION
from snakeshed.errors import ArchiveError
from snakeshed.result_files import sha256_of

_WORKFLOW = "workflow"
_LINES_SHOWN = 20


@dataclass(frozen=True)
class Prepared:
    """An archive that can be run.

    Attributes
    ----------
    study : str
        Name of the study.
    archived : Path
        Folder of its archived results.
    inputs : list of Path
        Files outside of the archive that it reads.
    """

    study: str
    archived: Path
    inputs: list[Path]


def prepare(
    bag: Path, archive: str, inputs: Path | None, aside: Path, fetches: bool = False
) -> Prepared:
    """Make an unpacked archive ready to be run.

    Links of the workflow are made again, inputs that the archive only names are taken from
    another folder, and the archived results are put aside.

    Parameters
    ----------
    bag : Path
        The folder ``data`` of the archive, just unpacked.
    archive : str
        The archive, for messages.
    inputs : Path or None
        A folder with those inputs, at the paths that the archive gives them.
    aside : Path
        Where the archived results go, out of reach of the run. It is not there yet.
    fetches : bool
        Whether inputs that are not in `inputs` are fetched from where the archive says that they
        were fetched; into the cache that `snakeshed.transfer` has, and compared by SHA-256.

    Raises
    ------
    ArchiveError
        An input is missing or another one.
    UntrustedArchive
        A link leaves the workflow, or the archive does not describe itself as snakeshed does.
    """
    study = read_study_name(bag, archive)
    links = read_links(bag, archive)
    named = read_inputs(bag, archive)
    workflow = bag / _WORKFLOW
    files = [path.relative_to(workflow).as_posix() for path in workflow.rglob("*")]
    files = [name for name in files if (workflow / name).is_file()]
    for fault in link_faults(links, files):
        raise UntrustedArchive(archive, fault)
    given = [each for each in named if _is_given(each, inputs) or not (fetches and each.address)]
    taken = [(bag / each.path, _input_file(each, archive, inputs)) for each in given]
    taken += _fetched([each for each in named if each not in given], bag, archive)
    if not (bag / "results" / study).is_dir():
        raise UntrustedArchive(archive, f"no results of the study {study}")
    try:
        for name, target in links.items():
            (workflow / name).parent.mkdir(parents=True, exist_ok=True)
            (workflow / name).symlink_to(target)
        for place, source in taken:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
        (bag / "results").rename(aside)
    except OSError as error:
        raise UntrustedArchive(
            archive, f"links or inputs that cannot be placed ({shown(error)})"
        ) from None
    return Prepared(study, aside / study, [source for _, source in taken])


def _is_given(named: NamedInput, inputs: Path | None) -> bool:
    return inputs is not None and (inputs / named.path).is_file()


def _fetched(named: Sequence[NamedInput], bag: Path, archive: str) -> list[tuple[Path, Path]]:
    """Fetch inputs; return where each has to be, and where it is."""
    if not named:
        return []
    from snakeshed.errors import SeveralProblems, TransferError
    from snakeshed.fetching.terrain import mirrored
    from snakeshed.transfer.batch import Wanted, fetch
    from snakeshed.transfer.file_cache import FileCache

    wanted = [Wanted(mirrored(each.address), each.sha256, each.size) for each in named]
    advice = "Look for the old one where its source keeps older files, and name it with --inputs."
    try:
        got = fetch(wanted, FileCache.of_environment(), advice=advice)
    except (TransferError, SeveralProblems) as error:
        problem = error.problems[0] if isinstance(error, SeveralProblems) else error
        where = f"{shown(archive)}: {problem.where}"
        raise ArchiveError(where, problem.found, problem.expected, problem.next_step) from error
    for each, answer in zip(named, got, strict=True):
        if answer is None:
            raise ArchiveError(
                f"{shown(archive)}: {shown(each.path)}",
                f"no such file any more at {shown(each.address)}",
                f"{each.size:,} bytes with SHA-256 {each.sha256}",
                advice,
            )
    return [(bag / each.path, answer.file) for each, answer in zip(named, got, strict=True)]


def _input_file(named: NamedInput, archive: str, inputs: Path | None) -> Path:
    """Find an input that an archive only names."""
    source = None if inputs is None else inputs / named.path
    wanted = f"{named.size:,} bytes with SHA-256 {named.sha256}"
    where = f"{shown(archive)}: {shown(named.path)}"
    if source is None or not source.is_file():
        raise ArchiveError(
            where,
            "an input that is only named" if source is None else f"no file {shown(source)}",
            f"{wanted}, from {shown(named.url or 'whoever made the archive')}",
            "Put it at this path in a folder of your own, and name that with --inputs."
            + (" Or let --fetch fetch it." if named.address else ""),
        )
    try:
        same = source.stat().st_size == named.size and sha256_of(source) == named.sha256
    except OSError as error:
        raise ArchiveError(
            where,
            f"a file that cannot be read ({shown(error)})",
            wanted,
            "Correct its permissions, or copy it to another disk.",
        ) from None
    if not same:
        raise ArchiveError(
            where,
            f"another file, {shown(source)}",
            wanted,
            "Fetch the one that the archive names.",
        )
    return source.resolve()


def rerun(
    bag: Path,
    python: str,
    targets: Sequence[str],
    cores: int,
    surroundings: Surroundings,
    readable: Sequence[Path] = (),
) -> None:
    """Run the archive's workflow.

    Parameters
    ----------
    bag : Path
        From `prepare`.
    python : str
        The Python of the environment to run it in.
    targets : sequence of str
        Files to make; all tables if none are given.
    cores : int
    surroundings : Surroundings
        Where it runs.
    readable : sequence of Path
        Files and folders that it reads, beside its own.

    Raises
    ------
    ArchiveError
        The run failed.
    """
    workflow = bag / _WORKFLOW
    command = [python, "-m", "snakemake", *targets]
    command += ["--snakefile", str(workflow / "Snakefile"), "--directory", str(bag)]
    command += ["--workflow-profile", str(workflow / "profiles/default")]
    command += ["--cores", str(cores), "--configfile", str(bag / CONFIGURATION)]
    status, output = surroundings.run(
        command,
        start=bag,
        # Of the archive, not of this process: its own library is what is to be verified.
        variables=surroundings.variables() | {"PYTHONPATH": str(workflow / "scripts")},
        writable=[bag],
        readable=readable,
    )
    if status != 0:
        lines = output.strip().splitlines()[-_LINES_SHOWN:]
        raise ArchiveError(
            "the re-run",
            f"snakemake exit status {status}",
            "a complete run",
            "\n".join(["Its last lines:", *map(shown, lines)]),
        )


def default_targets(prepared: Prepared) -> list[str]:
    """Tables that an archive has results of."""
    return [
        f"results/{prepared.study}/{name}"
        for name in TABLES
        if (prepared.archived / name).is_file()
    ]
