"""Several files over HTTP into the cache: those that are not there, a few at once."""

from __future__ import annotations

import logging
import math
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from os import utime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from snakeshed import __version__
from snakeshed.errors import (
    SeveralProblems,
    SnakeshedError,
    TransferError,
    UnreachableError,
)
from snakeshed.progress import counted_text
from snakeshed.transfer.addresses import check_address, host, shown
from snakeshed.transfer.download import (
    OtherLengthError,
    Received,
    Stopped,
    Validators,
    Watch,
    certificate_error,
    download,
    reason_of,
    unreachable,
)
from snakeshed.transfer.file_cache import AddressRecord, FileCache
from snakeshed.transfer.limits import Limits
from snakeshed.transfer.progress import Progress, size_text

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Made = TypeVar("Made")

CONNECTIONS = 4

# Before the first byte, a server is asked this often, in vain, whether a file has changed.
_LOOKS = 3
# Between two looks at threads that have not ended.
_LOOK_S = 0.5
# Room that is left on a disk.
_SPARE_BYTES = 50_000_000


@dataclass(frozen=True)
class Wanted:
    """A file to be fetched.

    Attributes
    ----------
    address : str
        With http or https.
    sha256 : str or None
        The content that is wanted; None for whatever the server has.
    length : int or None
        Of that content, in bytes, if it is known.
    fetched : str or None
        When that content was fetched first, for messages.
    """

    address: str
    sha256: str | None = None
    length: int | None = None
    fetched: str | None = None


@dataclass(frozen=True)
class Fetched:
    """A file in the cache.

    Attributes
    ----------
    file : Path
        Read-only; several studies may have links to it.
    record : AddressRecord
        What it is, and since when.
    """

    file: Path
    record: AddressRecord


@dataclass(frozen=True)
class Look:
    """What is known of a file before it is fetched.

    Attributes
    ----------
    cached : Fetched or None
        The file, if nothing has to be fetched.
    is_absent : bool
        The server has no such file.
    length : int or None
        In bytes; None if the server does not say it.
    problem : str or None
        Why the server has not answered.
    """

    cached: Fetched | None = None
    is_absent: bool = False
    length: int | None = None
    problem: str | None = None


def look(
    wanted: Sequence[Wanted],
    cache: FileCache,
    *,
    refresh: bool = False,
    connections: int = CONNECTIONS,
    limits: Limits | None = None,
) -> list[Look]:
    """Find out which files are in the cache, and how large the others are.

    A file whose SHA-256 is known, and that is in the cache, needs no network. Of others, the
    server is asked whether they have changed since they were fetched. If it cannot be reached,
    they are taken as they were, with a warning; not with `refresh`.

    Parameters
    ----------
    wanted : sequence of Wanted
    cache : FileCache
    refresh : bool
    connections : int
        Requests at once.
    limits : Limits, optional

    Returns
    -------
    list of Look
        In the order of `wanted`.

    Raises
    ------
    TransferError
        An address cannot be used.
    """
    limits = limits or Limits()
    for each in wanted:
        check_address(each.address)
    unanswered: dict[str, str] = {}

    def one(each: Wanted, session: requests.Session, stop: threading.Event, watch: Watch) -> Look:
        if each.sha256 is not None:
            cached = _by_content(each, cache)
            if cached:
                return Look(cached=cached)
            return _ask(each, None, session, limits, stop, watch, unanswered)
        record = cache.record_of(each.address)
        file = cache.find(record.sha256) if record else None
        known = Fetched(file, record) if file else None
        answer = _ask(each, known, session, limits, stop, watch, unanswered)
        if answer.cached and refresh and answer.length is None:
            return replace(answer, cached=None)
        return answer

    return _in_threads(one, wanted, [each.address for each in wanted], connections, limits)


