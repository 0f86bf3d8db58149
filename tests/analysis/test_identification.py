"""Scores of several runs together."""

from __future__ import annotations

from typing import Any

import pytest

from subnetray.analysis.identification import identification


def rows(shift: float) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "score": score,
            "auprc": 0.1 * step + shift,
            "precision": None if score == "snip" else 0.5,
            "density": 0.2 + shift,
        }
        for step in (1, 5)
        for score in ("update", "snip")
    ]


def test_means_are_over_runs_and_what_does_not_exist_is_left_out() -> None:
    found = identification([rows(0.0), [], rows(0.02)])
    assert found is not None
    assert (found.n, found.steps) == (2, (1, 5))
    assert [each.score for each in found.scores] == ["update", "snip"]
    update, snip = found.at("update"), found.at("snip")
    assert update is not None
    assert snip is not None
    assert update.auprc[5].mean == pytest.approx(0.51)
    assert (update.auprc[1].n, update.precision[1].mean) == (2, 0.5)
    assert snip.precision[5].n == 0
    assert found.density.mean == pytest.approx(0.21)
    assert found.at("fisher") is None
    assert identification([[], []]) is None
