"""What several tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import examples  # sets Hypothesis up  # noqa: F401
import pytest

CHECKOUT = Path(__file__).parents[1]

# What a shell runs in the background ignores Ctrl-C, and so would the runs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


# What is left out of `make test`, by folder.
MARKS = {
    "workflow": ["workflow"],
    "studies": ["slow"],
    "dask": ["slow"],
    "crate": ["slow"],
    "browser": ["browser"],
    "cluster": ["cluster"],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(CHECKOUT / "tests").parts[0]
        if item.path.name != "test_smoke.py":
            for mark in MARKS.get(folder, []):
                item.add_marker(mark)
    # Long tests first: at the end, no process waits for one that another has just begun.
    items.sort(
        key=lambda item: not {"slow", "workflow"} & {mark.name for mark in item.iter_markers()}
    )


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Restore signal handlers: what a later test starts would inherit an ignored signal."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Path of a folder of public real-world data, by its name; the test is skipped without it.

    The data are not part of the project: they are looked for in the folder that the environment
    variable SNAKESHED_TEST_DATA names, else in ``../shared/data`` beside the checkout.
    """
    chosen = os.environ.get("SNAKESHED_TEST_DATA")
    folder = Path(chosen) if chosen else CHECKOUT.parent / "shared" / "data"

    def path_of(name: str) -> Path:
        path = folder / name
        if not path.exists():
            place = f"SNAKESHED_TEST_DATA={chosen}" if chosen else "../shared/data"
            pytest.skip(f"no {name} in {place}: set SNAKESHED_TEST_DATA to the folder that has it")
        return path

    return path_of


@pytest.fixture
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of this machine are asked directly, whatever proxy the environment names."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
