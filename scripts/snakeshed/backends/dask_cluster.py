"""Backend ``dask``: the patches of a shard as tasks of a Dask cluster, or of one made for the job.

A task carries paths and windows, never arrays, and comes back as rows: besides the network, all
that workers share with the job is the volume with the files, at the same path. All bookkeeping is
on this side, so that any scheduler will do, and may be lost: what a task does depends on nothing
but itself, and it is simply sent again.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import ssl
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import Generic

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, wait
from distributed.client import ClosedClientError
from distributed.security import Security

from snakeshed.backends.dask_worker import sealed, versions
from snakeshed.backends.given_memory import LEAST_WORKER_BYTES
from snakeshed.backends.local import Backend, Result, Task
from snakeshed.errors import ClusterError
from snakeshed.jobs.digest import PACKAGE

log = logging.getLogger(__name__)

KILLS = 3
"""Workers that a task may end before it is given up."""

# How a cluster that is made for a job differs from what Dask does by itself.
_LOCAL_SETTINGS = {
    # Whom to blame for a worker's end, and when to give up, is decided on this side.
    "distributed.scheduler.allowed-failures": 0,
    # Tasks keep nothing in a worker: one that pauses would wait for memory for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # A worker that ends is started anew, however often; by default Dask gives it up for good if it
    # happens to be away so long after it ended for the first time.
    "distributed.deploy.lost-worker-timeout": "365 days",
}
# Where a worker has room for it (bytes), arrays that it is done with are not given back to the
# system at once, to be asked for again: that takes as long as the work on them.
_KEEP = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
_ROOM_TO_KEEP = 1_000_000_000
# Share of a job's memory that is for this process itself: the libraries, and the rows of a shard.
_OWN_SHARE = 0.1
# Share of a worker's memory that tasks are cut for (Dask ends one that comes to 0.95), and bytes
# of it that Dask itself takes there.
_USABLE_SHARE = 0.85
_DASK_BYTES = 50_000_000
# Bundles of tasks for each thread: one that it works on, and one that is there when that is done.
_AT_HAND = 2
# Seconds that a bundle takes, at most and at least, if it can be known: long enough that what it
# takes to send it does not matter, and not so long that others have nothing to do in the end.
_BUNDLE_S, _SMALL_BUNDLE_S = 0.25, 0.02
# Seconds from one look at the cluster to the next, from one word on how far it is to the next, and
# that one answer of it may take.
_LOOK_S, _SAY_S, _ANSWER_S = 2.0, 5.0, 30.0
_AGAIN = "run the same command again: what is done stays done."
# What a connection that breaks may raise; CommClosedError is an OSError.
_BROKEN = (OSError, RuntimeError, CancelledError, ClosedClientError)
_HINTS = {
    "tcp://": " (one that takes TLS only has an address that starts with tls://)",
    # A scheduler that does not accept a certificate may close the connection without a word.
    "tls://": " (if it runs, it may not accept the certificate of this job)",
}
_HOW_TLS = 'see "On a Dask cluster" in README.md'


class _NoTraceback(logging.Filter):
    """Leaves out what Dask logs of a lost connection with a traceback: here it is said in words."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, (*_BROKEN, TimeoutError, asyncio.CancelledError))


for _name in ("distributed.batched", "distributed.client"):
    logging.getLogger(_name).addFilter(_NoTraceback())


