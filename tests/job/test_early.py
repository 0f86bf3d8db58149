"""Scores kept while a run trains, against values computed step by step; and that training does not notice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM, TrainerCallback

from subnetray import algorithms
from subnetray.algorithms.shared.setting import Example
from subnetray.config import DPO, GRPO, SFT, Algorithm
from subnetray.job import early
from subnetray.job.early import Early, fisher, mean_squared_gradient
from subnetray.subnetwork import Mask, Ranking, load_scores, named_weights
from tests.algorithms.conftest import init as init  # the same fixture
from tests.algorithms.lab import Scored, make_setting
from tests.decoder import decoder
from tests.subnetwork.strategies import raw

SETTINGS: dict[str, Any] = {"steps": 4, "lr": 1e-2, "weight_decay": 0.1, "max_grad_norm": 0.1}
ALGORITHMS: dict[str, Algorithm] = {
    "sft": SFT(batch_size=8, micro_batch_size=4, **SETTINGS),
    "sft_sgd": SFT(batch_size=8, optimizer="sgd", **SETTINGS),
    "dpo": DPO(batch_size=4, data="off_policy", **SETTINGS),
    "grpo": GRPO(batch_size=8, group_size=4, **SETTINGS),
}


class Witness(TrainerCallback):
    """Looks at what the optimizer is given and leaves, by hooks of its own."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.parameters = dict(model.named_parameters())
        self.weights: list[dict[str, Tensor]] = []  # before each step
        self.gradients: list[dict[str, Tensor]] = []
        self.moments: list[dict[str, Tensor]] = []

    def on_train_begin(self, *_: Any, optimizer: Any, **__: Any) -> None:
        optimizer.optimizer.register_step_pre_hook(self.before)
        optimizer.optimizer.register_step_post_hook(self.after)

    def before(self, *_: Any) -> None:
        self.weights.append({name: each.detach().clone() for name, each in self.parameters.items()})
        self.gradients.append({name: each.grad.clone() for name, each in self.parameters.items()})  # type: ignore[union-attr]

    def after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        state = optimizer.state
        self.moments.append(
            {n: state[each]["exp_avg_sq"].clone() for n, each in self.parameters.items() if "exp_avg_sq" in state[each]}
        )


def train(
    init: Path, algorithm: Algorithm, precision: str, steps: tuple[int, ...], directory: Path
) -> tuple[dict[str, Tensor], Early | None, Witness, dict[str, Tensor]]:
    setting = make_setting(init, algorithm, answers=("7", "-31", "77", ""))
    setting = dataclasses.replace(
        setting,
        config=dataclasses.replace(setting.config, precision=precision),
        task=Scored(len),
    )
    setting.model.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    setting.policy.model = setting.model  # type: ignore[attr-defined]
    export = torch.float32 if precision == "fp32" else torch.bfloat16
    exported = {name: each.clone() for name, each in named_weights(setting.model, export).items()}
    watching, information = None, {}
    witness = Witness(setting.model)
    setting.callbacks.append(witness)
    if steps:
        information = fisher(setting)
        watching = Early(lambda step: directory / f"early-{step}", steps, setting.model, exported, information)
        setting.callbacks.append(watching)
    algorithms.build(setting).train()
    return {name: each.clone() for name, each in named_weights(setting.model).items()}, watching, witness, information


@pytest.mark.parametrize(
    ("algorithm", "precision"),
    [("sft", "fp32_master"), ("sft", "bf16"), ("sft_sgd", "fp32"), ("dpo", "fp32"), ("grpo", "fp32")],
)
def test_scores_are_what_they_say_and_training_does_not_notice(
    init: Path, tmp_path: Path, algorithm: str, precision: str
) -> None:
    steps = (1, 3)
    plain, _, _, _ = train(init, ALGORITHMS[algorithm], precision, (), tmp_path)
    final, watching, witness, information = train(init, ALGORITHMS[algorithm], precision, steps, tmp_path)
    assert all(raw(final[name]) == raw(plain[name]) for name in plain)
    assert watching is not None
    start = witness.weights[0]
    for step in steps:
        gradient, weights = witness.gradients[step - 1], witness.weights[step - 1]
        expected: dict[str, dict[str, Tensor]] = {
            "update": {n: (witness.weights[step][n] - start[n]).abs() for n in start},
            "gradient": {n: gradient[n].abs() for n in start},
            "gradient_sum": {n: sum(g[n].double().square() for g in witness.gradients[:step]) for n in start},  # type: ignore[misc]
            "snip": {n: (weights[n].double() * gradient[n].double()).abs() for n in start},
            "fisher": information,
        }
        if algorithm != "sft_sgd":
            expected["adam_v"] = witness.moments[step - 1]
        for score, tensors in expected.items():
            for name, found in load_scores(tmp_path / f"early-{step}", score).items():
                torch.testing.assert_close(found.double(), tensors[name].double(), rtol=2**-7, atol=0)
    assert {path.name for path in tmp_path.glob("early-*")} == {"early-1", "early-3"}

    mask = Mask.between(start, final)
    rows = watching.results(mask, seed=0)
    kinds = ["update", "gradient", "gradient_sum", "snip", "fisher", "adam_v"]
    kinds += ["relative_update", "inverse_magnitude", "random"]
    if algorithm == "sft_sgd":
        kinds.remove("adam_v")
    assert [(row["step"], row["score"]) for row in rows] == [(step, kind) for step in steps for kind in kinds]
    for row in rows[: len(kinds) - 3]:
        ranking = Ranking.of(load_scores(tmp_path / f"early-{row['step']}", row["score"]), mask)
        assert row["auprc"] == ranking.average_precision
        assert row["precision"] == ranking.precision(mask.k)
        assert row["density"] == mask.density


