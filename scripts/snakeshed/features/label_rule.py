"""Rules that make codes of classes of the texts of an attribute.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LabelRule:
    """How codes are made of a text.

    Attributes
    ----------
    up_to : str or None
        What follows the first of these is left out: "," makes Igneous of "Igneous, volcanic".
    split : str or None
        The text is several codes, between which these stand: " and ".
    """

    up_to: str | None = None
    split: str | None = None

    def codes(self, text: str) -> tuple[str, ...]:
        """Return the codes of a text, in its order; what is empty is none.

        A text of which the rule leaves nothing is its own code.
        """
        short = text if self.up_to is None else text.partition(self.up_to)[0]
        parts = [short] if self.split is None else short.split(self.split)
        return tuple(filter(None, map(str.strip, parts))) or (text,)


AS_IT_IS = LabelRule()
