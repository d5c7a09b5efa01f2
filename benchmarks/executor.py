"""What it costs to have jobs run on Kubernetes, beside the official executor.

    python benchmarks/executor.py --peer PYTHON [--jobs 25 200] [--json FILE] [--readme]

Runs on the cluster of the current kubeconfig context as the tests in tests/kubernetes do: its node
is this machine, and has the image that SNAKESHED_TEST_IMAGE names. PYTHON is that of an environment
with Snakemake, snakemake-executor-plugin-kubernetes and snakemake-storage-plugin-fs (which needs
rsync).

"Watching": a number of Jobs wait for a node that does not come, and for a minute the calls of the
driver, its CPU time and its memory are counted. "One job": tiny jobs, as many at once as there are
cores, from their submission to the start of their command, and from its end until the driver knows.
The official executor's pods install packages from an index when they start, and read their inputs
from a storage provider: where neither is reached, there is only the watching to compare.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/kubernetes"))

from cluster import IMAGE, Cluster
from fake_api import FaultyProxy
from workflow import write_table

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
LATENCY_JOBS = 12


def options_of(executor: str, cluster: Cluster, folder: Path) -> list[str]:
    """Options of Snakemake for an executor."""
    common = ["--container-image", IMAGE, "--jobs", "1000", "--cores", "1000"]
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
    executor: str, cluster: Cluster, peer: str, kubeconfig: Path, jobs: int, threads: int
) -> Iterator[tuple[subprocess.Popen, Path]]:
    """A driver in a fresh folder of the volume; it and its Jobs are gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=cluster.folder))
    folder.chmod(0o777)
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    python = sys.executable if executor == OURS else peer
    process = subprocess.Popen(
        [
            *(python, "-m", "snakemake", *options_of(executor, cluster, folder)),
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


def one_job(cluster: Cluster) -> dict:
    """Time tiny jobs of ours, as many at once as there are cores."""
    submitted, done = {}, {}
    with driver(OURS, cluster, "", Path(os.environ["KUBECONFIG"]), LATENCY_JOBS, 1) as (
        process,
        folder,
    ):
        numbers, jobid = {}, ""
        for line in process.stdout:
            now = time.time()
            # A job is told of when it is about to be sent.
            if found := re.match(r"\s+jobid: (\d+)", line):
                jobid = found[1]
            elif found := re.match(r"\s+wildcards: number=(\d+)", line):
                numbers[jobid] = found[1]
                submitted[found[1]] = now
            elif found := re.search(r"Finished jobid: (\d+) \(Rule: tiny\)", line):
                done[numbers[found[1]]] = now
        if process.wait():
            raise SystemExit("a tiny job failed")
        at = {
            number: [float(line) for line in (folder / "tiny" / number).read_text().split()]
            for number in done
        }
    # Those that had to wait for a core have waited for other jobs, not for Kubernetes.
    first = sorted(submitted, key=submitted.get)[: os.cpu_count()]
    return {
        "jobs": LATENCY_JOBS,
        "submission_to_start_s": round(
            statistics.median(at[number][0] - submitted[number] for number in first), 1
        ),
        "end_to_done_s": round(
            statistics.median(done[number] - at[number][1] for number in done), 1
        ),
    }


def table_of(result: dict) -> str:
    """The result as Markdown."""
    latency = result["one_job"]
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
        "",
        f"One job: {latency['submission_to_start_s']} s from submission to the start of its "
        f"command (a pod, a container and Snakemake in it), {latency['end_to_done_s']} s from its "
        "end until the driver knows (median; the driver looks every 3 s).",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--peer", required=True, help="Python with the official executor")
    parser.add_argument("--jobs", type=int, nargs="+", default=[25, 200])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--readme", action="store_true", help="update benchmarks/README.md")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="snakeshed-benchmark-"))
    folder.chmod(0o777)
    cluster = Cluster(folder)
    try:
        rows = [
            watching(executor, cluster, options.peer, jobs)
            for jobs in options.jobs
            for executor in (OURS, OFFICIAL)
        ]
        latency = one_job(cluster)
    finally:
        cluster.remove()
        shutil.rmtree(folder)
    result = {
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
        "watching": rows,
        "one_job": latency,
    }
    print(table_of(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if options.readme:
        write_table("executor", table_of(result))


if __name__ == "__main__":
    main()
