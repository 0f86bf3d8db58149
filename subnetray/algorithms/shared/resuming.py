"""Resume a training where another was interrupted: its optimizers, its schedule, and the trainer's own way."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from transformers import TrainerState

from subnetray.subnetwork.files.state import State


class Resumable(Protocol):
    """Trainers here can be resumed: they say what they hold between two steps, and go on from it."""

    def kept(self) -> State:
        """Return what it holds beside the model, the optimizer and the schedule."""

    def resume(self, state: State) -> None:
        """Go on from there, once transformers has set the step."""


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """Return what ``optimizer`` keeps of its parameters, in their order, and its rates."""
    content = optimizer.state_dict()
    state = State({}, {"lr": [float(group["lr"]) for group in content["param_groups"]], "plain": {}})
    for index, kept in content["state"].items():
        for key, value in kept.items():
            if isinstance(value, torch.Tensor):
                state.tensors[f"{index}/{key}"] = value
            else:
                state.values["plain"].setdefault(str(index), {})[key] = value
    return state


def resume_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Have ``optimizer``, which is made as that one was, go on from what :func:`optimizer_state` returned."""
    kept: dict[int, dict[str, Any]] = {int(index): dict(each) for index, each in state.values["plain"].items()}
    for name, tensor in state.tensors.items():
        index, _, key = name.partition("/")
        kept.setdefault(int(index), {})[key] = tensor.clone()
    groups = optimizer.state_dict()["param_groups"]
    rates = state.values["lr"]
    optimizer.load_state_dict(
        {"state": kept, "param_groups": [{**group, "lr": lr} for group, lr in zip(groups, rates, strict=True)]}
    )


def trainer_state(state: TrainerState) -> dict[str, Any]:
    """Return what transformers needs of its own to go on, without the log that nobody reads there."""
    return asdict(replace(state, log_history=[]))


def train(trainer: Any, scratch: Path, reached: dict[str, Any] | None) -> None:
    """Have ``trainer`` train to the end; from its first step, or from that of ``reached`` (:func:`trainer_state`).

    transformers goes on from a checkpoint of its own, which is a directory: this one, in ``scratch``, says what step
    was reached, and its file of weights is empty. What else is to be put back is a callback's to do.
    """
    if reached is None:
        trainer.train()
        return
    directory = scratch / "reached"
    directory.mkdir()
    TrainerState(**reached).save_to_json(str(directory / "trainer_state.json"))
    save_file({}, directory / "model.safetensors")
    trainer.train(resume_from_checkpoint=str(directory))
