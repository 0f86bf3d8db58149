"""Early identification: scores of all coordinates at some steps of a run, and how well each finds its final mask.

What scores are, and their file: :mod:`subnetray.subnetwork.files.scores`. Training is only watched: its bytes are those
of a run without. Beside what the run holds anyway this takes, for each coordinate and until the last of the steps, 4
bytes (Σg²), 2 (Fisher), and at such a step 2 more (|w·g|); and 4 for the held init, unless the exported one has it
exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel, TrainerCallback

from subnetray.algorithms.shared.setting import Example, Setting
from subnetray.subnetwork.files.scores import load_scores, save_scores
from subnetray.subnetwork.files.state import State
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.update.ranking import Ranking
from subnetray.subnetwork.weights import Weights, held_values

COMPLETIONS = 64  # that the Fisher information is a mean over


class Early(TrainerCallback):
    """Writes a file of scores to ``path(step)`` at each of ``steps``, in order, of the training of ``model``.

    ``init``: its weights in the dtype of export, which are kept, not copied; ``fisher``: of all its tensors, or of none
    where :meth:`resume` is called, which has them.
    """

    def __init__(
        self,
        path: Callable[[int], Path],
        steps: Sequence[int],
        model: torch.nn.Module,
        init: Weights,
        fisher: Mapping[str, Tensor],
    ) -> None:
        self._path, self._steps, self._init = path, steps, init
        self._parameters = dict(model.named_parameters())
        self._held = {name: held_values(each, init[name]) for name, each in self._parameters.items()}
        self._fisher = {name: fisher[name].to(torch.bfloat16) for name in self._parameters if name in fisher}
        self._squares = {name: torch.zeros_like(each, dtype=torch.float32) for name, each in self._parameters.items()}
        self._snip: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        self._step = 0
        self._stored: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Memory that it takes beside the run's own."""
        copies = {name: each for name, each in self._held.items() if each is not self._init[name]}
        held = (self._squares, self._fisher, self._snip, copies)
        return sum(tensor.nbytes for tensors in held for tensor in tensors.values())

    def on_train_begin(self, *_: Any, optimizer: torch.optim.Optimizer, **__: Any) -> None:
        # Accelerate wraps the optimizer, and steps it once for all passes of a batch.
        inner = getattr(optimizer, "optimizer", optimizer)
        self._hooks = [inner.register_step_pre_hook(self._before), inner.register_step_post_hook(self._after)]

    def kept(self) -> State:
        """Return what is needed until the last of its steps."""
        state = State({}, {"step": self._step, "stored": self._stored})
        state.put("squares", State(dict(self._squares)))
        state.put("fisher", State(dict(self._fisher)))
        return state

    def resume(self, state: State) -> None:
        """Go on from there, once training has begun; files of scores of earlier steps are there."""
        self._step, self._stored = state.values["step"], tuple(state.values["stored"])
        # In the order of the parameters, in which files are written.
        self._squares, self._fisher = (
            {name: kept[name].clone().to(each.device) for name, each in self._parameters.items() if name in kept}
            for kept in (state.part(key).tensors for key in ("squares", "fisher"))
        )
        if self._step >= self._steps[-1]:
            self._end()

    @torch.no_grad()
    def _before(self, *_: Any) -> None:
        self._step += 1
        for name, gradient in self._gradients():
            self._squares[name].addcmul_(gradient.float(), gradient.float())
        if self._step in self._steps:
            self._snip = {
                name: (self._parameters[name] * gradient).abs_().to(torch.bfloat16)
                for name, gradient in self._gradients()
            }

    @torch.no_grad()
    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if self._step not in self._steps:
            return
        shapes = {name: tuple(each.shape) for name, each in self._parameters.items()}
        scores = self._scores(optimizer)
        self._stored = tuple(scores)
        save_scores(self._path(self._step), self._step, shapes, scores)
        self._snip = {}
        if self._step == self._steps[-1]:
            self._end()

    def _end(self) -> None:
        self._squares, self._fisher, self._held = {}, {}, {}
        for hook in self._hooks:
            hook.remove()

    def _scores(self, optimizer: torch.optim.Optimizer) -> dict[str, Iterable[Tensor]]:
        """Of each score its tensors, made one by one."""
        parameters = self._parameters
        scores: dict[str, Iterable[Tensor]] = {
            "update": ((each - self._held[name]).abs_() for name, each in parameters.items()),
            "gradient": (gradient.abs() for _, gradient in self._gradients()),
            "gradient_sum": self._squares.values(),
            "snip": self._snip.values(),
            "fisher": self._fisher.values(),
        }
        if all("exp_avg_sq" in optimizer.state.get(each, ()) for each in parameters.values()):
            scores["adam_v"] = (optimizer.state[each]["exp_avg_sq"] for each in parameters.values())
        return scores

    def _gradients(self) -> Iterable[tuple[str, Tensor]]:
        for name, each in self._parameters.items():
            yield name, torch.zeros_like(each) if each.grad is None else each.grad

    def results(self, mask: Mask, seed: int) -> list[dict[str, Any]]:
        """What ``result.json`` says: of every step and score how well it finds ``mask``, the final one.

        Beside the scores of the files there are ``relative_update``, |Δ|/|w|, as the init's |w| decides how far a
        weight must move to be exported as another, and two that need no training: ``inverse_magnitude``, 1/|w|, and
        ``random``. ``precision`` is at the final mask's budget, where recall is the same; numbers that do not exist (of
        an empty mask) are null.
        """
        generator = torch.Generator().manual_seed(seed)

        def rankings(step: int) -> Iterator[tuple[str, Ranking]]:
            for score in self._stored:
                yield score, Ranking.of(load_scores(self._path(step), score), mask)
            moved = load_scores(self._path(step), "update")
            relative = {name: _relative(moved[name], each) for name, each in self._init.items()}
            yield "relative_update", Ranking.of(relative, mask)
            # −|w| has the order of 1/|w|, and no division by 0.
            yield "inverse_magnitude", Ranking.of({name: -each.abs() for name, each in self._init.items()}, mask)
            drawn = {name: torch.rand(each.shape, generator=generator) for name, each in self._init.items()}
            yield "random", Ranking.of(drawn, mask)

        return [
            {
                "step": step,
                "score": score,
                "auprc": _known(ranking.average_precision),
                "precision": _known(ranking.precision(mask.k)),
                "density": _known(ranking.density),
            }
            for step in self._steps
            for score, ranking in rankings(step)
        ]