def fetch(
    wanted: Sequence[Wanted],
    cache: FileCache,
    *,
    refresh: bool = False,
    verify: Callable[[Path, str], None] | None = None,
    advice: str = "",
    connections: int = CONNECTIONS,
    limits: Limits | None = None,
) -> list[Fetched | None]:
    """Have files in the cache.

    Parameters
    ----------
    wanted : sequence of Wanted
    cache : FileCache
    refresh : bool
        Take no file from the cache without asking its server, but for those of known content.
    verify : callable, optional
        Takes a file and its address, and raises a `SnakeshedError` if it cannot be the one that is
        meant. Such a file is fetched once more, then refused.
    advice : str
        What to do about a file that has changed on its server.
    connections : int
        Transfers at once.
    limits : Limits, optional

    Returns
    -------
    list of Fetched or None
        In the order of `wanted`; None where the server has no such file.

    Raises
    ------
    TransferError, SeveralProblems
        A file cannot be fetched, or is not the one that is wanted. What has been fetched is kept.
    OSError
        The disk does not take it.
    """
    limits = limits or Limits()
    if not wanted:
        return []
    cache.prepare()
    looks = look(wanted, cache, refresh=refresh, connections=connections, limits=limits)
    missing = [k for k, each in enumerate(looks) if not (each.cached or each.is_absent)]
    cached = [each.cached for each in looks if each.cached]
    if cached:
        size = size_text(sum(each.record.length for each in cached))
        log.info("%s (%s) in %s", counted_text(len(cached), "file"), size, cache.folder)
    result = [each.cached for each in looks]
    if not missing:
        return result
    lengths = [looks[k].length for k in missing]
    total = None if None in lengths else sum(lengths)
    size = "of unknown size" if total is None else f"({size_text(total)})"
    hosts = ", ".join(sorted({host(wanted[k].address) for k in missing}))
    log.info("%s %s to fetch from %s", counted_text(len(missing), "file"), size, hosts)
    begun = sum(cache.begun(wanted[k].address) for k in missing)
    _check_room(cache.folder, max(0, (total or 0) - begun))
    progress = Progress(total, limits.report_s)
    before = {k: cache.record_of(wanted[k].address) for k in missing}

    def one(
        k: int, session: requests.Session, stop: threading.Event, watch: Watch
    ) -> Fetched | None:
        return _fetch_one(
            wanted[k], before[k], cache, session, limits, stop, progress, verify, advice, watch
        )

    addresses = [wanted[k].address for k in missing]
    answers = _in_threads(one, missing, addresses, connections, limits)
    for k, answer in zip(missing, answers, strict=True):
        result[k] = answer
    log.info("fetched %s", progress.end())
    return result


def _fetch_one(
    wanted: Wanted,
    before: AddressRecord | None,
    cache: FileCache,
    session: requests.Session,
    limits: Limits,
    stop: threading.Event,
    progress: Progress,
    verify: Callable[[Path, str], None] | None,
    advice: str,
    watch: Watch,
) -> Fetched | None:
    """Fetch a file into the cache, once more if it turns out to be unusable.

    `before` is what its address had given when the transfers began.
    """
    with cache.part_of(wanted.address, stop) as part:
        after = cache.record_of(wanted.address)
        by_other = after is not None and after != before
        if (
            by_other
            and wanted.sha256 in {None, after.sha256}
            and (file := cache.find(after.sha256))
        ):
            # Another process has fetched it meanwhile, or the address is wanted twice.
            progress.kept(after.length)
            return Fetched(file, after)
        is_retry = False
        while True:
            try:
                received = download(
                    wanted.address, part, session, limits, stop, progress, watch, wanted.length
                )
            except OtherLengthError as error:
                sizes = (f"{size:,} bytes" for size in (error.found, wanted.length))
                raise _changed(wanted, *sizes, advice) from None
            if received is None:
                return None
            is_other = wanted.sha256 not in {None, received.sha256}
            if is_other and received.is_joined and not is_retry:
                # The beginning may be damaged, or of another version that the server named alike.
                part.unlink(missing_ok=True)
                is_retry = True
                progress.arrived(-received.length)
                continue
            try:
                if verify is not None:
                    verify(part, shown(wanted.address))
                break
            except SnakeshedError:
                part.unlink(missing_ok=True)
                if is_retry:
                    raise
                is_retry = True
                progress.arrived(-received.length)
        got = _keep(wanted, part, received, cache)
    if wanted.sha256 not in {None, got.record.sha256}:
        found = f"the SHA-256 {got.record.sha256}"
        if got.record.last_modified:
            found += f", of {got.record.last_modified}"
        raise _changed(wanted, found, f"the SHA-256 {wanted.sha256}", advice)
    return got


