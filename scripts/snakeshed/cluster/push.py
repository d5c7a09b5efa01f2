"""Files of a study from here to the volume: only what has changed, in pieces that are resumed."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from snakeshed.cluster.agent import REPLACED
from snakeshed.cluster.selection import Local, Selection
from snakeshed.cluster.volume import CutOff, Volume
from snakeshed.errors import InputChangedError, KubernetesError
from snakeshed.result_files import sha256_of

# What goes through one call of kubectl: a large file is sent in as many as it takes.
PIECE_BYTES = 64_000_000
_SAY_EVERY_S = 5.0
_PATHS_SHOWN = 5

# Where inputs are listed on the volume: by the code that was copied there.
_VARIABLES = ("PYTHONPATH=scripts", "PYTHONPYCACHEPREFIX=/tmp/pycache")
_LIST_INPUTS = (
    "import json, sys; from snakeshed.cluster.inputs import inputs_of; "
    "print(json.dumps(inputs_of(sys.argv[1])))"
)


@dataclass
class Plan:
    """What is to be sent.

    Attributes
    ----------
    send : list of Local
    parts : dict of str to int
        Bytes that are there already of some of them.
    replaced : list of str
        Those that take the place of other content.
    keep : set of str
        Those of them of which the other content was not pushed.
    note : dict of str to dict
        What is there already, but not known to be the same.
    """

    send: list[Local] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    keep: set[str] = field(default_factory=set)
    note: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def bytes_left(self) -> int:
        """Bytes that are still to be sent."""
        return sum(each.size - self.parts.get(each.path, 0) for each in self.send)


def push(
    volume: Volume, selection: Selection, busy: Callable[[], list[str]], piece: int = PIECE_BYTES
) -> None:
    """Copy what a study needs to the volume.

    Nothing is deleted there: content that was not pushed, and that a file of the same path
    replaces, is kept in ``.snakeshed/replaced``.

    Parameters
    ----------
    volume
        Where to.
    selection
        What; the working directory is the checkout.
    busy
        Returns the names of drivers that run. While one does, nothing that is there is replaced.
    piece : int
        Bytes of a piece.

    Raises
    ------
    KubernetesError
        A run goes on that reads what would be replaced, the volume has inputs that are not here,
        or the copy fails.
    InputChangedError
        A file changes while it is copied.
    """
    plan = volume.insist(lambda: plan_push(volume, selection.files))
    _check_no_run(plan.replaced, busy)
    for kept in sorted(plan.keep):
        volume.kubectl.say(f"{kept} was another file on the volume; that one is kept in {REPLACED}")
    sent = _Sent(volume.kubectl.say, len(plan.send), plan.bytes_left)
    state = [plan]

    def work() -> None:
        if state[0] is None:
            state[0] = plan_push(volume, selection.files)
        now, state[0] = state[0], None
        if now.note:
            volume.ask({"do": "note", "files": now.note})
        left.append(now.bytes_left + len(now.send))
        _send(volume, now, sent, piece, busy)

    left: list[int] = []
    volume.insist(work, lambda: left[-1] if left else 0)
    sent.end()
    _check_inputs(volume, selection)


def plan_push(volume: Volume, files: list[Local]) -> Plan:
    """Compare files with those on the volume.

    A file counts as the same if neither has changed since it was pushed, or by its SHA-256.

    Raises
    ------
    CutOff
        See `Volume.ask`.
    """
    by_path = {each.path: each for each in files}
    order = {
        "do": "look",
        "paths": list(by_path),
        "parts": {each.path: _token(each) for each in files if each.link is None},
    }
    seen = volume.ask(order)[-1]["done"]
    plan, unknown = Plan(), []
    for each in files:
        there, known = seen["files"][each.path], seen["record"].get(each.path)
        if there is None:
            plan.send.append(each)
        elif each.link is not None:
            if there.get("link") != each.link:
                plan.send.append(each)
                plan.replaced.append(each.path)
                plan.keep.add(each.path)
        elif known and there["times"] == known["there"]:
            if known["here"] == each.times:
                continue
            digest = sha256_of(each.path) if known["there"][0] == each.size else None
            if digest == known["sha256"]:
                plan.note[each.path] = {"here": each.times, "sha256": digest}
            else:
                plan.send.append(each)
                plan.replaced.append(each.path)
        elif there["times"] and there["times"][0] == each.size:
            unknown.append(each)
        else:
            plan.send.append(each)
            plan.replaced.append(each.path)
            plan.keep.add(each.path)
    if unknown:
        digests = volume.ask({"do": "hash", "paths": [each.path for each in unknown]})[-1]["done"]
        for each in unknown:
            digest = sha256_of(each.path)
            if digests[each.path] == digest:
                plan.note[each.path] = {"here": each.times, "sha256": digest}
            else:
                plan.send.append(each)
                plan.replaced.append(each.path)
                plan.keep.add(each.path)
    plan.parts = {
        each.path: seen["parts"][each.path]
        for each in plan.send
        if 0 < seen["parts"].get(each.path, 0) <= each.size
    }
    return plan


class _Sent:
    """Says how far a copy is."""

    def __init__(self, say: Callable[[str], None], files: int, total: int) -> None:
        self._say, self._files, self._total, self._done = say, files, total, 0
        self._said = time.monotonic()
        if files:
            say(f"Copying {counted(files)} ({megabytes(total)}) to the volume.")
        else:
            say("The volume has all files as they are here.")

    def add(self, count: int) -> None:
        """Count bytes that were sent."""
        self._done += count
        if time.monotonic() - self._said >= _SAY_EVERY_S and self._done < self._total:
            self._said = time.monotonic()
            self._say(f"{megabytes(self._done)} of {megabytes(self._total)} copied.")

    def end(self) -> None:
        """Say that it is done."""
        if self._files:
            self._say("Copied.")


def _check_no_run(replaced: list[str], busy: Callable[[], list[str]]) -> None:
    """See that no run goes on while files are replaced that it may read."""
    if replaced and (drivers := busy()):
        raise KubernetesError(
            f"driver {drivers[0]}",
            f"a run that goes on and may read what has changed here: {_shown(replaced)}",
            "no run while code, configuration, or inputs of it are replaced",
            "Wait for its end (snakeshed cluster status), or stop it: snakeshed cluster stop",
        )


def _send(
    volume: Volume, plan: Plan, sent: _Sent, piece: int, busy: Callable[[], list[str]]
) -> None:
    """Send pieces, as many at a time as go through one call.

    A run may have been started since the copy began, which takes hours: each call looks for one.
    """
    replaced = set(plan.replaced)

    def deliver() -> None:
        _check_no_run(sorted(replaced & set(paths)), busy)
        _deliver(volume, batch)
        sent.add(size)

    keep = datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    batch, paths, size = [], [], 0
    for head, content in _pieces(plan, keep, piece):
        paths.append(head["path"])
        batch.append(json.dumps(head).encode("ascii") + b"\n" + content)
        size += len(content)
        if size >= piece:
            deliver()
            batch, paths, size = [], [], 0
    if batch:
        deliver()


def _deliver(volume: Volume, batch: list[bytes]) -> None:
    done = volume.ask({"do": "receive"}, b"".join(batch))[-1]["done"]
    if done["wrong"]:
        raise CutOff(f"{_shown(done['wrong'])} arrived with other bytes")
    # kubectl may end well although what it was given did not reach the pod.
    if done["pieces"] != len(batch):
        raise CutOff(f"{done['pieces']} of {len(batch)} pieces have arrived")


def _pieces(plan: Plan, keep: str, piece: int) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield what is to be sent, small files first: code is there before data."""
    for each in sorted(plan.send, key=lambda one: one.size > piece):
        head: dict[str, Any] = {"path": each.path}
        if each.path in plan.keep:
            head["keep"] = keep
        if each.link is not None:
            yield head | {"link": each.link}, b""
            continue
        offset = plan.parts.get(each.path, 0)
        head |= {"token": _token(each), "size": each.size, "mtime_ns": each.mtime_ns}
        head |= {"executable": each.executable, "here": each.times}
        with open(each.path, "rb") as file:
            while True:
                file.seek(offset)
                content = file.read(piece)
                last = offset + len(content) >= each.size
                told = {**head, "offset": offset, "length": len(content), "last": last}
                if last:
                    whole = len(content) == each.size
                    told["sha256"] = (
                        hashlib.sha256(content).hexdigest() if whole else sha256_of(each.path)
                    )
                    _check_unchanged(each)
                elif not content:
                    _check_unchanged(each)
                yield told, content
                offset += len(content)
                if last:
                    break


