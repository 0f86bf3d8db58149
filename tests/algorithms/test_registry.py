"""An algorithm is declared once, in its schema: all else that there must be of it is found by its name."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import subnetray
from subnetray.config import ALGORITHMS, Algorithm
from subnetray.config.compose import Composer
from subnetray.grid import plan

ROOT = Path(subnetray.__file__).parents[1]


@pytest.mark.parametrize("schema", ALGORITHMS.values(), ids=ALGORITHMS)
def test_an_algorithm_has_a_file_a_config_a_cost_and_a_row_of_docs(schema: type[Algorithm]) -> None:
    assert find_spec(f"subnetray.algorithms.{schema.MODULE or schema.name}") is not None
    assert schema.SEQUENCE_S > 0
    (run,) = plan(Composer(), ["+grid=single", f"algorithm={schema.name}"])[1].runs
    assert type(run.config.algorithm) is schema
    assert f"| `{schema.name}` |" in (ROOT / "docs" / "algorithms.md").read_text()
