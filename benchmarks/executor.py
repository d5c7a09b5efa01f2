"""What it costs to have jobs run on Kubernetes, beside the official executor.

    python benchmarks/executor.py [--peer PYTHON] [--jobs 25 200] [--tiny 200] [--json FILE]
                                  [--readme]

Runs on the cluster of the current kubeconfig context as the tests in tests/kubernetes do: its node
is this machine, and has the image that SNAKESHED_TEST_IMAGE names. PYTHON is that of an environment
with Snakemake, snakemake-executor-plugin-kubernetes and snakemake-storage-plugin-fs (which needs
rsync).

"Watching", with --peer: a number of Jobs wait for a node that does not come, and for a minute the
calls of the driver, its CPU time and its memory are counted. "Running", with --tiny: tiny jobs, all
sent at once for what the whole run takes, and as many at once as there are cores for the time from
submission to the start of a job's command, and from its end until the driver knows. What is not
measured is taken from the FILE. The official executor's pods install packages from an index when
they start, and read their inputs from a storage provider: where neither is reached, there is only
the watching to compare.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/kubernetes"))

from fake_api import FaultyProxy
from real_cluster import IMAGE, Cluster
from record import parser_of, publish

from snakemake_executor_plugin_kubernetes_pvc.connection import Connection

SNAKEFILE = """
rule all:
    input: expand("tiny/{number}", number=range(config["jobs"]))

rule tiny:
    output: "tiny/{number}"
    threads: config["threads"]
    resources: mem_mb=300, disk_mb=100
    shell: "date +%s.%N > {output}; date +%s.%N >> {output}"
