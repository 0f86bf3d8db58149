"""Engines of Hugging Face transformers, where vLLM is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from subnetray.config import Rollout
from subnetray.rollout.engine import Engine, await_model, is_blank
from subnetray.rollout.sampling import Samples, Sampling


class HFEngine(Engine):
    """``rollout=hf``: ``generate`` with a cache of keys and values, as many sequences at once as its size allows."""

    def __init__(self, model: Path, config: Rollout) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        super().__init__()
        await_model(model)
        self._dtype = getattr(torch, config.dtype)
        if is_blank(model):
            shape = AutoConfig.from_pretrained(model, local_files_only=True)
            self._model = AutoModelForCausalLM.from_config(shape, dtype=self._dtype)
        else:
            self._model = AutoModelForCausalLM.from_pretrained(model, dtype=self._dtype, local_files_only=True)
        self._model.eval().to("cuda" if config.gpus_per_engine > 0 else "cpu")
        self._parameters = dict(self._model.named_parameters())
        eos = AutoTokenizer.from_pretrained(model, local_files_only=True).eos_token_id
        more = self._model.generation_config.eos_token_id
        self._ends = {eos, *(more if isinstance(more, list) else [more])} - {None}
        # The checkpoint's own would cut the distribution down (top-k, penalties): it is sampled from as it is.
        self._model.generation_config = GenerationConfig(eos_token_id=sorted(self._ends), pad_token_id=eos)
        self._cache_bytes = config.kv_cache_mib << 20

    def _load(self, weights: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in weights.items():
                self._parameters[name].copy_(tensor)  # a tied one has one name

    @torch.inference_mode()
    def _logprobs(self, ids: list[int]) -> list[float]:
        tokens = torch.tensor([ids], device=self._model.device)
        logits = self._model(input_ids=tokens, use_cache=False).logits[0, :-1].float()
        return logits.log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0].tolist()

    def _at_a_time(self, prompts: Sequence[list[int]], sampling: Sampling) -> int:
        """Sequences whose keys and values fit the cache."""
        tokens = max(map(len, prompts), default=0) + sampling.max_new_tokens
        shape = self._model.config.get_text_config()
        heads = shape.num_attention_heads
        size = getattr(shape, "head_dim", None) or shape.hidden_size // heads
        kv_heads = getattr(shape, "num_key_value_heads", None) or heads
        per_token = 2 * shape.num_hidden_layers * kv_heads * size * self._dtype.itemsize
        return max(1, self._cache_bytes // (tokens * per_token))

    @torch.inference_mode()
    def _sample(self, prompts: Sequence[list[int]], sampling: Sampling, first: int) -> Samples:
        from transformers import LogitsProcessorList

        width = max(map(len, prompts))
        # Padded on the left, and masked: all completions begin in one column.
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        chosen = _Chosen(sampling, first, len(prompts))
        output = self._model.generate(
            input_ids=ids.to(self._model.device),
            attention_mask=mask.to(self._model.device),
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,  # the best token is the one that was drawn
            logits_processor=LogitsProcessorList([chosen]),
        )
        drawn = output[:, width:].tolist()
        lengths = [self._length(row) for row in drawn]
        return Samples(
            [row[:length] for row, length in zip(drawn, lengths, strict=True)],
            [row[:length] for row, length in zip(chosen.logprobs(), lengths, strict=True)],
        )

    def _length(self, row: list[int]) -> int:
        """Tokens up to the first that ends a completion, which is one of them."""
        return next((index + 1 for index, token in enumerate(row) if token in self._ends), len(row))


class _Chosen:
    """A logits processor that draws each row's token by itself, leaves only that, and keeps its log-probability.

    Row i inverts its distribution (in float64) at the numbers of a generator of its own, seeded by ``seed`` + i:
    one a token, whatever the other rows draw.
    """

    def __init__(self, sampling: Sampling, first: int, rows: int) -> None:
        self._temperature = sampling.temperature
        self._numbers: Iterator[npt.NDArray[np.float64]] = iter(
            np.stack(
                [
                    np.random.default_rng(sampling.seed + first + row).random(sampling.max_new_tokens)
                    for row in range(rows)
                ],
                axis=1,
            )
        )
        self._logprobs: list[torch.Tensor] = []

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logprobs = (scores / (self._temperature or 1.0)).log_softmax(-1)
        if self._temperature == 0:
            token = logprobs.argmax(-1, keepdim=True)
        else:
            below = logprobs.double().exp().cumsum(-1)
            at = torch.from_numpy(next(self._numbers)).to(below.device)[:, None] * below[:, -1:]
            # The first token beyond: never one of probability 0.
            token = torch.searchsorted(below, at, right=True)
        self._logprobs.append(logprobs.gather(1, token)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)

    def logprobs(self) -> list[list[float]]:
        """Of every row's tokens; after its end they are of no meaning."""
        return torch.stack(self._logprobs, dim=1).tolist()
