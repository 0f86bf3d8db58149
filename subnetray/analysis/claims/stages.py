"""Judge what comes before RL, and how long it lasts: the SFT stage and steps, in section 6 of arXiv 2505.11711."""

from __future__ import annotations

import math

from subnetray.analysis import roles
from subnetray.analysis.contrasts import densities, runs_used
from subnetray.analysis.effects import paired_difference, runs_of
from subnetray.analysis.intervals import t_interval
from subnetray.analysis.manipulation import FULL, GAINED, has_room
from subnetray.analysis.paper import PAPER
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim, above, decided, in_points, in_words, untested

SAME = 0.05  # of density: what an SFT stage would have to save to be needed


def claims(results: Results) -> list[Claim]:
    """Both claims."""
    return [_stage(results), _steps(results)]


def _stage(results: Results) -> Claim:
    claim = Claim(
        key="sft_stage_not_needed",
        statement="RL needs no SFT stage before it for its updates to be sparse.",
        source=f"{PAPER} section 6: DeepSeek-R1-Zero, 86.0 % unchanged without one",
        test=(
            "Density of RL after an SFT stage minus that of RL from the base, paired by seed, is above"
            f" −{100 * SAME:.0f} points: without the stage an update is denser by less than that. The stage must have"
            f" raised held-out greedy accuracy by at least {100 * GAINED:.0f} points."
        ),
        verdict="not tested",
    )
    factor = roles.factor_with(results.grid, roles.INIT)
    if factor is None:
        return untested(claim, "the grid does not vary the init")
    kinds = {roles.kind(results.grid, factor, level): {factor: level} for level in results.grid.factors[factor].levels}
    if not {"base", "after_sft"} <= set(kinds):
        return untested(claim, "the grid does not have both a base and an init after SFT")
    base, after = kinds["base"], kinds["after_sft"]
    raised = t_interval(paired_difference(results, after, base, "accuracy_greedy_before").values())
    difference = t_interval(paired_difference(results, after, base).values())
    if not difference.n:
        return untested(claim, "no seed has finished from both")
    if not raised.mean >= GAINED:
        return untested(claim, f"the SFT stage changed accuracy by {in_words(in_points(raised))}: it taught nothing")
    if not has_room(results, [base]):
        return untested(claim, "RL from the base changes all weights")
    shares = [100 * t_interval(densities(results, cell).values()).mean for cell in (base, after)]
    note = f"density {shares[0]:.1f} % from the base, {shares[1]:.1f} % after SFT"
    used = runs_used(results, (base, after))
    return decided(claim, above(difference, -SAME), in_points(difference), note, used)


def _steps(results: Results) -> Claim:
    claim = Claim(
        key="steps_matter_early_and_then_less",
        statement="Steps make an update denser early, and less so later.",
        source=f"{PAPER} section 6: sparsity falls along one run of PRIME towards about 80 %",
        test=(
            "Density that a step adds between the two smallest numbers of steps minus that between the two largest,"
            " paired by seed, is above 0. At the last but one, updates must fill less than"
            f" {100 * FULL:.0f} % of the model. A random walk, whose density grows with the root of the steps, has this"
            " too."
        ),
        verdict="not tested",
        unit="points per 100 steps",
    )
    factor = roles.factor_with(results.grid, roles.STEPS)
    if factor is None:
        return untested(claim, "the grid does not vary the number of steps")
    known: dict[int, dict[str, str]] = {}
    for level in results.grid.factors[factor].levels:
        selected = runs_of(results, {factor: level})
        if len(selected):
            known[int(selected["steps"].iloc[0])] = {factor: level}
    if len(known) < 3:
        return untested(claim, "no seed has finished with three numbers of steps")
    first, second, *_, last = sorted(known)
    before = sorted(known)[-2]
    if not has_room(results, [known[before]]):
        return untested(claim, f"after {before} steps all weights have changed")
    early, late = (
        {
            seed: 100 * difference / (end - start)
            for seed, difference in paired_difference(results, known[end], known[start]).items()
        }
        for start, end in ((first, second), (before, last))
    )
    seeds = [seed for seed in early if seed in late]
    estimate = t_interval(early[seed] - late[seed] for seed in seeds)
    if math.isnan(estimate.mean):
        return untested(claim, "no seed has finished with three numbers of steps")
    rates = [100 * t_interval(each.values()).mean for each in (early, late)]
    note = (
        f"{rates[0]:+.1f} points per 100 steps from {first} to {second}, {rates[1]:+.1f} from {before} to {last}"
    ).replace("-", "−")
    used = runs_used(results, list(known.values()), seeds)
    return decided(claim, above(estimate, 0), in_points(estimate), note, used)
