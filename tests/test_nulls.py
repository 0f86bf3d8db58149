"""The registry of nulls: what is declared once is found in columns, rows, groups, report and docs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from subnetray import nulls
from subnetray.analysis.pairs import SEED, group, label_pairs
from subnetray.driver.pairs import Pairs
from subnetray.nulls import NULLS, STRONGEST, Expectation, Null, Pair, Run
from subnetray.store import columns, tables_page
from tests.analysis.tables import make_grid, make_overlap, make_runs
from tests.driver.sweeps import random_masks, write_init
from tests.driver.test_pairs import _add


class Halves(Null):
    """Knows how many coordinates of each half of the model changed: a null from elsewhere."""

    name = "halves"
    title = "halves"
    known = "the density of both halves is known"
    given = "the density of each half"
    reading = "Masks of the same sizes in both halves."
    source = "this test"
    odds = "none's"

    def of_run(self, run: Run) -> float:
        return run.mask.density

    def of_pair(self, pair: Pair) -> Expectation:
        one, two = pair.made[self.name]
        return Expectation(one * two * pair.counts.n, 1.25)


def test_every_null_says_what_it_is_and_has_columns() -> None:
    declared = {column.name for column in columns.of_pairs()}
    for name, null in NULLS.items():
        assert null.name == name
        assert all((null.title, null.known, null.given, null.reading, null.source))
        assert {f"{name}_expected", f"{name}_excess"} <= declared
        assert (f"{name}_odds_ratio" in declared) == bool(null.odds)
    assert STRONGEST in NULLS


def test_a_null_from_elsewhere_is_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(nulls.NULLS, Halves.name, Halves())
    init = write_init(tmp_path / "init")
    masks = random_masks(init, [0.2, 0.5])
    pairs = Pairs("ab")
    for name, mask in zip("ab", masks, strict=True):
        _add(pairs, tmp_path, name, mask, tmp_path / "init")
    (row,) = pairs.rows
    assert row["halves_expected"] == pytest.approx(masks[0].k * masks[1].k / masks[0].n)
    assert row["halves_excess"] == pytest.approx(row["uniform_excess"])
    assert row["halves_odds_ratio"] == 1.25
    assert list(row)[3:20] == [column.name for column in columns.of_pairs()][3:20]
    pairs.write(tmp_path / "table")
    assert "| `halves`, the halves null | Masks of the same sizes in both halves. |" in tables_page.page()
    grid = make_grid()
    runs = make_runs(grid, lambda cell, seed: 0.1)
    overlap = make_overlap(runs, lambda a, b: (100, 100, 50, 20.0)).assign(
        halves_expected=10.0, halves_excess=40.0, halves_odds_ratio=1.25
    )
    labelled = label_pairs(grid, runs, overlap)
    each = group(grid, labelled[labelled["differs"] == SEED].head(3))
    assert each.nulls["halves"].excess.mean == pytest.approx(0.4)
    assert each.nulls["halves"].odds_ratio.mean == pytest.approx(1.25)
    assert each.nulls["margins"].odds_ratio.n == 0


def test_nothing_heavy_is_imported_before_a_null_is_computed() -> None:
    code = "import subnetray.nulls, sys; print([name for name in ('torch', 'numba', 'numpy') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