class DaskBackend(Backend):
    """Runs tasks on a Dask cluster.

    Parameters
    ----------
    workers : int
        Processes of a cluster that is made for this job, at most: each has to have memory.
    memory : int, optional
        Bytes of the job, of which these get what this process leaves; by default what the machine
        has.
    address : str, optional
        Scheduler of a cluster that is there already; ``tls://`` takes the certificates that Dask
        is configured with. Without an address, a cluster is made on this machine, with
        certificates that exist as long as it does.
    patience_s : float
        How long a scheduler that was lost is waited for, or workers where there are none.

    Raises
    ------
    ClusterError
        There is no scheduler at the address, it is of other versions than this process, or the
        certificates of one are not good for the other.
    """

    def __init__(
        self,
        workers: int = 1,
        memory: int | None = None,
        address: str | None = None,
        patience_s: float = 300.0,
    ) -> None:
        super().__init__("serial", workers)
        self.patience_s = patience_s
        self.where = f"the Dask scheduler {address} (DASK_SCHEDULER_ADDRESS)"
        self._open = ExitStack()
        self._address = address
        self._client: Client | None = None
        try:
            if address is None:
                self.where = "the Dask scheduler of this job"
                self._address, self._security = self._open.enter_context(
                    _own_cluster(workers, memory)
                )
            else:
                self._security = _configured_security(self.where, address)
            self._connect(dask.config.get("distributed.comm.timeouts.connect"))
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster, and end it if it was made for this job."""
        self._disconnect()
        self._open.close()

    def threads_for(self, tasks: int) -> int:
        """One: a worker has one core, and other tasks are for others."""
        return 1

    def worker_bytes(self, given: int) -> int:
        """Bytes of memory that a worker may take: of the least that any is limited to.

        Raises
        ------
        ClusterError
            That has no room for the libraries.
        """
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
        least = min(limits, default=given)
        if least < LEAST_WORKER_BYTES:
            raise ClusterError(
                self.where,
                f"a worker with {least / 1e6:.0f} MB of memory",
                f"at least {LEAST_WORKER_BYTES / 1e6:.0f} MB for each",
                f"Give workers (or, without a cluster, the job: mem_mb) more, and {_AGAIN}",
            )
        return int(least * _USABLE_SHARE) - _DASK_BYTES

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        lost: Callable[[Task], Result] | None = None,
        what: str = "tasks",
    ) -> Iterator[Result]:
        """Apply a function to each task on some worker, as `Backend.map` does.

        Tasks that were at hand where a worker ended are done again, each with no other of this
        call at work: so it alone is to blame for the next time.

        Raises
        ------
        SnakeshedError
            What the function raises.
        ClusterError
            Scheduler or workers are gone and do not come back, or are of other versions; or a
            task has ended `KILLS` workers, and nothing is to stand for it.
        """
        work = _Work(self, function, list(tasks), lost, what)
        try:
            yield from work.results()
        finally:
            work.forget()

    @property
    def client(self) -> Client:
        """The connection to the cluster, for as long as it holds."""
        return self._client

    def threads_there(self) -> int:
        """Count the threads of all workers that take tasks."""
        scheduler = self._client.scheduler
        return sum(self._client.sync(_threads, scheduler, callback_timeout=_ANSWER_S).values())

    def reconnect(self) -> None:
        """Find a scheduler again that was lost.

        Raises
        ------
        ClusterError
            It has not come back in time, or is of other versions now.
        """
        log.info("dask: %s is lost; waiting for it", self.where)
        self._disconnect()
        until = time.monotonic() + self.patience_s
        while True:
            try:
                self._connect(max(1.0, until - time.monotonic()))
                return
            except ClusterError as error:
                # One that comes up may refuse what it answers a second later.
                if time.monotonic() < until and isinstance(error.__cause__, _BROKEN):
                    time.sleep(0.5)
                    continue
                if error.__cause__ is None:
                    raise
                raise ClusterError(
                    self.where,
                    f"none since {self.patience_s:g} s, after it was lost in the midst of work",
                    "one that stays",
                    f"See why it ended (its log, its memory), start it, and {_AGAIN}",
                ) from error

    def _connect(self, timeout: float | str) -> None:
        try:
            self._client = Client(
                self._address,
                timeout=timeout,
                security=self._security,
                set_as_default=False,
                name="snakeshed",
            )
            theirs = self._client.get_versions()
        except (*_BROKEN, ValueError) as error:
            self._disconnect()
            refused = _tls_error(error)
            if refused is not None:
                raise ClusterError(
                    self.where,
                    f"certificates that do not fit those of this job ({refused})",
                    "certificates of one authority, here and there",
                    "Give scheduler, workers, and this job the same distributed.comm.tls.ca-file, "
                    f"and certificates that it has issued ({_HOW_TLS}).",
                ) from error
            raise ClusterError(
                self.where,
                f"no answer ({error})",
                "one that can be reached from here",
                f"Start it{_HINTS.get(self._address[:6], '')}, or unset "
                f"DASK_SCHEDULER_ADDRESS to work on this machine alone, and {_AGAIN}",
            ) from error
        log.info("dask: dashboard at %s", self._client.dashboard_link)
        ours = _protocol(theirs["client"])
        told = {self.where: theirs["scheduler"]}
        told |= {f"the Dask worker {name}": one for name, one in theirs["workers"].items()}
        for where, one in told.items():
            # One that is just going has nothing to tell.
            if one and _protocol(one) != ours:
                raise _other_versions(where, _protocol(one), ours)

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            # It may want to say so to a scheduler that is gone.
            with suppress(*_BROKEN):
                client.close(timeout=2)


class _Work(Generic[Task, Result]):
    """The tasks of one call of `DaskBackend.map`, wherever they are."""

    def __init__(
        self,
        backend: DaskBackend,
        function: Callable[[Task], Result],
        tasks: list[Task],
        lost: Callable[[Task], Result] | None,
        what: str,
    ) -> None:
        self._backend = backend
        self._function = function
        self._tasks = tasks
        self._lost = lost
        self._what = what
        self._name = f"{what}-{uuid.uuid4().hex[:8]}"
        self._sent = 0
        self._waiting = deque(range(len(tasks)))
        self._suspects: deque[int] = deque()
        self._flying: dict[Future, list[int]] = {}
        self._seconds = _BUNDLE_S  # of one task, lately
        self._alone = False
        self._kills: Counter[int] = Counter()
        self._done: dict[int, Result] = {}
        self._finished = 0
        self._threads = 0
        self._looked = -float("inf")
        self._said = self._heard = time.monotonic()

    def results(self) -> Iterator[Result]:
        """Yield the results in the order of the tasks."""
        for number in range(len(self._tasks)):
            while number not in self._done:
                try:
                    self._check_connection()
                    self._look()
                    self._send()
                    self._collect()
                except _ConnectionLost:
                    self._start_again()
                self._say()
            yield self._done.pop(number)

    def forget(self) -> None:
        """Tell the cluster that nobody waits for what is still under way."""
        client = self._backend.client
        if self._flying and client is not None:
            with suppress(*_BROKEN):
                client.cancel(list(self._flying))
        self._flying.clear()

    def _check_connection(self) -> None:
        if self._backend.client.status != "running":
            raise _ConnectionLost

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        with _calling():
            self._threads = self._backend.threads_there()
        self._looked = now
        if self._threads:
            self._heard = now
        elif now - self._heard > self._backend.patience_s:
            raise ClusterError(
                self._backend.where,
                f"no worker that takes tasks for {self._backend.patience_s:g} s",
                "at least one",
                f"See why there is none (their logs, their memory), start some, and {_AGAIN}",
            )

    def _send(self) -> None:
        """Give the cluster as much as it can use; a suspect only when it has nothing else."""
        self._alone = self._alone and bool(self._flying)
        if self._alone:
            return
        room = max(1, _AT_HAND * self._threads)
        while self._waiting and len(self._flying) < room:
            least, most = int(_SMALL_BUNDLE_S / self._seconds), int(_BUNDLE_S / self._seconds)
            size = max(1, least, min(most, -(-len(self._waiting) // room)))
            size = min(size, len(self._waiting))
            self._submit([self._waiting.popleft() for _ in range(size)])
        if not self._flying and self._suspects:
            self._alone = True
            self._submit([self._suspects.popleft()])

    def _submit(self, numbers: list[int]) -> None:
        calls = sealed(self._function, [self._tasks[number] for number in numbers])
        self._sent += 1
        key = f"{self._name}-{self._sent}"
        with _calling():
            future = self._backend.client.submit(pickle.loads, calls, key=key, pure=False)
        self._flying[future] = numbers

    def _collect(self) -> None:
        """Wait for a task to end, but not long, and take all that have."""
        client = self._backend.client
        with _calling(), suppress(TimeoutError, CancelledError), client.as_current():
            wait(list(self._flying), timeout=_LOOK_S, return_when="FIRST_COMPLETED")
        for future in [future for future in self._flying if future.done()]:
            self._take(future, self._flying[future])
            del self._flying[future]

    def _take(self, future: Future, numbers: list[int]) -> None:
        if future.status == "cancelled":
            # The scheduler has forgotten it, as when it was started anew.
            self._waiting.extendleft(reversed(numbers))
            return
        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            self._blame(numbers, error.allowed_failures + 1, error.last_worker.address)
            return
        if isinstance(error, ImportError) and (error.name or "").startswith("snakeshed"):
            raise _other_versions("a Dask worker", (), versions()) from error
        if error is not None:
            raise error
        try:
            with _calling():
                kind, value, worker, seconds = future.result(timeout=_ANSWER_S)
        except KilledWorker as error:
            # The worker that had the result has ended, and so has the next one over it.
            self._blame(numbers, error.allowed_failures + 1, error.last_worker.address)
            return
        if kind == "versions":
            raise _other_versions(f"the Dask worker {worker}", value, versions())
        if kind == "folder":
            raise ClusterError(
                f"the Dask worker {worker}",
                f"{value}, where this job works",
                "the volume with the workflow and its files at the same path as here",
                f"Mount it there, and {_AGAIN}",
            )
        self._seconds = max(seconds / len(numbers), 1e-6)
        for number, (outcome, result) in zip(numbers, value, strict=True):
            if outcome == "error":
                raise result
            if outcome == "memory":
                self._blame([number], 1, worker)
            else:
                self._finish(number, result)

    def _finish(self, number: int, result: Result) -> None:
        self._done[number] = result
        self._finished += 1
        self._heard = time.monotonic()

    def _blame(self, numbers: list[int], kills: int, worker: str) -> None:
        """Take note that tasks were at hand where a worker ended, or had no memory left."""
        for number in numbers:
            self._kills[number] += kills
        log.info(
            "dask: worker %s ended with %d of the %s at hand%s",
            worker,
            len(numbers),
            self._what,
            f", {self._kills[numbers[0]]} of {KILLS} times" if self._alone else "",
        )
        if not self._alone or self._kills[numbers[0]] < KILLS:
            self._suspects.extend(numbers)
        elif self._lost is not None:
            self._finish(numbers[0], self._lost(self._tasks[numbers[0]]))
        else:
            raise ClusterError(
                self._backend.where,
                f"{KILLS} workers that ended with the same task, most likely for want of memory",
                "workers that come to the end of it",
                f"Give each worker more memory, and {_AGAIN}",
            )

    def _start_again(self) -> None:
        """Connect again; send again all that was under way."""
        under_way = [number for numbers in self._flying.values() for number in numbers]
        self._waiting.extendleft(sorted(under_way, reverse=True))
        self._flying.clear()
        self._alone = False
        self._backend.reconnect()
        self._heard = time.monotonic()
        self._looked = -float("inf")

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_S or self._finished == len(self._tasks):
            self._said = now
            log.info(
                "dask: %d of %d %s done, %d at hand, %d threads",
                self._finished,
                len(self._tasks),
                self._what,
                sum(map(len, self._flying.values())),
                self._threads,
            )


class _ConnectionLost(Exception):
    """The scheduler does not answer."""


@contextmanager
def _calling() -> Iterator[None]:
    """Tell what a broken connection raises from what a task raises."""
    try:
        yield
    except _BROKEN as error:
        raise _ConnectionLost from error


def _configured_security(where: str, address: str) -> Security:
    """Certificates that Dask is configured with; of a job that needs them, they can be used.

    Raises
    ------
    ClusterError
        The address has no TLS although Dask is configured to require it, or a certificate is
        missing or cannot be used.
    """
    security = Security()
    if not address.startswith("tls://"):
        if security.require_encryption:
            raise ClusterError(
                where,
                "an address without TLS, while Dask is configured to require it "
                "(distributed.comm.require-encryption)",
                "an address that starts with tls://",
                "Correct DASK_SCHEDULER_ADDRESS.",
            )
        return security
    for setting, needed in (("ca-file", True), ("client.cert", True), ("client.key", False)):
        _check_file(f"distributed.comm.tls.{setting}", needed)
    try:
        security.get_connection_args("client")
    except OSError as error:
        raise ClusterError(
            "the Dask settings distributed.comm.tls.ca-file, client.cert, and client.key",
            f"files that cannot be used together ({error})",
            "PEM files: the certificate of the authority, one that it has issued, and its key",
            f"Create the certificates again ({_HOW_TLS}).",
        ) from error
    return security


def _check_file(setting: str, needed: bool) -> None:
    """Check that a file that a setting of Dask names can be read."""
    path = dask.config.get(setting)
    # Dask takes a certificate itself in place of its file.
    if (path is None and not needed) or (path is not None and "\n" in path):
        return
    variable = "DASK_" + setting.upper().replace(".", "__").replace("-", "_")
    try:
        found = "nothing"
        if path is not None:
            with open(path, "rb"):
                return
    except OSError as error:
        found = f"{path} ({error.strerror})"
    raise ClusterError(
        f"the Dask setting {setting} ({variable})",
        found,
        "the name of a PEM file that can be read, since DASK_SCHEDULER_ADDRESS starts with tls://",
        f"Create the certificates, and set the variables of Dask ({_HOW_TLS}).",
    )


def _tls_error(error: BaseException | None) -> str | None:
    """What TLS says about a connection that it refused."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return getattr(error, "verify_message", None) or error.reason or str(error)
        error = error.__cause__
    return None


