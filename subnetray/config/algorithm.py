"""How a policy is trained: one schema an algorithm, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from subnetray.config.checks import at_least, one_of, positive, require


@dataclass(frozen=True)
class Algorithm:
    """What all algorithms share: the optimizer, the schedule and the batch."""

    # What a sequence of a step takes with the embedded model, on one core of two busy ones (a DPO pair is one).
    SEQUENCE_S: ClassVar[float]
    # The module that makes its trainer: a file in ``subnetray/algorithms``, by default of the algorithm's name, or the
    # whole dotted name of one of another package.
    MODULE: ClassVar[str] = ""
    # TRL's experimental modules announce themselves when imported, unless told not to, which a run does first.
    EXPERIMENTAL: ClassVar[bool] = False
    # What ``data`` is in the policy's distribution, and off it, by names that hold for every algorithm.
    DATA: ClassVar[Mapping[str, str]] = {}

    name: str = "grpo"
    lr: float = 1e-4  # for the embedded model (docs/algorithms.md); those of billions are trained at 1e-6 or so
    schedule: str = "constant"  # of the learning rate, after warm-up
    warmup_steps: int = 0  # over which the learning rate rises linearly
    weight_decay: float = 0.0  # decoupled; not of biases and norms, as transformers' trainers have it
    optimizer: str = "adamw"  # sgd: without momentum
    # Global gradient norm above which gradients are scaled down; null switches clipping off.
    max_grad_norm: float | None = 1.0
    steps: int = 60  # optimizer steps
    # Sequences per optimizer step, over all workers (a preference pair counts as one).
    batch_size: int = 128
    # Sequences that a worker passes through the model at once, gradients added up; null: all of its share.
    micro_batch_size: int | None = None

    def __post_init__(self) -> None:
        # The attribute of the class is the field's default.
        require(self.name == type(self).name, "algorithm.name", "left alone, algorithm=NAME chooses one", self.name)
        positive("algorithm.lr", self.lr)
        one_of("algorithm.schedule", self.schedule, ("constant", "linear", "cosine"))
        at_least("algorithm.warmup_steps", self.warmup_steps, 0)
        at_least("algorithm.weight_decay", self.weight_decay, 0)
        one_of("algorithm.optimizer", self.optimizer, ("adamw", "sgd"))
        if self.max_grad_norm is not None:
            positive("algorithm.max_grad_norm", self.max_grad_norm)
        at_least("algorithm.steps", self.steps, 1)
        at_least("algorithm.batch_size", self.batch_size, 1)
        if self.micro_batch_size is not None:
            at_least("algorithm.micro_batch_size", self.micro_batch_size, 1)


@dataclass(frozen=True)
class OnPolicy(Algorithm):
    """What algorithms share that sample every prompt of a step ``group_size`` times."""

    SMALLEST_GROUP: ClassVar[int] = 2  # where advantages are relative to the group's
    DATA: ClassVar[Mapping[str, str]] = {"in_distribution": "rollouts"}

    group_size: int = 8  # completions per prompt
    # Rollouts are drawn for so many optimizer steps at once, and passed over so many times: with one of both, every
    # step trains on rollouts of the present policy, and nothing is ever clipped.
    minibatches: int = 1
    epochs: int = 1  # passes over the rollouts of a round: see minibatches
    # Weight of the KL penalty to the init: RLOO's in the reward (k1), the others' in the loss (k3, times the ratio of
    # the policy to the one that was sampled, which makes its gradient unbiased: TRL's default).
    beta: float = 0.0
    epsilon: float = 0.2  # clip range of the importance ratio: GRPO's of tokens, RLOO's of sequences

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("algorithm.group_size", self.group_size, self.SMALLEST_GROUP)
        at_least("algorithm.batch_size", self.batch_size, 2)
        at_least("algorithm.minibatches", self.minibatches, 1)
        at_least("algorithm.epochs", self.epochs, 1)
        at_least("algorithm.beta", self.beta, 0)
        positive("algorithm.epsilon", self.epsilon)
        require(
            self.batch_size % self.group_size == 0,
            "algorithm.batch_size",
            f"a multiple of algorithm.group_size ({self.group_size})",
            self.batch_size,
        )


@dataclass(frozen=True)
class GRPO(OnPolicy):
    """Group relative policy optimisation (arXiv 2402.03300) through TRL's ``GRPOTrainer``."""

    SEQUENCE_S: ClassVar[float] = 0.29e-3

    name: str = "grpo"
    loss: str = "dapo"  # aggregation over tokens: grpo, bnpo, dr_grpo, dapo

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("algorithm.loss", self.loss, ("grpo", "bnpo", "dr_grpo", "dapo"))


