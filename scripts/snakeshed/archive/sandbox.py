"""Where foreign code runs: without secrets, and if possible without network and foreign files."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import site
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from snakeshed.archive.entry_names import shown
from snakeshed.errors import ArchiveError

# What a program needs to find its files, show text, and use the processor; none is a secret.
_KEPT = frozenset(
    {
        "PATH",
        "LD_LIBRARY_PATH",
        "LANG",
        "LANGUAGE",
        "TZ",
        "GDAL_DATA",
        "PROJ_DATA",
        "PROJ_LIB",
        "NUMBA_NUM_THREADS",
        "NUMBA_CPU_NAME",
        "NUMBA_DISABLE_JIT",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "OPENBLAS_CORETYPE",
        "OPENBLAS_L2_SIZE",
    }
)
# What pip needs to reach the package index; addresses among them can hold a password.
_KEPT_FOR_PIP = frozenset(
    {
        "PIP_CONFIG_FILE",
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "PIP_NO_INDEX",
        "PIP_TRUSTED_HOST",
        "PIP_CERT",
        "PIP_CLIENT_CERT",
        "PIP_PROXY",
        "PIP_TIMEOUT",
        "PIP_DEFAULT_TIMEOUT",
        "PIP_RETRIES",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    }
)
_PIP_FILES = ("PIP_CONFIG_FILE", "PIP_CERT", "PIP_CLIENT_CERT", "SSL_CERT_FILE", "SSL_CERT_DIR",
              "REQUESTS_CA_BUNDLE")  # fmt: skip
# Sockets of other programs are below /run.
_HIDDEN = ("/home", "/root", "/tmp", "/var/tmp", "/run")
# bubblewrap makes this anew.
_OWN = ("/dev",)
_RESOLVER = Path("/etc/resolv.conf")
# Their empty and relative elements mean the current folder, which can be the archive's.
_SEARCHED = ("PATH", "LD_LIBRARY_PATH")
# As Linux has it.
_MOST_LINKS = 40
_MOST_OUTPUT = 64 << 10
_TRIAL_SECONDS = 30
# A network of its own has a loopback interface that is down; Dask's processes talk over it.
_RAISE_LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    up, set_flags = 0x1 | 0x8 | 0x40, 0x8914
    fcntl.ioctl(any_socket, set_flags, struct.pack("16sH22x", b"lo", up))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Sandbox:
    """A way to keep a command from the network and, if possible, from files.

    Attributes
    ----------
    kind : {"bubblewrap", "unshare", "none"}
    program : str
        The program that makes it; empty for none.
    why : str
        Why it is not a better one.
    """

    kind: str
    program: str = ""
    why: str = "install bubblewrap to prevent this"

    def __str__(self) -> str:
        if self.kind == "bubblewrap":
            hidden = ", ".join(hidden_folders())
            return (
                "bubblewrap: no network, no other processes, files are read-only, and these "
                f"folders are hidden: {hidden}"
            )
        if self.kind == "unshare":
            return (
                "unshare: no network, no other processes, but it CAN READ AND CHANGE YOUR FILES "
                f"({self.why})"
            )
        return f"none: it CAN READ AND CHANGE YOUR FILES AND USE THE NETWORK ({self.why})"

    def command(
        self,
        command: Sequence[str],
        folder: Path,
        writable: Iterable[Path],
        readable: Iterable[Path],
        network: bool,
    ) -> list[str]:
        """Return a command that runs another one in this sandbox.

        Parameters
        ----------
        command : sequence of str
        folder : Path
            Where it starts.
        writable, readable : iterable of Path
            Files and folders that stay visible in hidden folders; all others are read-only.
        network : bool
            Whether it may use the network.
        """
        if self.kind == "bubblewrap":
            hidden = hidden_folders()
            words = [self.program, "--unshare-all", *(["--share-net"] if network else [])]
            words += ["--die-with-parent", "--cap-drop", "ALL", "--ro-bind", "/", "/"]
            words += ["--dev", "/dev", "--proc", "/proc"]
            words += [word for each in hidden for word in ("--tmpfs", each)]
            if network and _RESOLVER.exists():
                readable = [*readable, _RESOLVER]
            words += _bindings(readable, writable, (*hidden, *_OWN))
            return [*words, "--chdir", str(folder), "--", *command]
        if self.kind == "unshare":
            words = [self.program, "--user", "--map-root-user", "--pid", "--ipc", "--fork"]
            words += ["--mount-proc", "--kill-child"]
            if network:
                return [*words, "--", *command]
            return [*words, "--net", "--", sys.executable, "-ISc", _RAISE_LOOPBACK, *command]
        return list(command)


def _bindings(
    readable: Iterable[Path], writable: Iterable[Path], hidden: Sequence[str]
) -> list[str]:
    """Return the words for bubblewrap that show files in hidden folders."""
    shown_files, links = {}, {}
    for option, paths in (("--ro-bind", readable), ("--bind", writable)):
        for path in paths:
            real, on_the_way = _followed(path)
            links |= on_the_way
            if not real:
                continue
            if option == "--bind" or _is_within(real, hidden):
                shown_files[real] = option
    words: list[str] = []
    bound: dict[str, str] = {}
    # Parents are before what is in them: nothing can be bound onto a link in a bound folder.
    for path in sorted(shown_files):
        if bound.get(_ancestor(path, bound)) not in {shown_files[path], "--bind"}:
            words += [shown_files[path], path, path]
            bound[path] = shown_files[path]
    for link in sorted(links):
        if _is_within(link, hidden) and not _ancestor(link, bound):
            words += ["--symlink", links[link], link]
    return words


def _is_within(path: str, folders: Sequence[str]) -> bool:
    return any(Path(path).is_relative_to(each) for each in folders)


def _ancestor(path: str, bound: Mapping[str, str]) -> str:
    """Return the folder closest to a path, or the path itself, that is bound; empty if none is."""
    return next((each for each in (path, *map(str, Path(path).parents)) if each in bound), "")


def _followed(path: Path) -> tuple[str, dict[str, str]]:
    """Return a path without links, or nothing if they lead nowhere, and the targets of all."""
    links: dict[str, str] = {}
    at, ahead, steps = "/", os.path.join(os.getcwd(), path).split("/")[::-1], 0
    while ahead and steps <= _MOST_LINKS:
        part = ahead.pop()
        here = os.path.join(at, part)
        if part == "..":
            at = os.path.dirname(at)
        elif part in {"", "."}:
            continue
        elif os.path.islink(here):
            steps += 1
            links[here] = os.readlink(here)
            at = "/" if links[here].startswith("/") else at
            ahead += links[here].split("/")[::-1]
        else:
            at = here
    return "" if ahead else at, links


def find_sandbox() -> Sandbox:
    """Return the best sandbox that works on this machine, with the reason if it is not the best."""
    why = Sandbox.why
    places = _absolute(os.environ.get("PATH", os.defpath))
    for kind, name in (("bubblewrap", "bwrap"), ("unshare", "unshare")):
        program = shutil.which(name, path=places)
        if program is None:
            continue
        sandbox = Sandbox(kind, program, why)
        trial = sandbox.command([sys.executable, "-ISc", ""], Path("/"), (), python_files(), False)
        try:
            done = subprocess.run(
                trial,
                capture_output=True,
                check=False,
                timeout=_TRIAL_SECONDS,
                env=plain(),
                cwd="/",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            fault = str(error)
        else:
            if done.returncode == 0:
                return sandbox
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            fault = lines[-1] if lines else f"status {done.returncode}"
        if kind == "bubblewrap":
            why = f"bubblewrap is installed and failed: {shown(fault)}"
    return Sandbox("none", why=why)


def hidden_folders() -> list[str]:
    """Folders that bubblewrap hides: home folders, temporary files, and sockets of programs."""
    own = {*_HIDDEN, os.path.expanduser("~")}
    # A container can run as a user that no file knows.
    with suppress(KeyError):
        own.add(pwd.getpwuid(os.getuid()).pw_dir)
    real = {os.path.realpath(each) for each in own if os.path.isabs(each) and os.path.isdir(each)}
    real -= {"/"}
    return sorted(
        each for each in real if not any(Path(other) in Path(each).parents for other in real)
    )


def python_files() -> list[Path]:
    """Files and folders that the Python of this process needs."""
    files = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    # A virtual environment's program is a link, perhaps to another one.
    files |= {sys.executable, os.path.dirname(os.path.realpath(sys.executable))}
    if site.ENABLE_USER_SITE:
        files.add(site.getusersitepackages())
    return [Path(each) for each in files if os.path.exists(each)]


def remove(folder: Path) -> None:
    """Remove a folder that foreign code has written to, as far as possible.

    Folders can be closed, and nested deeper than Python can follow.
    """
    for command in (("chmod", "-R", "u+rwX"), ("rm", "-rf")):
        # Neither follows links in the folder.
        with suppress(OSError):
            subprocess.run([*command, "--", str(folder)], capture_output=True, check=False)


def plain(names: frozenset[str] = _KEPT) -> dict[str, str]:
    """Variables of this process that foreign code may see."""
    kept = {
        key: value for key, value in os.environ.items() if key in names or key.startswith("LC_")
    }
    kept |= {key: _absolute(kept[key]) for key in _SEARCHED if key in kept}
    return {key: value for key, value in kept.items() if value or key not in _SEARCHED}


def _absolute(folders: str) -> str:
    return os.pathsep.join(each for each in folders.split(os.pathsep) if os.path.isabs(each))


@dataclass(frozen=True)
class Surroundings:
    """A sandbox with a folder for what foreign code leaves behind.

    Attributes
    ----------
    sandbox : Sandbox
    folder : Path
        It is there; a home folder and one for temporary files are made in it.
    """

    sandbox: Sandbox
    folder: Path

    def variables(self, *, for_pip: bool = False) -> dict[str, str]:
        """Environment variables: an allow-list, and folders of its own."""
        home = self.folder / "home"
        own = {
            "HOME": home,
            "TMPDIR": self.folder / "temporary",
            "XDG_CACHE_HOME": home / ".cache",
            "XDG_CONFIG_HOME": home / ".config",
            "XDG_DATA_HOME": home / ".local/share",
            "XDG_STATE_HOME": home / ".local/state",
            "XDG_RUNTIME_DIR": self.folder / "runtime",
        }
        for each in own.values():
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        variables = plain(_KEPT | _KEPT_FOR_PIP if for_pip else _KEPT)
        variables |= {key: str(value) for key, value in own.items()}
        if for_pip and "PIP_CONFIG_FILE" not in variables and (own_file := _pip_configuration()):
            variables["PIP_CONFIG_FILE"] = own_file
        elif not for_pip and site.ENABLE_USER_SITE:
            variables["PYTHONUSERBASE"] = site.getuserbase()
        return variables

    def run(
        self,
        command: Sequence[str],
        *,
        start: Path,
        variables: Mapping[str, str],
        writable: Iterable[Path] = (),
        readable: Iterable[Path] = (),
        network: bool = False,
    ) -> tuple[int, str]:
        """Run a command, and end all that it started.

        Parameters
        ----------
        command : sequence of str
        start : Path
            Its working folder.
        variables : mapping of str to str
            Its environment, from `variables`.
        writable, readable : iterable of Path
            As for `Sandbox.command`, beside this folder and Python's own.
        network : bool

        Returns
        -------
        status : int
        output : str
            The end of what it wrote.

        Raises
        ------
        ArchiveError
            It cannot be started.
        """
        own = [Path(variables[key]) for key in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR")]
        files = [Path(variables[key]) for key in _PIP_FILES if key in variables]
        words = self.sandbox.command(
            command,
            start,
            [*own, *writable],
            [*python_files(), *(each for each in files if each.exists()), *readable],
            network,
        )
        output = self.folder / "output"
        # A file, not a pipe: a process that is left over could keep a pipe open for ever.
        with output.open("wb") as file:
            try:
                running = subprocess.Popen(
                    words,
                    # bubblewrap changes to the folder when the sandbox is complete.
                    cwd="/" if self.sandbox.kind == "bubblewrap" else start,
                    env=dict(variables),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise ArchiveError(
                    f"the sandbox ({self.sandbox.kind})",
                    f"{shown(command[0])}, which cannot be started in it ({error.strerror})",
                    "a program, with a few thousand files that stay visible",
                    "Put the inputs in few folders, or outside of the home folder.",
                ) from None
            try:
                status = running.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
                running.wait()
        with output.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _MOST_OUTPUT, 0))
            return status, file.read().decode(errors="replace")


def _pip_configuration() -> str:
    """Return the user's own configuration of pip, which is in the home folder."""
    # Path.home() fails for a user that no file knows.
    home = Path(os.path.expanduser("~"))
    configured = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    for each in (configured / "pip/pip.conf", home / ".pip/pip.conf"):
        if each.is_file():
            return str(each)
    return ""
