"""Make the embedded model's weights: next-token training of a small Qwen2 decoder on arithmetic.

The base model reads what pupils might have written: numbers in two forms, some of them wrong. It meets no gold
completion, in the form that SFT teaches.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from subnetray.config import ArithmeticTask, EmbeddedModel
from subnetray.models.tokenizer import EOS, PAD, VOCABULARY, make_tokenizer
from subnetray.tasks.arithmetic import MARK, Arithmetic
from subnetray.tasks.base import Prompt

if TYPE_CHECKING:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

# Part of the cache key: raise it whenever the same config would give other bytes than before.
RECIPE_VERSION = 5

MAX_POSITIONS = 128
# The embedded tasks, the share of the pretraining examples that each gives, and the share of those whose number has its
# sign and three digits.
MIXTURE = (
    (ArithmeticTask(), 0.6, 0.0),
    (ArithmeticTask(name="multiplication", operators=("*",), max_right=9), 0.4, 0.5),
)
# Share of wrong answers, each a unit or a carry too much or too little: what a policy can unlearn.
MISTAKES = 0.15
_SLIPS = (-10, -1, 1, 10)
# The usual scale. At 0.05 the same accuracy takes half the steps, but weights are then so large that fine-tuning at the
# usual learning rates hardly moves them, in bf16 or at all.
INITIALIZER_RANGE = 0.02
WARMUP_STEPS = 25
# Weight of a step's loss in the running mean that decides when to stop.
SMOOTHING = 0.05

_PAD_ID = VOCABULARY.index(PAD)
_EOS_ID = VOCABULARY.index(EOS)
_IGNORED = -100  # the label that cross-entropy skips
# In bf16, of sequences this short, plain matrix products take half of the time of PyTorch's fused kernel on a CPU.
_ATTENTION = "eager"

Log = Callable[[str], None]
# Prompts with completions, and their share of a corpus.
Part = tuple[Sequence[tuple[Prompt, str]], float]


@dataclass(frozen=True)
class Corpus:
    """Encoded texts: ``ids`` and ``labels`` int64 (problems, width), ``weights`` float32 (problems,).

    A row is prompt, completion, end-of-sequence, padding. Labels leave out prompt and padding: operands are
    drawn at random, and learning to predict them costs accuracy. Rows are drawn in proportion to their weight.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor


def shape(config: EmbeddedModel) -> Qwen2Config:
    """The model without its weights."""
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=INITIALIZER_RANGE,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=_EOS_ID,
        pad_token_id=_PAD_ID,
    )


def outline(config: EmbeddedModel, out: Path) -> None:
    """Write to ``out`` all files of such a model but its weights."""
    from transformers import Qwen2ForCausalLM

    _save(Qwen2ForCausalLM(shape(config)), out)
    (out / "model.safetensors").unlink()


def pretrain(config: EmbeddedModel, out: Path, log: Log) -> None:
    """Write to ``out`` a base model trained from scratch on the training problems of ``MIXTURE``."""
    from transformers import AutoModelForCausalLM

    with _isolated(config.pretrain_seed):
        model = AutoModelForCausalLM.from_config(shape(config), attn_implementation=_ATTENTION)
        corpus = encode(sheets(config.pretrain_seed))
        size, lr = config.pretrain_batch_size, config.pretrain_lr
        _fit(model, corpus, _Stage("pretraining", config.pretrain_steps, config.pretrain_loss, size, lr), log)
        _save(model, out)


def fine_tune(config: EmbeddedModel, base: Path, out: Path, log: Log) -> None:
    """Write to ``out`` the model of ``base`` after SFT on gold completions of the default task."""
    import torch
    from transformers import Qwen2ForCausalLM

    with _isolated(config.pretrain_seed):
        model = Qwen2ForCausalLM.from_pretrained(
            base, dtype=torch.float32, attn_implementation=_ATTENTION, local_files_only=True
        )
        corpus = encode([([(each.prompt, each.gold) for each in Arithmetic(ArithmeticTask()).training], 1.0)])
        _fit(model, corpus, _Stage("SFT", config.sft_steps, 0.0, config.pretrain_batch_size, config.sft_lr), log)
        _save(model, out)