def _check_unchanged(file: Local) -> None:
    state = os.stat(file.path)
    if [state.st_size, state.st_mtime_ns] != file.times[:2]:
        raise InputChangedError(
            file.path,
            "another size or time than when the copy began",
            "a file that stays as it is while it is copied",
            "Wait until it is written, and run the same command again.",
        )


def _check_inputs(volume: Volume, selection: Selection) -> None:
    """See that a run there would read the files that one would read here, and no others."""
    command = ("env", *_VARIABLES, "python", "-P", "-c", _LIST_INPUTS)
    said = volume.insist(lambda: volume.run(*command, selection.configuration))
    try:
        there = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise KubernetesError(
            "the access pod",
            f"no list of the study's inputs ({said.strip()[-200:]})",
            "the list that the copied code makes",
            "Check that the image is built from envs/Dockerfile of this checkout.",
        ) from None
    names = {Path(os.path.normpath(each)).as_posix() for each in there}
    if more := sorted(names - set(selection.inputs)):
        raise KubernetesError(
            "the volume",
            f"inputs of {selection.configuration} that are not here: {_shown(more)}",
            "the same files for a folder or pattern there as here",
            "Copy them here, or remove them there: kubectl exec --namespace "
            f"{volume.kubectl.namespace} deployment/snakeshed-access -- rm -- "
            f"{shlex.quote(more[0])}",
        )


def _token(file: Local) -> str:
    """Return what tells the half-sent file from that of another content."""
    return hashlib.sha256(json.dumps(file.times[:2]).encode()).hexdigest()[:12]


def _shown(paths: list[str]) -> str:
    more = len(paths) - _PATHS_SHOWN
    return ", ".join(paths[:_PATHS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def megabytes(count: int) -> str:
    """Return a number of bytes for a person."""
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"


def counted(files: int) -> str:
    """Return a number of files in words."""
    return "1 file" if files == 1 else f"{files:,} files"
