"""One Job, and how it fares."""

from __future__ import annotations

from dataclasses import dataclass, field

from snakemake_executor_plugin_kubernetes_pvc.manifest import JobFacts
from snakemake_executor_plugin_kubernetes_pvc.status import Failed, Wait


@dataclass
class Submission:
    """What is to be run in a Job, and the Job that stands for it now.

    Attributes
    ----------
    facts
        What is to be run; None for a Job that an earlier driver has sent.
    name
        Name of the Job.
    sent
        False as long as the API server has not taken it.
    refusal
        Why it has not.
    losses
        How many Jobs were lost to the infrastructure.
    waiting_since
        When it was first seen to wait for each kind of thing, by this machine's clock; empty while
        it runs.
    killed
        That it was out of memory before it was sent as it is now; empty if it was not.
    fate
        How this will be reported once its pod has ended: set when the executor gave it up.
    """

    facts: JobFacts | None
    name: str = ""
    sent: bool = False
    refusal: str = ""
    losses: int = 0
    waiting_since: dict[Wait, float] = field(default_factory=dict)
    killed: str = ""
    fate: Failed | None = None
