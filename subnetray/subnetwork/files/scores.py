"""Scores of coordinates at an early step, by which a run's final mask may be guessed, and the file that holds them.

================ =====================================================================================================
``update``       |Δ|: how far the held weight (an fp32 master, say) has moved since the init
``gradient``     |g| of the step, as the optimizer receives it: after clipping
``gradient_sum`` Σg² over the steps so far
``snip``         |w·g| of the step, w being the weight that the gradient was taken at (arXiv 1810.02340)
``fisher``       diagonal of the Fisher information at the init, E[(∂ log p(y|x) / ∂w)²] over completions y that the
                 init itself draws at temperature 1: the mean of one squared gradient a completion. No batch is squared
                 as a whole and no completion is the data's, as in an "empirical" Fisher. The same at every step
``adam_v``       Adam's second moment after the step; absent for an optimizer that has none
================ =====================================================================================================

A file ``early-<step>.safetensors`` holds one flat bf16 tensor for each score and tensor of the model, by the name
``<score>/<tensor>``, and shapes and step in its header (see ``container``): 2 bytes a coordinate and score. Rounding to
bf16 makes equals of scores that are 0.4 % apart, and leaves so few distinct ones that ranking needs no sort.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from subnetray.subnetwork.bits import flat_integers
from subnetray.subnetwork.files import container
from subnetray.subnetwork.files.container import CorruptFileError

SCORES = ("update", "gradient", "gradient_sum", "snip", "fisher", "adam_v")

_KIND = "scores"


def save_scores(
    path: Path, step: int, shapes: Mapping[str, tuple[int, ...]], scores: Mapping[str, Iterable[Tensor]]
) -> None:
    """Write scores atomically: of each, the tensors of ``shapes`` in that order, which are taken one by one."""
    names = {score: [f"{score}/{name}" for name in shapes] for score in scores}
    growing = {key: torch.bfloat16 for keys in names.values() for key in keys}
    with container.stream(path, _KIND, container.Layout({}, growing), {"step": step, "shapes": dict(shapes)}) as writer:
        for score, tensors in scores.items():
            for key, tensor in zip(names[score], tensors, strict=True):
                writer.append(key, flat_integers(tensor.to(torch.bfloat16)))


def load_scores(path: Path, score: str) -> dict[str, Tensor]:
    """One score of a file, bf16, by tensor; raises :class:`CorruptFileError` if it is damaged or has no such score."""
    tensors, header = container.load(path, _KIND, prefix=f"{score}/")
    shapes = header.get("shapes")
    if not isinstance(shapes, dict) or {f"{score}/{name}" for name in shapes} != tensors.keys():
        raise CorruptFileError(f"{path} does not hold the score {score!r} of every tensor that its header names")
    return {name: tensors[f"{score}/{name}"].reshape(shape) for name, shape in shapes.items()}
