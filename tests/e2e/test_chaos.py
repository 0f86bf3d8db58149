"""A few faults of ``make chaos``, done to a small sweep by the real command: what is there then is what should be."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from subnetray import models
from tests.chaos.faults import FAULTS
from tests.chaos.report import line
from tests.chaos.run import suffer
from tests.chaos.scene import Bench, make_undisturbed

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def bench(tiny: Path) -> Iterator[Bench]:
    """An undisturbed sweep of six runs. Its path is short: Ray makes sockets in it."""
    root = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    try:
        bench = Bench(root, "small", "hf", inits=models.default_cache())
        _, problems = make_undisturbed(bench)
        assert problems == []
        yield bench
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.parametrize("name", ["step", "sigterm", "mask", "table"])
def test_a_sweep_that_was_disturbed_is_whole_after_the_same_command(bench: Bench, name: str) -> None:
    outcome = suffer(bench, FAULTS[name], seed=0, number=0)
    assert outcome.well, line(outcome)