def _keep(wanted: Wanted, part: Path, received: Received, cache: FileCache) -> Fetched:
    """Give a file that was received its place in the cache, with the date that the server gives."""
    of = received.validators
    try:
        changed = parsedate_to_datetime(of.last_modified or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        pass
    else:
        # Fetched again, it has the same date: nothing that was made of it is older.
        utime(part, (changed, changed))
    record = AddressRecord(
        shown(wanted.address),
        received.sha256,
        received.length,
        of.etag,
        of.last_modified,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    file = cache.add(part, received.sha256)
    cache.keep_record(wanted.address, record)
    return Fetched(file, record)


def _by_content(wanted: Wanted, cache: FileCache) -> Fetched | None:
    file = cache.find(wanted.sha256)
    if file is None:
        return None
    record = cache.record_of(wanted.address)
    if record is None or record.sha256 != wanted.sha256:
        length = file.stat().st_size
        record = AddressRecord(
            shown(wanted.address), wanted.sha256, length, None, None, wanted.fetched or ""
        )
    return Fetched(file, record)


def _ask(
    wanted: Wanted,
    known: Fetched | None,
    session: requests.Session,
    limits: Limits,
    stop: threading.Event,
    watch: Watch,
    unanswered: dict[str, str],
) -> Look:
    """Ask a server what it says of a file; `known` is what it gave before.

    `unanswered` has hosts that could not be reached, and why: they are asked no more.
    """
    import requests

    tries = _LOOKS if known else 1
    for number in range(1, tries + 1):
        if reason := unanswered.get(host(wanted.address)):
            break
        watch.allow(limits.stuck_s)
        try:
            answer = session.head(
                wanted.address,
                headers={"Accept-Encoding": "identity"},
                allow_redirects=True,
                timeout=(limits.connect_s, limits.read_s),
            )
        except requests.exceptions.SSLError as error:
            raise certificate_error(wanted.address, error) from error
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            reason = reason_of(error)
            if number == tries:
                unanswered[host(wanted.address)] = reason
        except requests.exceptions.RequestException:
            # The transfer itself will say so.
            return Look()
        else:
            if answer.status_code in {404, 410}:
                return Look(is_absent=True)
            if answer.ok:
                return _as_it_is(answer, known)
            if answer.status_code < 500 and answer.status_code != 429:
                # What it says to who wants the file counts.
                return Look()
            reason = f"status {answer.status_code}"
        if number < tries and stop.wait(limits.delay_s(number)):
            raise Stopped
    if known is None:
        # The transfer itself will say what is wrong, after more tries.
        return Look(problem=reason)
    log.warning(
        "%s: %s, so it is taken as it was fetched on %s",
        shown(wanted.address),
        reason,
        known.record.fetched,
    )
    return Look(cached=known, problem=reason)


def _as_it_is(answer: requests.Response, known: Fetched | None) -> Look:
    """Return the file that is known, if the server still has that one."""
    length = answer.headers.get("Content-Length", "")
    length = int(length) if length.isdecimal() else None
    now = Validators.of(answer)
    if known is not None:
        record = known.record
        same = now.etag == record.etag if now.etag else now.last_modified == record.last_modified
        if same and (now.etag or now.last_modified) and length in {None, record.length}:
            return Look(cached=known, length=record.length)
    return Look(length=length)


def _changed(wanted: Wanted, found: str, expected: str, advice: str) -> TransferError:
    since = f", as on {wanted.fetched}" if wanted.fetched else ""
    return TransferError(
        shown(wanted.address),
        f"a file that has changed on the server: {found}",
        f"{expected}{since}",
        advice or "Find out what has changed.",
    )


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise TransferError(
            str(folder),
            f"{size_text(free)} free on its disk",
            f"room for {size_text(needed)}",
            "Make room, or set SNAKESHED_CACHE to a folder on another disk.",
        )


def _in_threads(
    work: Callable[[Item, requests.Session, threading.Event, Watch], Made],
    items: Iterable[Item],
    addresses: Sequence[str],
    threads: int,
    limits: Limits,
) -> list[Made]:
    """Do some work on items, in a few threads, each with a session of its own.

    After the first error the others end soon. They are no reason to wait: a thread that waits for
    a server does not keep the process. Nor does one whose server sends an answer without end.
    """
    items = list(items)
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for numbered in enumerate(items):
        waiting.put(numbered)
    ended: queue.SimpleQueue = queue.SimpleQueue()
    stop = threading.Event()
    watches = [Watch() for _ in items]

    def serve() -> None:
        try:
            with _session(limits) as session:
                while not stop.is_set():
                    try:
                        number, item = waiting.get_nowait()
                    except queue.Empty:
                        return
                    try:
                        ended.put((number, work(item, session, stop, watches[number]), None))
                    except Stopped:
                        return
                    except Exception as error:  # noqa: BLE001 - raised in the thread that waits
                        ended.put((number, None, error))
                        return
                    finally:
                        watches[number].deadline = math.inf
        finally:
            ended.put(None)

    running = [threading.Thread(target=serve, daemon=True) for _ in range(min(threads, len(items)))]
    for thread in running:
        thread.start()
    made: dict[int, Made] = {}
    errors: list[Exception] = []
    left = len(running)
    try:
        while left:
            try:
                # A wait without end could not be interrupted.
                end = ended.get(timeout=_LOOK_S)
            except queue.Empty:
                now = time.monotonic()
                late = [k for k, watch in enumerate(watches) if watch.deadline < now]
                if late:
                    found = f"no end of an answer in {limits.stuck_s:,.0f} s"
                    errors.append(unreachable(addresses[late[0]], found))
                if errors:
                    break
                continue
            if end is None:
                left -= 1
            elif end[2] is None:
                made[end[0]] = end[1]
            else:
                errors.append(end[2])
                stop.set()
    finally:
        stop.set()
    _raise(errors)
    return [made[number] for number in range(len(items))]


def _raise(errors: Sequence[Exception]) -> None:
    """Raise what has gone wrong: first what is no problem of a file, then each problem once."""
    for error in errors:
        if not isinstance(error, SnakeshedError):
            raise error
    # A host that cannot be reached is one problem, however many files it has.
    problems = {
        each.expected if isinstance(each, UnreachableError) else str(each): each for each in errors
    }
    if len(problems) == 1:
        raise next(iter(problems.values()))
    if problems:
        raise SeveralProblems(list(problems.values()))


def _session(limits: Limits) -> requests.Session:
    import requests

    session = requests.Session()
    session.max_redirects = limits.redirects
    session.headers["User-Agent"] = f"snakeshed/{__version__}"
    return session
