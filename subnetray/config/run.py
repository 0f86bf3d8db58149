"""One run: everything that decides its bytes."""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from subnetray.config.algorithm import ALGORITHMS
from subnetray.config.checks import ConfigError, at_least, expand_home, freeze, one_of, positive, require
from subnetray.config.model import MODELS
from subnetray.config.task import TASKS


@dataclass(frozen=True)
class Rollout:
    """Engines in Ray actors, and how they sample."""

    NAMES: ClassVar[tuple[str, ...]] = ("vllm", "hf")

    # What an engine is built with; the rest is said with every call.
    ENGINE: ClassVar[tuple[str, ...]] = (
        "name",
        "engines",
        "cpus_per_engine",
        "gpus_per_engine",
        "tensor_parallel",
        "dtype",
        "kv_cache_mib",
        "max_model_len",
        "gpu_memory_utilization",
    )

    name: str = "vllm"  # the library that samples
    engines: int = 1  # of each architecture that a sweep trains, shared by its runs
    cpus_per_engine: float = 0  # that Ray sets aside for an engine
    gpus_per_engine: float = 0  # likewise; a part of one lets engines and runs share it
    tensor_parallel: int = 1  # GPUs of one node that every matrix of an engine's model is parted over
    dtype: str = "bfloat16"  # of an engine's weights and products
    kv_cache_mib: int = 64  # room for keys and values on a CPU: how many sequences are sampled at once
    max_model_len: int = 64  # tokens of a prompt with its completion, at most
    gpu_memory_utilization: float = 0.4  # share of a GPU's memory that vLLM takes
    temperature: float = 1.0  # of what is trained on, and of sampled accuracy
    max_new_tokens: int = 5  # tokens of a completion, at most
    timeout_s: float = 300.0  # for one call of an engine, after which others are asked
    # Which draw of all that is sampled, the data being the same: two runs that differ in it alone differ by noise.
    replica: int = 0
    # Of algorithms that draw rollouts while they train: rounds that they are drawn ahead, by the policy of then.
    staleness: int = 0

    def __post_init__(self) -> None:
        one_of("rollout.name", self.name, self.NAMES)
        at_least("rollout.engines", self.engines, 1)
        at_least("rollout.cpus_per_engine", self.cpus_per_engine, 0)
        at_least("rollout.gpus_per_engine", self.gpus_per_engine, 0)
        self._check_tensor_parallel()
        one_of("rollout.dtype", self.dtype, ("bfloat16", "float16", "float32"))
        at_least("rollout.kv_cache_mib", self.kv_cache_mib, 1)
        at_least("rollout.max_model_len", self.max_model_len, 2)
        require(
            0 < self.gpu_memory_utilization <= 1,
            "rollout.gpu_memory_utilization",
            "in (0, 1]",
            self.gpu_memory_utilization,
        )
        positive("rollout.temperature", self.temperature)
        require(
            1 <= self.max_new_tokens < self.max_model_len,
            "rollout.max_new_tokens",
            f"from 1 to below rollout.max_model_len ({self.max_model_len})",
            self.max_new_tokens,
        )
        positive("rollout.timeout_s", self.timeout_s)
        at_least("rollout.replica", self.replica, 0)
        require(self.staleness in (0, 1, 2), "rollout.staleness", "0, 1 or 2", self.staleness)

    def _check_tensor_parallel(self) -> None:
        parts, gpus = self.tensor_parallel, self.gpus_per_engine
        at_least("rollout.tensor_parallel", parts, 1)
        require(parts == 1 or self.name == "vllm", "rollout.tensor_parallel", f"1 with rollout={self.name}", parts)
        require(parts == 1 or gpus > 0, "rollout.tensor_parallel", "1 on CPUs (rollout.gpus_per_engine=0)", parts)
        # More GPUs than parts would lie idle.
        ok = gpus <= 1 if parts == 1 else gpus == parts
        want = "at most 1 with rollout.tensor_parallel=1" if parts == 1 else f"rollout.tensor_parallel ({parts})"
        require(ok, "rollout.gpus_per_engine", want, gpus)


@dataclass(frozen=True)
class Evaluation:
    """Held-out accuracy, before and after, greedy and sampled."""

    prompts: int = 512  # held-out prompts, at most

    def __post_init__(self) -> None:
        at_least("evaluation.prompts", self.prompts, 1)


@dataclass(frozen=True)
class Measurement:
    """What is counted: the update's dynamics every ``every`` optimizer steps and at the end, then its tolerances.

    Steps are counted from one measured step to the next: what is cancelled in between is not seen.
    """

    every: int = 1  # optimizer steps from one measurement to the next
    # |Δ| up to which a weight counts as unchanged; 0 is bit for bit, with +0 equal to −0. Each is a column.
    tolerances: tuple[float, ...] = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)
    # After which optimizer steps to keep scores of all coordinates, and to say how well each finds the final mask: of
    # runs that train all weights, for what a restricted run may change is known before.
    early: tuple[int, ...] = ()
    ranks: int = 16  # matrices, spread over the model, whose update's rank is taken; 0: none

    MOST: ClassVar[int] = 64  # each is a column, or scores of all coordinates
    ULPS: ClassVar[tuple[int, ...]] = (2, 4)  # counted beside the tolerances: 1 is bit for bit
    NEAR: ClassVar[tuple[float, ...]] = (1e-5, 1e-4)  # within which the paper counts the weights of two finals as equal

    def __post_init__(self) -> None:
        freeze(self, "tolerances", "early")
        at_least("measurement.every", self.every, 1)
        at_least("measurement.ranks", self.ranks, 0)
        for key in ("tolerances", "early"):
            count = len(getattr(self, key))
            require(count <= self.MOST, f"measurement.{key}", f"a list of at most {self.MOST}", f"one of {count}")
        require(len(self.tolerances) > 0, "measurement.tolerances", "a list of numbers >= 0", list(self.tolerances))
        for tolerance in self.tolerances:
            at_least("measurement.tolerances", tolerance, 0)
        rising = all(one < other for one, other in itertools.pairwise((0, *self.early)))
        require(
            rising, "measurement.early", "a list of optimizer steps >= 1, each later than the one before", [*self.early]
        )


