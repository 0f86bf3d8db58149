"""Detect a training that blew up: numbers stayed finite, but the init is lost and nothing was learned."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from subnetray.algorithms.shared.setting import RunError, Setting
from subnetray.job.evaluation import Score
from subnetray.job.likelihood import mean_nll
from subnetray.subnetwork.weights import Weights

Scores = Mapping[str, Score]
_KEPT = 0.1  # of the accuracy before
_AS_GOOD = 0.99  # of a uniform guess's negative log-likelihood, which is rounded


def check(setting: Setting, init: Weights, update_norm: float, before: Scores, after: Scores) -> None:
    """Raise :class:`RunError` for a trained model that blew up; ``init`` are its first weights, as exported.

    Two things must come together. ``update_norm``, the L2 norm of the update as exported, is above that of the init:
    what was to be tuned is the smaller part of the final. And nothing was learned, while what was known is lost: of the
    held-out completions not a tenth as many are right as before, greedy and sampled, and no mean reward is higher (at
    lr=1e3 the embedded model becomes a uniform guess, which is right once in 512) or, of a task without a reward, the
    final finds its training data no likelier than a uniform guess does. A run that only got worse, at a high learning
    rate say, has the init in it still; one that trains a model from nearly nothing, and far, has learned something.
    """
    norm = math.sqrt(sum(float(torch.linalg.vector_norm(each, dtype=torch.float64)) ** 2 for each in init.values()))
    if update_norm <= norm:
        return
    if after:
        if any(not _lost(before[kind], score) for kind, score in after.items()):
            return
        shares = [max(score.accuracy for score in scores.values()) for scores in (before, after)]
        nothing = f"the share of right held-out completions went from {shares[0]:.1%} to {shares[1]:.1%}"
    else:
        nll = mean_nll(setting.model, setting.data.examples, setting.tokenizer.pad_token_id or 0)
        guess = math.log(setting.model.config.get_text_config().vocab_size)
        if not nll > _AS_GOOD * guess:
            return
        nothing = f"its data are no likelier than by a uniform guess ({nll:.3g} nats a token)"
    raise RunError(
        f"training blew up: the update is {update_norm / norm:.3g} times as large as the init (L2 norms), and"
        f" {nothing}: lower algorithm.lr, which is {setting.config.algorithm.lr:g}"
    )


def _lost(before: Score, after: Score) -> bool:
    return after.accuracy <= _KEPT * before.accuracy and after.reward <= before.reward