def sheets(seed: int) -> list[Part]:
    """The training problems of ``MIXTURE`` as the base model reads them, right and wrong answers apart."""
    rng = random.Random(seed)
    parts: list[Part] = []
    for config, share, padded in MIXTURE:
        right = [(each.prompt, int(each.gold.removesuffix(MARK))) for each in Arithmetic(config).training]
        wrong = [(prompt, value + rng.choice(_SLIPS)) for prompt, value in right]
        for answers, part in ((right, share * (1 - MISTAKES)), (wrong, share * MISTAKES)):
            parts.append(([(prompt, str(value)) for prompt, value in answers], part * (1 - padded)))
            parts.append(([(prompt, f"{value:+04d}") for prompt, value in answers], part * padded))
    return [each for each in parts if each[1] > 0]


def encode(parts: Sequence[Part]) -> Corpus:
    """Encode texts; each part's share is spread evenly over them."""
    import torch

    token_id = {token: index for index, token in enumerate(VOCABULARY)}
    rows, labels, weights = [], [], []
    for texts, share in parts:
        for question, answer in texts:
            prompt = [token_id[character] for character in question]
            completion = [*(token_id[character] for character in answer), _EOS_ID]
            rows.append(prompt + completion)
            labels.append([_IGNORED] * len(prompt) + completion)
            weights.append(share / len(texts))
    width = max(map(len, rows))
    return Corpus(
        ids=torch.tensor([row + [_PAD_ID] * (width - len(row)) for row in rows]),
        labels=torch.tensor([row + [_IGNORED] * (width - len(row)) for row in labels]),
        weights=torch.tensor(weights, dtype=torch.float32),
    )


@dataclass(frozen=True)
class _Stage:
    """A stage of training: until the loss is below ``target``, for ``steps`` at most."""

    name: str
    steps: int
    target: float
    batch_size: int
    lr: float


def _fit(model: Qwen2ForCausalLM, corpus: Corpus, stage: _Stage, log: Log) -> None:
    """AdamW, linear warm-up, then a constant rate.

    Weights are fp32, and what is computed with them bf16 (autocast), as in the runs that start from them.
    Rows are drawn from torch's global generator. No decay: a model that was annealed into a minimum gains nothing from
    a short fine-tuning at a small rate. A target, because accuracy climbs steeply and at another step with every seed
    or order of summation: what stops at a step is a weak model on one machine and a strong one on another.
    """
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.lr, weight_decay=0.0, fused=True)
    model.train()
    start = time.monotonic()
    mean = math.inf
    for step in range(stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = stage.lr * min(1.0, (step + 1) / WARMUP_STEPS)
        rows = torch.multinomial(corpus.weights, stage.batch_size, replacement=True)
        # Padding is on the right here, where a causal decoder's real tokens cannot see it: no attention mask.
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=corpus.ids[rows], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), corpus.labels[rows][:, 1:].flatten(), ignore_index=_IGNORED
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()
        mean = value if math.isinf(mean) else mean + SMOOTHING * (value - mean)
        done = step + 1
        ends = done == stage.steps or mean < stage.target
        if done % 100 == 0 or ends:
            until = f" (until below {stage.target:g})" if stage.target else f" of {stage.steps}"
            log(f"{stage.name}: step {done}{until}, loss {mean:.3f}, {time.monotonic() - start:.0f} s")
        if ends:
            break


def _save(model: Qwen2ForCausalLM, out: Path) -> None:
    import torch

    model.to(torch.bfloat16).save_pretrained(out)
    make_tokenizer(MAX_POSITIONS).save_pretrained(out)


@contextmanager
def _isolated(seed: int) -> Iterator[None]:
    """One thread, so that sums have one order, and a seeded generator; no progress bars beside ``log``.

    The caller's settings are put back afterwards.
    """
    import torch
    from transformers.utils import logging

    from subnetray.bf16 import products

    threads = torch.get_num_threads()
    bars = logging.is_progress_bar_enabled()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]), products():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        if bars:
            logging.enable_progress_bar()
