"""Engines by name."""

from __future__ import annotations

import ray

from subnetray import rollout


def test_a_run_without_engines_starts_no_ray() -> None:
    assert rollout.connect([]) == []
    assert not ray.is_initialized()
