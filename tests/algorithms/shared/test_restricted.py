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
from subnetray.algorithms.shared.loading import Placement, load
from subnetray.algorithms.shared.restricted import SCORES, Restricted, restrict
from subnetray.algorithms.shared.setting import RunError
from subnetray.config import DPO, GRPO, PPO, SFT, Algorithm, Subnetwork
from subnetray.job.measurement import DTYPES
from subnetray.mask_file import inspect
from subnetray.subnetwork import Mask, arms, named_weights
from subnetray.subnetwork.files import scores
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
    init: Path,
    algorithm: Algorithm,
    precision: str,
    subnetwork: Subnetwork,
    workers: int = 1,
    rank: int = 0,
    shards: int = 1,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Restricted | None, list[dict[str, float]]]:
    setting = make_setting(init, algorithm, answers=("7", "-31", "77", ""))
    config = dataclasses.replace(setting.config, precision=precision, subnetwork=subnetwork)
    log = Log()
    held, export = DTYPES[precision]
    model = load(init, config, Placement(held, torch.device("cpu"), shards))
    layout: dict[str, Any] = {"workers": workers, "rank": rank, "shards": shards}
    setting = dataclasses.replace(setting, config=config, task=Scored(len), callbacks=[log], model=model, **layout)
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
    [
        *((algorithm, precision) for algorithm in ("sft", "dpo", "grpo") for precision in ("fp32_master", "bf16")),
        *(("sft_sgd", "fp32"), ("ppo", "fp32")),
    ],
)
def test_the_identities_hold(init: Path, tmp_path: Path, algorithm: str, precision: str) -> None:
    whole = ones(init)
    before, full, _, full_log = trained(init, ALGORITHMS[algorithm], precision, Subnetwork())
    _, same, _, log = trained(init, ALGORITHMS[algorithm], precision, saved(tmp_path / "ones", whole))
    assert all(raw(same[name]) == raw(full[name]) for name in full)
    assert [line["grad_norm"] for line in log] == [line["grad_norm"] for line in full_log]
    assert (Mask.between(before, full)).k > 0.5 * whole.n

    _, nothing, _, _ = trained(init, ALGORITHMS[algorithm], precision, saved(tmp_path / "zeros", ~whole))
    assert all(raw(nothing[name]) == raw(before[name]) for name in before)

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
        **{"arm": "file", "at": None, "source": None, "clip": "before"},
        **{"mask": inspect(tmp_path / "part").digest, "k": part.k, "n": whole.n},
        "grad_norm": pytest.approx(sum(line["grad_norm"] for line in log) / 3),
        "grad_norm_masked": pytest.approx(sum(line["grad_norm_masked"] for line in log) / 3),
    }


def test_without_a_mask_nothing_is_restricted(init: Path) -> None:
    setting = make_setting(init, SFT())
    assert restrict(setting, named_weights(setting.model)) is None
    assert setting.callbacks == []


def test_every_arm_has_the_source_s_budget_and_is_another_for_another_seed(init: Path, tmp_path: Path) -> None:
    setting = make_setting(init, SFT())
    weights = named_weights(setting.model, torch.bfloat16)
    source = tmp_path / "0123456789ab"
    found = arms.random({name: tuple(tensor.shape) for name, tensor in weights.items()}, ones(init).n // 5, seed=7)
    found.save(source / "mask.safetensors", {})
    drawn = {}
    for arm in Subnetwork.ARMS:
        masks = []
        for seed in (0, 0, 1):
            config = dataclasses.replace(setting.config, seed=seed, subnetwork=Subnetwork(mask=arm))
            restricted = restrict(dataclasses.replace(setting, config=config, callbacks=[]), weights, source)
            assert restricted is not None
            masks.append(restricted.restriction.mask)
            assert (masks[-1].k, masks[-1].shapes) == (found.k, found.shapes)
        assert masks[0] == masks[1]
        assert (masks[0] != masks[2]) == (arm != "oracle")  # of equals too, which come in is drawn
        drawn[arm] = masks[0]
    assert drawn["oracle"] == found
    assert (drawn["complement"] & found).k == 0
    assert all(one is two or one != two for one in drawn.values() for two in drawn.values())
    for name, bools in drawn["low_magnitude"].bools().items():
        assert bools.sum() == found.bools()[name].sum()
        if 0 < bools.sum() < bools.numel():
            assert weights[name].abs()[bools].max() <= weights[name].abs()[~bools].min()


def test_an_arm_of_scores_takes_the_largest_of_the_source_s(init: Path, tmp_path: Path) -> None:
    assert set(SCORES.values()) == set(scores.SCORES)
    setting = make_setting(init, SFT())
    weights = named_weights(setting.model)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    source = tmp_path / "0123456789ab"
    arms.random(shapes, 100, seed=7).save(source / "mask.safetensors", {})
    kept = {
        name: [torch.rand(shape, generator=_generator(name)) for shape in shapes.values()] for name in scores.SCORES
    }
    scores.save_scores(source / "early-2.safetensors", 2, shapes, kept)
    for arm, name in SCORES.items():
        config = dataclasses.replace(setting.config, subnetwork=Subnetwork(mask=arm, at=2))
        restricted = restrict(dataclasses.replace(setting, config=config, callbacks=[]), weights, source)
        assert restricted is not None
        mask = restricted.restriction.mask
        assert mask.k == 100
        values = [tensor.bfloat16() for tensor in kept[name]]
        inside = torch.cat([value[bools] for value, bools in zip(values, mask.bools().values(), strict=True)])
        outside = torch.cat([value[~bools] for value, bools in zip(values, mask.bools().values(), strict=True)])
        assert inside.min() >= outside.max()


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(scores.SCORES.index(name))


def test_the_complement_of_more_than_half_is_all_that_is_outside(init: Path, tmp_path: Path) -> None:
    setting = make_setting(init, SFT())
    weights = named_weights(setting.model)
    source = tmp_path / "0123456789ab"
    found = ~arms.random({name: tuple(tensor.shape) for name, tensor in weights.items()}, 100, seed=7)
    found.save(source / "mask.safetensors", {})
    config = dataclasses.replace(setting.config, subnetwork=Subnetwork(mask="complement"))
    restricted = restrict(dataclasses.replace(setting, config=config), weights, source)
    assert restricted is not None
    assert restricted.restriction.mask == ~found
    (found | ~found).save(source / "mask.safetensors", {})
    with pytest.raises(RunError, match="the arm complement of run 0123456789ab is an empty mask"):
        restrict(dataclasses.replace(setting, config=config), weights, source)
