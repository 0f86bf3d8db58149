"""Two more statements on restricted runs: that they do better than full ones, and that they end as these do at 1e-4."""

from __future__ import annotations

import math

from subnetray.analysis import roles
from subnetray.analysis.claims.conjecture import EQUAL_MARGIN, TOLERANCES, Arm, arms
from subnetray.analysis.contrasts import runs_used
from subnetray.analysis.intervals import Estimate
from subnetray.analysis.manipulation import FULL
from subnetray.analysis.paper import PAPER
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim, above, decided, every, exceeds, in_points, in_words, untested


def claims(results: Results) -> list[Claim]:
    """Both claims."""
    found = arms(results)
    oracle, full = ({arm.context: arm for arm in found if arm.kind == kind} for kind in (roles.ORACLE, roles.FULL))
    both = {context: (arm, full[context]) for context, arm in oracle.items() if context in full}
    return [_better(results, both), _coarse(results, both)]


Both = dict[str, tuple[Arm, Arm]]  # by context: the runs restricted to their final masks, and the full ones


def _better(results: Results, both: Both) -> Claim:
    claim = Claim(
        key="subnetwork_beats_full",
        statement="Training only the subnetwork that a run found gives a better accuracy than full training.",
        source=f"{PAPER} Table 3: 1.6 points (DPO) and 2.4 (PRIME), single runs",
        test=(
            "Held-out greedy accuracy of runs restricted to the final mask of the full run of the same seed minus the"
            " full run's is above 0 wherever the grid has both. The estimate is the smallest difference."
        ),
        verdict="not tested",
        grid="subnetwork",
    )
    found = {context: arm.against_full for context, (arm, _) in both.items() if arm.against_full.n}
    if not found:
        return untested(claim, "no seed has finished both restricted to its final mask and in full")
    smallest = min(found.values(), key=lambda estimate: estimate.mean)
    note = "; ".join(f"{context or 'baseline'}: {in_words(in_points(each))}" for context, each in found.items())
    used = runs_used(results, [arm.cell for context in found for arm in both[context]])
    return decided(claim, every(above(each, 0) for each in found.values()), in_points(smallest), note, used)


def _coarse(results: Results, both: Both) -> Claim:
    coarse = TOLERANCES[-1]
    tolerance = f"{float(coarse):g}"
    claim = Claim(
        key="subnetwork_gives_the_same_values_coarsely",
        statement=f"Training only the subnetwork gives the weights of full training within {tolerance}.",
        source=f"{PAPER} section 5: 100 % equal at {tolerance}, where its sum of learning rates is 1.6e-4",
        test=(
            f"Inside of the mask, the share of weights equal at {tolerance} exceeds by more than"
            f" {100 * EQUAL_MARGIN:.0f} point what the sum of learning rates alone implies if all that it implies lies"
            f" inside, wherever that is less than {100 * FULL:.0f} %: where it is more, nothing is left to test. The"
            " estimate is the smallest difference."
        ),
        verdict="not tested",
        grid="subnetwork",
        unit="points of the mask",
    )
    found: dict[str, Estimate] = {}
    notes, implied = [], []
    for context, (arm, _) in both.items():
        inside, bound = arm.inside[coarse], arm.bound[coarse].mean
        if not inside.n or math.isnan(bound) or not arm.budget.mean > 0:
            continue
        most = min(1.0, bound / arm.budget.mean)
        if most >= FULL:
            implied.append(f"{context or 'baseline'}: at most {100 * most:.1f} %")
            continue
        found[context] = inside.map(lambda share, least=most: share - least)  # type: ignore[misc]
        notes.append(f"{context or 'baseline'}: {100 * inside.mean:.1f} %, at most {100 * most:.1f} % by Σ lr alone")
    if implied and not found:
        return untested(claim, f"the sum of learning rates alone may hold them equal ({'; '.join(implied)})")
    if not found:
        return untested(claim, "no seed has finished both restricted to its final mask and in full")
    smallest = min(found.values(), key=lambda estimate: estimate.mean)
    used = runs_used(results, [arm.cell for context in found for arm in both[context]])
    judgement = every(exceeds(each, EQUAL_MARGIN) for each in found.values())
    return decided(claim, judgement, in_points(smallest), "; ".join(notes), used)
