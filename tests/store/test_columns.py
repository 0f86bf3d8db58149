"""The columns of a sweep's tables."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from subnetray.config import ConfigError, Factor, Grid
from subnetray.grid import expand
from subnetray.store import columns, tables_page

DOCS = Path(__file__).parents[2] / "docs" / "tables.md"


def test_every_column_of_runs_is_reserved_and_named_once() -> None:
    names = [column.name for column in columns.of_runs(["method"], [0.0, 1e-5])]
    assert len(set(names)) == len(names)
    assert all(columns.is_reserved(name) for name in names if name != "method")
    assert {"density_0", "density_1e-05", "kl_to_init", "entropy_after"} < set(names)


@pytest.mark.parametrize("name", ["kl_to_init", "entropy_after", "density_3", "seconds", "equal_1e-05", "run_id"])
def test_a_factor_that_is_called_like_a_column_is_refused_before_any_work(name: str) -> None:
    factor = Factor(baseline="a", levels={"a": [], "b": []})
    with pytest.raises(ConfigError, match=rf"grid\.factors\.{name}.*(another column|letters, digits)"):
        expand(Grid(name="g", factors={name: factor}, one_at_a_time=[name]))


def test_every_column_says_what_it_means_and_where_its_value_is() -> None:
    for column in (*columns.of_runs(["method"], [1e-5]), *columns.of_pairs()):
        assert column.meaning
        assert column.source or column in columns.of_pairs()


def test_a_value_is_found_by_its_path_and_what_is_not_a_number_is_left_out() -> None:
    result = {"status": "done", "error": None, "density": {"abs": {"1e-05": 0.5, "0.0001": 0.25}}, "n": math.nan}
    made = columns.of_runs(["rate"], [1e-5, 1e-4])
    row = columns.row(made, {"run_id": "a", "seed": 3, "cell": {"rate": "1e-3"}}, {"precision": "bf16"}, result)
    assert row == {
        **{"run_id": "a", "rate": "1e-3", "seed": 3, "status": "done", "precision": "bf16"},
        **{"density_1e-05": 0.5, "density_0.0001": 0.25},
    }


def test_the_page_of_columns_is_what_the_declarations_say() -> None:
    """``python -m subnetray.store.tables_page > docs/tables.md`` writes it."""
    assert DOCS.read_text() == tables_page.page()