def fisher(setting: Setting) -> dict[str, Tensor]:
    """Diagonal of the Fisher information at the init (see ``scores``), fp32; to be called before training.

    Over one completion for each of :data:`COMPLETIONS` training prompts, drawn by the engines at temperature 1. The
    model is left in its mode and without gradients.
    """
    problems = setting.task.train_prompts(COMPLETIONS, setting.config.seed)
    prompts = setting.encode(problems)
    completions = setting.policy.sample(prompts, setting.sampling("fisher", temperature=1.0)).completions
    return mean_squared_gradient(setting.model, list(map(Example, prompts, completions)))


def mean_squared_gradient(model: PreTrainedModel, examples: Sequence[Example]) -> dict[str, Tensor]:
    """By parameter, fp32: the mean over ``examples`` of (∂ log p(completion | prompt) / ∂w)²."""
    parameters = dict(model.named_parameters())
    sums = {name: torch.zeros_like(each, dtype=torch.float32) for name, each in parameters.items()}
    training = model.training
    model.eval()
    for example in examples:
        ids = torch.tensor([example.prompt + example.completion], device=model.device)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
        start = len(example.prompt) - 1
        likelihood = -torch.nn.functional.cross_entropy(logits[0, start:], ids[0, start + 1 :], reduction="sum")
        gradients = torch.autograd.grad(likelihood, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                sums[name].addcmul_(gradient.float(), gradient.float())
    model.train(training)
    return {name: each / len(examples) for name, each in sums.items()}


def _relative(update: Tensor, init: Tensor) -> Tensor:
    """|Δ|/|w| in bf16: infinite where a weight of 0 has moved, 0 where one has not."""
    share = update.float() / init.detach().cpu().float().abs()
    return share.nan_to_num(nan=0.0, posinf=math.inf).to(torch.bfloat16)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
