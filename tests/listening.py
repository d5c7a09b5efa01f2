"""Sockets on which the processes of a run wait for connections."""

from __future__ import annotations

import ipaddress
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LISTENS = "0A"


def marked(variable: str, value: str) -> set[int]:
    """All processes that have an environment variable, children of children too."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"{variable}={value}".encode() in environment.split(b"\0"):
            found.add(int(folder.name))
    return found


def listening(pid: int) -> set[tuple[str, str]]:
    """Addresses with ports on which a process listens, as it sees its network, and its command."""
    folder = Path(f"/proc/{pid}")
    found = set()
    try:
        links = [str(one.readlink()) for one in (folder / "fd").iterdir()]
        inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        for name in ("tcp", "tcp6"):
            table = (folder / "net" / name).read_text(encoding="ascii").splitlines()[1:]
            for fields in map(str.split, table):
                if fields[3] == LISTENS and fields[9] in inodes:
                    found.add((_address(fields[1]), command))
    except OSError:  # it has ended
        pass
    return found


@contextmanager
def watched(processes: Callable[[], set[int]]) -> Iterator[set[tuple[str, str]]]:
    """Collect all that some processes listen on while something runs."""
    found: set[tuple[str, str]] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            for pid in processes():
                found.update(listening(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an address with a port."""
    host = re.sub(r":\d+$", "", address)
    return ipaddress.ip_address(host).is_loopback


def _address(field: str) -> str:
    """Address and port of one field of /proc/net/tcp: words in the byte order of the machine."""
    host, _, port = field.partition(":")
    words = [host[start : start + 8] for start in range(0, len(host), 8)]
    number = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(number)
    address = getattr(address, "ipv4_mapped", None) or address
    return f"{address}:{int(port, 16)}"
