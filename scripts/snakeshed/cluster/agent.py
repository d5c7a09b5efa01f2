"""The other end of a copy: a program that a pod with the volume runs, sent to it with each call.

It needs nothing but Python, and has its orders and data on standard input. What it says is JSON,
a line each; a line with a point says that it is alive. The last line is an object with ``done`` or
``error``: an answer without one was cut off.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import stat
import sys
import time
from typing import Any, BinaryIO

RECORD = ".snakeshed/pushed.json"
REPLACED = ".snakeshed/replaced"
_BLOCK = 1 << 20
_ALIVE_S = 5.0


class Agent:
    """Works in the current folder, which is the volume.

    Parameters
    ----------
    given, told : binary file
    """

    def __init__(self, given: BinaryIO, told: BinaryIO) -> None:
        self._given = given
        self._told = told
        self._spoke = time.monotonic()

    def serve(self) -> None:
        """Do what the first line asks for, and say how it ended."""
        try:
            order = json.loads(self._given.readline())
            done = getattr(self, f"do_{order['do']}")(order)
        except OSError as error:
            name = errno.errorcode.get(error.errno, "")
            told = {"error": error.strerror or str(error), "errno": name, "path": error.filename}
            self._say(told)
        else:
            self._say({"done": done})

    def do_look(self, order: dict[str, Any]) -> dict[str, Any]:
        """Say what is at some paths, what has come of unfinished files, and what was pushed."""
        known = _record()
        return {
            "files": {path: _state(path) for path in order["paths"]},
            "parts": {path: _size(_part(path, token)) for path, token in order["parts"].items()},
            "record": {path: known[path] for path in order["paths"] if path in known},
        }

    def do_hash(self, order: dict[str, Any]) -> dict[str, str]:
        """Say the SHA-256 of files."""
        return {path: self._sha256(path) for path in order["paths"]}

    def do_receive(self, _: dict[str, Any]) -> dict[str, Any]:
        """Write pieces of files, each behind a line that describes it, until there are no more.

        A file whose last piece has come gets its name if it has the bytes that it should have.
        The answer counts the pieces that have come whole.
        """
        wrong, pieces, known = [], 0, _record()
        try:
            while line := self._given.readline():
                try:
                    head = json.loads(line)
                except ValueError:
                    break  # The connection has ended within it.
                right = self._take(head, known)
                if right is None:
                    break  # The connection has ended within the piece.
                pieces += 1
                if not right:
                    wrong.append(head["path"])
        finally:
            _write_record(known)
        return {"wrong": wrong, "pieces": pieces}

    def do_note(self, order: dict[str, Any]) -> None:
        """Remember of files that are there already what they are where they come from."""
        known = _record()
        for path, entry in order["files"].items():
            if (there := _state(path)) is not None:
                known[path] = {**entry, "there": there["times"]}
        _write_record(known)

    def do_list(self, order: dict[str, Any]) -> list[list[Any]]:
        """List the files below a folder: path, size, time of change in ns."""
        found = []
        for folder, folders, names in os.walk(order["folder"]):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                try:
                    state = os.lstat(path)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(state.st_mode):
                    found.append([path, state.st_size, state.st_mtime_ns])
            self._alive()
        return found

    def do_send(self, order: dict[str, Any]) -> int:
        """Send pieces of files, a line each; of a file that has changed since, none."""
        sent = 0
        for path, size, mtime_ns, offset, length in order["pieces"]:
            try:
                with open(path, "rb") as file:
                    state = os.fstat(file.fileno())
                    if (state.st_size, state.st_mtime_ns) != (size, mtime_ns):
                        continue
                    file.seek(offset)
                    content = file.read(length)
            except FileNotFoundError:
                continue
            told = {"path": path, "offset": offset, "sha256": hashlib.sha256(content).hexdigest()}
            self._say({**told, "base64": base64.b64encode(content).decode("ascii")})
            sent += 1
        return sent

    def _take(self, head: dict[str, Any], known: dict[str, Any]) -> bool | None:
        """Write one piece, and return whether the file, if it is whole now, is the right one.

        Of a piece that is cut off, None.
        """
        path = head["path"]
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if head.get("link") is not None:
            part = _part(path, "link")
            if os.path.lexists(part):
                os.unlink(part)
            os.symlink(head["link"], part)
            self._name(part, path, head)
            return True
        part = _part(path, head["token"])
        with open(part, "r+b" if os.path.exists(part) else "wb") as file:
            file.seek(head["offset"])
            file.truncate()
            left = head["length"]
            while left:
                block = self._given.read(min(left, _BLOCK))
                if not block:
                    return None  # The connection has ended; the rest will come.
                file.write(block)
                left -= len(block)
                self._alive()
            if not head["last"]:
                return True
            file.flush()
            os.fsync(file.fileno())
        if _size(part) != head["size"] or self._sha256(part) != head["sha256"]:
            os.unlink(part)
            return False
        os.chmod(part, 0o755 if head["executable"] else 0o644)
        os.utime(part, ns=(head["mtime_ns"], head["mtime_ns"]))
        self._name(part, path, head)
        known[path] = {
            "here": head["here"],
            "sha256": head["sha256"],
            "there": _state(path)["times"],
        }
        return True

    def _name(self, part: str, path: str, head: dict[str, Any]) -> None:
        """Give a file its name; what another has put there is kept elsewhere."""
        if head.get("keep") and os.path.lexists(path):
            kept = os.path.join(REPLACED, head["keep"], path)
            os.makedirs(os.path.dirname(kept), exist_ok=True)
            os.rename(path, kept)
        os.replace(part, path)
        # What has come of it before it changed, where it comes from, and was never finished.
        folder, name = os.path.split(path)
        for other in os.listdir(folder or "."):
            if other.startswith(f".{name}.") and other.endswith(".push"):
                os.unlink(os.path.join(folder, other))

    def _sha256(self, path: str) -> str:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                self._alive()
        return digest.hexdigest()

    def _alive(self) -> None:
        """Keep what is between here and there from taking a long work for a dead connection."""
        if time.monotonic() - self._spoke >= _ALIVE_S:
            self._say(None)

    def _say(self, told: dict[str, Any] | None) -> None:
        line = "." if told is None else json.dumps(told)
        self._told.write(line.encode("ascii") + b"\n")
        self._told.flush()
        self._spoke = time.monotonic()


def _part(path: str, token: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{token}.push")


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def _state(path: str) -> dict[str, Any] | None:
    """What is at a path: None, a link and where it leads, a folder, or a file's size and times."""
    try:
        state = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(state.st_mode):
        return {"link": os.readlink(path), "times": None}
    if stat.S_ISDIR(state.st_mode):
        return {"folder": True, "times": None}
    return {"times": [state.st_size, state.st_mtime_ns, state.st_ctime_ns]}


def _record() -> dict[str, Any]:
    try:
        with open(RECORD, encoding="utf-8") as file:
            return dict(json.load(file))
    except (FileNotFoundError, ValueError):
        return {}


def _write_record(known: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(RECORD), exist_ok=True)
    part = f"{RECORD}.{os.getpid()}.push"
    with open(part, "w", encoding="utf-8") as file:
        json.dump(known, file, indent=0)
    os.replace(part, RECORD)


if __name__ == "__main__":
    Agent(sys.stdin.buffer, sys.stdout.buffer).serve()
