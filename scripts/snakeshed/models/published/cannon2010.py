"""Combined hazard classes of Cannon et al. (2010), with the paper's bins or those of the USGS."""

from __future__ import annotations

from collections.abc import Sequence

from snakeshed.models.combined import CombinedModel
from snakeshed.models.model import Paper

PAPER = Paper(
    "Cannon, S. H., Gartner, J. E., Rupert, M. G., Michael, J. A., Rea, A. H., and Parrett, C. "
    "(2010). Predicting the probability and volume of postwildfire debris flows in the "
    "intermountain western United States. GSA Bulletin 122 (1-2), 127-144.",
    "Cannon et al. (2010)",
    "10.1130/B26459.1",
)

# Breaks between the scores 1, 2, ... of a likelihood: of the paper, and of the hazard maps that
# the USGS publishes.
LIKELIHOOD_BREAKS = {"usgs": (0.2, 0.4, 0.6, 0.8), "paper": (0.25, 0.5, 0.75)}
VOLUME_BREAKS_M3 = (1e3, 1e4, 1e5)
# Sums of 2 to 3 are class 1 (low), 4 to 6 class 2 (moderate), 7 and more class 3 (high).
SUM_BREAKS = (3, 6)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


_BINS = " or ".join(
    f"{_listed(breaks)} (bins {name})" for name, breaks in LIKELIHOOD_BREAKS.items()
)

MODELS = (
    CombinedModel(
        name="cannon2010",
        title="Combined hazard class of likelihood and volume",
        paper=PAPER,
        formula=(
            "hazard class 1 (low), 2 (moderate), or 3 (high) by the sum of the classes of "
            f"likelihood and volume. Breaks of the sum: {_listed(SUM_BREAKS)}; of the likelihood: "
            f"{_BINS}; of the volume: {_listed(VOLUME_BREAKS_M3)} m3. A value at a break belongs "
            "to the class below"
        ),
        inputs=(),
        durations_min=(),
        likelihood_breaks=LIKELIHOOD_BREAKS,
        volume_breaks_m3=VOLUME_BREAKS_M3,
        sum_breaks=SUM_BREAKS,
    ),
)
