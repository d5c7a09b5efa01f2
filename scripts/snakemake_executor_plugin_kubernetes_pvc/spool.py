"""Tasks on the shared volume: a driver leaves them in a folder, and warm pods take them from it.

Three files stand for a task, each named after what it makes: ``.task`` (what to do), ``.claim``
(the worker that has taken it; only one can create the file), and ``.end`` (how it went). Nothing
passes between driver and workers but these files, so workers go on while no driver lives, and its
successor reads how far they are.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

TASK, CLAIM, END = ".task", ".claim", ".end"
# Claims of the driver itself, for tasks that no worker may take any more.
WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Task:
    """One Snakemake job with a Python script, as a worker runs it.

    Attributes
    ----------
    product
        Digest of the names of its outputs: no two tasks with the same one run at once.
    content
        Digest of everything that its outputs depend on.
    title
        What it is, for people: "delineate 07".
    source
        Text of the script.
    file
        Where the script comes from.
    snakemake
        The script's ``snakemake`` object, pickled.
    directory
        Working directory.
    outputs, inputs, logs
        Files. Missing inputs are waited for.
    benchmark
        File for times and memory, in Snakemake's format, if any.
    runtime_s
        Seconds after which it is ended, if any.
    latency_s
        Seconds for which missing inputs are waited for.
    seconds
        How long it is expected to take.
    search
        Folders that are appended to the module search path.
    """

    product: str
    content: str
    title: str
    source: str
    file: str
    snakemake: bytes
    directory: str
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    benchmark: str | None = None
    runtime_s: float | None = None
    latency_s: float = 0
    seconds: float = 1
    search: tuple[str, ...] = ()


@dataclass(frozen=True)
class End:
    """How a task went.

    Attributes
    ----------
    content
        As in `Task`.
    worker
        The worker that ran it.
    reason
        Why it failed; empty if it did not.
    out_of_memory
        The memory limit of its pod, if it was killed for want of memory; else empty.
    seconds
        How long it took.
    files
        Size and time of change (ns) of each output.
    said
        The last lines of its standard output and error.
    """

    content: str
    worker: str
    reason: str = ""
    out_of_memory: str = ""
    seconds: float = 0
    files: list[list[int]] = field(default_factory=list)
    said: str = ""


@dataclass(frozen=True)
class Stand:
    """What a spool holds at one time.

    Attributes
    ----------
    tasks
        Products of all tasks.
    claims
        Who has taken a task, by product.
    ends
        How tasks went, by product.
    """

    tasks: set[str]
    claims: Mapping[str, str]
    ends: Mapping[str, End]


def digest(*parts: object) -> str:
    """Return 16 hexadecimal digits that stand for some plain values.

    Raises
    ------
    TypeError
        If one is not made of texts, numbers, lists and mappings.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def state_of(files: tuple[str, ...]) -> list[list[int]]:
    """Return size and time of change (ns) of files.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    """
    return [[stat.st_size, stat.st_mtime_ns] for stat in map(os.stat, files)]


class Spool:
    """A folder with tasks for workers of one kind.

    Parameters
    ----------
    folder
        On the shared volume. It is created with the first task.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._claims: dict[str, str] = {}
        self._ends: dict[str, End] = {}
        self._seen = 0

    def put(self, task: Task) -> None:
        """Leave a task for the workers, in place of an earlier one for the same files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # From here on nobody takes it for the earlier one, and then for one that has ended.
        self.forget(task.product)
        values = asdict(task) | {"snakemake": base64.b64encode(task.snakemake).decode()}
        self._write(task.product + TASK, json.dumps(values).encode())

    def task(self, product: str) -> Task | None:
        """Read a task, or return None if there is none.

        Its pickled object is not touched: jobs can write here, so only a job may unpickle it.
        """
        try:
            values = json.loads((self.folder / (product + TASK)).read_bytes())
        except FileNotFoundError:
            return None
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return Task(**values | lists | {"snakemake": base64.b64decode(values["snakemake"])})

    def look(self) -> Stand:
        """Read what has become of all tasks."""
        self._seen = self._changed_at()
        names = self._names()
        tasks = {name.removesuffix(TASK) for name in names if name.endswith(TASK)}
        claims, ends = {}, {}
        for product in tasks:
            if product + CLAIM in names and (worker := self._claim_of(product)):
                claims[product] = worker
            if product + END in names and (end := self._end_of(product)):
                ends[product] = end
        self._claims, self._ends = claims, ends
        return Stand(tasks, claims, ends)

    def changed(self) -> bool:
        """Tell whether files came or went since the last look."""
        return self._changed_at() != self._seen

    def withdraw(self, product: str) -> bool:
        """Take a task back, and return False if a worker has it."""
        if not self._create_claim(product, WITHDRAWN):
            return False
        self.forget(product)
        return True

    def give_back(self, product: str) -> None:
        """Let another worker have a task whose worker is gone."""
        self._claims.pop(product, None)
        self._unlink(product + CLAIM)

    def forget(self, product: str) -> None:
        """Remove a task that no worker has, or that has ended."""
        self._claims.pop(product, None)
        self._ends.pop(product, None)
        for suffix in (TASK, END, CLAIM):
            self._unlink(product + suffix)

    def claim(self, worker: str, seen: set[str]) -> Task | None:
        """Take a task for a worker, or return None if there is none to take.

        Parameters
        ----------
        worker
            Its name.
        seen
            Tasks that were left to others; the worker's own memory, from call to call.
        """
        names = self._names()
        open_ones = [name.removesuffix(TASK) for name in names if name.endswith(TASK)]
        free = {each for each in open_ones if each + CLAIM not in names and each + END not in names}
        # Workers start at different ones, so that they seldom meet.
        for product in sorted(free - seen, key=lambda product: digest(worker, product)):
            if not self._create_claim(product, worker):
                seen.add(product)
                continue
            if task := self.task(product):
                return task
            self._unlink(product + CLAIM)  # withdrawn at this moment
        seen.clear()
        return None

    def end(self, product: str, end: End) -> None:
        """Say how a task went."""
        self._write(product + END, json.dumps(asdict(end)).encode())

    def _changed_at(self) -> int:
        try:
            return self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _names(self) -> set[str]:
        try:
            return set(os.listdir(self.folder))
        except FileNotFoundError:
            return set()

    def _claim_of(self, product: str) -> str:
        """Name of the worker that has a task; empty while that is being written."""
        if product not in self._claims:
            with suppress(FileNotFoundError):
                return (self.folder / (product + CLAIM)).read_text(encoding="utf-8")
        return self._claims.get(product, "")

    def _end_of(self, product: str) -> End | None:
        if product not in self._ends:
            with suppress(FileNotFoundError):
                return End(**json.loads((self.folder / (product + END)).read_bytes()))
        return self._ends.get(product)

    def _create_claim(self, product: str, worker: str) -> bool:
        try:
            with open(self.folder / (product + CLAIM), "x", encoding="utf-8") as file:
                file.write(worker)
        except FileExistsError:
            return False
        return True

    def _write(self, name: str, content: bytes) -> None:
        """Write a file that appears whole."""
        part = self.folder / f".{name}.{uuid.uuid4().hex[:8]}"
        part.write_bytes(content)
        part.rename(self.folder / name)

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            (self.folder / name).unlink()


def spools_in(folder: Path) -> Iterator[Spool]:
    """All spools in a folder."""
    with suppress(FileNotFoundError):
        for each in sorted(folder.iterdir()):
            if each.is_dir():
                yield Spool(each)
