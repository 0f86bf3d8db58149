"""Identities that the paper's numbers satisfy."""

from __future__ import annotations

import pytest

from subnetray.analysis import paper, roles
from subnetray.config import ALGORITHMS, Factor, Grid
from subnetray.config.compose import Composer
from subnetray.grid import plan


@pytest.mark.parametrize("row", paper.TABLE_4, ids=lambda row: row.axis)
def test_the_uniform_null_of_table_4_follows_from_its_sparsities(row: paper.ReportedOverlap) -> None:
    # Appendix E: o1 is 1 - s2 and o2 is 1 - s1 for masks at random.
    assert row.uniform == pytest.approx((1 - row.sparsity[1], 1 - row.sparsity[0]), abs=1.1e-3)
    # Both overlaps are the same intersection: o1 (1 - s1) = o2 (1 - s2).
    shared = [overlap * (1 - sparsity) for overlap, sparsity in zip(row.observed, row.sparsity, strict=True)]
    assert shared[0] == pytest.approx(shared[1], abs=1e-3)


def test_every_number_is_a_share_of_a_level_that_a_grid_can_have() -> None:
    for each in paper.REPORTED:
        assert 0 <= each.sparsity <= 1
        if each.role == roles.METHOD:
            algorithm, data = each.kind.split("/")
            # PPO and PRIME are not trained here; what is must be found by the words that its config uses.
            assert algorithm in ("ppo", "prime") or data in roles.IN_DISTRIBUTION | roles.OFF_DISTRIBUTION
            assert algorithm in (*ALGORITHMS, "ppo", "prime")


@pytest.mark.parametrize(
    ("algorithm", "data", "sparsities"),
    [
        ("orpo", "off_policy", [0.769]),
        ("kto", "off_policy", [0.960, 0.812]),
        ("simpo", "off_policy", [0.865]),
        ("simpo", None, [0.764]),  # on-policy pairs are its default
        ("rloo", None, []),
    ],
)
def test_numbers_find_algorithms_by_what_a_level_sets(
    algorithm: str, data: str | None, sparsities: list[float]
) -> None:
    overrides = [f"algorithm={algorithm}", *([f"algorithm.data={data}"] if data else [])]
    grid = Grid(factors={"how": Factor("", "grpo", {"grpo": [], "it": overrides})})
    found = paper.reported(roles.role(grid, "how"), roles.kind(grid, "how", "it"))
    assert [each.sparsity for each in found] == sparsities


def test_numbers_find_the_rows_of_the_origins_grid() -> None:
    _, planned = plan(Composer(), ["+grid=origins"])
    grid = planned.grid
    found = {
        (factor, level): [
            each.sparsity for each in paper.reported(roles.role(grid, factor), roles.kind(grid, factor, level))
        ]
        for factor in ("kl", "clip", "init", "method", "dtype")
        for level in grid.factors[factor].levels
    }
    assert found == {
        **{("kl", "0"): [0.688], ("kl", "0.1"): [0.698], ("kl", "1"): [0.698]},
        **{("clip", "1.0"): [0.698], ("clip", "off"): [0.688]},
        **{("init", "base"): [0.860], ("init", "after_sft"): [0.685]},
        **{("method", "grpo"): [0.685], ("method", "sft_rejection"): [0.912], ("method", "sft_gold"): [0.068]},
        **{("method", "dpo_on_policy"): [0.814], ("method", "dpo_off_policy"): [0.068, 0.077]},
        **{("dtype", "fp32_master"): [], ("dtype", "bf16"): [], ("dtype", "fp32"): [0.0]},
    }
