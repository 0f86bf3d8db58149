"""Seeds and the parts of a call."""

from __future__ import annotations

from subnetray.rollout.sampling import Samples, concatenate, derive_seed


def test_seeds_are_stable_distinct_and_fit_a_request() -> None:
    assert derive_seed(0, "step-1", 0) == 236522363090761  # in every process, on every machine
    seeds = {derive_seed(seed, purpose, rank) for seed in range(5) for purpose in ("a", "b") for rank in range(3)}
    assert len(seeds) == 30
    assert all(0 <= seed < 2**48 for seed in seeds)


def test_concatenation_keeps_the_order_of_the_parts() -> None:
    parts = [Samples([[1], [2]], [[-0.1], [-0.2]]), Samples([], []), Samples([[3]], [[-0.3]])]
    assert concatenate(parts) == Samples([[1], [2], [3]], [[-0.1], [-0.2], [-0.3]])
