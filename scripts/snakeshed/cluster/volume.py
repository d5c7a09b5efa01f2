"""The volume of the cluster, reached through the access pod."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snakeshed.cluster import agent
from snakeshed.cluster.access import ACCESS, wait_for_access
from snakeshed.cluster.kubectl import Kubectl, NotAnswered, NotThere, Refused
from snakeshed.errors import KubernetesError

_BOOT = "import sys; exec(sys.stdin.buffer.read(int(sys.argv[1])))"
_MOST_TRIES = 6
_PROGRAM_FAILED = re.compile(rb"^command terminated with exit code (?:1|2)$", re.MULTILINE)
_FULL = {"ENOSPC", "EDQUOT"}


class CutOff(Exception):
    """A call has ended before its answer was complete; the text says why."""


class Volume:
    """The files of the volume.

    Parameters
    ----------
    kubectl
        For the namespace of the access pod.
    """

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        self._agent = Path(agent.__file__).read_bytes()

    def ask(self, order: dict[str, Any], data: bytes = b"") -> list[dict[str, Any]]:
        """Have the pod do something, once.

        Parameters
        ----------
        order
            For `snakeshed.cluster.agent`.
        data
            What follows the order.

        Returns
        -------
        list of dict
            What it says, a line each; the last one has ``done``.

        Raises
        ------
        CutOff
            The connection or the pod has ended.
        KubernetesError
            The cluster refuses, or the volume does not take it.
        """
        content = self._agent + json.dumps(order).encode("ascii") + b"\n" + data
        command = ("python", "-I", "-c", _BOOT, str(len(self._agent)))
        lines = [line for line in self._piped(command, content).splitlines() if line != b"."]
        try:
            said = [json.loads(line) for line in lines]
        except ValueError:
            said = []
        if said and "error" in said[-1]:
            raise self._fault(said[-1])
        if not said or "done" not in said[-1]:
            raise CutOff("the connection to the access pod has ended")
        return said

    def run(self, *command: str) -> str:
        """Run a command in the pod, and return what it says; for errors see `ask`."""
        return self._piped(command, b"").decode(errors="replace")

    def text(self, path: str) -> str:
        """Return the text of a file, asking again if that is cut off; for errors see `ask`."""
        return self.insist(lambda: self.run("cat", "--", path))

    def insist(self, work: Callable[[], Any], left: Callable[[], int] = lambda: 0) -> Any:
        """Do work again whenever it is cut off, as long as it gets on.

        Parameters
        ----------
        work
            May raise `CutOff`, and goes on where it was.
        left
            What is left to do, in any unit.

        Raises
        ------
        KubernetesError
            It was cut off too often without having come any further.
        """
        tries, before = 0, None
        while True:
            try:
                return work()
            except CutOff as error:
                now = left()
                tries = 1 if before is not None and now < before else tries + 1
                before = now
                if tries >= _MOST_TRIES:
                    raise KubernetesError(
                        f"deployment {ACCESS}",
                        f"a copy that is cut off again and again ({error})",
                        "a pod and a network that last",
                        "Run the same command again: it goes on where this one was.",
                    ) from None
                self.kubectl.say(f"The copy was cut off ({error}). It goes on.")
                self.kubectl.sleep(2.0 ** (tries - 1))
                wait_for_access(self.kubectl)

    def answer(self, order: dict[str, Any]) -> Any:
        """Ask, again if that is cut off, and return what is done; for errors see `ask`."""
        return self.insist(lambda: self.ask(order))[-1]["done"]

    def _piped(self, command: tuple[str, ...], content: bytes) -> bytes:
        words = ("exec", "-i", f"deployment/{ACCESS}", "--", *command)
        said, complaint, code = self.kubectl.piped(*words, content=content)
        if code == 0:
            return said
        if b"executable file not found" in complaint:
            raise KubernetesError(
                "the image",
                f"no {command[0]} in it",
                "the image that is built from envs/Dockerfile",
                "Build it, and name it in profiles/nautilus/kustomization.yaml.",
            )
        if _PROGRAM_FAILED.search(complaint):
            last = _PROGRAM_FAILED.sub(b"", complaint).decode(errors="replace").strip()
            raise KubernetesError(
                f"deployment {ACCESS}: {command[0]}",
                f"a program that failed ({(last.splitlines() or ['it says nothing'])[-1]})",
                "the image that is built from envs/Dockerfile of this checkout",
                "Build and push it again, and name it in profiles/nautilus/kustomization.yaml.",
            )
        try:
            self.kubectl.refuse(words, complaint)
        except Refused:
            raise
        except (NotAnswered, NotThere, KubernetesError) as error:
            text = error.found if isinstance(error, KubernetesError) else str(error)
            last = text.splitlines()[-1] if text else "no reason is known"
            raise CutOff(f"{last}; exit status {code}") from None
        raise AssertionError("unreachable")

    def _fault(self, said: dict[str, Any]) -> KubernetesError:
        where = f"the volume: {said['path']}" if said["path"] else "the volume"
        if said["errno"] in _FULL:
            return KubernetesError(
                where,
                f"no room ({said['error']})",
                "room for the file",
                "Remove what is not needed (kubectl exec -it --namespace "
                f"{self.kubectl.namespace} deployment/{ACCESS} -- bash), or ask for more in "
                "profiles/nautilus/storage.yaml if the storage class can grow. Then run the same "
                "command again: it goes on where this one was.",
            )
        return KubernetesError(
            where,
            said["error"],
            "a file or folder that the access pod (user 1000) can write",
            "Look at it: kubectl exec -it --namespace "
            f"{self.kubectl.namespace} deployment/{ACCESS} -- bash",
        )
