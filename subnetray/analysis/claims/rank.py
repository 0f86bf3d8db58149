"""Judge the rank of updates (Table 2 of arXiv 2505.11711), beside that of the same entries in random places."""

from __future__ import annotations

from subnetray.analysis.contrasts import runs_used
from subnetray.analysis.effects import values_by_seed
from subnetray.analysis.intervals import t_interval
from subnetray.analysis.paper import PAPER
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim, above, decided, exceeds, in_points, untested

NEARLY = 0.99  # of the full rank: the least that the paper reports is 99.2 %
CONCENTRATED = 0.01  # of the full rank: by what fewer directions must hold the update than its entries anywhere

_NONE = "no run of the baseline that has finished took ranks (measurement.ranks), or its matrices are too large"


def claims(results: Results) -> list[Claim]:
    """Both claims."""
    return [_full(results), _concentrated(results)]


def _full(results: Results) -> Claim:
    claim = Claim(
        key="updates_of_full_rank",
        statement=f"Updates are of nearly full rank: {100 * NEARLY:.0f} % of it or more.",
        source=f"{PAPER} section 5 and Table 2: 99.2 to 99.8 %",
        test=(
            "The numerical rank of the exported update over the full rank (torch's matrix_rank, mean over at most"
            f" measurement.ranks matrices) is above {100 * NEARLY:.0f} %, over the seeds of the baseline. It says"
            " little by itself: numbers in random places are of nearly full rank as well."
        ),
        verdict="not tested",
        unit="% of the full rank",
    )
    ranks = values_by_seed(results, {}, "rank_numerical")
    if not ranks:
        return untested(claim, _NONE)
    estimate = t_interval(ranks.values())
    shuffled = t_interval(values_by_seed(results, {}, "rank_numerical_shuffled").values())
    note = f"of the same entries in random places {100 * shuffled.mean:.1f} %"
    return decided(claim, above(estimate, NEARLY), in_points(estimate), note, runs_used(results, ({},)))


def _concentrated(results: Results) -> Claim:
    claim = Claim(
        key="updates_concentrated",
        statement="Fewer directions hold an update than would hold its entries in random places.",
        source="arXiv 2510.00553 and 2602.07729: few directions hold the update; neither shuffles its entries",
        test=(
            "The number of singular values that make 99 % of ‖Δ‖², over the full rank (mean over matrices), is smaller"
            f" by more than {100 * CONCENTRATED:.0f} point than that of the same entries, each matrix shuffled; paired"
            " by run, over the seeds of the baseline."
        ),
        verdict="not tested",
        unit="percentage points of the full rank",
    )
    ours = values_by_seed(results, {}, "rank_energy_99")
    theirs = values_by_seed(results, {}, "rank_energy_99_shuffled")
    if not ours:
        return untested(claim, _NONE)
    estimate = t_interval(theirs[seed] - ours[seed] for seed in ours)
    means = [100 * t_interval(each.values()).mean for each in (ours, theirs)]
    note = f"{means[0]:.1f} against {means[1]:.1f} % of the full rank"
    return decided(claim, exceeds(estimate, CONCENTRATED), in_points(estimate), note, runs_used(results, ({},)))
