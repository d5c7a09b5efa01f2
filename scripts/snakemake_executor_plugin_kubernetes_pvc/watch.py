"""What there is of a run in the cluster, kept up to date by streams of the API server.

Each kind, Jobs and pods, is listed once. A stream then tells what becomes of it. Where a stream
fails, what it may have missed is asked for again:

- One that ends or breaks is opened again where it ended.
- After one that forgot where it was (410), reported an error, or was silent for longer than a
  living one is, all things are listed again.
- Where streams are not allowed or do not last, every look lists all things.
- A Job that was created and that no stream mentions may have been deleted before the list that the
  stream goes on from: all are listed again.

So a look never shows less than lists would, and a Job's pods are never older than its failure.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_kubernetes_pvc.api import (
    FORBIDDEN,
    GONE,
    Api,
    Refused,
    Stopped,
    Thing,
)
from snakemake_executor_plugin_kubernetes_pvc.status import finished, succeeded

# A stream without events has a bookmark about every minute.
SILENCE_S = 75.0
# One that ends sooner, without a word, was of no use. So was one that concealed something.
SHORT_S = 5.0
USELESS = 3
PAUSE_S = 1.0
# After a failure that nobody waits for.
UNSEEN_S = 5.0
# A Job that was created and has not been seen for so long is looked for.
AWAITED_S = 10.0
# After this time without streams they are tried again.
WITHOUT_S = 600.0
GONE_KEPT = 1000


def _some(thing: Thing, keys: tuple[str, ...]) -> Thing:
    return {key: thing[key] for key in keys if key in thing}


_METADATA = (
    *("name", "uid", "labels", "annotations", "resourceVersion"),
    *("creationTimestamp", "deletionTimestamp"),
)
_POD_SPEC = ("nodeName", "activeDeadlineSeconds", "priorityClassName", "schedulingGates")
_CONTAINER_STATUS = ("name", "state", "lastState", "restartCount")
_POD_STATUS = ("phase", "reason", "message", "conditions", "startTime")


def of_job(job: Thing) -> Thing:
    """What is kept of a Job: who it is, and its status."""
    return {
        "metadata": _some(job["metadata"], _METADATA),
        "spec": _some(job.get("spec", {}), ("suspend",)),
        "status": job.get("status", {}),
    }


def of_pod(pod: Thing) -> Thing:
    """What is kept of a pod: who and where it is, what its containers may use, and its status."""
    spec, status = pod.get("spec", {}), pod.get("status", {})
    kept = _some(status, _POD_STATUS)
    for statuses in ("containerStatuses", "initContainerStatuses"):
        if status.get(statuses):
            kept[statuses] = [_some(one, _CONTAINER_STATUS) for one in status[statuses]]
    containers = [_some(one, ("name", "resources")) for one in spec.get("containers", [])]
    return {
        "metadata": _some(pod["metadata"], _METADATA),
        "spec": {**_some(spec, _POD_SPEC), "containers": containers},
        "status": kept,
    }


class _Mirror:
    """All things of one kind, as the API server has them.

    Parameters
    ----------
    api, selector
        Whom to ask for what.
    kind
        ``jobs`` or ``pods``.
    keep
        What is kept of a thing.
    closed
        When set, nothing is followed any more.
    tell
        Called if there are no streams, with the reason.

    Attributes
    ----------
    changed
        Held while anything here is read or written.
    things
        By name.
    """

    def __init__(
        self,
        api: Api,
        kind: str,
        selector: str,
        keep: Callable[[Thing], Thing],
        closed: threading.Event,
        tell: Callable[[str], None],
    ) -> None:
        self.changed = threading.Condition()
        self.things: dict[str, Thing] = {}
        self.thread = threading.Thread(target=self._run, name=f"watch {kind}", daemon=True)
        self._api = api
        self._kind = kind
        self._selector = selector
        self._keep = keep
        self._closed = closed
        self._tell = tell
        self._one_list = threading.Lock()
        self._version = ""
        # Each list begins another round: what a stream of an earlier one says is old.
        self._round = 0
        self._stream: Any = None
        self._followed = False
        self._without = False
        self._heard_at = 0.0
        self._useless = 0
        # How many who look wait at this moment, and what has ended that.
        self._waiting = 0
        self._error: Exception | None = None

    def bring_up_to_date(self) -> None:
        """Wait until the things are known; without a stream, list them.

        Raises
        ------
        Refused, WorkflowError, Stopped
            As the calls do.
        """
        with self.changed:
            while True:
                if self._api.stop.is_set() or self._closed.is_set():
                    raise Stopped
                if self._followed or self._without or self._error:
                    break
                self._waiting += 1
                self.changed.wait(0.5)
                self._waiting -= 1
            if self._error:
                raise self._error
            silent = time.monotonic() - self._heard_at > 2 * SILENCE_S
            without = self._without
        if without or silent:
            self.list_all()

    def list_all(self) -> bool:
        """List all things, and tell whether that was news."""
        with self._one_list:
            begin = time.monotonic()
            listed, version = self._api.listed(self._kind, self._selector, self._keep)
            with self.changed:
                things = {thing["metadata"]["name"]: thing for thing in listed}
                news = things != self.things
                self._replace(things, begin)
                self._version = version
                self._round += 1
                self._heard_at = time.monotonic()
                stream, self._stream = self._stream, None
                self.changed.notify_all()
        if stream is not None:
            stream.close()
        return news

    def close(self) -> None:
        """End the stream."""
        with self.changed:
            stream = self._stream
            self.changed.notify_all()
        if stream is not None:
            stream.close()

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                try:
                    if not self._round:
                        self.list_all()
                    self._follow()
                except (Refused, WorkflowError) as error:
                    with self.changed:
                        if self._waiting:
                            self._error = error
                            return
                    # A run that has nothing in the cluster at this moment goes on.
                    self._closed.wait(UNSEEN_S)
        except Stopped:
            pass
        finally:
            # Whatever it was: who looks is not to wait for this thread.
            with self.changed:
                self._without = True
                self.changed.notify_all()

    def _follow(self) -> None:
        """Follow one stream to its end, and see to it that nothing is missed."""
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        with self.changed:
            self._followed = False
            follows, version = self._round, self._version
        begin = time.monotonic()
        heard = lost = silent = False
        why = "they end at once"
        try:
            stream = self._api.watch(self._kind, self._selector, version)
        except Refused as refusal:
            if refusal.status != GONE:
                self._do_without(refusal.message, refusal.status == FORBIDDEN)
                return
            lost = True
        else:
            with self.changed:
                if self._round == follows and not self._closed.is_set():
                    self._stream, self._followed, self._without = stream, True, False
                    self._heard_at = time.monotonic()
                    self.changed.notify_all()
                else:
                    stream.close()
            try:
                for event in self._api.events_of(self._kind, stream, SILENCE_S):
                    if not self._take(event, follows):
                        lost = True
                        break
                    heard = True
            except ReadTimeoutError:
                silent = True
            except (HTTPError, OSError):
                pass  # broken
            except ValueError:
                lost = True
            finally:
                stream.close()
        with self.changed:
            if self._round != follows or self._closed.is_set():
                return
            self._stream, self._followed = None, False
        if lost or silent:
            news = self.list_all()
        if silent and news:
            why = "they conceal what happens"
        useless = (lost or time.monotonic() - begin < SHORT_S) and not silent
        if heard:
            self._useless = 0
        elif useless or (silent and news):
            self._useless += 1
        if self._useless >= USELESS:
            self._do_without(why, forbidden=False)
        elif useless:
            self._closed.wait(PAUSE_S * 2**self._useless * random.uniform(0.5, 1))

    def _do_without(self, why: str, forbidden: bool) -> None:
        """Leave it to looks to list all things, for a while."""
        if forbidden:
            self._tell(
                f"The cluster does not let the driver watch its Jobs and pods ({why}): it lists "
                'all of them at every look. Give its role the verb "watch" for jobs and pods.'
            )
        else:
            self._tell(
                f"The Kubernetes API has no streams that last ({why}): the driver lists all Jobs "
                "and pods at every look."
            )
        with self.changed:
            self._without = True
            self.changed.notify_all()
        self._closed.wait(WITHOUT_S)
        self._useless = 0

    def _take(self, event: Thing, follows: int) -> bool:
        """Take an event in, and return False if it says that the stream has lost its place."""
        kind, thing = event["type"], event["object"]
        if kind == "ERROR":
            return False
        with self.changed:
            if self._round != follows:
                return True
            self._version = thing["metadata"]["resourceVersion"]
            self._heard_at = time.monotonic()
            if kind == "DELETED":
                self._remove(self._keep(thing))
            elif kind in ("ADDED", "MODIFIED"):
                self._put(self._keep(thing))
        return True

    def _put(self, thing: Thing) -> None:
        self.things[thing["metadata"]["name"]] = thing

    def _remove(self, thing: Thing) -> None:
        self.things.pop(thing["metadata"]["name"], None)

    def _replace(self, things: dict[str, Thing], begin: float) -> None:
        """Take a list in that was asked for at a time of this machine's clock."""
        for name in self.things.keys() - things.keys():
            self._remove(self.things[name])
        for thing in things.values():
            self._put(thing)


