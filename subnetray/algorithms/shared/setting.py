"""What every algorithm is given, and what they share: trainer arguments, encoding, sampling from the init."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from subnetray.algorithms.shared.loading import Placement, load, skeleton
from subnetray.config import RunConfig
from subnetray.rollout import Policy, Probe, Sampling
from subnetray.rollout.sampling import derive_seed
from subnetray.subnetwork.files.state import State, from_lists, to_lists
from subnetray.subnetwork.weights import named_weights
from subnetray.tasks import Problem, Task


class RunError(RuntimeError):
    """A run that cannot go on; its text is the reason that the ledger records."""


@dataclass(frozen=True)
class Example:
    """A prompt and a completion of it as token ids; the completion ends in EOS unless it was cut off."""

    prompt: list[int]
    completion: list[int]

    @property
    def key(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The same of those that are equal, and nothing else; it can be hashed."""
        return tuple(self.prompt), tuple(self.completion)


@dataclass
class DataLog:
    """The training data as they come by, for measuring what they are to the init: at most ``limit``, drawn of all.

    At random, with one probability each (reservoir sampling, Vitter 1985, algorithm R): examples come in patterns, such
    as the chosen completion of a pair before the rejected one, of which every second would be all of one kind.
    """

    limit: int = 1024
    examples: list[Example] = field(default_factory=list)
    seen: int = 0
    tokens: int = 0  # completion tokens of all that was seen
    _rng: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, examples: Sequence[Example]) -> None:
        """Note that ``examples`` are trained on, in this order."""
        for example in examples:
            self.seen += 1
            self.tokens += len(example.completion)
            if len(self.examples) < self.limit:
                self.examples.append(example)
            elif (place := self._rng.randrange(self.seen)) < self.limit:
                self.examples[place] = example

    def kept(self) -> State:
        """All of it, for :meth:`resume`."""
        state = State({}, {"seen": self.seen, "tokens": self.tokens, "rng": self._rng.getstate()})
        state.put("prompts", from_lists([each.prompt for each in self.examples], torch.int64))
        state.put("completions", from_lists([each.completion for each in self.examples], torch.int64))
        return state

    def resume(self, state: State) -> None:
        """Go on from there."""
        form, numbers, gauss = state.values["rng"]
        self._rng.setstate((form, tuple(numbers), gauss))
        self.seen, self.tokens = state.values["seen"], state.values["tokens"]
        prompts, completions = (to_lists(state.part(name)) for name in ("prompts", "completions"))
        self.examples = list(map(Example, prompts, completions))


