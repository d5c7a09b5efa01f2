"""How fast files are fetched: ours, curl, pooch, and obstore, from a server on this machine.

    python benchmarks/transfer.py [--peers PYTHON] [--files 100] [--mb 10] [--rounds 5] [--readme]

All fetch the same files over as many connections, each time into a new folder, in turns; a first
round does not count. Seconds are those of the transfer, without the start of Python; of curl, those
of the command. Ours asks for the lengths of the files beforehand, and hashes them (SHA-256); curl
and obstore do neither, pooch hashes after each transfer. The server sends files with sendfile, from
the page cache, in a process of its own. PYTHON is one that has pooch and obstore; without it, there
is curl alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from record import machine, parser_of, publish, source_of

CONNECTIONS = 4

POOCH = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import pooch
pooch.get_logger().setLevel("ERROR")
folder, connections, *addresses = sys.argv[1:]
began = time.perf_counter()
def one(address):
    return pooch.retrieve(address, None, path=folder, fname=address.rpartition("/")[2])
with ThreadPoolExecutor(int(connections)) as pool:
    list(pool.map(one, addresses))
print(time.perf_counter() - began)
"""

OBSTORE = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from obstore.store import HTTPStore
folder, connections, *addresses = sys.argv[1:]
store = HTTPStore.from_url(addresses[0].rpartition("/")[0], client_options={"allow_http": True})
began = time.perf_counter()
def one(address):
    name = address.rpartition("/")[2]
    with open(Path(folder, name), "wb") as file:
        for block in store.get(name).stream(min_chunk_size=1 << 20):
            file.write(block)
with ThreadPoolExecutor(int(connections)) as pool:
    list(pool.map(one, addresses))
print(time.perf_counter() - began)
"""


class _Files(BaseHTTPRequestHandler):
    """Sends the files of a folder."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._send_head()

    def do_GET(self) -> None:
        with self._send_head().open("rb") as file:
            self.connection.sendfile(file)

    def _send_head(self) -> Path:
        path = self.folder / self.path[1:]
        stat = path.stat()
        self.send_response(200)
        self.send_header("Content-Length", str(stat.st_size))
        self.send_header("ETag", f'"{stat.st_ino}"')
        self.send_header("Last-Modified", formatdate(stat.st_mtime, usegmt=True))
        self.end_headers()
        self.wfile.flush()
        return path


def serve(folder: Path) -> None:
    """Serve a folder until the standard input ends; say on which port."""
    _Files.folder = folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


def by_curl(addresses: Sequence[str], folder: Path) -> float:
    """Fetch files with curl."""
    config = folder / "curl.txt"
    lines = [f'url = "{address}"\nremote-name' for address in addresses]
    config.write_text("\n".join(lines))
    command = [
        "curl",
        "--parallel",
        "--parallel-max",
        str(CONNECTIONS),
        "--silent",
        "--no-progress-meter",
        "--fail",
    ]
    command += ["--output-dir", folder, "--config", config]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def by_ours(addresses: Sequence[str], folder: Path) -> float:
    """Fetch files as a run does."""
    from snakeshed.transfer.batch import Wanted, fetch
    from snakeshed.transfer.file_cache import FileCache

    began = time.perf_counter()
    fetch(list(map(Wanted, addresses)), FileCache(folder), connections=CONNECTIONS)
    return time.perf_counter() - began


def by_peer(python: Path, program: str, addresses: Sequence[str], folder: Path) -> float:
    """Fetch files with a library of another environment."""
    command = [python, "-c", program, folder, str(CONNECTIONS), *addresses]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def measure(options: argparse.Namespace, folder: Path) -> dict:
    """Fetch the files in each way, in turns."""
    import requests  # noqa: F401 - so that no time is that of its import

    served = folder / "served"
    served.mkdir()
    for k in range(options.files):
        (served / f"{k:03}.bin").write_bytes(os.urandom(options.mb * 1_000_000))
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", served], stdout=subprocess.PIPE, text=True
    )
    try:
        address = f"http://127.0.0.1:{int(server.stdout.readline())}"
        addresses = [f"{address}/{path.name}" for path in sorted(served.iterdir())]
        ways = {"curl": by_curl, "snakeshed": by_ours}
        if options.peers:
            for name, program in (("pooch", POOCH), ("obstore", OBSTORE)):
                ways[name] = lambda *given, program=program: by_peer(options.peers, program, *given)
        times = defaultdict(list)
        for _ in range(1 + options.rounds):
            for name, way in ways.items():
                target = folder / "target"
                target.mkdir()
                times[name].append(way(addresses, target))
                sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
                assert sizes.count(options.mb * 1_000_000) == options.files
                shutil.rmtree(target)
    finally:
        server.terminate()
        server.wait()
    return {
        "files": options.files,
        "mb": options.mb,
        "connections": CONNECTIONS,
        "rounds": options.rounds,
        "seconds": {name: round(statistics.median(each[1:]), 3) for name, each in times.items()},
        "times_curl": {
            name: round(
                statistics.median(
                    own / curl for own, curl in zip(each[1:], times["curl"][1:], strict=True)
                ),
                2,
            )
            for name, each in times.items()
        },
    }


def table_of(result: dict) -> str:
    """The result as a Markdown table."""
    lines = [
        f"{result['files']} files of {result['mb']} MB over {result['connections']} connections; "
        f"medians of {result['rounds']} rounds. {source_of(result)}",
        "",
        "| | s | MB/s | times curl |",
        "|---|---|---|---|",
    ]
    for name, seconds in result["seconds"].items():
        rate = result["files"] * result["mb"] / seconds
        lines.append(f"| {name} | {seconds:.2f} | {rate:,.0f} | {result['times_curl'][name]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("--peers", type=Path, help="a Python that has pooch and obstore")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--mb", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory() as name:
        result = machine("snakeshed", "requests") | measure(options, Path(name))
    publish("transfer", result, table_of(result), options)


if __name__ == "__main__":
    main()
