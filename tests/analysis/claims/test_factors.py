"""Claims are judged on made-up sweeps in which the truth is known."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from subnetray.analysis.claims import claims
from subnetray.analysis.claims.factors import _overlap
from subnetray.analysis.contrasts import logit
from subnetray.analysis.pairs import label_pairs
from subnetray.analysis.results import Results
from subnetray.config.compose import Composer
from subnetray.grid import plan
from subnetray.nulls import STRONGEST
from tests.analysis.judged import ORIGINS, RATE, counts, judge, shifted
from tests.analysis.tables import Cell, Run, make_grid, make_overlap, make_runs

PRECISION, CLIP, KL, STEPS = (
    "sparse_in_bf16_not_in_fp32",
    "limited_impact_of_clip",
    "limited_impact_of_kl",
    "more_steps_denser",
)
SPARSER, CAUSE = "in_distribution_sparser", "in_distribution_is_the_main_cause"
UNIFORM, JOINT = "seeds_overlap_beyond_uniform", "seeds_overlap_beyond_joint"
NEVER, STEP = "unchanged_were_never_changed", "one_step_changes_little"
VARIANCE = "learning_rate_explains_more_than_algorithm"


# What runs record besides.
RECORDED: dict[str, Any] = {
    "density_ever": lambda cell, seed: 0.9,
    "density_step": lambda cell, seed: 0.01 + 0.001 * seed,
    "budget": lambda cell, seed: 0.5,
    "distance_to_source": lambda cell, seed: 0.5 + 0.01 * seed,
    "equal_1e-05": lambda cell, seed: 0.9,
    "equal_0.0001": lambda cell, seed: 1.0,
    "bound_1e-05": lambda cell, seed: 0.1,
    "bound_0.0001": lambda cell, seed: 0.3,
    "accuracy_greedy_before": lambda cell, seed: 0.6 if cell.get("init") == "after_sft" else 0.5,
    "accuracy_greedy_after": lambda cell, seed: 0.7 + 0.1 * RATE.get(cell.get("learning_rate", ""), 0.0) / 2,
}


@pytest.mark.parametrize(
    ("fp32", "verdict"),
    [(9.0, "supported"), (0.0, "refuted"), (-1.0, "refuted"), (2.0, "refuted")],
    ids=["dense", "as sparse", "sparser", "less sparse but not dense"],
)
def test_precision(fp32: float, verdict: str) -> None:
    claim = judge(shifted(dtype={"fp32": fp32}))[PRECISION]
    assert claim.verdict == verdict
    assert claim.estimate.mean == pytest.approx(100 * (1 / (1 + math.exp(-fp32)) - 0.5), abs=0.6)
    assert len(claim.runs) == 6


def test_precision_is_inconclusive_with_one_seed() -> None:
    claim = judge(shifted(dtype={"fp32": 9.0}), keep=lambda runs: runs["seed"] == 0)[PRECISION]
    assert (claim.verdict, claim.estimate.n) == ("inconclusive", 1)


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [(0.0, "supported"), (0.1, "supported"), (-0.1, "supported"), (1.0, "refuted"), (-1, "refuted")],
)
def test_limited_impact_of_clipping_takes_an_equivalence_test(effect: float, verdict: str) -> None:
    claim = judge(shifted(clip={"off": effect}))[CLIP]
    assert claim.verdict == verdict
    assert claim.level == 0.9
    assert claim.estimate.mean == pytest.approx(100 * (1 / (1 + math.exp(-effect)) - 0.5), abs=0.6)


def test_limited_impact_is_inconclusive_when_seeds_disagree() -> None:
    def density(cell: Cell, seed: int) -> float:
        return 0.5 + (cell["clip"] == "off") * (0.1 if seed else -0.1)

    assert judge(density)[CLIP].verdict == "inconclusive"


def test_one_level_with_an_impact_refutes_limited_impact() -> None:
    claim = judge(shifted(kl={"0.1": 0.0, "1": -1.0}))[KL]
    assert claim.verdict == "refuted"
    assert claim.note == "largest at kl=1"
    assert len(claim.runs) == 9


def test_clipping_that_never_bound_was_not_tested() -> None:
    claim = judge(shifted(), clipped=0.0)[CLIP]
    assert (claim.verdict, claim.runs) == ("not tested", ())
    assert "no gradient was ever over the limit" in claim.note
    assert "only 4.0 % of gradients were over the limit" in judge(shifted(), clipped=0.04)[CLIP].note
    assert "25 % of gradients were over the limit" in judge(shifted(), clipped=0.25)[CLIP].note


@pytest.mark.parametrize(("slope", "verdict"), [(0.5, "supported"), (-0.5, "refuted"), (0.0, "inconclusive")])
def test_steps(slope: float, verdict: str) -> None:
    by_level = {level: slope * math.log2(int(level) / 60) for level in ("20", "60", "180")}
    claim = judge(shifted(train_steps=by_level))[STEPS]
    assert claim.verdict == verdict
    assert claim.estimate.mean == pytest.approx(slope, abs=0.01)


SFT = {"sft_gold": 1.0, "sft_rejection": 0.0}


@pytest.mark.parametrize(
    ("method", "verdict"),
    [
        (SFT | {"dpo_off_policy": 1.0}, "supported"),
        ({"sft_rejection": 1.0, "dpo_on_policy": 1.0}, "refuted"),
        (SFT | {"dpo_on_policy": 1.0}, "inconclusive"),
        ({}, "smaller than the margin"),
    ],
    ids=["both", "the other way", "disagreement", "no difference"],
)
def test_in_distribution_data(method: dict[str, float], verdict: str) -> None:
    found = judge(shifted(method=method))
    assert found[SPARSER].verdict == verdict
    # A tenfold rate adds 38 points here, from 12 to 88 % over two decades, and off-distribution data at most 23.
    assert found[CAUSE].verdict == "refuted"


def test_what_in_distribution_means_is_in_the_note_and_only_runs_that_were_compared_are_named() -> None:
    found = judge(shifted(method=SFT))[SPARSER]
    assert "sft: +23." in found.note
    assert "NLL of the data 0.25 in and 2.25 off distribution" in found.note
    runs = make_runs(ORIGINS, shifted()).set_index("run_id")
    assert set(runs.loc[list(found.runs), "method"]) == {
        *("sft_gold", "sft_rejection", "dpo_on_policy", "dpo_off_policy")
    }
    assert set(runs.loc[list(found.runs), "learning_rate"]) == {"1e-5"}
    assert len(found.runs) == 12


def test_in_distribution_data_are_the_main_cause_if_the_rate_does_little() -> None:
    strong = {"sft_gold": 3.0, "dpo_off_policy": 3.0}
    weak = {"1e-6": -0.1, "1e-5": 0.0, "1e-4": 0.1}
    claim = judge(shifted(method=strong, learning_rate=weak))[CAUSE]
    assert claim.verdict == "supported"

    # Of each algorithm's own data: those in it at density 1/2, those off it near 1, where a rate does less.
    def density(logit: float) -> float:
        return 1 / (1 + math.exp(-logit))

    gold, own = ((density(at + 0.1) - density(at - 0.1)) / 2 for at in (3.0, 0.0))
    sft, dpo = (density(3.0) - 0.5 - tenfold for tenfold in (gold, own))  # what the grid crosses with the rate
    assert claim.estimate.mean == pytest.approx(100 * (sft + dpo) / 2, abs=0.6)
    assert re.fullmatch(
        r"sft: a tenfold learning rate \+0\.\d ± .*; dpo: a tenfold learning rate \+2\.5 ± .*", claim.note
    )


def constant(value: float) -> Callable[[Cell, int], float]:
    return lambda cell, seed: value


def test_data_that_are_no_farther_from_the_policy_test_nothing_about_distance() -> None:
    def nll(cell: Cell, seed: int) -> float:
        return {"sft_gold": 1.0, "dpo_off_policy": 1.3}.get(cell["method"], 0.25)

    both = judge(shifted(method=SFT | {"dpo_off_policy": 1.0}), data_nll=nll)
    assert both[SPARSER].verdict == "supported"
    assert both[SPARSER].note.startswith("dpo: +23.")
    assert "; not counted: sft: the NLL of its off-distribution data, above that of the others, is +0.75" in (
        both[SPARSER].note
    )
    assert set(both[SPARSER].runs).isdisjoint(judge(shifted())[PRECISION].runs)
    for value in (0.25, math.nan):
        neither = judge(shifted(method=SFT), data_nll=constant(value))
        assert {neither[key].verdict for key in (SPARSER, CAUSE)} == {"not tested"}
        assert neither[SPARSER].note.startswith("sft: the NLL of its off-distribution data, above that of the others")


def test_data_that_are_near_do_not_count_beside_some_that_are_far() -> None:
    grid = plan(Composer(), ["+grid=pretrained"])[1].grid
    nll = {"sft_gold": 0.5, "sft_shuffled": 3.0, "dpo_off_policy": 3.0}
    found = judge(
        lambda cell, seed: {"sft_gold": 0.9, "sft_shuffled": 0.6}.get(cell["method"], 0.5) + 0.001 * seed,
        grid,
        data_nll=lambda cell, seed: nll.get(cell["method"], 0.25),
    )[SPARSER]
    assert "sft: +10.0 ± 0.0 points, NLL of the data 0.25 in and 3.00 off distribution" in found.note


def test_updates_that_are_full_leave_data_no_room_to_matter() -> None:
    found = judge(lambda cell, seed: 0.995 + 0.001 * seed)[SPARSER]
    assert (found.verdict, found.runs) == ("not tested", ())
    assert "its updates on in-distribution data leave no room" in found.note


@pytest.mark.parametrize(
    ("share", "verdict", "note"),
    [
        (0.9, "not tested", "no level moved the final KL to the init by enough (−10 % at 0.1, −10 % at 1)"),
        (0.5, "supported", "largest at kl="),
        (1.5, "supported", "largest at kl="),
    ],
)
def test_a_penalty_that_moved_no_kl_was_not_tested(share: float, verdict: str, note: str) -> None:
    found = judge(shifted(), kl_to_init=lambda cell, seed: 0.02 * (1 if cell["kl"] == "0" else share))[KL]
    assert found.verdict == verdict
    assert found.note.startswith(note)


def test_only_levels_that_moved_the_kl_count() -> None:
    claim = judge(
        shifted(kl={"0.1": 1.0, "1": 0.0}),
        kl_to_init=lambda cell, seed: {"0.1": 0.019, "1": 0.01}.get(cell["kl"], 0.02),
    )[KL]
    assert (claim.verdict, claim.note) == ("supported", "largest at kl=1")


def test_every_claim_is_tested_by_the_grid_that_it_names() -> None:
    named = {claim.key: claim.grid for claim in judge(shifted()).values()}
    for name in sorted(set(named.values())):
        grid = plan(Composer(), [f"+grid={name}"])[1].grid
        found = judge(shifted(), grid, count=counts, clipped=0.5, **RECORDED)
        wanted = {key for key, of in named.items() if of == name}
        assert {key for key in wanted if found[key].verdict == "not tested"} == set()


@pytest.mark.parametrize(
    ("k12", "joint", "uniform_verdict", "joint_verdict"),
    [
        (350, 300.0, "supported", "supported"),
        (350, 349.0, "supported", "smaller than the margin"),
        (350, 352.0, "supported", "refuted"),
        (252, 252.0, "smaller than the margin", "smaller than the margin"),
    ],
)
def test_overlap_of_seeds(k12: int, joint: float, uniform_verdict: str, joint_verdict: str) -> None:
    def count(a: Run, b: Run) -> tuple[int, int, int, float]:
        return 500, 500, k12, joint

    found = judge(shifted(), count=count)
    assert (found[UNIFORM].verdict, found[JOINT].verdict) == (uniform_verdict, joint_verdict)
    assert found[UNIFORM].estimate.mean == pytest.approx(100 * (k12 - 250) / 250)
    assert found[JOINT].estimate.mean == pytest.approx(100 * (k12 - joint) / (500 - joint))
    assert f"o1 {(k12 - joint) / 5:+.1f} ± 0.0 points above it".replace("-", "−") in found[JOINT].note
    assert len(found[JOINT].runs) == 63


def test_an_overlap_that_rows_and_columns_explain_is_not_beyond_the_strongest_null() -> None:
    runs = make_runs(ORIGINS, shifted())
    overlap = make_overlap(runs, lambda a, b: (500, 500, 350, 300.0))
    overlap["joint_expected"] = 349.0
    found = _overlap(Results(ORIGINS, runs, label_pairs(ORIGINS, runs, overlap)), STRONGEST)
    assert (found.key, found.verdict) == (JOINT, "smaller than the margin")
    assert "exponent, row and column" in found.statement
    overlap["joint_expected"] = math.nan  # a table of an earlier version
    found = _overlap(Results(ORIGINS, runs, label_pairs(ORIGINS, runs, overlap)), STRONGEST)
    assert found.verdict == "not tested"
    assert "made without this null" in found.note


def test_overlap_that_differs_much_between_seeds_is_inconclusive() -> None:
    def count(a: Run, b: Run) -> tuple[int, int, int, float]:
        return 500, 500, 420 if 0 in (a["seed"], b["seed"]) else 255, 251.0

    assert judge(shifted(), count=count)[JOINT].verdict == "inconclusive"


def test_full_masks_are_left_out_and_two_seeds_decide_nothing() -> None:
    def full(a: Run, b: Run) -> tuple[int, int, int, float]:
        return 995, 995, 993, 990.0

    assert judge(shifted(), count=full)[UNIFORM].verdict == "not tested"
    for sizes in ((995, 500), (500, 995)):

        def one_full(a: Run, b: Run, sizes: tuple[int, int] = sizes) -> tuple[int, int, int, float]:
            return *sizes, 499, 400.0

        assert judge(shifted(), count=one_full)[UNIFORM].verdict == "not tested"
    two = judge(shifted(), count=counts, keep=lambda runs: runs["seed"] < 2)
    assert two[UNIFORM].verdict == "inconclusive"


@pytest.mark.parametrize(
    ("rate", "method", "verdict"), [(1.0, 0.2, "supported"), (0.2, 1.0, "refuted"), (0.0, 0.0, "inconclusive")]
)
def test_variance(rate: float, method: float, verdict: str) -> None:
    claim = judge(
        shifted(
            learning_rate={"1e-6": -rate, "1e-4": rate},
            method={"sft_gold": -method, "dpo_on_policy": method},
        )
    )[VARIANCE]
    assert claim.verdict == verdict
    if rate or method:
        whole = rate**2 + method**2
        assert claim.estimate.mean == pytest.approx((rate**2 - method**2) / whole, abs=0.01)
    assert len(claim.runs) == 27


def test_variance_counts_the_seeds_that_have_every_cell() -> None:
    def keep(runs: pd.DataFrame) -> Any:
        return ~((runs["seed"] == 1) & (runs["method"] == "sft_gold") & (runs["learning_rate"] == "1e-4"))

    claim = judge(shifted(), keep=keep)[VARIANCE]
    assert (len(claim.runs), claim.estimate.n) == (18, 2)


def test_a_grid_that_lacks_the_factors_tests_nothing_and_says_why() -> None:
    grid = make_grid(factors={}, crossed=[], one_at_a_time=[], seeds=[0])
    found = judge(lambda cell, seed: 0.5, grid)
    for key in ("layers_alike", "updates_of_full_rank", "updates_concentrated"):  # about the baseline alone
        del found[key]
    assert {claim.verdict for claim in found.values()} == {"not tested"}
    assert all(claim.note and not claim.runs for claim in found.values())


@pytest.mark.parametrize(("ever", "verdict"), [(0.6, "supported"), (0.9, "refuted"), (0.75, "inconclusive")])
def test_unchanged_weights_were_never_changed(ever: float, verdict: str) -> None:
    # Half of the weights end unchanged: never changed are 0.4, 0.1 or 0.25 of all, 80, 20 or 50 % of those.
    found = judge(lambda cell, seed: 0.5, density_ever=lambda cell, seed: ever + 0.01 * (seed - 1))[NEVER]
    assert (found.verdict, len(found.runs)) == (verdict, 3)
    assert found.estimate.mean == pytest.approx(200 * (1 - ever))


def test_a_run_that_leaves_no_weight_unchanged_says_nothing_about_them() -> None:
    assert judge(lambda cell, seed: 1.0, density_ever=lambda cell, seed: 1.0)[NEVER].verdict == "not tested"
    assert judge(lambda cell, seed: 0.5)[NEVER].note.startswith("no run at the baseline has recorded")


@pytest.mark.parametrize(("low", "verdict"), [(0.01, "supported"), (0.03, "refuted"), (0.02, "inconclusive")])
def test_one_step_is_judged_at_rates_up_to_the_reported_one(low: float, verdict: str) -> None:
    def step(cell: Cell, seed: int) -> float:
        return (low if cell["learning_rate"] == "1e-6" else 0.1) + 0.001 * (seed - 1)

    found = judge(lambda cell, seed: 0.5, density_step=step)[STEP]
    assert (found.verdict, len(found.runs)) == (verdict, 3)
    assert found.estimate.mean == pytest.approx(100 * (1 - low))
    assert found.note == "90.0 % at 1e-05; 90.0 % at 0.0001"


def test_one_step_is_not_judged_in_other_formats() -> None:
    found = judge(
        lambda cell, seed: 0.5, density_step=lambda cell, seed: 0.01, export_dtype=lambda cell, seed: "float32"
    )
    assert found[STEP].verdict == "not tested"


def test_no_runs_test_nothing() -> None:
    runs = make_runs(ORIGINS, shifted())
    pairs = label_pairs(ORIGINS, runs.head(0), make_overlap(runs, counts))
    assert {claim.verdict for claim in claims(Results(ORIGINS, runs.head(0), pairs))} == {"not tested"}


def test_entries_are_strict_json_with_null_for_what_does_not_exist() -> None:
    entries = [claim.to_dict() for claim in judge(shifted(), keep=lambda runs: runs["seed"] == 0).values()]
    assert json.loads(json.dumps(entries, allow_nan=False)) == entries
    by_key = {entry["claim"]: entry for entry in entries}
    assert by_key[CLIP]["interval"] is None
    assert by_key[CLIP]["estimate"] is not None
    assert by_key[UNIFORM]["estimate"] is None
    assert set(by_key[UNIFORM]) >= {"statement", "source", "test", "estimate", "interval", "verdict", "runs"}


def test_logits_of_full_and_empty_masks_are_finite_and_opposite() -> None:
    assert logit(0, 1000) == pytest.approx(-logit(1, 1000))
    assert logit(0.25, 10**9) == pytest.approx(math.log(1 / 3), abs=1e-8)
