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
# What a file raises that no driver or worker has written: jobs can write here, too.
NOT_OURS = (ValueError, TypeError, KeyError, AttributeError)
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
        Size and inode of each output. Snakemake sets the times of change anew.
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
    """Return size and inode of files.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    """
    return [[stat.st_size, stat.st_ino] for stat in map(os.stat, files)]


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
        # What a worker has listed and not tried yet, and when there was nothing.
        self._listed: list[str] = []
        self._empty_at = -1

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
            lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
            return Task(**values | lists | {"snakemake": base64.b64decode(values["snakemake"])})
        except (FileNotFoundError, *NOT_OURS):
            return None

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

    def claim(self, worker: str) -> Task | None:
        """Take a task for a worker, or return None if there is none to take."""
        if not self._listed:
            changed_at = self._changed_at()
            if changed_at == self._empty_at:
                return None
            names = self._names()
            products = [name.removesuffix(TASK) for name in names if name.endswith(TASK)]
            self._listed = [
                each for each in products if each + CLAIM not in names and each + END not in names
            ]
            # Workers start at different ones, so that they seldom meet.
            self._listed.sort(key=lambda product: digest(worker, product))
            if not self._listed:
                self._empty_at = changed_at
        while self._listed:
            product = self._listed.pop()
            if not self._create_claim(product, worker):
                continue
            task = self.task(product)
            # Another task for the same files may have come meanwhile, whose claim is not ours.
            if task is not None and self._read_claim(product) == worker:
                return task
            self._unlink(product + CLAIM)  # withdrawn at this moment
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
        """Name of the worker that has a task; empty if nobody has it any more."""
        if product not in self._claims:
            return self._read_claim(product)
        return self._claims[product]

    def _read_claim(self, product: str) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / (product + CLAIM)).read_text(encoding="utf-8", errors="replace")
        return ""

    def _end_of(self, product: str) -> End | None:
        if product not in self._ends:
            with suppress(FileNotFoundError, *NOT_OURS):
                return End(**json.loads((self.folder / (product + END)).read_bytes()))
        return self._ends.get(product)

    def _create_claim(self, product: str, worker: str) -> bool:
        """Create a claim, with its content at once, and return False if there is one."""
        part = self.folder / f".{product}{CLAIM}.{uuid.uuid4().hex[:8]}"
        part.write_text(worker, encoding="utf-8")
        try:
            os.link(part, self.folder / (product + CLAIM))
        except FileExistsError:
            return False
        finally:
            part.unlink()
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
