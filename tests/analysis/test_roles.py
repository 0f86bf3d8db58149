"""What factors stand for, whatever they are called."""

from __future__ import annotations

import pytest

from subnetray.analysis import roles
from subnetray.config import Factor
from subnetray.config.compose import Composer
from subnetray.grid import plan
from tests.analysis.tables import make_grid


def test_roles_come_from_the_keys_that_levels_set() -> None:
    grid = make_grid()
    assert [roles.role(grid, name) for name in grid.factors] == [roles.LEARNING_RATE, roles.METHOD, roles.CLIP]
    assert roles.factor_with(grid, roles.METHOD) == "way"
    assert roles.factor_with(grid, roles.PRECISION) is None


def test_a_method_may_bring_settings_of_its_own() -> None:
    levels = {"rl": ["algorithm=grpo"], "pairs": ["algorithm=dpo", "algorithm.beta=0.5", "algorithm.batch_size=32"]}
    assert roles.role(make_grid(factors={"way": Factor("", "rl", levels)}), "way") == roles.METHOD


def test_every_factor_of_the_origins_grid_has_a_role_of_its_own() -> None:
    _, planned = plan(Composer(), ["+grid=origins"])
    found = [roles.role(planned.grid, name) for name in planned.grid.factors]
    assert None not in found
    assert len(set(found)) == len(found)


def test_a_factor_that_sets_keys_of_several_roles_has_none() -> None:
    mixed = Factor("", "a", {"a": ["algorithm.lr=1e-5"], "b": ["algorithm.lr=1e-4", "precision=bf16"]})
    idle = Factor("", "a", {"a": [], "b": ["evaluation.prompts=3"]})
    grid = make_grid(factors={"mixed": mixed, "idle": idle})
    assert roles.role(grid, "mixed") is None
    assert roles.role(grid, "idle") is None


@pytest.mark.parametrize(
    ("factor", "level", "kind"),
    [
        ("way", "rl", "grpo/rollouts"),
        ("way", "copy", "sft/gold"),
        ("way", "own", "sft/rejection"),
        ("limit", "yes", "on"),
        ("limit", "no", "off"),
        ("rate", "slow", "slow"),
    ],
)
def test_kinds_of_levels(factor: str, level: str, kind: str) -> None:
    assert roles.kind(make_grid(), factor, level) == kind


def test_kinds_of_other_roles() -> None:
    factors = {
        "kl": Factor("", "0", {"0": [], "0.0": ["algorithm.beta=0.0"], "some": ["algorithm.beta=0.1"]}),
        "start": Factor("", "raw", {"raw": [], "tuned": ["model.sft_steps=100", "model.name=tuned"]}),
        "bits": Factor("", "a", {"a": [], "b": ["precision=fp32"]}),
        "dpo": Factor("", "a", {"a": ["algorithm=dpo"], "b": ["algorithm=dpo", "algorithm.data=off_policy"]}),
    }
    grid = make_grid(factors=factors, crossed=[], one_at_a_time=[])
    found = {(name, level): roles.kind(grid, name, level) for name, each in factors.items() for level in each.levels}
    assert found == {
        **{("kl", "0"): "off", ("kl", "0.0"): "off", ("kl", "some"): "on"},
        **{("start", "raw"): "base", ("start", "tuned"): "after_sft"},
        **{("bits", "a"): "fp32_master", ("bits", "b"): "fp32"},
        **{("dpo", "a"): "dpo/on_policy", ("dpo", "b"): "dpo/off_policy"},
    }


def test_what_the_whole_grid_sets_holds_for_levels_that_do_not() -> None:
    grid = make_grid(
        factors={"kl": Factor("", "a", {"a": [], "b": ["algorithm.beta=0"]})}, overrides=["algorithm.beta=1"]
    )
    assert [roles.kind(grid, "kl", level) for level in "ab"] == ["on", "off"]


def test_algorithms_and_the_distribution_of_their_data_may_be_factors_of_their_own() -> None:
    _, planned = plan(Composer(), ["+grid=factorial", "grid.seeds=[0]"])
    found = {(cell["method"], cell["distribution"]): kind for cell, kind in roles.methods(planned.grid)}
    assert found == {
        ("grpo", "in"): "grpo/rollouts",
        ("sft", "in"): "sft/rejection",
        ("sft", "off"): "sft/gold",
        ("dpo", "in"): "dpo/on_policy",
        ("dpo", "off"): "dpo/off_policy",
    }
    # At the baseline of the distribution; inits of one kind are blocks, whatever key makes them.
    assert roles.kind(planned.grid, "method", "sft") == "sft/rejection"
    assert roles.role(planned.grid, "init") == roles.BLOCK
    assert [kind for _, kind in roles.methods(make_grid())] == ["grpo/rollouts", "sft/gold", "sft/rejection"]