@contextmanager
def _own_cluster(workers: int, memory: int | None) -> Iterator[tuple[str, Security]]:
    """Start a cluster that only this job can use, and give its address and certificates."""
    limit = None
    if memory is not None:
        theirs = int(memory * (1 - _OWN_SHARE))
        workers = max(1, min(workers, theirs // LEAST_WORKER_BYTES))
        limit = theirs // workers
    keep = limit is None or limit >= _ROOM_TO_KEEP
    # The settings hold as long as the cluster: a worker that is started anew has to find them.
    with (
        dask.config.set(_LOCAL_SETTINGS | (_KEEP if keep else {})),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit="auto" if limit is None else limit,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            # Other users of this machine reach the port, too.
            security=True,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster.scheduler_address, cluster.security


async def _threads(scheduler) -> dict[str, int]:
    return await scheduler.ncores_running(workers=None)


def _protocol(told: dict) -> tuple[tuple[str, str], ...]:
    """What has to be the same for two processes to understand each other, of what Dask tells."""
    packages = told["packages"]
    return tuple((name, packages[name]) for name in ("python", "dask", "distributed"))


def _other_versions(
    where: str, theirs: tuple[tuple[str, str], ...], ours: tuple[tuple[str, str], ...]
) -> ClusterError:
    known = dict(theirs)
    differ = [name for name, value in ours if known.get(name) != value]
    return ClusterError(
        where,
        ", ".join(f"{name} {known.get(name, 'missing')}" for name in differ),
        ", ".join(f"{name} {value}" for name, value in ours if name in differ) + ", as in this job",
        f"Give all of them one environment and one checkout (PYTHONPATH={PACKAGE.parent}), "
        f"restart the workers, and {_AGAIN}",
    )
