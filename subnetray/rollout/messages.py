"""What runs and engines say to each other, beside prompts and updates of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from subnetray.rollout.sampling import Samples
from subnetray.rollout.sync.probe import Probe


@dataclass(frozen=True)
class Target:
    """The weights that a call is to sample from; ``version`` is what their run calls them, ``shapes`` are by name.

    ``initial``: whether they are those that the run starts from, as other runs may.
    """

    version: str
    digest: str
    shapes: Mapping[str, tuple[int, ...]]
    probe: Probe | None
    initial: bool


@dataclass(frozen=True)
class Answer:
    """Samples, what sampling took (seconds), and what taking up the weights did: seconds, and the probe's distance.

    ``samples`` may be of the first prompts only: the engine is to be asked for the others again, and serves whoever
    asked meanwhile before that. None: it holds nothing that the updates start from, and asks for more.
    """

    samples: Samples | None
    sync_s: float = 0.0
    logp_gap: float = 0.0
    rollout_s: float = 0.0
