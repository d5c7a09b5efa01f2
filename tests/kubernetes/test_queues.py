"""What a driver makes of the tasks in a spool and of the ends of workers."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from test_spool import TASK

from snakemake_executor_plugin_kubernetes_pvc.batches import Batches
from snakemake_executor_plugin_kubernetes_pvc.queues import Expected, Queue, pod_memory_mb
from snakemake_executor_plugin_kubernetes_pvc.spool import End, Spool, state_of
from snakemake_executor_plugin_kubernetes_pvc.status import Failed, Running, Succeeded, Waiting
from snakemake_executor_plugin_kubernetes_pvc.submission import Submission

EVICTED = Failed("EvictionByEvictionAPI", infrastructure=True)


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path, clock) -> Queue:
    made = Queue(Spool(tmp_path / "kind"), max_losses=2, patience_s=10, clock=clock)
    made.workers = [Submission(None, name, sent=True) for name in ("w1", "w2", "w3")]
    return made


def gone(queue: Queue, name: str, how) -> None:
    queue.workers = [worker for worker in queue.workers if worker.name != name]
    queue.worker_ended(name, how)
    queue.look()


def seen(queue: Queue, product: str = "p1"):
    queue.look()
    return queue.verdict(product)


def test_a_task_waits_runs_and_ends(queue):
    queue.add(TASK)
    assert isinstance(seen(queue), Waiting)
    queue.spool.claim("w1")
    assert seen(queue) == Running()
    queue.spool.end("p1", End("c1", "w1"))
    assert seen(queue) == Succeeded()
    queue.collect("p1")
    assert queue.spool.look().tasks == set()


def test_a_failure_is_that_of_the_task_alone(queue):
    queue.add(TASK)
    queue.add(replace(TASK, product="p2"))
    queue.spool.claim("w1")
    queue.spool.claim("w1")
    queue.spool.end("p1", End("c1", "w1", "exit code 3"))
    assert seen(queue) == Failed("exit code 3", infrastructure=False)
    assert seen(queue, "p2") == Running()


def test_a_task_without_memory_says_its_limit(queue):
    queue.add(TASK)
    queue.spool.claim("w1")
    queue.spool.end("p1", End("c1", "w1", "killed by SIGKILL", "2200M"))
    assert seen(queue) == Failed("OOMKilled, limit 2200M", False, None, "2200M")


def test_a_task_whose_worker_was_lost_is_left_to_another_a_few_times(queue):
    queue.add(TASK)
    for name in ("w1", "w2"):
        queue.spool.claim(name)
        assert seen(queue) == Running()
        gone(queue, name, EVICTED)
        assert isinstance(queue.verdict("p1"), Waiting)
    queue.spool.claim("w3")
    queue.look()
    gone(queue, "w3", EVICTED)
    assert queue.verdict("p1") == Failed("lost 3 times: EvictionByEvictionAPI", False)


def test_a_worker_that_ends_by_itself_fails_the_task_that_it_has_and_no_other(queue):
    queue.add(TASK)
    queue.spool.claim("w1")
    queue.add(replace(TASK, product="p2"))
    queue.look()
    killed = Failed("OOMKilled, limit 2200M", False, "pod", "2200M")
    gone(queue, "w1", killed)
    assert queue.verdict("p1") == killed
    assert isinstance(queue.verdict("p2"), Waiting)


def test_an_end_may_be_seen_after_that_of_its_worker(queue, clock):
    queue.add(TASK)
    queue.spool.claim("w1")
    queue.look()
    gone(queue, "w1", Succeeded())
    clock.now = 9
    assert seen(queue) == Running()
    queue.spool.end("p1", End("c1", "w1"))
    assert seen(queue) == Succeeded()


def test_an_end_that_never_comes_is_a_loss(queue, clock):
    queue.add(TASK)
    queue.spool.claim("w1")
    queue.look()
    gone(queue, "w1", Succeeded())
    clock.now = 11
    assert isinstance(seen(queue), Waiting)
    assert queue.spool.claim("w2") == TASK


def test_a_claim_of_a_worker_that_nobody_knows_is_a_loss(queue):
    queue.add(TASK)
    queue.spool.claim("of the driver before")
    assert isinstance(seen(queue), Waiting)
    assert queue.spool.claim("w1") == TASK


def test_an_end_with_another_content_is_none(queue):
    queue.add(replace(TASK, content="c2"))
    queue.spool.claim("w1")
    queue.spool.end("p1", End("c1", "w9"))
    assert seen(queue) == Running()


def test_workers_that_do_nothing_but_end_fail_the_tasks_with_their_reason(queue):
    queue.add(TASK)
    crash = Failed("exit code 1", infrastructure=False, pod="pod-3")
    for name in ("w1", "w2"):
        gone(queue, name, crash)
        assert isinstance(queue.verdict("p1"), Waiting)
    gone(queue, "w3", crash)
    assert queue.verdict("p1") == crash
    assert seen(queue) == crash
    assert queue.spool.claim("w4") is None


def test_there_are_as_many_workers_as_there_is_work(queue, clock):
    assert queue.workers_wanted(300) == 0
    for each in range(100):
        queue.add(replace(TASK, product=f"p{each}", seconds=2))
    queue.look()
    assert queue.workers_wanted(300) == 1
    assert queue.workers_wanted(50) == 4
    queue.spool.claim("w1")
    queue.look()
    assert queue.workers_wanted(300) == 1
    # What runs takes longer than expected: those behind it get another worker.
    clock.now = 150
    assert queue.workers_wanted(300) == 2


def test_long_tasks_have_a_worker_each(queue):
    for each in range(3):
        queue.add(replace(TASK, product=f"p{each}", seconds=3600))
    queue.look()
    assert queue.workers_wanted(300) == 3


def test_pods_are_of_a_few_sizes():
    assert [pod_memory_mb(mb) for mb in (1, 2000, 2001, 4000, 7300.2)] == [
        *(2200, 2200, 4200, 4200),
        7501,
    ]


def test_jobs_are_expected_to_take_what_others_of_their_rule_took():
    expected = Expected()
    assert expected.seconds("delineate") == 30
    expected.learn("delineate", 2)
    expected.learn("delineate", 4)
    assert expected.seconds("delineate") == 3
    assert expected.seconds("gather") == 30


def batches(tmp_path, keeps_ends: bool = False) -> Batches:
    return Batches(tmp_path / "run", max_losses=2, patience_s=0, keeps_ends=keeps_ends)


@pytest.fixture
def made(tmp_path):
    """A task whose file is there, and the end that says so."""
    (tmp_path / "out.txt").write_text("made")
    task = replace(TASK, outputs=(str(tmp_path / "out.txt"),))
    return task, End("c1", "w1", seconds=2, files=state_of(task.outputs))


def end_before(tmp_path, task, end, keeps_ends: bool = False, reported: bool = False) -> None:
    """Do a task with a driver that is killed then."""
    earlier = batches(tmp_path, keeps_ends)
    placed = earlier.add(task, "kind")
    placed.queue.workers = [Submission(None, "w1", sent=True)]
    placed.queue.spool.claim("w1")
    if end is not None:
        placed.queue.spool.end(task.product, end)
    placed.queue.look()
    if reported:
        earlier.collect(placed)


def test_what_has_ended_while_no_driver_lived_is_not_done_again(tmp_path, made):
    task, end = made
    end_before(tmp_path, task, end)
    later = batches(tmp_path)
    assert later.take_up(same_arguments=False) == 1
    placed = later.add(task, "kind")
    placed.queue.look()
    assert placed.verdict == Succeeded()
    later.collect(placed)
    later.remove()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", ["content", "file", "gone", "failed"])
def test_what_is_not_as_it_was_is_done_again(tmp_path, made, change):
    task, end = made
    end_before(tmp_path, task, replace(end, reason="exit code 1") if change == "failed" else end)
    if change == "content":
        task = replace(task, content="c2")
    elif change == "file":
        (tmp_path / "out.txt").write_text("another")
    elif change == "gone":
        (tmp_path / "out.txt").unlink()
    later = batches(tmp_path)
    later.take_up(same_arguments=False)
    placed = later.add(task, "kind")
    placed.queue.look()
    assert isinstance(placed.verdict, Waiting)


def test_a_task_that_runs_is_waited_for(tmp_path, made):
    task, _ = made
    end_before(tmp_path, task, None)
    later = batches(tmp_path)
    later.take_up(same_arguments=False)
    later.queue("kind").workers = [Submission(None, "w1", sent=True)]
    # Also by a driver with other pods for new tasks.
    placed = later.add(task, "another kind")
    placed.queue.look()
    assert placed.verdict == Running()
    assert later.in_the_way(task.product, task.content) == ""


def test_a_running_task_with_another_content_is_in_the_way(tmp_path, made):
    task, _ = made
    end_before(tmp_path, task, None)
    later = batches(tmp_path)
    later.queue("kind").workers = [Submission(None, "w1", sent=True)]
    later.take_up(same_arguments=False)
    assert later.in_the_way(task.product, "c2") == "w1"
    assert later.in_the_way(task.product) == "w1"


def test_only_a_worker_is_ended_for_a_claim(tmp_path, made):
    task, _ = made
    end_before(tmp_path, task, None)
    (tmp_path / "run/kind/p1.claim").write_text("?labelSelector=")
    later = batches(tmp_path)
    later.take_up(same_arguments=False)
    assert later.in_the_way(task.product, "c2") == ""


def test_a_driver_that_is_to_do_all_again_accepts_no_end(tmp_path, made):
    task, end = made
    end_before(tmp_path, task, end)
    later = batches(tmp_path)
    later.take_up(same_arguments=False)
    placed = later.add(task, "kind", forced=True)
    placed.queue.look()
    assert isinstance(placed.verdict, Waiting)


def test_files_that_snakemake_has_touched_are_those_that_were_made(tmp_path, made):
    task, end = made
    end_before(tmp_path, task, end, keeps_ends=True, reported=True)
    os.utime(task.outputs[0], ns=(1, 1))
    later = batches(tmp_path, keeps_ends=True)
    later.take_up(same_arguments=True)
    assert later.add(task, "kind").verdict == Succeeded()


def test_ends_are_not_written_through_a_link(tmp_path, made):
    task, end = made
    (tmp_path / "run").mkdir()
    (tmp_path / "victim").touch()
    (tmp_path / "run/.reported.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        end_before(tmp_path, task, end, keeps_ends=True, reported=True)
    assert (tmp_path / "victim").read_text() == ""


def test_what_nobody_needs_any_more_is_taken_back(tmp_path):
    earlier = batches(tmp_path)
    earlier.add(TASK, "kind")
    later = batches(tmp_path)
    later.take_up(same_arguments=False)
    later.drop_left()
    assert later.queue("kind").spool.claim("w1") is None
    # One that is needed after all is left anew.
    later.add(TASK, "kind")
    assert later.queue("kind").spool.claim("w1") == TASK


@pytest.mark.parametrize("same_arguments", [True, False])
def test_reported_tasks_are_done_again_but_by_a_driver_with_the_same_arguments(
    tmp_path, made, same_arguments
):
    task, end = made
    end_before(tmp_path, task, end, keeps_ends=True, reported=True)
    later = batches(tmp_path, keeps_ends=True)
    later.take_up(same_arguments)
    placed = later.add(task, "kind")
    if placed.queue:
        placed.queue.look()
    assert isinstance(placed.verdict, Succeeded if same_arguments else Waiting)


def test_a_worker_that_is_in_the_way_is_named_until_its_task_is_forgotten(tmp_path, made):
    task, _ = made
    end_before(tmp_path, task, None)
    later = batches(tmp_path)
    later.queue("kind").workers = [Submission(None, "w1", sent=True)]
    later.take_up(same_arguments=False)
    other = replace(task, content="c2")
    assert later.in_the_way(other.product, other.content) == "w1"
    # It was ended meanwhile.
    placed = later.add(other, "another kind")
    placed.queue.look()
    assert isinstance(placed.verdict, Waiting)
    assert later.queue("kind").spool.look().tasks == set()


def test_a_task_that_nobody_has_makes_way_for_one_with_another_content(tmp_path):
    batches(tmp_path).add(TASK, "kind")
    later = batches(tmp_path)
    later.take_up(same_arguments=False)
    other = replace(TASK, content="c2")
    assert later.in_the_way(other.product, other.content) == ""
    later.add(other, "kind")
    assert later.queue("kind").spool.claim("w1") == other
