"""What a study goes without, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_KINDS = {
    "tables": "the tables",
    "joint_features": "joint features",
    "models": "models",
    "comparisons": "comparisons of",
}
NOTHING_LEFT_OUT: Mapping[str, Sequence[str]] = {"inputs": [], **dict.fromkeys(_KINDS, ())}
"""A study with all that it describes."""


def left_out_words(parts: Mapping[str, Sequence[str]]) -> str | None:
    """Return in a sentence what a study goes without; None if there is nothing.

    Parameters
    ----------
    parts : mapping of str to sequence of str
        From `snakeshed.study.left_out.left_out`, or ``left_out`` of ``summary.json``.
    """
    if not parts["inputs"]:
        return None
    text = f"Left out, as `without` says: {', '.join(parts['inputs'])}"
    named = [f"{words} {', '.join(parts[key])}" for key, words in _KINDS.items() if parts[key]]
    return f"{text}; with them: {'; '.join(named)}." if named else f"{text}."
