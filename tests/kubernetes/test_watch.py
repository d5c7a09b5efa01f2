"""Jobs and pods by streams: a look shows what lists would show, whatever becomes of the streams."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path

import pytest
from fake_api import FakeApi, Fault
from small_workflow import until
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_kubernetes_pvc import api as calls
from snakemake_executor_plugin_kubernetes_pvc import watch
from snakemake_executor_plugin_kubernetes_pvc.api import Api, Refused, Stopped
from snakemake_executor_plugin_kubernetes_pvc.connection import Connection
from snakemake_executor_plugin_kubernetes_pvc.manifest import JobFacts, Run, manifest
from snakemake_executor_plugin_kubernetes_pvc.settings import ExecutorSettings
from snakemake_executor_plugin_kubernetes_pvc.status import (
    Failed,
    Running,
    Succeeded,
    verdict,
)
from snakemake_executor_plugin_kubernetes_pvc.watch import Watched, of_job, of_pod

RECORDED = Path(__file__).parent / "recorded"
RESET, HANG = 0, -1
SELECTOR = "snakemake/run=run"


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(watch, "PAUSE_S", 0.05)
    monkeypatch.setattr(watch, "UNSEEN_S", 0.2)


@pytest.fixture
def watched(api):
    made = Watched(api, SELECTOR)
    made.begin()
    yield made
    made.close()


@pytest.fixture
def draft(tmp_path):
    """Make the manifest of a Job by its number."""

    def make(number: int, run: str = "run") -> dict:
        settings = ExecutorSettings(claim="shared", mount_path=str(tmp_path))
        facts = JobFacts("piece", number, 1, "true", str(tmp_path), 1)
        return manifest(facts, settings, Run("workflow", run, "image"), number)

    return make


@pytest.fixture
def running(fake, draft):
    """Start a Job by its number: its pod runs until the test ends it."""
    fake.fate = lambda job: lambda fake, job: fake.add_pod(job, phase="Running")

    def start(number: int) -> str:
        made = draft(number)
        fake._create(made)
        return made["metadata"]["name"]

    return start


def end(fake: FakeApi, name: str, phase: str = "Succeeded") -> None:
    with fake.lock:
        ended = {"exitCode": 0 if phase == "Succeeded" else 3}
        fake.end(fake.jobs[name], fake.pods[f"{name}-pod"], phase, terminated=ended)


def state(watched: Watched, name: str):
    jobs, pods = watched.look()
    return verdict(jobs.get(name), pods.get(name, []))


def asked(fake: FakeApi, kind: str = "jobs", watch: bool = False) -> int:
    """How often a list, or a stream, was asked for."""
    return sum(call.kind == kind and call.watch == watch for call in fake.calls)


def both_open(fake: FakeApi) -> bool:
    return all(asked(fake, kind, watch=True) for kind in ("jobs", "pods"))


# What is kept.


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_kept_is_enough_for_every_verdict(path):
    for seen in json.loads(path.read_text(encoding="utf-8")):
        whole = verdict(seen["job"], seen["pods"], seen["warnings"])
        job = seen["job"] and of_job(seen["job"])
        assert verdict(job, [of_pod(pod) for pod in seen["pods"]], seen["warnings"]) == whole


def test_what_is_kept_of_a_pod_is_small_and_has_no_environment(draft):
    spec = draft(1)["spec"]["template"]["spec"]
    spec["containers"][0]["env"] = [{"name": "PASSWORD", "value": "s3cr3t" * 1000}]
    metadata = {"name": "pod", "labels": {"job-name": "job"}, "managedFields": ["long"] * 1000}
    pod = {"metadata": metadata, "spec": spec, "status": {"phase": "Running"}}
    kept = json.dumps(of_pod(pod))
    assert "s3cr3t" not in kept
    assert len(kept) < 500


# What happens is seen.


def test_what_happens_is_seen_without_further_calls(fake, watched, running):
    first = running(1)
    until(lambda: state(watched, first) == Running(), 5)
    second = running(2)
    until(lambda: state(watched, second) == Running(), 5)
    end(fake, first)
    until(lambda: state(watched, first) == Succeeded(), 5)
    # A pod that has succeeded is not among them, as in a list.
    until(lambda: first not in watched.look()[1], 5)
    assert asked(fake) == asked(fake, "pods") == 1
    assert asked(fake, watch=True) == asked(fake, "pods", watch=True) == 1


def test_only_what_has_the_labels_is_seen(fake, watched, running, draft):
    name = running(1)
    fake._create(draft(1, run="other"))
    until(lambda: state(watched, name) == Running(), 5)
    time.sleep(0.3)
    jobs, pods = watched.look()
    assert list(jobs) == list(pods) == [name]


def test_what_was_there_before_is_seen_page_by_page(fake, watched_later, running):
    names = [running(number) for number in range(7)]
    fake.page = 3
    watched = watched_later()
    jobs, pods = watched.look()
    assert sorted(jobs) == sorted(pods) == sorted(names)
    assert asked(fake) == asked(fake, "pods") == 3


@pytest.fixture
def watched_later(api):
    made = []

    def begin() -> Watched:
        made.append(Watched(api, SELECTOR))
        made[0].begin()
        return made[0]

    yield begin
    for each in made:
        each.close()


def test_a_list_whose_pages_grow_too_old_is_asked_for_in_one(fake, api, running, monkeypatch):
    names = [running(number) for number in range(7)]
    monkeypatch.setattr(calls, "PAGE", 3)
    fake.forgets = 100
    assert sorted(job["metadata"]["name"] for job in api.jobs(SELECTOR)) == sorted(names)
    assert asked(fake) == 3


def test_calls_and_bytes_are_counted(fake, api, watched, running):
    watched.look()
    name = running(1)
    until(lambda: state(watched, name) == Running(), 5)
    assert {purpose: number for purpose, number in api.calls.items() if number} == {
        "list jobs": 1,
        "list pods": 1,
        "watch jobs": 1,
        "watch pods": 1,
    }
    assert api.received["watch jobs"] > 100
    until(lambda: api.received.total() == fake.sent_bytes.total(), 5)


# A Job that was created a moment ago.


def test_a_job_that_was_created_a_moment_ago_does_not_pass_for_a_deleted_one(
    fake, api, watched, draft
):
    watched.look()
    fake.event_s = 1
    fake.fate = lambda job: lambda fake, job: None
    made = draft(1)
    watched.add(api.create_job(made))
    jobs, _ = watched.look()
    assert made["metadata"]["name"] in jobs
    until(lambda: not watched._jobs.expected, 5)
    assert made["metadata"]["name"] in watched.look()[0]


def test_a_job_that_was_created_and_deleted_at_once_is_gone(fake, api, watched, draft):
    watched.look()
    fake.fate = lambda job: lambda fake, job: fake.jobs.pop(job["metadata"]["name"])
    created = api.create_job(draft(1))
    name = created["metadata"]["name"]
    # Its deletion is seen before it is added, or after that.
    until(lambda: name in watched._jobs._gone, 5)
    watched.add(created)
    assert isinstance(state(watched, name), Failed)
    created = api.create_job(draft(2))
    watched.add(created)
    until(lambda: isinstance(state(watched, created["metadata"]["name"]), Failed), 5)


def test_a_job_that_went_before_the_list_and_is_added_after_it_is_gone(
    fake, api, watched_later, draft, monkeypatch
):
    monkeypatch.setattr(watch, "AWAITED_S", 0.5)
    fake.fate = lambda job: lambda fake, job: fake.jobs.pop(job["metadata"]["name"])
    created = api.create_job(draft(1))
    name = created["metadata"]["name"]
    # The stream goes on from a list without it.
    watched = watched_later()
    watched.look()
    watched.add(created)
    assert not isinstance(state(watched, name), Failed)
    until(lambda: isinstance(state(watched, name), Failed), 5)


def test_a_job_that_went_while_no_stream_was_open_is_gone(fake, api, watched, draft):
    watched.look()
    fake.fate = lambda job: lambda fake, job: None
    fake.faults = [Fault(503, "GET", "jobs", times=6)]
    until(lambda: fake.faults[0].times < 6, 5)
    created = api.create_job(draft(1))
    watched.add(created)
    fake.delete(created["metadata"]["name"])
    fake.note_changes()
    fake.forgets = len(fake.changes)  # the stream cannot tell it
    until(lambda: isinstance(state(watched, created["metadata"]["name"]), Failed), 10)


def test_another_job_of_the_same_name_is_told_from_the_one_before(fake, api, watched, draft):
    fake.fate = lambda job: lambda fake, job: None
    created = api.create_job(draft(1))
    name, first = created["metadata"]["name"], created["metadata"]["uid"]
    watched.add(created)
    fake.event_s = 0.5
    fake.delete(name)
    again = api.create_job(draft(1))
    watched.add(again)
    for _ in range(20):
        jobs, _ = watched.look()
        assert jobs[name]["metadata"]["uid"] == again["metadata"]["uid"] != first
        time.sleep(0.1)


def test_a_job_that_was_deleted_when_it_had_finished_stays_so_until_it_is_forgotten(
    fake, watched, running
):
    kept, forgotten = running(1), running(2)
    for name in (kept, forgotten):
        end(fake, name)
        until(lambda name=name: state(watched, name) == Succeeded(), 5)
    watched.forget(forgotten)
    for name in (kept, forgotten):
        fake.delete(name)
    until(lambda: list(watched.look()[0]) == [kept], 5)
    assert state(watched, kept) == Succeeded()
    watched.forget(kept)
    until(lambda: watched.look()[0] == {}, 5)


def test_a_job_that_finished_and_went_while_the_api_was_away_has_finished(fake, watched, running):
    name = running(1)
    until(lambda: state(watched, name) == Running(), 5)
    fake.faults = [Fault(503, "GET", times=6)]
    until(lambda: fake.faults[0].times < 6, 5)
    end(fake, name)
    fake.note_changes()
    fake.delete(name)
    fake.note_changes()
    until(lambda: state(watched, name) == Succeeded(), 10)


def test_a_job_that_someone_deletes_is_gone(fake, watched, running):
    name = running(1)
    until(lambda: state(watched, name) == Running(), 5)
    fake.delete(name)
    until(lambda: isinstance(state(watched, name), Failed), 5)
    assert "someone deleted it" in state(watched, name).reason


# Two streams do not keep step.


def test_a_failure_is_not_judged_by_pods_that_are_older(fake, watched, running):
    watched.look()
    fake.faults = [Fault(HANG, "GET", "pods", watch=True, times=9, hang_s=3)]
    until(lambda: fake.faults[0].times < 9, 5)
    name = running(1)
    end(fake, name, "Failed")
    # Of the pod no stream has told.
    until(lambda: name in watched._jobs.doubtful, 5)
    failed = state(watched, name)
    assert (failed.infrastructure, failed.reason) == (False, "exit code 3")
    assert failed.pod == f"{name}-pod"


def test_one_list_is_enough_for_many_failures(fake, watched, running):
    names = [running(number) for number in range(30)]
    until(lambda: all(state(watched, name) == Running() for name in names), 5)
    before = asked(fake, "pods")
    with fake.lock:
        for name in names:
            end(fake, name, "Failed")
    until(lambda: len(watched._jobs.doubtful) == 30, 5)
    assert all(state(watched, name).reason == "exit code 3" for name in names)
    assert asked(fake, "pods") == before + 1
    # Afterwards the stream goes on.
    other = running(99)
    until(lambda: state(watched, other) == Running(), 5)
    assert asked(fake, "pods") == before + 1


# Troubles.


def test_a_stream_that_breaks_goes_on_where_it_was(fake, watched, running):
    names = []
    for number in range(8):
        names.append(running(number))
        until(lambda: state(watched, names[-1]) == Running(), 5)
        fake.break_streams()
        if number % 2:
            end(fake, names[-1])
    for number, name in enumerate(names):
        expected = Succeeded() if number % 2 else Running()
        until(lambda name=name, expected=expected: state(watched, name) == expected, 5)
    assert asked(fake) == asked(fake, "pods") == 1
    assert asked(fake, watch=True) >= 5


def test_streams_that_the_server_ends_go_on(fake, watched, running):
    fake.stream_s = 0.3
    names = [running(number) for number in range(5) if not time.sleep(0.2)]
    for name in names:
        until(lambda name=name: state(watched, name) == Running(), 5)


@pytest.mark.parametrize("in_stream", [False, True], ids=["status", "event"])
def test_after_410_all_is_listed_again(fake, watched, running, in_stream):
    fake.gone_in_stream = in_stream
    name, other = running(1), running(2)
    until(lambda: state(watched, name) == state(watched, other) == Running(), 5)
    fake.faults = [Fault(503, "GET", times=6, watch=True)]
    until(lambda: fake.faults[0].times < 6, 5)
    end(fake, name)
    fake.delete(other)
    fake.note_changes()
    fake.forgets = len(fake.changes)
    until(lambda: state(watched, name) == Succeeded(), 10)
    assert isinstance(state(watched, other), Failed)
    assert asked(fake) == 2


def test_a_silent_stream_is_not_trusted(fake, watched, running, monkeypatch):
    monkeypatch.setattr(watch, "SILENCE_S", 0.5)
    watched.look()
    fake.mute = True
    fake.break_streams()
    begin = time.monotonic()
    name = running(1)
    end(fake, name)
    until(lambda: state(watched, name) == Succeeded(), 10)
    assert time.monotonic() - begin < 5


def test_bookmarks_keep_a_quiet_stream_and_its_place(fake, watched, running, monkeypatch):
    monkeypatch.setattr(watch, "SILENCE_S", 1.5)
    fake.bookmark_s = 0.3
    watched.look()
    time.sleep(2.5)
    assert asked(fake) == asked(fake, watch=True) == 1
    # Others' changes make the version grow, and the bookmarks tell it.
    fake.jobs["other"] = {"metadata": {"name": "other", "labels": {}}, "status": {}}
    until(lambda: watched._jobs._version == "1", 5)
    fake.forgets = 1
    fake.break_streams()
    name = running(1)
    until(lambda: state(watched, name) == Running(), 5)
    assert asked(fake) == 1


def test_streams_that_conceal_what_happens_are_given_up(
    fake, watched, running, monkeypatch, caplog
):
    monkeypatch.setattr(watch, "SILENCE_S", 0.3)
    watched.look()
    fake.mute = True
    with caplog.at_level(logging.WARNING, "test"):
        for number in range(100):
            running(number)
            time.sleep(0.1)
            if "they conceal what happens" in caplog.text:
                break
    assert "has no streams that last (they conceal what happens)" in caplog.text
    name = running(999)
    assert state(watched, name) == Running()


def test_streams_that_end_at_once_are_given_up_and_tried_again(
    fake, watched_later, running, monkeypatch, caplog
):
    monkeypatch.setattr(watch, "WITHOUT_S", 1)
    fake.stream_s = 0
    watched = watched_later()
    with caplog.at_level(logging.WARNING, "test"):
        until(lambda: "they end at once" in caplog.text, 10)
    name = running(1)
    until(lambda: state(watched, name) == Running(), 10)
    fake.stream_s = 60
    until(lambda: watched._jobs._followed and watched._pods._followed, 10)
    lists = asked(fake)
    other = running(2)
    until(lambda: state(watched, other) == Running(), 5)
    assert asked(fake) == lists
    # Once, for both kinds and all the time.
    assert len([record for record in caplog.records if "streams" in record.message]) == 1


def test_what_is_no_event_is_not_trusted(fake, watched, running, monkeypatch):
    watched.look()
    real = fake._events
    wrong = [b"<html>\n", b"[]\n"]
    monkeypatch.setattr(
        fake, "_events", lambda *given: iter([wrong.pop()]) if wrong else real(*given)
    )
    fake.break_streams()
    name = running(1)
    until(lambda: state(watched, name) == Running(), 10)


@pytest.mark.parametrize(
    "trouble", [Fault(503), Fault(429), Fault(RESET), Fault(HANG, hang_s=2)], ids=str
)
def test_the_api_may_be_away_for_a_while(fake, watched, running, caplog, trouble):
    name = running(1)
    until(lambda: state(watched, name) == Running(), 5)
    trouble.times, trouble.method = 4, "GET"
    with caplog.at_level(logging.WARNING, "test"):
        fake.faults = [trouble]
        end(fake, name)
        until(lambda: not trouble.times, 15)
        until(lambda: state(watched, name) == Succeeded(), 10)
        until(lambda: "answers again" in caplog.text, 5)
    assert "The Kubernetes API does not answer (watch" in caplog.text


def test_of_one_trouble_all_streams_tell_once(fake, watched, caplog):
    watched.look()
    until(lambda: both_open(fake), 5)
    with caplog.at_level(logging.WARNING, "test"):
        fake.faults = [Fault(503, "GET", times=8)]
        until(lambda: not fake.faults[0].times, 10)
        watched.look()
    first, last = (record.message for record in caplog.records)
    assert "does not answer (watch" in first
    assert "answers again (watch" in last


def test_while_the_api_is_away_nobody_sees_what_was(fake, api, watched, running):
    name = running(1)
    until(lambda: state(watched, name) == Running(), 5)
    fake.faults = [Fault(503, "GET", times=10)]
    until(lambda: fake.faults[0].times < 9, 5)
    end(fake, name)
    # The look waits until the API answers.
    watched.look()
    until(lambda: state(watched, name) == Succeeded(), 5)
    assert not fake.faults[0].times


def test_patience_ends_for_who_looks(kubeconfig, fake, stop):
    api = Api(Connection(), "here", 0.5, stop, logging.getLogger("test"))
    watched = Watched(api, SELECTOR)
    watched.begin()
    watched.look()
    fake.faults = [Fault(503, "GET", times=1000, message="etcd is down")]
    with pytest.raises(WorkflowError, match=r"did not answer .*watch .*503 etcd is down"):
        for _ in range(100):
            watched.look()
            time.sleep(0.1)
    with pytest.raises(WorkflowError, match="did not answer"):
        watched.look()
    watched.close()


def test_an_outage_that_nobody_saw_harms_nobody(kubeconfig, fake, stop, running):
    watched = Watched(Api(Connection(), "here", 0.3, stop, logging.getLogger("test")), SELECTOR)
    watched.begin()
    watched.look()
    fake.faults = [Fault(503, "GET", times=1000)]
    until(lambda: fake.faults[0].times < 1000, 5)
    time.sleep(2)
    fake.faults = []
    until(lambda: watched._jobs._followed and watched._pods._followed, 10)
    name = running(1)
    until(lambda: state(watched, name) == Running(), 5)
    watched.close()


def test_a_token_that_was_replaced_is_read_again(fake, watched, running, kubeconfig):
    watched.look()
    fake.token = "a-new-one"
    fake.write_kubeconfig(kubeconfig, token="a-new-one")
    fake.break_streams()
    name = running(1)
    until(lambda: state(watched, name) == Running(), 5)
    assert 401 in {call.status for call in fake.calls}
    assert asked(fake) == 1


# Rights.


def test_without_the_right_to_watch_all_is_listed_and_one_warning_names_the_right(
    fake, watched_later, running, caplog
):
    said = 'jobs.batch is forbidden: "me" cannot watch resource "jobs" in API group "batch"'
    fake.faults = [Fault(403, "GET", watch=True, times=99, message=said)]
    with caplog.at_level(logging.WARNING, "test"):
        watched = watched_later()
        watched.look()
        name = running(1)
        assert state(watched, name) == Running()
        end(fake, name)
        assert state(watched, name) == Succeeded()
    (warning,) = (record.message for record in caplog.records)
    assert said in warning
    assert 'Give its role the verb "watch" for jobs and pods.' in warning
    assert asked(fake) >= 4


def test_without_the_right_to_list_who_looks_is_refused(fake, watched_later):
    said = '"me" cannot list resource "pods"'
    fake.faults = [Fault(403, "GET", "pods", times=99, message=said)]
    watched = watched_later()
    for _ in range(2):
        with pytest.raises(Refused, match=said):
            watched.look()


# The end of a run.


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("watch ")]


def test_the_end_closes_open_streams_at_once(fake, watched):
    watched.look()
    begin = time.monotonic()
    watched.close()
    assert time.monotonic() - begin < 1
    assert threads() == []
    with pytest.raises(Stopped):
        watched.look()


def test_the_end_interrupts_waiting_for_the_api(kubeconfig, fake, stop):
    watched = Watched(Api(Connection(), "here", 600, stop, logging.getLogger("test")), SELECTOR)
    watched.begin()
    watched.look()
    fake.faults = [Fault(503, times=1000, retry_after="300")]
    until(lambda: fake.faults[0].times < 999, 5)
    threading.Timer(0.3, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Stopped):
        watched.look()
    watched.close()
    assert time.monotonic() - begin < 2
    assert threads() == []


def test_a_thread_that_dies_leaves_nobody_waiting(fake, watched, running, monkeypatch):
    watched.look()
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def die(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(watched._jobs, "_take", die)
    name = running(1)
    until(lambda: state(watched, name) == Running(), 5)
