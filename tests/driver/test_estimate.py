"""What a run costs is known of every algorithm, before any has run."""

from __future__ import annotations

import pytest

from subnetray.config import ALGORITHMS
from subnetray.config.compose import Composer
from subnetray.driver.estimate import cost


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_a_cost_that_grows_with_its_steps(name: str) -> None:
    short, long = Composer().runs([[f"algorithm={name}", f"algorithm.steps={steps}"] for steps in (1, 9)])
    assert 0 < cost(short) < cost(long)
