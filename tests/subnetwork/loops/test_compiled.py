"""Compiled code is kept, until a file of the package changes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numba
import pytest

from subnetray.subnetwork.loops import compiled as module
from subnetray.subnetwork.loops.compiled import compiled


def test_code_is_kept_until_any_file_that_it_may_be_made_of_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loops_of_a_test.py").write_text("def successor(n):\n    return n + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    loops = importlib.import_module("loops_of_a_test")

    def kept() -> int:
        made = compiled(loops.successor)
        assert made(1) == 2
        return sum(made.stats.cache_hits.values())

    assert [kept(), kept()] == [0, 1]
    before = module._sources()
    assert {Path(path).name for path, *_ in before} >= {"kernels.py", "xxh3.py", "loops.py"}
    monkeypatch.setattr(module, "_sources", lambda: before[1:])
    assert [kept(), kept()] == [0, 1]


def test_code_is_kept_by_no_numba_that_cannot_be_told_of_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... and is compiled all the same."""
    (tmp_path / "more_loops_of_a_test.py").write_text("def predecessor(n):\n    return n - 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    loops = importlib.import_module("more_loops_of_a_test")
    real = numba.njit

    def njit(**options: Any) -> Any:
        return (lambda function: object()) if options.get("cache") else real(**options)  # without its names

    monkeypatch.setattr(numba, "njit", njit)
    made = compiled(loops.predecessor)
    assert made(1) == 0
    assert not sum(made.stats.cache_hits.values())
