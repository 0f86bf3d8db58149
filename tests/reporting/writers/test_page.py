"""What a page has inside: its data in scripts, and the library that draws charts."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from subnetray.reporting.document import Chart, Figure, Heading
from subnetray.reporting.writers.html import to_html
from subnetray.reporting.writers.page import data_script, library, packed

ROWS = [{"a": 1, "b": "</script><b>"}, {"b": "<!-- <script>", "c": None}]
CHART = Chart({"mark": "point", "datasets": {"rows": ROWS}}, "A chart.", Figure("figures/a.png", "A still."))


class Scripts(HTMLParser):
    """The text of every script, by its class."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = (dict(attrs).get("class") or "") if tag == "script" else None
        if self.inside is not None:
            self.found.append((self.inside, ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside is not None:
            name, text = self.found.pop()
            self.found.append((name, text + data))


def scripts(page: str) -> list[tuple[str, str]]:
    parser = Scripts()
    parser.feed(page)
    return parser.found


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_data_in_a_script_are_what_they_were_and_end_no_element(content: dict[str, Any]) -> None:
    text = data_script("x", {**content, "more": ["</script><script>alert(1)</script>", "<!--<script>", "]]>"]})
    ((name, found),) = scripts(text)
    assert name == "x"
    assert "<" not in found
    assert json.loads(found) == {**content, "more": ["</script><script>alert(1)</script>", "<!--<script>", "]]>"]}


def test_rows_are_packed_by_column() -> None:
    rows = packed(CHART.spec)["datasets"]["rows"]
    assert rows == {"names": ["a", "b", "c"], "values": [[1, "</script><b>", None], [None, "<!-- <script>", None]]}


def test_a_page_with_charts_has_the_library_once_and_one_without_has_not() -> None:
    page = to_html([Heading(1, "T"), CHART, CHART], "T", lambda path: b"png")
    found = scripts(page)
    assert [name for name, _ in found] == ["chart", "chart", "", ""]
    assert found[2][1].strip() == library().strip()
    assert "window.vegaEmbed=" in library().replace(" ", "")
    assert "</script" not in library().lower()
    assert json.loads(found[0][1])["datasets"]["rows"]["values"][0][1] == "</script><b>"
    assert page.count("data:image/png") == 2
    assert len(scripts(to_html([Heading(1, "T")], "T", lambda path: b""))) == 1


def test_the_library_is_bundled_once_and_again_if_what_was_kept_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBNETRAY_CACHE", str(tmp_path))
    made = library.__wrapped__()
    (kept,) = (tmp_path / "reports").iterdir()
    whole = kept.read_text()
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda *_, **__: "other")
    assert library.__wrapped__() == made
    kept.write_text(whole.replace("vegaEmbed", "vegaembed", 1))
    assert "other" in library.__wrapped__()
    monkeypatch.setenv("SUBNETRAY_CACHE", "/proc/nowhere")
    assert "other" in library.__wrapped__()