class _Jobs(_Mirror):
    """Jobs, with those that are not listed yet and those that are not any more.

    Attributes
    ----------
    expected
        Jobs that were created and have not been seen, with the time.
    ended
        Jobs that had finished when they were deleted.
    doubtful
        Names of Jobs that were seen to fail, or deleted; their pods may be older than that.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.expected: dict[str, tuple[Thing, float]] = {}
        self.ended: dict[str, Thing] = {}
        self.doubtful: set[str] = set()
        self._forgotten: set[str] = set()
        # The last that were deleted: one may be added after that.
        self._gone: dict[str, str | None] = {}

    def add(self, job: Thing) -> None:
        """See `Watched.add`."""
        name, uid = job["metadata"]["name"], job["metadata"].get("uid")
        with self.changed:
            for seen in (self.things.get(name, {}).get("metadata", {}), self._gone_as(name)):
                if seen and uid in (None, seen.get("uid")):
                    return
            self.expected[name] = (self._keep(job), time.monotonic())
            self.ended.pop(name, None)
            self._forgotten.discard(name)

    def bring_up_to_date(self) -> None:
        """As for other things; a Job that was created but has not been seen is looked for."""
        super().bring_up_to_date()
        with self.changed:
            latest = time.monotonic() - AWAITED_S
            overdue = any(at < latest for _, at in self.expected.values())
        if overdue:
            self.list_all()

    def forget(self, name: str) -> None:
        """See `Watched.forget`."""
        with self.changed:
            self.ended.pop(name, None)
            if name in self.things or name in self.expected:
                self._forgotten.add(name)

    def all(self) -> dict[str, Thing]:
        """Jobs by name."""
        expected = {name: job for name, (job, _) in self.expected.items()}
        return {**self.ended, **self.things, **expected}

    def _gone_as(self, name: str) -> Thing:
        return {"uid": self._gone[name]} if name in self._gone else {}

    def _seen(self, job: Thing) -> None:
        """Expect a Job no more that has been seen."""
        name, uid = job["metadata"]["name"], job["metadata"].get("uid")
        if name in self.expected:
            awaited = self.expected[name][0]["metadata"].get("uid")
            if awaited in (None, uid):
                del self.expected[name]

    def _put(self, job: Thing) -> None:
        name = job["metadata"]["name"]
        self._seen(job)
        if finished(job) and not succeeded(job) and not finished(self.things.get(name, {})):
            self.doubtful.add(name)
        super()._put(job)

    def _remove(self, job: Thing) -> None:
        name = job["metadata"]["name"]
        super()._remove(job)
        self._seen(job)
        self._gone.pop(name, None)
        self._gone[name] = job["metadata"].get("uid")
        while len(self._gone) > GONE_KEPT:
            del self._gone[next(iter(self._gone))]
        if name in self._forgotten:
            self._forgotten.discard(name)
            return
        if finished(job):
            self.ended[name] = job
        if not succeeded(job):
            self.doubtful.add(name)

    def _replace(self, things: dict[str, Thing], begin: float) -> None:
        super()._replace(things, begin)
        for name, (job, at) in list(self.expected.items()):
            if at < begin:  # it was there before, and is not now
                del self.expected[name]
                self._remove(job)


class Watched:
    """The Jobs and pods of a run, always as they are.

    Parameters
    ----------
    api
        Whom to ask.
    selector
        Labels of the Jobs and their pods.
    """

    def __init__(self, api: Api, selector: str) -> None:
        self._api = api
        self._closed = threading.Event()
        self._told = False
        self._telling = threading.Lock()
        given = (self._closed, self._tell)
        self._jobs = _Jobs(api, "jobs", selector, of_job, *given)
        self._pods = _Mirror(api, "pods", selector, of_pod, *given)

    def begin(self) -> None:
        """Begin to follow what happens, in threads of their own."""
        self._jobs.thread.start()
        self._pods.thread.start()

    def look(self) -> tuple[dict[str, Thing], dict[str, list[Thing]]]:
        """Tell what there is; it is waited for while the API server does not answer.

        Returns
        -------
        jobs
            By name. Those that were added are there from then on, and those that had finished
            when they were deleted stay until they are forgotten.
        pods
            All but those that have succeeded, by the Job's name: as they were when the Jobs were
            as given, or later.

        Raises
        ------
        Refused
            If the cluster does not allow it.
        Stopped
            If the run ends meanwhile.
        WorkflowError
            If patience ends.
        """
        self._jobs.bring_up_to_date()
        with self._jobs.changed:
            jobs = self._jobs.all()
            doubtful = set(self._jobs.doubtful)
        # Two streams do not keep step. A Job whose pods are yet to be heard of, and that has
        # failed, would be one whose pods are gone.
        if doubtful:
            self._pods.list_all()
            with self._jobs.changed:
                self._jobs.doubtful -= doubtful
        else:
            self._pods.bring_up_to_date()
        pods = defaultdict(list)
        with self._pods.changed:
            for pod in self._pods.things.values():
                pods[pod["metadata"]["labels"].get("job-name")].append(pod)
        return jobs, pods

    def add(self, job: Thing) -> None:
        """Know a Job that was created a moment ago, as the creation's answer tells it."""
        self._jobs.add(job)

    def forget(self, name: str) -> None:
        """Do not keep a Job of that name any longer than the cluster does."""
        self._jobs.forget(name)

    def close(self) -> None:
        """Follow nothing any more; who looks is stopped."""
        self._closed.set()
        for mirror in (self._jobs, self._pods):
            mirror.close()
        for mirror in (self._jobs, self._pods):
            if mirror.thread.is_alive():
                mirror.thread.join(1)

    def _tell(self, message: str) -> None:
        """Warn, once for both kinds."""
        with self._telling:
            told, self._told = self._told, True
        if not told:
            self._api.log.warning(message)
