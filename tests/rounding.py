"""Bound how far rounding may take what two programs compute of one bf16 model, and what engines draw from it.

Processors and programs add in different orders, so that the same weights give other log-probabilities, and another
token where two are nearly as likely. No test may depend on that.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from subnetray.rollout import Samples

# A normal error is beyond five of its standard deviations once in two million.
_DEVIATIONS = 5

# Log-probabilities of a completion (tokens, vocabulary), in fp32 and as rounded.
_Pair = tuple[torch.Tensor, torch.Tensor]


class Rounding:
    """A bf16 model's distributions without rounding, and how far from them a computation in bf16 may be.

    transformers and an engine round to bf16 after the same operations, each in an order of its own: their errors are as
    large, and independent. So the engine's is known from that of transformers, the distance of its logits in bf16 from
    those that the same weights give in fp32. Its root mean square over a text's whole distributions is the standard
    deviation σ of one log-probability, and of an engine's log-probabilities none is off by more than 5 σ.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model.eval()
        self._exact = copy.deepcopy(model).float()

    @torch.no_grad()
    def check(self, prompts: Sequence[list[int]], samples: Samples, greedy: bool) -> list[bool]:
        """Assert that ``samples`` are what an engine may draw at temperature 1 or, if ``greedy``, at 0.

        Returns for each completion whether rounding could not have changed it, which is of greedy ones alone.
        """
        distributions = self._distributions(prompts, samples)
        most = _DEVIATIONS * _deviation(distributions)
        clear = []
        for index, (exact, _) in enumerate(distributions):
            tokens = torch.tensor(samples.completions[index])[:, None]
            found = torch.tensor(samples.logprobs[index])
            gap = float((exact.gather(1, tokens)[:, 0] - found).abs().max())
            assert gap <= most, f"completion {index}: {gap:.3g} nats from the model in fp32, at most {most:.3g}"
            if greedy:
                # Both the best token's and the drawn one's may be off.
                lost = float((exact.max(-1).values - exact.gather(1, tokens)[:, 0]).max())
                assert lost <= 2 * most, f"completion {index}: a token {lost:.3g} nats below the best"
            best = exact.topk(2).values
            clear.append(float((best[:, 0] - best[:, 1]).min()) > 2 * most)
        return clear

    @torch.no_grad()
    def between_two(self, prompts: Sequence[list[int]], samples: Samples) -> float:
        """Return how far apart two engines' log-probabilities of a token may be, each off by σ: 5 √2 σ."""
        return _DEVIATIONS * math.sqrt(2) * _deviation(self._distributions(prompts, samples))

    def _distributions(self, prompts: Sequence[list[int]], samples: Samples) -> list[_Pair]:
        found = []
        for prompt, completion in zip(prompts, samples.completions, strict=True):
            ids = torch.tensor([[*prompt, *completion]])
            exact, rounded = (
                model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
                for model in (self._exact, self._model)
            )
            found.append((exact, rounded))
        return found


def _deviation(distributions: Sequence[_Pair]) -> float:
    return math.sqrt(float(torch.cat([((rounded - exact) ** 2).flatten() for exact, rounded in distributions]).mean()))


def assert_drawn_alike(one: Samples, other: Samples, most: float) -> None:
    """Assert that two calls with the same seeds drew the same, but for what sums in another order may change.

    Log-probabilities of equal tokens differ by ``most`` at most. A token is the best of log-probability plus Gumbel
    noise (or, which is the same, minus the logarithm of an exponential variable). With the same noise two distributions
    p and q draw different ones with a probability of at most 2 TV(p, q) = Σ p |1 - q/p|: the mean distance of their
    log-probabilities. So the tokens that differ are at most Poisson with the sum of these distances as its mean, and
    none where all log-probabilities are equal.
    """
    parted, sum_of_gaps = 0, 0.0
    for index, (tokens, others) in enumerate(zip(one.completions, other.completions, strict=True)):
        same = next((at for at, pair in enumerate(zip(tokens, others, strict=False)) if len(set(pair)) > 1), None)
        parted += same is not None
        assert same is not None or len(tokens) == len(others), index
        gaps = [abs(a - b) for a, b in zip(one.logprobs[index][:same], other.logprobs[index][:same], strict=False)]
        assert max(gaps, default=0.0) <= most, index
        sum_of_gaps += sum(gaps)
    assert parted <= sum_of_gaps + _DEVIATIONS * math.sqrt(sum_of_gaps), f"{parted} completions differ"