@dataclass(frozen=True)
class Subnetwork:
    """What training is restricted to: updates happen where the mask is 1, and all other weights keep their bits.

    An arm makes the mask out of what another run found, its source: this run with the overrides ``source``, with a seed
    that is ``source_seed`` higher, and unrestricted.
    """

    ARMS: ClassVar[tuple[str, ...]] = (
        *("oracle", "random", "random_per_tensor", "ulp_matched", "complement", "low_magnitude", "principal"),
    )
    # Arms of the largest scores that the source kept at step ``at``.
    SCORES: ClassVar[tuple[str, ...]] = ("early_update", "gradient", "gradient_sum", "fisher", "snip", "adam_v")

    # How W&B's artifacts are named, whose mask.safetensors is meant.
    ARTIFACT: ClassVar[str] = "wandb:"

    # A mask.safetensors, as runs and diff write them, a run's id, wandb:ENTITY/PROJECT/NAME:ALIAS, or an arm's name;
    # null: every weight trains.
    mask: str | None = None
    source: tuple[str, ...] = ()  # overrides by which an arm's source differs from this run
    source_seed: int = 0  # by how much the source's seed is higher than this run's
    at: int | None = None  # the step of the source whose scores an arm goes by
    # The gradient norm that clipping goes by: of all weights, before they are masked, or of the mask's alone, after.
    clip: str = "before"

    def __post_init__(self) -> None:
        freeze(self, "source")
        require(self.mask != "", "subnetwork.mask", "a mask file, a run's id or an arm", self.mask)
        expand_home(self, "subnetwork.", "mask")
        named = self.artifact is None or re.fullmatch(r"[\w.-]+/[\w. -]+/[\w.-]+:[\w.-]+", self.artifact)
        require(
            bool(named), "subnetwork.mask", "wandb:ENTITY/PROJECT/NAME:ALIAS, as in wandb:me/p/mask-1a2b:v0", self.mask
        )
        one_of("subnetwork.clip", self.clip, ("before", "after"))
        at_least("subnetwork.source_seed", self.source_seed, 0)
        if self.arm is None:
            for key, unset in (("source", ()), ("source_seed", 0), ("at", None)):
                if getattr(self, key) != unset:
                    names = ", ".join((*self.ARMS, *self.SCORES))
                    raise ConfigError(f"subnetwork.{key} needs an arm: set subnetwork.mask to one of {names}")
        elif self.arm in self.SCORES:
            require(self.at is not None, "subnetwork.at", f"a step of the source with the arm {self.arm}", self.at)
            at_least("subnetwork.at", self.at or 0, 1)
        elif self.at is not None:
            raise ConfigError(
                f"subnetwork.at must be left alone with the arm {self.arm}, which goes by no scores: those that do are"
                f" {', '.join(self.SCORES)}"
            )

    @property
    def arm(self) -> str | None:
        """The arm that ``mask`` names, if it names one."""
        return self.mask if self.mask in (*self.ARMS, *self.SCORES) else None

    @property
    def run(self) -> str | None:
        """The run that ``mask`` names, if it names one: a file of such a name is ./NAME."""
        return self.mask if self.mask is not None and re.fullmatch("[0-9a-f]{12}", self.mask) else None

    @property
    def artifact(self) -> str | None:
        """The artifact of W&B that ``mask`` names, as ENTITY/PROJECT/NAME:ALIAS, if it names one."""
        named = self.mask is not None and self.mask.startswith(self.ARTIFACT)
        return self.mask.removeprefix(self.ARTIFACT) if named and self.mask is not None else None

    @property
    def file(self) -> Path | None:
        """The file that ``mask`` names, if it names one."""
        return None if self.mask is None or self.arm or self.run or self.artifact else Path(self.mask)


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
        one_of("precision", self.precision, self.PRECISIONS)
        require(0 <= self.seed < 2**31, "seed", "a whole number from 0 to 2147483647", self.seed)
        early, steps = self.measurement.early, self.algorithm.steps
        require(max(early, default=0) <= steps, "measurement.early", f"steps up to algorithm.steps ({steps})", [*early])

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


def _of_kind(kinds: tuple[type, ...], values: dict[str, Any]) -> Any:
    """The dataclass of ``kinds`` that has the fields ``values``: no two have the same."""
    (kind,) = [kind for kind in kinds if {each.name for each in dataclasses.fields(kind)} == values.keys()]
    return kind(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