@dataclass(frozen=True)
class RLOO(OnPolicy):
    """REINFORCE leave-one-out (arXiv 2402.14740) through TRL's ``RLOOTrainer``."""

    SEQUENCE_S: ClassVar[float] = 0.34e-3

    name: str = "rloo"


@dataclass(frozen=True)
class PPO(OnPolicy):
    """Proximal policy optimisation (arXiv 1707.06347), its values predicted by a model of their own."""

    SEQUENCE_S: ClassVar[float] = 0.34e-3
    SMALLEST_GROUP: ClassVar[int] = 1

    name: str = "ppo"
    epochs: int = 2  # passes over the rollouts of a round: see minibatches
    kl: str = "reward"  # where the penalty of weight beta goes: reward (k1) or loss (k3)
    gamma: float = 1.0  # discount of rewards
    gae_lambda: float = 0.95  # of generalised advantage estimation (arXiv 1506.02438)
    value_lr: float = 1e-4  # learning rate of the value model
    value_epsilon: float = 0.2  # clip range of values

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("algorithm.kl", self.kl, ("reward", "loss"))
        for key in ("gamma", "gae_lambda"):
            require(0 <= getattr(self, key) <= 1, f"algorithm.{key}", "a number from 0 to 1", getattr(self, key))
        positive("algorithm.value_lr", self.value_lr)
        positive("algorithm.value_epsilon", self.value_epsilon)


@dataclass(frozen=True)
class PRIME(OnPolicy):
    """Process reinforcement through implicit rewards (arXiv 2502.01456), with the coefficients of its recipe."""

    SEQUENCE_S: ClassVar[float] = 0.71e-3

    name: str = "prime"
    group_size: int = 4  # completions per prompt
    # Rollouts are drawn for so many times the prompts, of which those are preferred that have an accuracy in range.
    oversample: int = 4
    accuracy_low: float = 0.2  # the least accuracy of a prompt's group that is in range
    accuracy_high: float = 0.8  # the largest
    process_weight: float = 5.0  # of implicit process rewards in the advantage
    outcome_weight: float = 5.0  # of the verifier's reward in it
    process_norm: str = "batch_norm"  # process rewards over the largest return of a batch, or none
    leave_one_out: str = "code"  # the baseline of process rewards: as published in the authors' code, or in the paper
    prm_update: str = "after"  # the reward model learns before it rewards a batch, after, or never (none)
    prm_beta: float = 0.05  # weight of the log-ratios that are its rewards
    prm_lr: float = 1e-5  # learning rate of the reward model
    prm_max_grad_norm: float | None = 10.0  # as max_grad_norm, of the reward model

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("algorithm.oversample", self.oversample, 1)
        low, high = self.accuracy_low, self.accuracy_high
        require(0 <= low <= 1, "algorithm.accuracy_low", "a number from 0 to 1", low)
        require(low <= high <= 1, "algorithm.accuracy_high", f"a number from algorithm.accuracy_low ({low}) to 1", high)
        at_least("algorithm.process_weight", self.process_weight, 0)
        at_least("algorithm.outcome_weight", self.outcome_weight, 0)
        one_of("algorithm.process_norm", self.process_norm, ("batch_norm", "none"))
        one_of("algorithm.leave_one_out", self.leave_one_out, ("code", "paper"))
        one_of("algorithm.prm_update", self.prm_update, ("before", "after", "none"))
        positive("algorithm.prm_beta", self.prm_beta)
        positive("algorithm.prm_lr", self.prm_lr)
        if self.prm_max_grad_norm is not None:
            positive("algorithm.prm_max_grad_norm", self.prm_max_grad_norm)


@dataclass(frozen=True)
class RAFT(OnPolicy):
    """Reward-ranked fine-tuning (arXiv 2304.06767): likelihood of the rollouts that the reward accepts."""

    SEQUENCE_S: ClassVar[float] = 0.27e-3
    SMALLEST_GROUP: ClassVar[int] = 1

    name: str = "raft"


@dataclass(frozen=True)
class RAFTPlusPlus(RAFT):
    """RAFT with a clipped importance ratio (arXiv 2504.11343)."""

    SEQUENCE_S: ClassVar[float] = 0.32e-3
    MODULE: ClassVar[str] = "raft"

    name: str = "raft_plus_plus"
    minibatches: int = 4


@dataclass(frozen=True)
class SFT(Algorithm):
    """Supervised fine-tuning on the completion's tokens through TRL's ``SFTTrainer``."""

    SEQUENCE_S: ClassVar[float] = 0.22e-3
    DATA: ClassVar[Mapping[str, str]] = {
        **{"off_distribution": "gold", "in_distribution": "rejection", "shuffled": "shuffled"}
    }

    name: str = "sft"
    # gold: the task's own completions; rejection: completions of the init that the reward accepts; shuffled: the task's
    # own, each of another prompt, which are as far from the policy as such texts can be.
    data: str = "gold"
    samples_per_prompt: int = 4  # rejection only

    def __post_init__(self) -> None:
        super().__post_init__()
        _name_data(self)
        at_least("algorithm.samples_per_prompt", self.samples_per_prompt, 1)


