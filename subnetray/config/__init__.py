"""The schema of every config: Hydra structured configs, validated before anything starts.

Hydra composes ``conf/``; OmegaConf checks names and types against these dataclasses; their ``__post_init__`` checks
ranges. What leaves this package is frozen dataclasses or plain dictionaries, never a ``DictConfig``.
It imports no torch, Ray or TRL, so that planning a sweep costs no heavy import.
"""

from __future__ import annotations

from subnetray import plugins
from subnetray.config.algorithm import (
    ALGORITHMS,
    DPO,
    GRPO,
    KTO,
    ORPO,
    PPO,
    PRIME,
    RAFT,
    RLOO,
    SFT,
    Algorithm,
    OnPolicy,
    Pairs,
    Preference,
    RAFTPlusPlus,
    SimPO,
    misfit,
)
from subnetray.config.checks import ConfigError
from subnetray.config.model import MODELS, EmbeddedModel, PretrainedModel, SmolLM2Model
from subnetray.config.pairs import CheckpointPair, PairGrid, PairsConfig
from subnetray.config.run import Evaluation, Measurement, Rollout, RunConfig, Subnetwork
from subnetray.config.sweep import Checkpointing, Cluster, Factor, Grid, Reporting, SweepConfig, Tracking
from subnetray.config.task import TASKS, ArithmeticTask, DatasetTask, ReasoningGymTask

__all__ = [
    "ALGORITHMS",
    "DPO",
    "GRPO",
    "KTO",
    "MODELS",
    "ORPO",
    "PPO",
    "PRIME",
    "RAFT",
    "RLOO",
    "SFT",
    "TASKS",
    "Algorithm",
    "ArithmeticTask",
    "CheckpointPair",
    "Checkpointing",
    "Cluster",
    "ConfigError",
    "DatasetTask",
    "EmbeddedModel",
    "Evaluation",
    "Factor",
    "Grid",
    "Measurement",
    "OnPolicy",
    "PairGrid",
    "Pairs",
    "PairsConfig",
    "Preference",
    "PretrainedModel",
    "RAFTPlusPlus",
    "ReasoningGymTask",
    "Reporting",
    "Rollout",
    "RunConfig",
    "SimPO",
    "SmolLM2Model",
    "Subnetwork",
    "SweepConfig",
    "Tracking",
]

# Last: their schemas are subclasses of what is above.
ADDED_ALGORITHMS = plugins.load("algorithms", misfit, ALGORITHMS)
ALGORITHMS |= ADDED_ALGORITHMS
