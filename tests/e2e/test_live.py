"""A sweep that is watched while it runs: its page, and what its runs say that they do."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from subnetray import run_sweep
from subnetray.reporting.report import write_report
from subnetray.store import results

pytestmark = pytest.mark.e2e


class _Watch:
    """Looks at a sweep's directory until it is left: how many runs its live pages call done, what its runs do."""

    def __init__(self, directory: Path) -> None:
        self.pages, self.words = set[str](), set[str]()
        self._directory, self._left = directory, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _look(self) -> None:
        page = self._directory / "report.html"
        while not self._left.wait(0.02):
            self.words.update(map(results.doing, self._directory.glob("runs/*")))
            if page.is_file() and "data-seconds" in (text := page.read_text()):
                self.pages.update(re.findall(r"(\d) of 3 runs are done\.", text))


def test_a_sweep_is_seen_while_it_runs_and_ends_with_the_page_of_any_other(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Beside other tests nothing may be left for a process that gives way to all others.
    monkeypatch.setattr("subnetray.driver.live._NICE", 0)
    small = ["algorithm=dpo", "algorithm.steps=10", "algorithm.batch_size=8", "evaluation.prompts=16", "rollout=hf"]
    # One at a time, so that the page, whose process gives way, is written before all are done.
    words = [*small, "grid.seeds=[0,1,2]", "cluster.max_concurrent=1", "tracking=disabled", "out=here"]
    with _Watch(tmp_path / "here") as seen:
        sweep = run_sweep("single", [*words, "report.live=true"])
    assert list(sweep.runs["status"]) == ["done"] * 3
    assert seen.pages & {"0", "1", "2"}
    assert seen.words >= {"evaluates the init", "samples pairs", results.TRAINS, "evaluates the final"}
    assert not [name for path in sweep.directory.glob("runs/*") for name in path.iterdir() if name.name[0] == "."]
    page = (sweep.directory / "report.html").read_bytes()
    assert b"data-seconds" not in page
    said: list[str] = []
    run_sweep("single", words, say=said.append)
    assert "all 3 runs are done: nothing to do" in said[-1]
    write_report(sweep.directory)
    assert (sweep.directory / "report.html").read_bytes() == page
