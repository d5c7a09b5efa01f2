"""What a transfer logs, on the screen: it may take hours."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def on_screen() -> Iterator[None]:
    """Show on standard error what the package `transfer` logs while the block runs."""
    transfer = logging.getLogger("snakeshed.transfer")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = transfer.level
    transfer.addHandler(handler)
    transfer.setLevel(logging.INFO)
    try:
        yield
    finally:
        transfer.setLevel(level)
        transfer.removeHandler(handler)