"""
OURS, OFFICIAL = "kubernetes-pvc", "kubernetes 0.5.1"
COUNTED_S = 60
LATENCY_JOBS = 24


def options_of(executor: str, cluster: Cluster, folder: Path, at_once: int) -> list[str]:
    """Options of Snakemake for an executor that has so many jobs at once at most."""
    common = ["--container-image", IMAGE, "--jobs", str(at_once), "--cores", "1000"]
    common += ["--scheduler", "greedy", "--nocolor"]
    if executor == OFFICIAL:
        return [
            *("--executor", "kubernetes", "--kubernetes-namespace", cluster.namespace),
            *("--default-storage-provider", "fs", "--default-storage-prefix", str(folder / "fs")),
            *("--seconds-between-status-checks", "3", *common),
        ]
    return [
        *("--executor", "kubernetes-pvc", "--kubernetes-pvc-claim", "shared"),
        *("--kubernetes-pvc-mount-path", str(cluster.folder), "--kubernetes-pvc-namespace"),
        *(cluster.namespace, "--shared-fs-usage", "persistence", "input-output", "sources"),
        *("storage-local-copies", "--seconds-between-status-checks", "3", *common),
    ]


@contextmanager
def driver(
    executor: str,
    cluster: Cluster,
    peer: str,
    kubeconfig: Path,
    jobs: int,
    threads: int,
    at_once: int = 1000,
) -> Iterator[tuple[subprocess.Popen, Path]]:
    """A driver in a fresh folder of the volume; it and its Jobs are gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=cluster.folder))
    folder.chmod(0o777)
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    python = sys.executable if executor == OURS else peer
    process = subprocess.Popen(
        [
            *(python, "-m", "snakemake", *options_of(executor, cluster, folder, at_once)),
            *("--config", f"jobs={jobs}", f"threads={threads}"),
        ],
        cwd=folder,
        env={
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": str(ROOT / "scripts") if executor == OURS else "",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        umask=0,
    )
    try:
        yield process, folder
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        cluster.clear()


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Largest memory of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1000


def watching(executor: str, cluster: Cluster, peer: str, jobs: int) -> dict:
    """Count what it takes to watch Jobs that wait, once all of them are sent."""
    with (
        tempfile.TemporaryDirectory() as folder,
        FaultyProxy(connection=Connection()) as proxy,
    ):
        kubeconfig = proxy.write_kubeconfig(Path(folder, "kubeconfig"), namespace=cluster.namespace)
        with driver(executor, cluster, peer, kubeconfig, jobs, 1000) as (process, _):
            begin = time.monotonic()
            while len(cluster.jobs()) < jobs:
                if process.poll() is not None or time.monotonic() - begin > 300:
                    raise SystemExit(f"{executor} does not send its Jobs:\n{process.stdout.read()}")
                time.sleep(0.5)
            sent_s = time.monotonic() - begin
            time.sleep(5)
            calls, cpu = len(proxy.calls), cpu_s(process.pid)
            time.sleep(COUNTED_S)
            counted = proxy.calls[calls:]
            row = {
                "executor": executor,
                "jobs": jobs,
                "sent_s": round(sent_s, 1),
                "calls_per_minute": len(counted) * 60 / COUNTED_S,
                "calls": dict(Counter(f"{call.method} {call.kind}" for call in counted)),
                "cpu_s_per_minute": round((cpu_s(process.pid) - cpu) * 60 / COUNTED_S, 2),
                "peak_mb": round(peak_mb(process.pid)),
            }
            print(row, file=sys.stderr, flush=True)
            return row


def middle_and_most(seconds: Iterable[float]) -> dict:
    """Median and 90 % quantile of some times."""
    some = sorted(seconds)
    return {
        "median_s": round(statistics.median(some), 1),
        "p90_s": round(statistics.quantiles(some, n=10, method="inclusive")[-1], 1),
    }


def running(cluster: Cluster, jobs: int, at_once: int) -> dict:
    """Run tiny jobs of ours, so many at once at most."""
    submitted, done, numbers, jobid, said = {}, {}, {}, "", ""
    with (
        tempfile.TemporaryDirectory() as name,
        FaultyProxy(connection=Connection()) as proxy,
    ):
        kubeconfig = proxy.write_kubeconfig(Path(name, "kubeconfig"), namespace=cluster.namespace)
        begin = time.monotonic()
        with driver(OURS, cluster, "", kubeconfig, jobs, 1, at_once) as (process, folder):
            for line in process.stdout:
                now = time.time()
                said += line
                # A job is told of when it is about to be sent.
                if found := re.match(r"\s+jobid: (\d+)", line):
                    jobid = found[1]
                elif found := re.match(r"\s+wildcards: number=(\d+)", line):
                    numbers[jobid] = found[1]
                    submitted[found[1]] = now
                elif found := re.search(r"Finished jobid: (\d+) \(Rule: tiny\)", line):
                    done[numbers[found[1]]] = now
                    total_s = time.monotonic() - begin
                    cpu, peak = cpu_s(process.pid), peak_mb(process.pid)
            if process.wait() or len(done) < jobs:
                raise SystemExit(f"A tiny job failed:\n{said}")
            at = {
                number: [float(line) for line in (folder / "tiny" / number).read_text().split()]
                for number in done
            }
        row = {
            "jobs": jobs,
            "at_once": at_once,
            "total_s": round(total_s),
            "submission_to_start": middle_and_most(at[one][0] - submitted[one] for one in done),
            "end_to_done": middle_and_most(done[one] - at[one][1] for one in done),
            "calls_per_minute": round(len(proxy.calls) * 60 / total_s, 1),
            "calls": dict(Counter(f"{call.method} {call.kind}" for call in proxy.calls)),
            "cpu_s": round(cpu, 1),
            "peak_mb": round(peak),
        }
    print(row, file=sys.stderr, flush=True)
    return row


def table_of(result: dict) -> str:
    """The result as Markdown."""
    lines = [
        f"{result['cores']} cores, which the cluster shares with the drivers; {result['date']}.",
        "",
        "| watching | Jobs | calls a minute | CPU of the driver (s a minute) | its memory (MB) |",
        "|---|---|---|---|---|",
        *(
            f"| {row['executor']} | {row['jobs']} | {row['calls_per_minute']:.0f} | "
            f"{row['cpu_s_per_minute']} | {row['peak_mb']} |"
            for row in result["watching"]
        ),
    ]
    for row in result["running"]:
        start, end = row["submission_to_start"], row["end_to_done"]
        calls = Counter()
        for call, number in row["calls"].items():
            calls[call.split()[0]] += number
        if row["at_once"] >= row["jobs"]:
            lines += [
                "",
                f"{row['jobs']} tiny jobs sent at once, which take their turns on the cores: "
                f"{row['total_s']} s in all; {calls['POST']} calls to create Jobs, {calls['GET']} "
                f"to look at them ({calls['GET'] / row['total_s'] * 60:.0f} a minute), "
                f"{calls['DELETE']} to delete old ones; "
                f"{row['cpu_s']} s of CPU and {row['peak_mb']} MB for the driver.",
            ]
        else:
            lines += [
                "",
                f"One of {row['jobs']} jobs, {row['at_once']} at once: {start['median_s']} s from "
                "submission to the start of its command (a pod, a container and Snakemake in it; "
                f"90 %: {start['p90_s']} s), {end['median_s']} s from its end until the driver "
                f"knows (90 %: {end['p90_s']} s; the driver looks every 3 s).",
            ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("--peer", help="Python with the official executor")
    parser.add_argument("--jobs", type=int, nargs="+", default=[25, 200], help="that wait")
    parser.add_argument("--tiny", type=int, help="number of tiny jobs to run")
    options = parser.parse_args()
    result = {"watching": [], "running": []}
    if options.json and options.json.exists():
        result |= json.loads(options.json.read_text(encoding="utf-8"))
    result |= {"cores": os.cpu_count(), "date": time.strftime("%Y-%m-%d")}
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="snakeshed-benchmark-"))
    folder.chmod(0o777)
    cluster = Cluster(folder)
    try:
        if options.peer:
            result["watching"] = [
                watching(executor, cluster, options.peer, jobs)
                for jobs in options.jobs
                for executor in (OURS, OFFICIAL)
            ]
        if options.tiny:
            result["running"] = [
                running(cluster, LATENCY_JOBS, os.cpu_count()),
                running(cluster, options.tiny, options.tiny),
            ]
    finally:
        cluster.remove()
        shutil.rmtree(folder)
    publish("executor", result, table_of(result), options)


if __name__ == "__main__":
    main()
