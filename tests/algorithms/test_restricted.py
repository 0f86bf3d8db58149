"""Training restricted to a subnetwork, through the trainers of every kind of algorithm."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from subnetray import algorithms
from subnetray.algorithms.restricted import Restricted, restrict
from subnetray.config import DPO, GRPO, PPO, SFT, Algorithm, Subnetwork
from subnetray.mask_file import inspect
from subnetray.subnetwork import Mask, arms, named_weights
from tests.algorithms.lab import Scored, make_setting
from tests.subnetwork.strategies import raw

SETTINGS: dict[str, Any] = {"steps": 3, "lr": 1e-2, "weight_decay": 0.1, "max_grad_norm": 0.1}
ALGORITHMS = {
    "sft": SFT(batch_size=8, micro_batch_size=4, **SETTINGS),
    "sft_sgd": SFT(batch_size=8, optimizer="sgd", **SETTINGS),
    "dpo": DPO(batch_size=4, data="off_policy", **SETTINGS),
    "grpo": GRPO(batch_size=8, group_size=4, micro_batch_size=4, **SETTINGS),
    "ppo": PPO(batch_size=8, group_size=4, **SETTINGS),
}


class Log(TrainerCallback):
    """In the place of the recorder."""

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.lines.append(dict(logs))


def trained(
    init: Path, algorithm: Algorithm, precision: str, subnetwork: Subnetwork
) -> tuple[dict[str, Tensor], dict[str, Tensor], Restricted | None, list[dict[str, float]]]:
    setting = make_setting(init, algorithm, answers=("7", "-31", "77", ""))
    config = dataclasses.replace(setting.config, precision=precision, subnetwork=subnetwork)
    log = Log()
    setting = dataclasses.replace(setting, config=config, task=Scored(len), callbacks=[log])
    export = torch.float32 if precision == "fp32" else torch.bfloat16
    setting.model.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    before = {name: tensor.clone() for name, tensor in named_weights(setting.model).items()}
    exported = {name: tensor.clone() for name, tensor in named_weights(setting.model, export).items()}
    setting.policy.model = setting.model  # type: ignore[attr-defined]
    restricted = restrict(setting, exported)
    algorithms.build(setting).train()
    return before, named_weights(setting.model), restricted, log.lines


def saved(path: Path, mask: Mask) -> Subnetwork:
    mask.save(path, {})
    return Subnetwork(mask=str(path))


def ones(init: Path) -> Mask:
    model = make_setting(init, SFT()).model
    return Mask.from_bools({name: torch.ones(p.shape, dtype=torch.bool) for name, p in model.named_parameters()})


@pytest.mark.parametrize(
    ("algorithm", "precision"),
    [("sft", "fp32_master"), ("sft", "bf16"), ("sft_sgd", "fp32"), ("dpo", "fp32"), ("grpo", "fp32"), ("ppo", "fp32")],
)
def test_the_identities_hold(init: Path, tmp_path: Path, algorithm: str, precision: str) -> None:
    whole = ones(init)
    before, full, _, full_log = trained(init, ALGORITHMS[algorithm], precision, Subnetwork())
    _, same, _, log = trained(init, ALGORITHMS[algorithm], precision, saved(tmp_path / "ones", whole))
    assert all(raw(same[name]) == raw(full[name]) for name in full)
    assert [line["grad_norm"] for line in log] == [line["grad_norm"] for line in full_log]
    assert (Mask.between(before, full)).k > 0.5 * whole.n

    part = arms.random(whole.shapes, whole.n // 5, seed=0)
    _, final, restricted, log = trained(init, ALGORITHMS[algorithm], precision, saved(tmp_path / "part", part))
    for name, bools in part.bools().items():
        assert raw(final[name][~bools]) == raw(before[name][~bools])
    assert Mask.between(before, final).k > 0.5 * part.k
    assert restricted is not None
    assert [line["grad_norm"] for line in log] == pytest.approx([full for full, _ in restricted.restriction.norms])
    assert [line["grad_norm_masked"] for line in log] == [masked for _, masked in restricted.restriction.norms]
    assert len(log) == 3
    assert restricted.summary() == {
        "mask": inspect(tmp_path / "part").digest,
        "k": part.k,
        "n": whole.n,
        "grad_norm": pytest.approx(sum(line["grad_norm"] for line in log) / 3),
        "grad_norm_masked": pytest.approx(sum(line["grad_norm_masked"] for line in log) / 3),
    }


def test_without_a_mask_nothing_is_restricted(init: Path) -> None:
    setting = make_setting(init, SFT())
    assert restrict(setting, named_weights(setting.model)) is None
    assert setting.callbacks == []