@dataclass(frozen=True)
class Setting:
    """One run as its algorithm sees it. ``model`` is at the init, and so is ``policy`` when the trainer is built.

    ``shards``: how many of its ``workers`` share one copy of the model, 1 or all. ``drawn``: completions of the init
    that it trains on, by their purpose, where they are kept: the engines are not asked again for what is there.
    ``doing`` is told in a few words what the run does from then on.
    """

    config: RunConfig
    init: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    policy: Policy
    data: DataLog
    callbacks: list[TrainerCallback]
    scratch: Path
    workers: int = 1
    rank: int = 0
    shards: int = 1
    drawn: dict[str, list[list[int]]] | None = None
    doing: Callable[[str], None] = lambda words: None

    def sampling(self, purpose: str, temperature: float | None = None, rank: int = 0) -> Sampling:
        """How to sample for one purpose; the temperature is the config's unless given.

        Without ``rank`` all workers of a run draw the same, as they must for data that the trainer then shares out.
        """
        rollout = self.config.rollout
        draw = (rollout.replica,) if rollout.replica else ()
        return Sampling(
            temperature=rollout.temperature if temperature is None else temperature,
            max_new_tokens=rollout.max_new_tokens,
            seed=derive_seed(self.config.seed, purpose, rank, *draw),
        )

    def publish(self, version: str, probe: bool = True) -> None:
        """Hand the model's current weights to the engines, and what they must make of a problem and its solution.

        Without ``probe``, what they make of what they draw is to be compared: :meth:`Policy.compare`.
        """
        weights = named_weights(self.model, getattr(torch, self.config.rollout.dtype))
        asked = Probe.of(self._probed, weights, self.probe_ids) if probe else None
        if asked is not None:
            require_finite(asked.logprobs, weights.values(), version)
        self.policy.publish(weights, version, asked)

    @cached_property
    def _probed(self) -> PreTrainedModel:
        """What computes with published weights: the model, which lends its form, or one without parts elsewhere."""
        return self.model if self.shards == 1 else skeleton(self.init, self.config, self.model.device)

    def load(self, kind: Any = AutoModelForCausalLM) -> PreTrainedModel:
        """A second copy of the init, in the policy's dtype, shared out among workers as the policy is."""
        placement = Placement(self.model.dtype, self.model.device, self.shards)
        return load(self.init, self.config, placement, kind)

    @cached_property
    def probe_ids(self) -> list[int]:
        """The text that trainer and engine are compared on: the end of a held-out problem with its gold completion."""
        problem = self.task.held_out(1)[0]
        (prompt,), (gold,) = self.encode([problem]), self.encode_completions([problem.gold])
        ids = prompt + gold
        return ids[-min(64, self.config.rollout.max_model_len - 1) :]

    def accepts(self, reward: float) -> bool:
        """Return whether a completion that earns this reward is right."""
        return bool(reward >= self.config.task.accept)

    def encode(self, problems: Sequence[Problem]) -> list[list[int]]:
        """Token ids of prompts, messages through the tokenizer's chat template up to where the assistant begins.

        Raises :class:`RunError` if one leaves no room for a completion, or if there is no template.
        """
        prompts = [problem.prompt for problem in problems]
        if any(not isinstance(prompt, str) for prompt in prompts) and self.tokenizer.chat_template is None:
            raise RunError("a prompt is messages, and the tokenizer has no chat template (task.chat=false: plain text)")
        # All texts at a time: a call costs ten times what a short text does.
        texts = iter(_token_ids(self.tokenizer, [prompt for prompt in prompts if isinstance(prompt, str)]))
        encoded = [
            next(texts)
            if isinstance(prompt, str)
            else self.tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, return_dict=False)
            for prompt in prompts
        ]
        room = self.config.rollout.max_model_len - self.config.rollout.max_new_tokens
        for ids in encoded:
            if not 0 < len(ids) <= room:
                raise RunError(f"a prompt has {len(ids)} tokens, but rollout.max_model_len leaves room for 1 to {room}")
        return encoded

    def encode_completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of completions, EOS included."""
        end = self.tokenizer.eos_token_id  # looking it up takes longer than the rest
        return [[*ids, end] for ids in _token_ids(self.tokenizer, texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a completion without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def sample_init(self, problems: Sequence[Problem], count: int, purpose: str) -> list[list[tuple[Example, float]]]:
        """``count`` completions of the init for every problem, each with its reward."""
        prompts = self.encode(problems)
        repeated = [prompt for prompt in prompts for _ in range(count)]
        completions = (self.drawn or {}).get(purpose)
        if completions is None:
            self.doing("samples pairs" if purpose == "pairs" else "samples completions")
            completions = self.policy.sample(repeated, self.sampling(purpose)).completions
            if self.drawn is not None:
                self.drawn[purpose] = completions
        self.doing("scores what it has sampled")
        texts = {ids: self.decode(ids) for ids in set(map(tuple, completions))}
        scored = [
            [
                (Example(prompt, ids), self.task.reward(problem, texts[tuple(ids)]))
                for ids in completions[index * count : (index + 1) * count]
            ]
            for index, (problem, prompt) in enumerate(zip(problems, prompts, strict=True))
        ]
        self.doing("prepares to train")
        return scored


def require_finite(logprobs: Sequence[float], weights: Iterable[Tensor], version: str) -> None:
    """Raise :class:`RunError` if ``logprobs``, by the policy of ``version``, are not all finite: what is not, and when.

    Engines would be found to give other ones, whatever they hold.
    """
    if all(map(math.isfinite, logprobs)):
        return
    broken = any(not torch.isfinite(tensor).all() for tensor in weights)
    what = "weights" if broken else "log-probabilities of the policy"
    kind, _, step = version.partition("-")
    when = {"init": "in the init", "final": "after the last step"}.get(kind, f"at step {step}")
    raise RunError(f"{what} are NaN or infinite {when}")


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], **options: Any) -> list[list[int]]:
    if not texts:  # no batch to a tokenizer
        return []
    distinct = list(dict.fromkeys(texts))  # a run may come by the same problems and answers many times
    encoded = tokenizer(distinct, return_attention_mask=False, return_token_type_ids=False, **options)["input_ids"]
    ids = dict(zip(distinct, encoded, strict=True))
    return [ids[text] for text in texts]


def trainer_arguments(setting: Setting) -> dict[str, Any]:
    """Arguments of ``transformers.TrainingArguments`` that all algorithms share.

    ``fp32_master`` keeps weights and optimizer in fp32 and computes in bf16 (autocast); ``bf16`` and ``fp32`` use one
    dtype for everything, which the weights have when they are loaded.
    """
    config = setting.config
    algorithm, restricted = config.algorithm, config.subnetwork.mask is not None
    share = algorithm.batch_size // setting.workers
    size = algorithm.micro_batch_size or share
    return {
        "output_dir": str(setting.scratch),
        "learning_rate": algorithm.lr,
        # transformers' plain "constant" passes over warmup_steps.
        "lr_scheduler_type": {"constant": "constant_with_warmup"}.get(algorithm.schedule, algorithm.schedule),
        "warmup_steps": algorithm.warmup_steps,
        "weight_decay": algorithm.weight_decay,
        "optim": {"adamw": "adamw_torch_fused", "sgd": "sgd"}[algorithm.optimizer],
        # 0, transformers' own way to say "no clipping", measures no norm either. A restriction clips by itself.
        "max_grad_norm": math.inf if algorithm.max_grad_norm is None or restricted else algorithm.max_grad_norm,
        "max_steps": algorithm.steps,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": share // size,
        "bf16": config.precision == "fp32_master",
        "seed": config.seed,
        "use_cpu": setting.model.device.type == "cpu",
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
