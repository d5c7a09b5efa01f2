"""Tasks in a folder: each is taken by one worker, and nothing of it is lost."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from snakemake_executor_plugin_kubernetes_pvc.spool import End, Spool, Task, digest, spools_in

TASK = Task("p1", "c1", "piece 1", "pass", "/x/piece.py", b"\x80\x04N.", "/x", ("out.txt",))


def tasks(number: int) -> list[Task]:
    return [replace(TASK, product=f"p{each}") for each in range(number)]


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(tmp_path / "kind")


def test_a_task_is_read_as_it_was_left(spool):
    task = replace(TASK, inputs=("a", "b"), benchmark="b.tsv", runtime_s=60.0, search=("/x",))
    spool.put(task)
    assert spool.claim("w1") == task
    assert spool.claim("w2") is None
    stand = spool.look()
    assert (stand.tasks, stand.claims, stand.ends) == ({"p1"}, {"p1": "w1"}, {})


def test_an_empty_spool_has_nothing(spool):
    assert spool.claim("w1") is None
    assert spool.look().tasks == set()
    assert spool.task("p1") is None


def test_many_workers_take_each_task_once(spool):
    for task in tasks(60):
        spool.put(task)
    taken: list[str] = []

    def work(name: str) -> None:
        own = Spool(spool.folder)
        while task := own.claim(name):
            taken.append(task.product)

    threads = [threading.Thread(target=work, args=(f"w{each}",)) for each in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(task.product for task in tasks(60))


def test_an_end_is_read_and_its_task_is_not_taken_again(spool):
    spool.put(TASK)
    spool.claim("w1")
    end = End("c1", "w1", "exit code 3", "", 1.5, [[3, 5]], "no such tile")
    spool.end("p1", end)
    assert spool.look().ends == {"p1": end}
    spool.give_back("p1")
    assert spool.claim("w2") is None


def test_a_task_that_is_given_back_is_taken_by_another(spool):
    spool.put(TASK)
    spool.claim("w1")
    spool.look()
    spool.give_back("p1")
    assert spool.look().claims == {}
    assert spool.claim("w2") == TASK
    assert spool.look().claims == {"p1": "w2"}


def test_a_task_is_withdrawn_unless_a_worker_has_it(spool):
    spool.put(TASK)
    assert spool.withdraw("p1")
    assert spool.look().tasks == set()
    spool.put(TASK)
    spool.claim("w1")
    assert not spool.withdraw("p1")
    assert spool.look().claims == {"p1": "w1"}


def test_a_new_task_for_the_same_files_has_nothing_of_the_old_one(spool):
    spool.put(TASK)
    spool.claim("w1")
    spool.end("p1", End("c1", "w1"))
    spool.look()
    spool.put(replace(TASK, content="c2"))
    stand = spool.look()
    assert (stand.claims, stand.ends) == ({}, {})
    assert spool.claim("w2").content == "c2"


def test_a_change_is_noticed_without_reading(spool):
    assert not spool.changed()
    spool.put(TASK)
    assert spool.changed()
    spool.look()
    assert not spool.changed()
    spool.claim("w1")
    assert spool.changed()


def test_spools_are_found(spool, tmp_path):
    assert list(spools_in(tmp_path / "none")) == []
    spool.put(TASK)
    (tmp_path / ".reported.jsonl").touch()
    assert [each.folder.name for each in spools_in(tmp_path)] == ["kind"]


def test_a_digest_tells_values_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        digest(object())


def test_a_worker_with_an_old_list_takes_no_task_that_another_has_or_that_is_gone(spool):
    one, other = Spool(spool.folder), Spool(spool.folder)
    for task in tasks(3):
        spool.put(task)
    first = one.claim("w1")
    taken = [task.product for _ in range(3) if (task := other.claim("w2"))]
    assert sorted([*taken, first.product]) == ["p0", "p1", "p2"]
    assert one.claim("w1") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"product": 1}', '{"more": 2}'])
def test_files_that_are_not_ours_are_no_tasks_and_no_ends(spool, text):
    spool.put(TASK)
    (spool.folder / "p2.task").write_text(text)
    (spool.folder / "p1.end").write_text(text)
    stand = spool.look()
    assert stand.ends == {}
    assert spool.task("p2") is None
