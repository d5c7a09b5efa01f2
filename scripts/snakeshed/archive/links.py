"""Symbolic links that an archive asks for: all are resolved before any is created."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from snakeshed.archive.entry_names import collisions, folded, quoted, unportable, unsafe

# As Linux has it.
_MOST_STEPS = 40


def link_faults(links: Mapping[str, str], files: Collection[str]) -> Iterator[str]:
    """Yield why links must not be created in a folder.

    Each link may stay inside while a chain of them leaves the folder. So every target is followed
    part by part, through the other links, as the system will do.

    Parameters
    ----------
    links : mapping of str to str
        Targets by the name of the link in the folder.
    files : collection of str
        Names of the files that are there; none is a link.

    Yields
    ------
    str
        A link with the reason.
    """
    for name in links:
        if fault := unsafe(name) or unportable(name):
            yield f"the link {quoted(name)}, {fault}"
    for fault in collisions([*files, *links]):
        yield f"the link or file {fault}"
    # A file system that ignores case follows them in any case.
    by_parts = {tuple(folded(name).split("/")): target for name, target in links.items()}
    for name, target in links.items():
        if fault := _leaves(tuple(folded(name).split("/"))[:-1], target, by_parts):
            yield f"the link {quoted(name)} to {quoted(target)}, {fault}"


def _leaves(folder: tuple[str, ...], target: str, links: Mapping[tuple, str]) -> str:
    """Follow a target from a folder; return why it must not be followed, or nothing."""
    if target.startswith("/"):
        return "which leaves the workflow"
    for part in target.split("/"):
        if part not in {"", ".", ".."} and (fault := unsafe(part)):
            return fault
    at, ahead, steps = list(folder), _parts(target), 0
    while ahead:
        part = ahead.pop()
        if part != "..":
            at.append(part)
        elif at:
            at.pop()
        else:
            return "which leaves the workflow"
        if tuple(at) in links:
            steps += 1
            target = links[tuple(at)]
            if target.startswith("/"):
                return "which leaves the workflow"
            if steps > _MOST_STEPS:
                return "which leads nowhere"
            at.pop()
            ahead += _parts(target)
    return ""


def _parts(target: str) -> list[str]:
    """Parts of a path, the first one last."""
    return [part for part in reversed(folded(target).split("/")) if part not in {"", "."}]
