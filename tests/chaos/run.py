"""A number of faults, drawn by a seed, one after the other."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from tests.chaos import damages, kills, places, services
from tests.chaos.command import Missed
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.report import Outcome
from tests.chaos.scene import Bench, Scene, Skipped

# Each of them has entered its faults.
KINDS = (damages, kills, places, services)
# No fault, but a check of the harness and of the sweep, which is only done when it is asked for.
CONTROL = "none"
_TRIES = 3


def draw(seed: int, count: int, kinds: Sequence[str] = ()) -> list[str]:
    """``count`` names of faults: every kind once before any comes twice."""
    names = list(kinds) or sorted(FAULTS.keys() - {CONTROL})
    rng = random.Random(seed)
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(names, len(names))
    return drawn[:count]


def suffer(bench: Bench, fault: Fault, seed: int, number: int) -> Outcome:
    """Do one fault, give the command again, and say what came of it. A moment that is missed is tried for again."""
    began = time.monotonic()
    for attempt in range(_TRIES):
        # By name and number, so that a fault that is done alone is drawn as among all.
        rng = random.Random(f"{seed} {number} {fault.name} {attempt}")
        scene = Scene(bench, rng, bench.logs / f"{seed}-{number:02}-{fault.name}")
        missed = skipped = None
        try:
            with scene.cleanup:
                bench.clear(kept=fault.after)
                scene.runs.look()
                try:
                    fault.act(scene)
                except Missed as error:
                    missed = str(error)
                except Skipped as error:
                    skipped = str(error)
                except Exception as error:  # the harness's own, and no reason to leave the other faults undone
                    missed = f"{type(error).__name__} in the harness: {error}"
                else:
                    scene.conclude(fault.tracked)
        finally:
            bench.clear()
        if missed is None:
            break
    return Outcome(
        seed=seed,
        fault=fault.name,
        about=fault.about,
        moment=scene.moment,
        seconds=time.monotonic() - began,
        lost=scene.runs.lost,
        repeated=scene.runs.repeated,
        orphans=scene.orphans,
        problems=scene.problems,
        skipped=skipped,
        missed=missed,
    )
