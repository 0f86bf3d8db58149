"""Whether a training blew up: numbers stayed finite, and nothing of the init is left, nor anything learned."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from subnetray.algorithms.setting import RunError, Setting
from subnetray.job.evaluation import Score
from subnetray.job.likelihood import mean_nll
from subnetray.subnetwork.weights import Weights

Scores = Mapping[str, Score]


def check(setting: Setting, init: Weights, update_norm: float, before: Scores, after: Scores) -> None:
    """Raise :class:`RunError` for a trained model that blew up; ``init`` are its first weights, as exported.

    Two things must come together. ``update_norm``, the L2 norm of the update as exported, is above that of the init:
    what was to be tuned is the smaller part of the final. And nothing was learned: not one held-out completion is right
    and the mean reward is no higher than before or, of a task without a reward, the final gives its training data less
    than a uniform guess would. A run that only got worse, at a high learning rate say, has the init in it still; one
    that trains a model from nearly nothing, and far, has learned something.
    """
    norm = math.sqrt(sum(float(torch.linalg.vector_norm(each, dtype=torch.float64)) ** 2 for each in init.values()))
    if update_norm <= norm:
        return
    if after:
        if any(score.accuracy > 0 or score.reward > before[kind].reward for kind, score in after.items()):
            return
        nothing = "no held-out completion is right"
    else:
        nll = mean_nll(setting.model, setting.data.examples, setting.tokenizer.pad_token_id or 0)
        guess = math.log(setting.model.config.get_text_config().vocab_size)
        if not nll > guess:
            return
        nothing = f"its data are less likely than by a uniform guess ({nll:.3g} nats a token, not {guess:.3g})"
    raise RunError(
        f"training blew up: the update is {update_norm / norm:.3g} times as large as the init (L2 norms), and"
        f" {nothing}: lower algorithm.lr, which is {setting.config.algorithm.lr:g}"
    )
