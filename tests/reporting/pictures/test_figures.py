"""Figures are PNGs of the same bytes for the same numbers, and show what they are given."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from subnetray.analysis.intervals import Estimate
from subnetray.reporting.pictures import figures

ESTIMATE = Estimate(0.4, 0.3, 0.5, 3)
ALONE = Estimate(0.6, math.nan, math.nan, 1)


def by_rate(path: Path, value: float = 0.2) -> None:
    series = [figures.Series(name, ((1e-6, (0.1, value)), (1e-5, (0.5,)))) for name in ("a", "b")]
    figures.density_by_learning_rate(path, series, "learning rate")


def dots(path: Path, value: float = 0.2) -> None:
    rows = [figures.Row("on", ESTIMATE, (value,)), figures.Row("off", ALONE)]
    figures.dots(path, [("clip", rows)], math.nan, "reported")


def reseeded(path: Path, value: float = 0.2) -> None:
    figures.overlaps(path, [[("seeds", [figures.OverlapRow("a", ESTIMATE, 0.1, 0.3, value)])]])


def overlaps(path: Path, value: float = 0.2) -> None:
    one = [("seeds", [figures.OverlapRow("a", ESTIMATE, value, 0.3)])]
    figures.overlaps(path, [one, [*one, ("more", [figures.OverlapRow("b", ALONE, 0.1, 0.2)] * 3)]])


def found_early(path: Path, value: float = 0.2) -> None:
    lines = {"one": [(1, value), (5, 0.6)], "two": [(1, 0.3), (5, 0.4)]}
    figures.identification(path, [("baseline", 0.25, lines), ("other", 0.5, lines)])


@pytest.mark.parametrize("draw", [by_rate, dots, overlaps, reseeded, found_early])
def test_the_same_numbers_give_the_same_bytes_and_others_do_not(tmp_path: Path, draw: Callable[..., None]) -> None:
    for name, value in (("a", 0.2), ("b", 0.2), ("c", 0.8)):
        draw(tmp_path / "figures" / f"{name}.png", value)
    a, b, c = (path.read_bytes() for path in sorted((tmp_path / "figures").iterdir()))
    assert a.startswith(b"\x89PNG")
    assert a == b
    assert a != c


def test_rows_are_evenly_spaced_under_the_names_of_their_groups() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    row = figures.Row("level", ESTIMATE)
    placed = figures._rows(axes, [("one", [row, row]), ("two", [row])])
    labels = [(label.get_text(), label.get_fontweight()) for label in axes.get_yticklabels()]
    assert labels == [("one", "bold"), ("level", "normal"), ("level", "normal"), ("two", "bold"), ("level", "normal")]
    assert [y for _, at in placed for _, y in at] == pytest.approx([1, 2, 4.3])


def test_a_name_that_looks_like_a_broken_formula_is_a_name(tmp_path: Path) -> None:
    rows = [figures.Row(r"$\frac{1$", ESTIMATE), figures.Row("on", ALONE)]
    figures.dots(tmp_path / "a.png", [(r"$\nosuch$", rows)], 0.4, "reported")
    series = [figures.Series(r"$x_{$", ((1e-6, (0.1,)), (1e-5, (0.5,))))]
    figures.density_by_learning_rate(tmp_path / "b.png", series, r"$\lr$")
    assert (tmp_path / "a.png").stat().st_size > 0
    assert (tmp_path / "b.png").stat().st_size > 0
