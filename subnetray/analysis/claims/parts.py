"""Judge where in a model an update is: layers, and the weights of norms (Figure 3 of arXiv 2505.11711)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from subnetray.analysis import roles
from subnetray.analysis.contrasts import runs_used
from subnetray.analysis.effects import runs_of
from subnetray.analysis.intervals import t_interval
from subnetray.analysis.paper import PAPER
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim, below, decided, every, in_points, untested, within

ALIKE = 0.05  # of density: what a layer may differ from all of them by
HARDLY = 0.05  # of the weights of norms: where fewer move, they hardly do
TOLERANCE = "1e-05"  # what the paper counts as no change, as results name it

_MATRICES = frozenset(("q", "k", "v", "o", "gate", "up", "down", "experts"))


def claims(results: Results) -> list[Claim]:
    """Both claims."""
    return [_layers(results), _norms(results)]


def _layers(results: Results) -> Claim:
    claim = Claim(
        key="layers_alike",
        statement="Updates are as dense in one layer as in another.",
        source=f"{PAPER} section 4, Figure 3: similar across layers, without numbers",
        test=(
            "Equivalence (two one-sided tests at 5 %): the density of the matrices of every layer is within ±"
            f" {100 * ALIKE:.0f} points of that of all layers together, over the seeds of the baseline. The estimate is"
            " the largest."
        ),
        verdict="not tested",
        level=0.9,
    )
    apart: dict[int, list[float]] = {}
    for run_id in runs_of(results, {})["run_id"]:
        counts: dict[int, tuple[int, int]] = {}
        for each in results.tensors(run_id):
            if each["layer"] is not None and each["module"] in _MATRICES:
                changed, n = counts.get(int(each["layer"]), (0, 0))
                counts[int(each["layer"])] = changed + int(each["changed_bitwise"]), n + int(each["n"])
        total = sum(n for _, n in counts.values())
        whole = sum(changed for changed, _ in counts.values()) / total if total else math.nan
        for layer, (changed, n) in counts.items() if len(counts) > 1 else ():
            apart.setdefault(layer, []).append(changed / n - whole)
    if not apart:
        return untested(claim, "no run of the baseline has several layers whose changes were counted")
    found = {layer: t_interval(values, claim.level) for layer, values in sorted(apart.items())}
    layer, largest = max(found.items(), key=lambda item: abs(item[1].mean))
    note = f"layer {layer} of {len(found)}"
    judgement = every(within(each, ALIKE) for each in found.values())
    return decided(claim, judgement, in_points(largest), note, runs_used(results, ({},)))


def _norms(results: Results) -> Claim:
    claim = Claim(
        key="norms_hardly_move",
        statement="The weights of norms hardly move, and not only because bf16 cannot show it.",
        source=f"{PAPER} section 4: layer norms almost never change, in bf16",
        test=(
            f"Of the weights of norms, less than {100 * HARDLY:.0f} % move by more than {TOLERANCE}, the paper's"
            " tolerance, in training in fp32, everything else at the baseline. (In bf16 weights near 1 show no change"
            " below 1/512, whatever the gradient: that they do not change there tests nothing.)"
        ),
        verdict="not tested",
        unit=f"% of the weights of norms, moved by more than {TOLERANCE} in fp32",
    )
    factor = roles.factor_with(results.grid, roles.PRECISION)
    levels = [] if factor is None else results.grid.factors[factor].levels
    wide = next((level for level in levels if factor and roles.kind(results.grid, factor, level) == "fp32"), None)
    if factor is None or wide is None:
        return untested(claim, "the grid does not train in fp32")
    moved, others = (_moved(results, {factor: wide}, norms) for norms in (True, False))
    if not moved:
        return untested(claim, f"no run in fp32 has finished and counted at {TOLERANCE}, or its model has no norms")
    estimate = t_interval(moved)
    note = f"of all other weights {100 * t_interval(others).mean:.1f} %"
    if narrow := _moved(results, {}, norms=True):
        note += f"; of norms at the baseline {100 * t_interval(narrow).mean:.2f} %"
    used = runs_used(results, ({factor: wide},))
    return decided(claim, below(estimate, HARDLY), in_points(estimate), note, used)


def _moved(results: Results, cell: Mapping[str, str], norms: bool) -> list[float]:
    """Share of the weights of norms, or of all others, that moved by more than the tolerance, run by run."""
    shares = []
    for run_id in runs_of(results, cell)["run_id"]:
        inside = [each for each in results.tensors(run_id) if (each["module"] == "norm") == norms]
        counted = [(each.get("changed_abs", {}).get(TOLERANCE), int(each["n"])) for each in inside]
        if counted and all(moved is not None for moved, _ in counted):
            shares.append(sum(moved or 0 for moved, _ in counted) / sum(n for _, n in counted))
    return shares
