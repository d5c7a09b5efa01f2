"""Runs of Snakemake whose jobs are tasks of warm pods, against a fake API server."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from fake_api import FakeApi
from scripted_workflow import ScriptedWorkflow
from small_workflow import ended, until

pytestmark = pytest.mark.workflow

PIECES = ["0", "1", "2", "3"]


@pytest.fixture
def workflow(fake, tmp_path) -> ScriptedWorkflow:
    return ScriptedWorkflow(tmp_path / "work", fake.write_kubeconfig(tmp_path / "kubeconfig"))


def rules(fake: FakeApi) -> Counter[str]:
    """How many Jobs were sent for each rule; those of batches have one name."""
    return Counter(job["metadata"]["labels"]["snakemake/rule"] for job in fake.created)


def left(workflow: ScriptedWorkflow) -> list[str]:
    folder = workflow.folder / ".snakemake/kubernetes-pvc"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_many_jobs_share_a_pod(fake, workflow):
    ran = workflow.run()
    assert ran.code == 0, ran.text
    assert workflow.made == PIECES
    assert (workflow.folder / "all.txt").read_text().splitlines() == [
        f"{piece} as ever" for piece in PIECES
    ]
    # begin.py asks for no memory, so it has a pod of another size; join is no script.
    assert rules(fake) == {"batch": 2, "join": 1}
    piece = next(job for job in fake.created if "memory" in str(job["spec"]))
    (container,) = piece["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {
        "cpu": "1",
        "memory": "2200M",
        "ephemeral-storage": "100M",
    }
    assert (workflow.folder / "log/3.tsv").read_text().startswith("s\th:m:s\t")
    # Workers that wait for more are ended, and the one Job that is left has ended by itself.
    assert [name.rpartition("-")[0][:5] for name in fake.jobs] == ["join-"]
    assert left(workflow) == ["spool"]


def test_scripts_of_two_folders_each_find_the_module_beside_them(fake, workflow):
    rules = ["rule all:\n    input: 'begin.txt', 'east.txt', 'west.txt'\n"]
    for name in "east", "west":
        (workflow.folder / name).mkdir()
        (workflow.folder / name / "beside.py").write_text(f"name = {name!r}\n")
        (workflow.folder / name / "writes.py").write_text(
            "import beside\nopen(snakemake.output[0], 'w').write(beside.name)\n"
        )
        rules.append(f"rule {name}:\n    output: '{name}.txt'\n    script: '{name}/writes.py'\n")
    rules.append("rule begin:\n    output: 'begin.txt'\n    script: 'begin.py'\n")
    (workflow.folder / "Snakefile").write_text("\n".join(rules))
    ran = workflow.run()
    assert ran.code == 0, ran.text
    assert [(workflow.folder / f"{name}.txt").read_text() for name in ("east", "west")] == [
        "east",
        "west",
    ]


def test_a_second_run_has_nothing_to_do(fake, workflow):
    assert workflow.run().code == 0
    fake.calls.clear()
    assert "Nothing to be done" in workflow.run().text
    assert fake.calls == []


def test_a_task_that_fails_is_named_and_harms_no_other(fake, workflow):
    workflow.does("if piece == '2': raise SystemExit('no such tile')")
    ran = workflow.run("--keep-going")
    assert ran.code == 1
    assert "exit code 1 (Job batch-" in ran.text
    assert "no such tile" in ran.text
    assert workflow.made == PIECES
    assert not (workflow.folder / "piece/2.txt").exists()
    assert (workflow.folder / "piece/3.txt").exists()
    # The next run repeats that one alone.
    workflow.does("pass")
    (workflow.folder / "made.txt").unlink()
    ran = workflow.run("--rerun-triggers", "mtime")
    assert ran.code == 0, ran.text
    assert workflow.made == ["2"]


def test_retries_are_those_of_snakemake(fake, workflow):
    workflow.does(
        "if piece == '1' and not os.path.exists('once'):\n    open('once', 'w'); os._exit(3)"
    )
    text = (workflow.folder / "piece.py").read_text()
    (workflow.folder / "piece.py").write_text(f"import os\n{text}")
    ran = workflow.run("--retries", "1")
    assert ran.code == 0, ran.text
    assert "exit code 3" in ran.text
    assert workflow.made == sorted([*PIECES, "1"])
    # With the memory that it had.
    assert rules(fake) == {"batch": 2, "join": 1}


def test_a_pod_that_is_lost_takes_no_finished_task_with_it(fake, workflow):
    workflow.does(
        "import os, time\n"
        "open(f'began-{piece}', 'a').write('b')\n"
        "while len(os.listdir('piece')) == 2 and not os.path.exists('go'): time.sleep(0.1)"
    )
    process = workflow.start()
    until(lambda: len(list(workflow.folder.glob("began-*"))) == 3)
    (worker,) = [
        job["metadata"]["name"]
        for job in fake.jobs.values()
        if "memory" in str(job["spec"]) and not job["status"].get("conditions")
    ]
    (workflow.folder / "go").touch()
    fake.delete(worker)
    ran = ended(process)
    assert ran.code == 0, ran.text
    assert f"Worker {worker} was lost" in ran.text
    again = [piece for piece in PIECES if (workflow.folder / f"began-{piece}").read_text() == "bb"]
    assert len(again) <= 1
    assert workflow.made == sorted(PIECES + again)


def oom_killed(api: FakeApi, job: dict) -> None:
    """Fate of a worker: it takes a task and is over its limit with it."""
    spool, *_ = (
        word
        for word in job["spec"]["template"]["spec"]["containers"][0]["command"][-1].split()
        if "/spool/" in word
    )
    folder = Path(job["spec"]["template"]["spec"]["containers"][0]["workingDir"], spool)
    task = sorted(folder.glob("*.task"))[0]
    task.with_suffix(".claim").write_text(job["metadata"]["name"])
    api.end(job, api.add_pod(job), "Failed", terminated={"exitCode": 137, "reason": "OOMKilled"})


def test_a_task_whose_pod_is_out_of_memory_is_given_more_and_no_other(fake, workflow):
    killed = []

    def fate(job: dict):
        limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        if limits.get("memory") == "2200M" and not killed:
            killed.append(job["metadata"]["name"])
            return oom_killed
        return None

    fake.fate = fate
    snakefile = (workflow.folder / "Snakefile").read_text()
    # A second attempt with 1600 MB would have a pod of the same size.
    (workflow.folder / "Snakefile").write_text(snakefile.replace("300 *", "800 *"))
    ran = workflow.run()
    assert ran.code == 0, ran.text
    assert "was out of memory (limit 2200M): sent again to a pod with 4200M" in ran.text
    memory = Counter(
        job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"].get("memory")
        for job in fake.created
    )
    assert memory == {None: 2, "2200M": 2, "4200M": 1}
    assert workflow.made == PIECES


def crash(api: FakeApi, job: dict) -> None:
    """Fate of a worker: it ends at once."""
    api.end(job, api.add_pod(job), "Failed", terminated={"exitCode": 127, "reason": "Error"})


def test_workers_that_cannot_work_fail_the_jobs_with_their_reason(fake, workflow):
    fake.fate = lambda job: crash
    ran = workflow.run()
    assert ran.code == 1
    assert "exit code 127" in ran.text
    assert rules(fake) == {"batch": 3}


def image_missing(api: FakeApi, job: dict) -> None:
    """Fate of a worker: its image is not there."""
    pod = api.add_pod(job, phase="Pending")
    waiting = {"reason": "ErrImageNeverPull", "message": "image snakeshed:2 is not present"}
    pod["status"]["containerStatuses"] = [{"name": "main", "state": {"waiting": waiting}}]


def test_workers_that_cannot_start_fail_the_jobs_with_the_clusters_words(fake, workflow):
    fake.fate = lambda job: image_missing
    ran = workflow.run("--kubernetes-pvc-start-deadline", "1")
    assert ran.code == 1
    assert "image snakeshed:2 is not present" in ran.text
    assert fake.jobs == {}


def test_no_more_pods_than_allowed_are_in_the_cluster_at_once(fake, workflow):
    workflow.does("import time; time.sleep(0.3)")
    snakefile = (workflow.folder / "Snakefile").read_text()
    snakefile = snakefile.replace("estimated_s=2", "estimated_s=600")
    (workflow.folder / "Snakefile").write_text(snakefile)
    most = []
    fake.fate = lambda job: most.append(
        sum(not one["status"].get("conditions") for one in fake.jobs.values())
    )
    ran = workflow.run("--kubernetes-pvc-max-pods", "3")
    assert ran.code == 0, ran.text
    assert max(most) == 3
    assert workflow.made == PIECES


def killed_at_work(workflow: ScriptedWorkflow, *options: str) -> None:
    """Kill the driver while a worker runs the second of its tasks."""
    workflow.does(
        "import os, time\n"
        "open(f'began-{piece}', 'a').write('b')\n"
        "while len(list(Path('.').glob('began-*'))) == 2 and not os.path.exists('go'):\n"
        "    time.sleep(0.1)"
    )
    process = workflow.start(*options)
    until(lambda: len(list(workflow.folder.glob("began-*"))) == 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("options", [[], ["--forcerun", "join"]])
def test_after_a_kill_workers_go_on_and_nothing_is_done_twice(fake, workflow, options):
    killed_at_work(workflow)
    (workflow.folder / "go").touch()
    ran = workflow.run("--rerun-incomplete", "--nolock", *options)
    assert ran.code == 0, ran.text
    assert "still run, and what they have done is not done again" in ran.text
    assert workflow.made == PIECES
    assert rules(fake)["batch"] == 2
    assert left(workflow) == ["spool"]


def test_after_a_kill_with_fifty_running_pods_only_failed_jobs_run_again(fake, workflow):
    workflow.does(
        "import os, time\n"
        "open(f'began-{piece}', 'a').write('b')\n"
        "while not os.path.exists('go'): time.sleep(0.2)\n"
        "if piece in ('7', '31') and not os.path.exists('mended'): raise SystemExit(1)"
    )
    text = (workflow.folder / "Snakefile").read_text()
    (workflow.folder / "Snakefile").write_text(text.replace("estimated_s=2", "estimated_s=600"))
    options = ["--rerun-incomplete", "--nolock", "--config", "pieces=50"]
    process = workflow.start(*options)
    until(lambda: len(list(workflow.folder.glob("began-*"))) == 50)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (workflow.folder / "go").touch()
    spool = workflow.folder / ".snakemake/kubernetes-pvc/spool"
    until(lambda: len(list(spool.rglob("*.end"))) == 50)
    (workflow.folder / "mended").touch()
    ran = workflow.run(*options)
    assert ran.code == 0, ran.text
    assert workflow.made == sorted([*map(str, range(50)), "7", "31"])


def test_after_a_kill_a_task_with_other_code_is_ended_and_done_again(fake, workflow):
    killed_at_work(workflow)
    workflow.does("pass")
    ran = workflow.run("--rerun-incomplete", "--nolock")
    assert ran.code == 0, ran.text
    # One was done, one was at work; both had the old code.
    assert len(workflow.made) >= 5
    assert sorted(set(workflow.made)) == PIECES
    assert (workflow.folder / "all.txt").read_text().splitlines() == [
        f"{piece} as ever" for piece in PIECES
    ]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(fake, workflow, how):
    workflow.does("import time; open('began', 'w'); time.sleep(100)")
    process = workflow.start()
    until((workflow.folder / "began").exists)
    process.send_signal(how)
    ran = ended(process, 60)
    assert ran.code != 0
    assert fake.jobs == {}
    assert left(workflow) == ["spool"]
    assert all(each.poll() is not None for each in fake.processes.values())
