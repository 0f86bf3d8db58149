"""The page of a sweep that runs is the page of its end, and more: how far it is, and what loads it again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from subnetray.reporting.live import live_page
from subnetray.reporting.report import write_report
from tests.analysis.tables import make_grid, make_runs
from tests.reporting.sweeps import write_sweep

GRID = make_grid()


def _main(page: str) -> str:
    return page[page.index("<main") : page.index("</main>")]


@pytest.mark.parametrize("count", [0, 1, 7, 18])
def test_the_page_of_a_sweep_that_runs(tmp_path: Path, count: int) -> None:
    runs = make_runs(GRID, lambda cell, seed: 0.1 + 0.01 * seed).head(count)
    directory, scratch = write_sweep(tmp_path / "sweep", GRID, runs), tmp_path / "scratch"
    page = live_page(directory, scratch, 7)
    assert not (directory / "figures").exists()
    assert f"<title>{count} of 18 runs are done: made_up</title>" in page
    line = f"<p><strong>{count} of 18 runs are done.</strong> The sweep goes on, [^<]*</p>\n"
    assert page.count('content="7"') == page.count('data-seconds="7"') == 1
    write_report(directory)
    final = (directory / "report.html").read_text()
    assert re.sub(line, "", _main(page)) == _main(final)
    assert "http-equiv" not in final
    assert "data-seconds" not in final
    assert not re.search(line, final)
