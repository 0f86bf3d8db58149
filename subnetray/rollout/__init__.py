"""Rollouts: engines (vLLM, Hugging Face) in Ray actors, and the policy of a run that is sampled through them."""

from __future__ import annotations

# ruff: noqa: E402 - what is imported by what follows comes first, as the process of an engine begins here
from subnetray.process.libraries import load

load("subnetray.subnetwork", without=["scipy"])  # with torch, numba, which asks for SciPy's version, and pyarrow

from subnetray.rollout.engine import await_model
from subnetray.rollout.policy import Draw, EngineError, Policy
from subnetray.rollout.pool import connect, start
from subnetray.rollout.sampling import Samples, Sampling
from subnetray.rollout.sync.probe import Probe
from subnetray.rollout.sync.transfer import SyncError

__all__ = [
    "Draw",
    "EngineError",
    "Policy",
    "Probe",
    "Samples",
    "Sampling",
    "SyncError",
    "await_model",
    "connect",
    "start",
]
