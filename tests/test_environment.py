"""Processes that compute are told about threads and memory, and the user has the last word."""

from __future__ import annotations

import pytest

from subnetray.environment import computing


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    found = computing()
    assert found["OMP_NUM_THREADS"] == "3"
    assert int(found["MALLOC_TRIM_THRESHOLD_"]) > int(found["MALLOC_MMAP_THRESHOLD_"])
