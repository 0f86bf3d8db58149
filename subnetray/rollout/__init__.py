"""Rollouts: vLLM engines in Ray actors, and the policy of a run that is sampled through them."""

from __future__ import annotations

from subnetray.rollout.policy import EngineError, Policy
from subnetray.rollout.pool import connect, start
from subnetray.rollout.sampling import Samples, Sampling

__all__ = ["EngineError", "Policy", "Samples", "Sampling", "connect", "start"]
