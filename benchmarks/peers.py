"""The libraries that `kernels.py` compares with, each in an environment of its own.

`peers/NAME.txt` pins all packages of an environment, the library first.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "peers"
INSTALL_SECONDS = 1200


@dataclass(frozen=True)
class Peer:
    """A library to compare with.

    Attributes
    ----------
    name : str
        Of its side in `side.py`, and of its pins.
    oldest, newest : int
        Minor versions of Python 3 that it installs on.
    chain : str
        What its chain is, and does otherwise.
    """

    name: str
    oldest: int
    newest: int
    chain: str

    @property
    def pins(self) -> Path:
        """The file that pins its packages."""
        return REQUIREMENTS / f"{self.name}.txt"

    @property
    def version(self) -> str:
        """Its version, as pinned."""
        return self.pins.read_text(encoding="ascii").split("\n", maxsplit=1)[0].split("==")[1]


PEERS = (
    Peer(
        "pyflwdir",
        11,
        13,
        "Numba; `from_dem` (fills and routes in one priority flood: a cell drains to where the "
        "flood came from, not down the steepest slope), `upstream_area`",
    ),
    Peer(
        "topotoolbox",
        11,
        13,
        "C; `FlowObject` (fills by grayscale reconstruction, D8, least-cost carving through "
        "flats and filled depressions), `flow_accumulation` in float32",
    ),
    Peer(
        "xarray-spatial",
        12,
        13,
        "Numba; `fill_d8`, `flow_direction_d8`, `flow_accumulation_d8`; no directions in flats "
        "or on the rim: what runs into a filled depression stays there",
    ),
    Peer(
        "richdem",
        8,
        10,
        "C++; `FillDepressions`, `ResolveFlats`, `FlowAccumulation` in float64; D8 goes to the "
        "lowest neighbour, not down the steepest slope",
    ),
    Peer(
        "fastscapelib",
        11,
        13,
        "C++; `FlowGraph` with `SingleFlowRouter` and `MSTSinkResolver` (a basin graph, carved), "
        "`accumulate`",
    ),
    Peer(
        "whitebox-workflows",
        11,
        13,
        "Rust, open tier; `fill_depressions` (with a gradient in flats), `d8_flow_accum`",
    ),
)


class PeerMissingError(Exception):
    """A peer cannot be had on this machine; the message says why."""


def environment(peer: Peer, folder: Path, pythons: list[str]) -> Path:
    """Make the environment of a peer, unless it is there already.

    Parameters
    ----------
    peer : Peer
    folder : Path
        Where the environments of all peers are.
    pythons : list of str
        Interpreters to choose from.

    Returns
    -------
    Path
        The environment's Python.

    Raises
    ------
    PeerMissingError
        There is no Python for it, or it does not install.
    """
    home = folder / peer.name
    python, made_of = home / "bin" / "python", home / "pins.txt"
    pins = peer.pins.read_text(encoding="ascii")
    if made_of.exists() and made_of.read_text(encoding="ascii") == pins:
        return python
    base = _python_for(peer, pythons)
    _run([base, "-m", "venv", "--clear", str(home)])
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, "--requirement", str(peer.pins)])
    made_of.write_text(pins, encoding="ascii")
    return python


def _python_for(peer: Peer, pythons: list[str]) -> str:
    named = (shutil.which(f"python3.{minor}") for minor in range(peer.newest, peer.oldest - 1, -1))
    for python in [*pythons, *filter(None, named)]:
        # A shim may exist and yet not run; some Pythons cannot make environments.
        ask = "import sys, venv, ensurepip; print(sys.version_info[1])"
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
        if done.returncode == 0 and peer.oldest <= int(done.stdout) <= peer.newest:
            return python
    raise PeerMissingError(
        f"no Python of 3.{peer.oldest} to 3.{peer.newest} found: name one with --python"
    )


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise PeerMissingError(f"not installed after {INSTALL_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line.lower()]
        raise PeerMissingError(f"does not install: {(lines or ['no reason given'])[-1]}") from error
