"""The heat map: every weight is in one cell, and what a cell shows is what was counted there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.reporting.pictures import figures
from subnetray.reporting.pictures.heatmap import ALL, Cell, heat_map, heat_map_page, write_heat_map
from tests.reporting.writers.test_html import Reader

TENSORS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 3)),
        st.sampled_from(["q", "norm", "bias", "experts", "embedding", "head", "strange"]),
        st.integers(0, 50),
        st.floats(0, 1),
    ).map(lambda t: {"layer": t[0], "module": t[1], "n": t[2], "changed_bitwise": round(t[2] * t[3])}),
    min_size=1,
)


@given(TENSORS)
def test_every_weight_is_in_one_cell(tensors: list[dict[str, Any]]) -> None:
    found = heat_map(tensors)
    layers = [row for row in found.rows if row.label.startswith("layer ")]
    outside = [row for row in found.rows if row.wide]
    counted = sum((row.cells[ALL] for row in [*layers, *outside]), Cell())
    assert counted == Cell(sum(t["changed_bitwise"] for t in tensors), sum(t["n"] for t in tensors))
    for row in layers:
        for name, cell in row.cells.items():
            own = [t for t in tensors if row.label == f"layer {t['layer']}" and name in (t["module"], ALL)]
            assert cell == Cell(sum(t["changed_bitwise"] for t in own), sum(t["n"] for t in own))
    if layers:
        (totals,) = (row for row in found.rows if row.label == "all layers")
        for name in found.columns:
            assert totals.cells[name] == sum((row.cells[name] for row in layers if name in row.cells), Cell())
    assert all(cell.density <= found.top for row in found.rows for cell in row.cells.values())


def _tensor(layer: int | None, module: str, changed: int, n: int = 1000) -> dict[str, Any]:
    return {"layer": layer, "module": module, "n": n, "changed_bitwise": changed}


SOME = [
    _tensor(None, "norm", 0),
    _tensor(None, "head", 1, 10_000),
    _tensor(10, "down", 125),
    _tensor(10, "q", 500),
    _tensor(2, "q", 1000),
    _tensor(2, "norm", 9_999, 10_000),
    _tensor(None, "embedding", 30),
]


def test_rows_and_columns_follow_the_computation() -> None:
    found = heat_map(SOME)
    assert [row.label for row in found.rows] == ["embedding", "layer 2", "layer 10", "all layers", "norm", "head"]
    assert found.columns == ("q", "down", "norm", ALL)
    assert found.top == 1
    assert heat_map([_tensor(0, "q", 61)]).top == 0.1
    assert heat_map([_tensor(0, "q", 0)]).top == 0.001


def test_the_page_says_every_number_and_its_counts() -> None:
    text = heat_map_page(heat_map(SOME), "a <b> → c")
    page = Reader()
    page.feed(text)
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "link", "a", "iframe", "img"}
    cells = page.text[page.text.index(ALL) + 1 :]
    assert cells == [
        *("embedding", "3.0"),
        *("layer 2", "100", "–", ">99.9", ">99.9"),
        *("layer 10", "50.0", "12.5", "–", "31.2"),
        *("all layers", "75.0", "12.5", ">99.9", "89.4"),
        *("norm", "0", "head", "<0.1"),
    ]
    titles = [attributes["title"] for tag, attributes in page.tags if "title" in attributes]
    assert titles[0] == "30 of 1,000"
    assert titles[-1] == "1 of 10,000"


def _contrast(one: str, two: str) -> float:
    """WCAG 2's contrast ratio of two colours, #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


@given(st.floats(0, 1))
def test_every_number_can_be_read_on_its_colour(share: float) -> None:
    colour, ink = figures.heat_colour(share, 1.0)
    assert _contrast(colour, {"black": "#000000", "white": "#ffffff"}[ink]) >= 4.5
    # More is darker, so that the map reads without colour vision and on paper.
    assert _contrast(colour, "#ffffff") >= _contrast(figures.heat_colour(share / 2, 1.0)[0], "#ffffff")


@pytest.mark.parametrize("layers", [0, 1, 40])
def test_the_same_counts_give_the_same_files(tmp_path: Path, layers: int) -> None:
    tensors = [
        _tensor(None, "other", 0, 0 if layers == 0 else 10),
        *(_tensor(layer, "q", layer) for layer in range(layers)),
    ]
    for name in ("a", "b"):
        write_heat_map(tmp_path / name, {"tensors": tensors, "init": "x", "final": "y"})
    for file in ("heatmap.png", "heatmap.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a" / "heatmap.png").read_bytes().startswith(b"\x89PNG")
