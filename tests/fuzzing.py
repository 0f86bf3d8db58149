"""Fuzzers try a few examples in the suite, and ``SUBNETRAY_FUZZ`` times as many for ``make fuzz``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("SUBNETRAY_FUZZ", "1"))


def fuzz(examples: int) -> Callable[[Any], Any]:
    """Decorate a fuzzer, as ``settings`` does: it tries so many examples, and has the mark ``fuzz``."""
    chosen = settings(
        max_examples=examples * FACTOR,
        deadline=None,
        derandomize=FACTOR == 1,  # the suite tries the same ones every time
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    return lambda test: pytest.mark.fuzz(chosen(test))
