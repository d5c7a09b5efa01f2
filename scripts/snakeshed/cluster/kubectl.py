"""kubectl, with the cluster and the rights that the user's own kubeconfig gives it."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import IO, Any

from snakeshed.errors import KubernetesError

# What a call may take that is no transfer and follows nothing, and how long an API that does not
# answer is waited for (s).
_REQUEST_S = 30
_AWAY_S = 1800.0
_LONGEST_WAIT_S = 15.0
# A transfer says every few seconds that it is alive; one that does not for so long is lost (s).
_SILENT_S = 120.0
_LOOK_EVERY_S = 1.0
_BLOCK = 1 << 16

# What kubectl says of an API that is not there for now; all else is an answer.
_AWAY = re.compile(
    r"was refused|Unable to connect|i/o timeout|TLS handshake timeout|connection reset|no such host"
    r"|network is unreachable|no route to host|unexpected EOF|http2: |context deadline exceeded"
    r"|ServiceUnavailable|TooManyRequests|InternalError|\(Timeout\)|etcdserver|apiserver not ready"
    r"|error dialing backend|[Cc]lient\.Timeout|connection lost|: EOF$",
    re.MULTILINE,
)
# kubectl without a cluster asks this address, which nobody has meant.
_NO_CLUSTER = "localhost:8080"
_NOISE = re.compile(
    r"^(?:[EWI]\d{4} .*|Warning: .*|command terminated with exit code \d+|Defaulted container .*)$",
    re.MULTILINE,
)


class NotAnswered(Exception):
    """The API, or the way to it, is away for now."""


class NotThere(Exception):
    """What was asked for is not in the cluster."""


class Refused(KubernetesError):
    """There is no cluster, namespace, or right to do it: trying again is of no use."""


class Kubectl:
    """kubectl in one namespace.

    Parameters
    ----------
    namespace
        Given with each call: whatever namespace the user's context has.
    say
        Takes a line for the user.
    away_s
        How long an API that does not answer is waited for, once it has answered.
    sleep
        Waits for some seconds.
    silent_s
        How long a transfer may move no byte.
    """

    def __init__(
        self,
        namespace: str,
        say: Callable[[str], None],
        away_s: float = _AWAY_S,
        sleep: Callable[[float], None] = time.sleep,
        silent_s: float = _SILENT_S,
    ) -> None:
        self.namespace = namespace
        self.say = say
        self.sleep = sleep
        self._away_s = away_s
        self.silent_s = silent_s
        self._answered = False

    def context(self) -> str:
        """Return the name of the kubeconfig context in use.

        Raises
        ------
        KubernetesError
            There is no kubectl, or its kubeconfig names no cluster.
        """
        done = self._run(["config", "current-context"], None)
        if done.returncode:
            raise KubernetesError(
                "kubectl config current-context",
                _text(done.stderr),
                "a kubeconfig whose current context is your cluster",
                "Put the kubeconfig that your cluster gives you at ~/.kube/config, or name it in "
                "the variable KUBECONFIG, and try: kubectl get pods",
            )
        return done.stdout.decode().strip()

    def call(self, *words: str, stdin: str | None = None, timed: bool = True) -> str:
        """Call kubectl, and wait while the API does not answer.

        Parameters
        ----------
        words
            Without the namespace.
        stdin
            What it reads.
        timed
            Whether no answer within half a minute is none; not for what takes its time.

        Returns
        -------
        str
            What it says.

        Raises
        ------
        NotThere
            The thing does not exist.
        KubernetesError
            The API refuses, or has not answered for too long.
        """
        given_up, wait_s, missed = time.monotonic() + self._away_s, 1.0, False
        while True:
            try:
                said = self.once(*words, stdin=stdin, timed=timed)
            except NotAnswered as error:
                if not self._answered or time.monotonic() > given_up:
                    raise self._gone(str(error)) from None
                if not missed:
                    self.say(f"The cluster does not answer ({_last(str(error))}). Waiting for it.")
                missed = True
                self.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                continue
            if missed:
                self.say("The cluster answers again.")
            return said

    def once(self, *words: str, stdin: str | None = None, timed: bool = True) -> str:
        """Call kubectl once; for parameters and errors see `call`.

        Raises
        ------
        NotAnswered
            The API is away.
        """
        limit = [f"--request-timeout={_REQUEST_S}s"] if timed else []
        done = self._run([*self._own, *limit, *words], stdin.encode() if stdin else None)
        if done.returncode:
            self.refuse(words, done.stderr)
        self._answered = True
        return done.stdout.decode(errors="replace")

    def get(self, *words: str) -> dict[str, Any]:
        """Return an object or a list; for errors see `call`."""
        return json.loads(self.call("get", *words, "-o", "json"))

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return all objects of a kind, or those with some labels; for errors see `call`."""
        chosen = ["-l", selector] if selector else []
        return self.get(kind, *chosen)["items"]

    def allowed_items(self, kind: str, *words: str) -> list[dict[str, Any]]:
        """Return objects of a kind; none if the user may not see them."""
        try:
            return self.get(kind, *words)["items"]
        except KubernetesError:
            return []

    def piped(self, *words: str, content: bytes) -> tuple[bytes, bytes, int]:
        """Give bytes to a command in a pod, and return its two outputs and its exit code.

        A call that neither takes nor gives a byte for too long is ended, as by a connection that
        was lost.
        """
        process = self.start(*words, stdin=subprocess.PIPE)
        moved = [time.monotonic()]
        outputs: tuple[list[bytes], list[bytes]] = ([], [])

        def write() -> None:
            with suppress(OSError), process.stdin as stdin:
                for begin in range(0, len(content), _BLOCK):
                    stdin.write(content[begin : begin + _BLOCK])
                    stdin.flush()
                    moved[0] = time.monotonic()

        def read(stream: IO[bytes], blocks: list[bytes]) -> None:
            while block := stream.read1(_BLOCK):
                blocks.append(block)
                moved[0] = time.monotonic()

        threads = [threading.Thread(target=write, daemon=True)] + [
            threading.Thread(target=read, args=each, daemon=True)
            for each in zip((process.stdout, process.stderr), outputs, strict=True)
        ]
        for thread in threads:
            thread.start()
        silent = False
        try:
            while not silent:
                try:
                    process.wait(_LOOK_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    silent = time.monotonic() - moved[0] > self.silent_s
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            for thread in threads:
                thread.join(_LOOK_EVERY_S)
        said, complaint = (b"".join(blocks) for blocks in outputs)
        if silent:
            complaint += f"\nconnection lost: nothing was heard for {self.silent_s:g} s".encode()
        return said, complaint, process.returncode

    def start(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a call whose lines are read as they come."""
        try:
            return subprocess.Popen(
                ["kubectl", *self._own, *words],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            raise _no_kubectl() from None

    def refuse(self, words: Sequence[str], stderr: bytes) -> None:
        """Raise the error that kubectl's words on its standard error stand for.

        Raises
        ------
        NotAnswered, NotThere, KubernetesError
            See `once`.
        """
        text = _text(stderr)
        command = f"kubectl {' '.join(words[:4])}"
        if _NO_CLUSTER in text:
            raise Refused(
                command,
                f"no cluster in the kubeconfig ({_last(text)})",
                "a kubeconfig whose current context is your cluster",
                "Name it in the variable KUBECONFIG, and try: kubectl get pods",
            )
        if f'namespaces "{self.namespace}" not found' in text:
            raise Refused(
                "namespace",
                f"no namespace {self.namespace} in this cluster",
                "one that exists and is yours",
                f"Correct namespace in profiles/nautilus/kustomization.yaml, or make it: kubectl "
                f"create namespace {self.namespace}",
            )
        if "Forbidden" in text or "forbidden: " in text:
            raise Refused(
                command,
                text,
                f"the right to do that in the namespace {self.namespace}",
                "Ask for it who runs the cluster, or correct namespace in "
                "profiles/nautilus/kustomization.yaml.",
            )
        if re.search(r"Unauthorized|must be logged in|provide credentials", text):
            raise Refused(
                command,
                text,
                "credentials that the cluster accepts",
                "Log in again as your cluster asks for it, or fetch a new kubeconfig.",
            )
        if "(NotFound)" in text:
            raise NotThere(text)
        if _AWAY.search(text):
            raise NotAnswered(text)
        raise KubernetesError(
            command,
            text or "no answer",
            "kubectl to do it",
            "Correct what it names, and run the same command again.",
        )

    def _gone(self, text: str) -> KubernetesError:
        return KubernetesError(
            "kubectl",
            f"a cluster that does not answer ({_last(text)})",
            "the API of the current context",
            "Check the network (a VPN?) and the context: kubectl config get-contexts. Then run the "
            "same command again: it goes on where this one was.",
        )

    @property
    def _own(self) -> list[str]:
        return ["--namespace", self.namespace]

    def _run(
        self, words: Sequence[str], content: bytes | None
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            if content is None:
                return subprocess.run(
                    ["kubectl", *words],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                )
            return subprocess.run(
                ["kubectl", *words], input=content, capture_output=True, check=False
            )
        except FileNotFoundError:
            raise _no_kubectl() from None


def lines_of(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield the lines of a call as they come."""
    for line in process.stdout:
        yield line.decode(errors="replace").rstrip("\n")


def _no_kubectl() -> KubernetesError:
    return KubernetesError(
        "kubectl",
        "no such program",
        "kubectl on the PATH: it knows your cluster and your credentials",
        "Install it: https://kubernetes.io/docs/tasks/tools/",
    )


def _text(stderr: bytes) -> str:
    """Return what kubectl says, without notes to the developers of its own."""
    text = stderr.decode(errors="replace")
    return _NOISE.sub("", text).strip() or text.strip()


def _last(text: str) -> str:
    return text.splitlines()[-1] if text else "no reason is known"
