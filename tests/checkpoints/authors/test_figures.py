"""The scripts' figures against those of an oracle, and where the scripts end with an error."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.checkpoints import open_checkpoint
from subnetray.checkpoints.authors.figures import Ranks, Sparsity, check_sparsity, update_rank
from subnetray.checkpoints.authors.parameters import Parameters, parameters
from tests.checkpoints import pairs
from tests.checkpoints.authors import scripts

BF16 = torch.bfloat16
TOLERANCES = (0.0, 1e-8, 1e-6, 1e-5, 1.5e-5, 1e-4)
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


@contextmanager
def _opened(init: Mapping[str, Tensor], final: Mapping[str, Tensor]) -> Iterator[Parameters]:
    with tempfile.TemporaryDirectory() as directory:
        places = [pairs.save(Path(directory) / name, held) for name, held in (("init", init), ("final", final))]
        with open_checkpoint(places[0], "init") as one, open_checkpoint(places[1], "final") as two:
            yield parameters(one, two)


def _sparsity(init: Mapping[str, Tensor], final: Mapping[str, Tensor], dtype: torch.dtype = BF16) -> Sparsity:
    with _opened(init, final) as of:
        done: list[int] = []
        found = check_sparsity(of, dtype, TOLERANCES, done.append)
        assert sum(done) == of.n
        return found


def _ranks(init: Mapping[str, Tensor], final: Mapping[str, Tensor]) -> Ranks:
    with _opened(init, final) as of:
        return update_rank(of, lambda _: None)


# Where tolerances lie, multiples of what rounds to them, zeros of both signs, and what is not finite.
_NUMBERS = st.one_of(
    st.floats(-(2**-12), 2**-12, width=32),
    st.builds(lambda tolerance, ulps: tolerance * (1 + ulps / 256), st.sampled_from(TOLERANCES), st.integers(-3, 3)),
    st.sampled_from([0.0, -0.0, 0.5, float("nan"), float("inf"), -float("inf")]),
)


@given(st.lists(st.tuples(_NUMBERS, _NUMBERS), min_size=1, max_size=24), st.sampled_from(DTYPES), st.integers(1, 5))
def test_every_number_counts_as_in_the_script(
    numbers: list[tuple[float, float]], dtype: torch.dtype, first: int
) -> None:
    sides = []
    for side in zip(*numbers, strict=True):
        values = torch.tensor(side, dtype=torch.float32)
        names = "model.layers.0.a.weight", "model.layers.0.b.weight", "model.layers.12.a.weight"
        parts = values[:first], values[first : 2 * first], values[2 * first :]
        sides.append({name: part.clone() for name, part in zip(names, parts, strict=True)})
    found = _sparsity(sides[0], sides[1], dtype)
    assert found.printed() == scripts.sparsity(sides[0], sides[1], TOLERANCES, dtype)
    assert found.stops == ""


def test_what_torch_stretches_counts_stretched() -> None:
    init = {"model.layers.0.a.weight": torch.zeros(6, 4), "model.layers.0.b.weight": torch.ones(1, 4)}
    final = {"model.layers.0.a.weight": torch.rand(1, 4).round(), "model.layers.0.b.weight": torch.rand(5, 4)}
    found = _sparsity(init, final)
    assert found.n == 6 * 4 + 5 * 4
    assert found.printed() == scripts.sparsity(init, final, TOLERANCES, BF16)
    assert [each.shape for each in _ranks(init, final).matrices] == [(6, 4), (5, 4)]
    with _opened(init, final) as of:
        assert all(each.stretched for each in of.compared)


def test_a_tensor_without_numbers_is_in_neither_count_nor_mean() -> None:
    init = {"model.layers.0.a.weight": torch.zeros(0, 4), "model.layers.0.b.weight": torch.ones(2, 4)}
    found = _sparsity(init, init)
    assert found.empty == ["model.layers.0.a.weight"]
    assert found.printed() == scripts.sparsity(init, init, TOLERANCES, BF16)
    ranks = _ranks(init, init)
    assert ranks.printed() == ["tensor(nan)"]  # 0 of 0


def test_a_tensor_of_three_dimensions_has_a_rank_for_each_matrix_over_its_least_side() -> None:
    init = {"a.weight": torch.zeros(3, 6, 8)}
    step = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0))
    step[1, 2:] = 0
    found = _ranks(init, {"a.weight": step})
    assert (found.matrices[0].rank, found.matrices[0].full) == ([6, 2, 6], 3)
    assert found.printed() == ["tensor([2.0000, 0.6667, 2.0000])"]
    both = _ranks(init | {"b.weight": torch.zeros(6, 8)}, {"a.weight": step, "b.weight": step[0].clone()})
    assert found.mean is not None
    assert both.mean is not None
    assert torch.equal(both.mean, (found.mean + 1) / 2)
    fewer = _ranks(init | {"b.weight": torch.zeros(2, 6, 8)}, {"a.weight": step, "b.weight": step[:2].clone()})
    assert fewer.mean is None
    assert "several ranks each" in fewer.stops


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_difference_that_is_not_finite_ends_the_second_script(value: float) -> None:
    init = {"a.weight": torch.zeros(4, 4), "b.weight": torch.zeros(4, 4), "z.bias": torch.full((4,), value)}
    found = _ranks(init, init | {"b.weight": torch.full((4, 4), value)})
    assert [each.name for each in found.matrices] == ["a.weight"]
    assert (found.mean, found.printed()) == (None, [])
    assert found.stops == "the difference of b.weight is not finite, and has no rank"


def test_without_a_matrix_or_a_tensor_the_scripts_end() -> None:
    assert _ranks({"a.bias": torch.ones(3)}, {"a.bias": torch.ones(3)}).stops == "no tensor is a matrix in both"
    found = _sparsity({"a.weight": torch.ones(3, 2)}, {"a.weight": torch.ones(2, 3)})
    assert (found.stops, found.printed()) == ("no tensor is in both", [])


@pytest.mark.parametrize("name", ["model.layers_norm.weight", "model.layers", "model.layers.norm.weight"])
def test_a_name_without_a_number_ends_the_first_script(name: str) -> None:
    init = {name: torch.ones(3), "model.layers.0.a.weight": torch.ones(3)}
    found = _sparsity(init, init)
    assert (found.layers, found.zeros, found.n) == ({}, 6, 6)
    assert found.stops == f"{name} has no number of a layer"


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.integers(0, 2**32))
def test_ranks_are_numerical_ranks(rows: int, columns: int, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randint(-3, 4, (rows, rank), generator=generator).float()
    right = torch.randint(-3, 4, (rank, columns), generator=generator).float()
    init = {"a.weight": torch.zeros(rows, columns), "b.layernorm.weight": torch.zeros(2, 2)}
    final = {"a.weight": left @ right, "b.layernorm.weight": torch.ones(2, 2)}
    found = _ranks(init, final)
    assert {each.name: (each.rank, each.full) for each in found.matrices} == scripts.ranks(init, final)
    assert found.printed() == [scripts.mean_rank(init, final)]
