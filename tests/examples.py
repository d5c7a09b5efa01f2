"""How many examples are tried: one number for all tests that try many."""

from __future__ import annotations

import os

from hypothesis import settings

FAST = 25
MOST = int(os.environ.get("SNAKESHED_TEST_EXAMPLES", FAST))
"""Examples of each test with Hypothesis, at most. `make test` tries `FAST` of them, the same each
time; `make test-all` more, and others each time."""
ALL = 100
"""As many as `make test-all` tries."""

settings.register_profile(
    "snakeshed", max_examples=min(100, MOST), deadline=None, derandomize=MOST <= FAST
)
settings.load_profile("snakeshed")


def examples(count: int, **options) -> settings:
    """Try `count` examples, but no more than `MOST`."""
    return settings(max_examples=min(count, MOST), **options)


def share_of(count: int) -> int:
    """Return `count`, or less of it where fewer examples are asked for than by `make test-all`."""
    return max(1, count * min(MOST, ALL) // ALL)
