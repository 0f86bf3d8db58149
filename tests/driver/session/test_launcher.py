"""A driver that a launcher has started as one of several is refused."""

from __future__ import annotations

import pytest

from subnetray.config import ConfigError
from subnetray.driver.session import launcher


@pytest.mark.parametrize(("rank", "size"), [("RANK", "WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")])
def test_one_of_several_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    monkeypatch.setenv(rank, "1")
    monkeypatch.setenv(size, "4")
    with pytest.raises(ConfigError, match=rf"^{rank}=1 of {size}=4: .* start it once, without the launcher"):
        launcher.check()


@pytest.mark.parametrize(("rank", "size"), [("0", "4"), ("3", "1"), ("1", ""), ("", "4"), ("-1", "4"), ("x", "y")])
def test_the_first_of_several_is_not(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    """... nor what is one by a mistake: the variables are dropped."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    launcher.check()