@dataclass(frozen=True)
class Preference(Algorithm):
    """What algorithms share that train on preferences."""

    DATA: ClassVar[Mapping[str, str]] = {"in_distribution": "on_policy", "off_distribution": "off_policy"}

    # on_policy: the init's completions judged by the reward; off_policy: gold against corrupted gold.
    data: str = "on_policy"
    beta: float = 0.1  # weight of what tells the two kinds of completions apart
    batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        _name_data(self)
        positive("algorithm.beta", self.beta)


@dataclass(frozen=True)
class Pairs(Preference):
    """What algorithms share that train on pairs of completions, one preferred."""

    samples_per_prompt: int = 8  # on_policy only

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("algorithm.samples_per_prompt", self.samples_per_prompt, 2)


@dataclass(frozen=True)
class DPO(Pairs):
    """Direct preference optimisation (arXiv 2305.18290) through TRL's ``DPOTrainer``."""

    SEQUENCE_S: ClassVar[float] = 0.40e-3

    name: str = "dpo"
    beta: float = 1.0  # weight of log-ratios to the init; at 0.1 the embedded model unlearns (docs/algorithms.md)
    loss: str = "sigmoid"  # sigmoid_norm: log-ratios over lengths, Tulu 3's dpo_norm (arXiv 2411.15124)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("algorithm.loss", self.loss, ("sigmoid", "sigmoid_norm"))


@dataclass(frozen=True)
class ORPO(Pairs):
    """Odds ratio preference optimisation (arXiv 2403.07691) through TRL's ``ORPOTrainer``."""

    SEQUENCE_S: ClassVar[float] = 0.42e-3
    EXPERIMENTAL: ClassVar[bool] = True

    name: str = "orpo"
    beta: float = 0.1  # weight of the odds ratio beside the likelihood


@dataclass(frozen=True)
class SimPO(Pairs):
    """Simple preference optimisation (arXiv 2405.14734) through TRL's ``CPOTrainer``."""

    SEQUENCE_S: ClassVar[float] = 0.44e-3
    EXPERIMENTAL: ClassVar[bool] = True

    name: str = "simpo"
    beta: float = 10.0  # weight of mean log-probabilities; at 2 the embedded model gains nothing
    gamma: float = 2.0  # the margin, after the weight

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("algorithm.gamma", self.gamma, 0)


@dataclass(frozen=True)
class KTO(Preference):
    """Kahneman-Tversky optimisation (arXiv 2402.01306) through TRL's ``KTOTrainer``; a sequence is one completion."""

    SEQUENCE_S: ClassVar[float] = 0.57e-3

    name: str = "kto"
    beta: float = 4.0  # weight of log-ratios to the init; at 1 the embedded model gains little
    desirable_weight: float = 1.0  # of the loss of completions that are accepted
    undesirable_weight: float = 1.0  # of the others'

    def __post_init__(self) -> None:
        super().__post_init__()
        # The reference point is the mean over a batch of completions after the prompts of others.
        at_least("algorithm.batch_size", self.batch_size, 2)
        positive("algorithm.desirable_weight", self.desirable_weight)
        positive("algorithm.undesirable_weight", self.undesirable_weight)


def _name_data(algorithm: SFT | Preference) -> None:
    """Give ``data`` the algorithm's own name for it, so that a run is the same whichever way it was asked for."""
    names = tuple(algorithm.DATA.values())
    object.__setattr__(algorithm, "data", algorithm.DATA.get(algorithm.data, algorithm.data))
    one_of("algorithm.data", algorithm.data, names)


def misfit(name: str, schema: Any) -> str | None:
    """Say why what another package adds cannot be an algorithm of that name; None if it can."""
    if not (isinstance(schema, type) and issubclass(schema, Algorithm)):
        return "an algorithm is a subclass of subnetray.config.Algorithm"
    if schema.name != name:
        return f"its schema has the name {schema.name!r}"
    if "." not in schema.MODULE:
        return "its MODULE must be the dotted name of the module that has build(setting)"
    return None if getattr(schema, "SEQUENCE_S", 0) > 0 else "its SEQUENCE_S must be a number of seconds above 0"


ALGORITHMS: dict[str, type[Algorithm]] = {
    schema.name: schema for schema in (GRPO, RLOO, PPO, PRIME, RAFT, RAFTPlusPlus, SFT, DPO, ORPO, SimPO, KTO)
}