def test_a_move_counts_by_the_weight_that_it_moves(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.25]]))
    weights = {name: each.clone() for name, each in named_weights(model).items()}
    watching = Early(lambda step: tmp_path / str(step), (1,), model, weights, dict(weights))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    watching.on_train_begin(optimizer=optimizer)
    model.weight.grad = torch.tensor([[0.5, 0.01], [0.0, 0.25]])  # shares: 1/2, infinite, nothing, 1
    optimizer.step()

    def precision(bools: list[list[bool]]) -> float:
        rows = watching.results(Mask.from_bools({"weight": torch.tensor(bools)}), seed=0)
        return next(row["precision"] for row in rows if row["score"] == "relative_update")

    assert precision([[False, True], [False, False]]) == 1.0
    assert precision([[False, True], [False, True]]) == 1.0
    assert precision([[True, True], [False, True]]) == 1.0
    assert precision([[False, False], [True, False]]) == 0.0


def test_small_weights_come_first_and_what_does_not_exist_is_null(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5, -0.0], [3.0, -0.25]]))
    weights = named_weights(model)
    watching = Early(lambda step: tmp_path / str(step), (1,), model, weights, dict(weights))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    watching.on_train_begin(optimizer=optimizer)
    optimizer.step()  # of a parameter that got no gradient

    def results(bools: list[list[bool]]) -> dict[str, dict[str, Any]]:
        rows = watching.results(Mask.from_bools({"weight": torch.tensor(bools)}), seed=0)
        return {row["score"]: row for row in rows}

    found = results([[False, True], [False, True]])
    assert (found["inverse_magnitude"]["auprc"], found["inverse_magnitude"]["precision"]) == (1.0, 1.0)
    assert found["gradient"]["auprc"] == found["update"]["auprc"] == 0.5
    nothing = results([[False, False], [False, False]])["update"]
    assert nothing == {"step": 1, "score": "update", "auprc": None, "precision": None, "density": 0.0}


def test_memory_is_what_is_said_and_given_back(init: Path, tmp_path: Path) -> None:
    model = Qwen2ForCausalLM.from_pretrained(init)
    with torch.no_grad():
        for each in model.parameters():
            each += 1e-3 / 3  # no weight, of norms and biases neither, is exact in bf16
    n = sum(each.numel() for each in model.parameters())
    bf16 = {name: each.clone() for name, each in named_weights(model, torch.bfloat16).items()}
    information = {name: torch.zeros_like(each) for name, each in named_weights(model).items()}
    assert Early(lambda _: tmp_path, (2,), model, bf16, information).nbytes == (4 + 2 + 4) * n
    with torch.no_grad():
        for name, each in model.named_parameters():
            each.copy_(bf16[name])
    watching = Early(lambda step: tmp_path / str(step), (1, 2), model, bf16, information)
    assert watching.nbytes == (4 + 2) * n
    optimizer = torch.optim.AdamW(model.parameters())
    watching.on_train_begin(optimizer=optimizer)
    for _ in range(2):
        model(input_ids=torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss.backward()
        optimizer.step()
    assert watching.nbytes == 0
    for each in model.parameters():
        each.grad = torch.full_like(each, torch.nan)
    optimizer.step()  # nobody looks any more
    assert watching.nbytes == 0
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"1", "2"}


def test_fisher_is_a_mean_of_one_squared_gradient_a_completion() -> None:
    model = decoder()
    model.train()
    examples = [Example([1, 2, 3], [4]), Example([5], [6, 7, 8]), Example([9, 10], [11, 12])]
    found = mean_squared_gradient(model, examples)
    assert model.training
    assert all(each.grad is None for each in model.parameters())

    exact = model.double().eval()
    expected = {name: torch.zeros_like(each) for name, each in exact.named_parameters()}
    for example in examples:
        exact.zero_grad()
        with torch.enable_grad():
            logits = exact(input_ids=torch.tensor([example.prompt + example.completion])).logits[0].log_softmax(-1)
            start = len(example.prompt) - 1
            sum(logits[start + i, token] for i, token in enumerate(example.completion)).backward()
        for name, each in exact.named_parameters():
            assert each.grad is not None
            expected[name] += each.grad.square() / len(examples)
    for name, each in expected.items():
        torch.testing.assert_close(found[name].double(), each, rtol=1e-3, atol=1e-9)


def test_fisher_is_of_what_the_init_draws_at_temperature_1(init: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "COMPLETIONS", 5)
    setting = make_setting(init, SFT(), answers=("7", "-31"))
    asked = []
    sample = setting.policy.sample

    def noting(prompts: list[list[int]], sampling: Any) -> Any:
        asked.append((len(prompts), sampling.temperature, sampling.max_new_tokens))
        return sample(prompts, sampling)

    monkeypatch.setattr(setting.policy, "sample", noting)
    found = fisher(setting)
    assert asked == [(5, 1.0, setting.config.rollout.max_new_tokens)]
    assert {name: each.shape for name, each in found.items()} == {
        name: each.shape for name, each in setting.model.named_parameters()
    }
    assert all(bool((each >= 0).all()) for each in found.values())
