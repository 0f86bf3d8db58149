"""Advantages and value losses of the on-policy algorithms as pure functions: tensors in, tensors out, any float dtype.

All are (sequences, tokens) with tokens of completions; ``mask`` is 1 on a completion's tokens, which come first, and 0
on the padding after them. What is returned is 0 on padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Adds a tensor up over the workers of a run.
Sum = Callable[[Tensor], Tensor]


def _alone(tensor: Tensor) -> Tensor:
    return tensor


def at_last_token(scores: Tensor, mask: Tensor) -> Tensor:
    """Rewards that are a sequence's score, (sequences,), on its last token and 0 on all others."""
    return scores[:, None] * (_after(mask) == 0) * mask


def positive_part(scores: Tensor, mask: Tensor) -> Tensor:
    """RAFT's advantage: max(score, 0) on every token of a sequence, so that only what was accepted is learned from."""
    return scores.clamp(min=0)[:, None] * mask


def returns_to_go(rewards: Tensor, mask: Tensor, gamma: float = 1.0) -> Tensor:
    """R_t = r_t + γ R_{t+1}."""
    return generalised(rewards, torch.zeros_like(rewards), mask, gamma, 1.0)[0]


def generalised(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (arXiv 1506.02438): advantages, and the returns that values are to predict.

    δ_t = r_t + γ V_{t+1} − V_t and A_t = δ_t + γλ A_{t+1}, with V and A 0 after a sequence's last token; R = A + V.
    """
    values = values * mask
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    value_after = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        surprise = rewards[:, t] + gamma * value_after - values[:, t]
        following = (surprise + gamma * lam * following) * mask[:, t]
        advantages[:, t] = following
        value_after = values[:, t]
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor, total: Sum = _alone) -> Tensor:
    """Values less their mean, over their standard deviation (unbiased), both over all tokens of all workers."""
    count = total(mask.sum().to(values))
    mean = total((values * mask).sum()) / count
    centred = (values - mean) * mask
    variance = total(centred.square().sum()) / (count - 1).clamp(min=1)
    return centred * torch.rsqrt(variance + 1e-8)


def clipped_value_loss(values: Tensor, old: Tensor, returns: Tensor, epsilon: float) -> Tensor:
    """Half the squared error of values, no smaller than if they had moved by ``epsilon`` from ``old`` at most."""
    clipped = torch.maximum(torch.minimum(values, old + epsilon), old - epsilon)
    return torch.maximum((values - returns).square(), (clipped - returns).square()) / 2


# ---------------------------------------------------------------------------------------------------------------------
# PRIME (arXiv 2502.01456)


def process_rewards(log_ratios: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Implicit rewards β log π_φ/π_ref of tokens, the last one's 0: its credit is the outcome's."""
    return beta * log_ratios * mask * (_after(mask) > 0)


def scaled_to_unit_returns(rewards: Tensor, mask: Tensor, largest: Sum = _alone) -> Tensor:
    """Rewards over the largest absolute return in the batch; ``largest`` takes the maximum over workers."""
    return rewards / (largest(returns_to_go(rewards, mask).abs().max()) + 1e-6)


def leave_one_out(values: Tensor, mask: Tensor, group_size: int, variant: str) -> Tensor:
    """Rewards less what the others of a sequence's group have on average; neighbours are a group.

    With m_i the mean of sequence i over ``mask``: ``paper`` (eq. 5) is v_t − mean_{j≠i} m_j, and ``code``, what the
    authors' programs compute, is v_t n/(n−1) − Σ_j m_j/(n−1), which exceeds it by (v_t − m_i)/(n−1). On outcomes, which
    ``mask`` restricts to one token of a sequence, the two are equal.
    """
    means = ((values * mask).sum(-1) / mask.sum(-1)).view(-1, group_size)
    sums = means.sum(-1, keepdim=True)
    if variant == "paper":
        return (values - ((sums - means) / (group_size - 1)).view(-1, 1)) * mask
    scaled = values * group_size / (group_size - 1)
    return (scaled - (sums / (group_size - 1)).expand_as(means).reshape(-1, 1)) * mask


def prime_returns(
    process: Tensor,
    outcomes: Tensor,
    mask: Tensor,
    center: Callable[[Tensor, Tensor], Tensor],
    weights: tuple[float, float],
) -> Tensor:
    """Returns of process rewards, (sequences, tokens), and outcomes, (sequences,): each less its own baseline,
    ``weights`` (process, outcome) times, and summed.

    ``center`` subtracts the baseline from values, given the mask of the tokens that have one, as :func:`leave_one_out`
    does.
    """
    last = mask * (_after(mask) == 0)
    rewards = weights[0] * center(process, mask) + weights[1] * center(at_last_token(outcomes, mask), last)
    return returns_to_go(rewards, mask)


def informative_groups(
    accuracies: Sequence[float], truncated: Sequence[bool], keep: int, low: float, high: float
) -> list[int]:
    """Indices of ``keep`` groups in their order: those with low ≤ accuracy ≤ high and no completion cut off come first.

    Where these are too few, others fill up.
    """
    passes = [low <= accuracy <= high and not cut for accuracy, cut in zip(accuracies, truncated, strict=True)]
    return sorted(sorted(range(len(passes)), key=lambda index: not passes[index])[:keep])


def _after(mask: Tensor) -> Tensor:
    """How many tokens of its completion come after each, (sequences, tokens)."""
    return mask.flip(-1).cumsum(-1).flip(-1) - mask
