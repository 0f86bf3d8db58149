"""Runs on a real engine: real Ray, vLLM and TRL, the embedded model."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from subnetray import rollout
from subnetray.config import (
    DPO,
    GRPO,
    KTO,
    ORPO,
    PPO,
    PRIME,
    RLOO,
    SFT,
    Algorithm,
    ArithmeticTask,
    Cluster,
    EmbeddedModel,
    Evaluation,
    Measurement,
    RAFTPlusPlus,
    Rollout,
    RunConfig,
    SimPO,
)
from subnetray.driver import cluster
from subnetray.job import RunSpec, launch
from subnetray.rollout import Policy, Probe, Sampling
from subnetray.subnetwork import Delta, Mask, compare, mean_ranks, named_weights, weights_hash
from subnetray.tasks import load
from tests.rounding import Rounding

pytestmark = pytest.mark.e2e

ROLLOUT = Rollout()
HF = Rollout(name="hf")
_ids = (f"run{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def engines(tiny: Path) -> Iterator[tuple[str, ...]]:
    cluster.start(Cluster())
    try:
        pool = rollout.start([(tiny, ROLLOUT)])
        pool.wait(300)
        yield pool.names[tiny, ROLLOUT]
    finally:
        cluster.stop()


def _config(algorithm: Algorithm, **changes: Any) -> RunConfig:
    config = RunConfig(
        model=EmbeddedModel(),
        task=ArithmeticTask(),
        algorithm=algorithm,
        rollout=ROLLOUT,
        evaluation=Evaluation(prompts=64),
        measurement=Measurement(),
    )
    return dataclasses.replace(config, **changes)


def _run(
    tiny: Path, engines: tuple[str, ...], directory: Path, config: RunConfig
) -> tuple[RunSpec, dict[str, Any], list[dict[str, Any]]]:
    spec = RunSpec(next(_ids), config, tiny, directory, engines, workers=0, cpus_per_worker=1, gpus_per_worker=0)
    launch(spec, max_failures=0)
    lines = spec.metrics.read_text().splitlines() if spec.metrics.is_file() else []
    return spec, json.loads(spec.result.read_text()), [json.loads(line) for line in lines]


def _init(tiny: Path, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    return named_weights(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16), dtype)


# --- the engine


def test_engine_and_transformers_agree_before_and_after_new_weights(tiny: Path, engines: tuple[str, ...]) -> None:
    """The tied output head must follow the embedding: a stale one is off by 0.2 and more."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    policy = Policy(rollout.connect(engines), "parity", timeout_s=60)
    prompts = [tokenizer(problem.prompt)["input_ids"] for problem in load(ArithmeticTask()).held_out(64)]
    for version in ("init", "moved"):
        if version == "moved":
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
        policy.publish(named_weights(model), version)
        samples = policy.sample(prompts, Sampling(1.0, 5, seed=7))
        gaps = []
        for prompt, completion, logprobs in zip(prompts, samples.completions, samples.logprobs, strict=True):
            logits = model(input_ids=torch.tensor([prompt + completion])).logits[0].float()
            reference = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(completion)[:, None])[:, 0]
            gaps.append((reference - torch.tensor(logprobs)).abs())
        assert float(torch.cat(gaps).detach().mean()) < 0.02, version


def test_samples_depend_on_seed_and_weights_alone(tiny: Path, engines: tuple[str, ...]) -> None:
    policy = Policy(rollout.connect(engines), "seeds", timeout_s=60)
    weights = _init(tiny)
    prompts = [[3, 12, 4, 15]] * 32
    policy.publish(weights, "a")
    first = policy.sample(prompts, Sampling(1.0, 5, seed=1))
    other_seed = policy.sample(prompts, Sampling(1.0, 5, seed=2))
    policy.publish({name: torch.zeros_like(tensor) for name, tensor in weights.items()}, "b")
    other_weights = policy.sample(prompts, Sampling(1.0, 5, seed=1))
    policy.publish(weights, "c")
    assert policy.sample(prompts, Sampling(1.0, 5, seed=1)) == first
    assert first != other_seed
    assert first != other_weights
    # A model of zeros is uniform over its 16 tokens.
    assert all(value == pytest.approx(-2.7726, abs=1e-3) for row in other_weights.logprobs for value in row)


def test_greedy_does_not_depend_on_the_seed(tiny: Path, engines: tuple[str, ...]) -> None:
    policy = Policy(rollout.connect(engines), "greedy", timeout_s=60)
    policy.publish(_init(tiny), "init")
    prompts = [[3, 12, 4, 15], [9, 9, 13, 2, 15]]
    one, two = (policy.sample(prompts, Sampling(0.0, 5, seed=seed)) for seed in (1, 2))
    assert one.completions == two.completions


@pytest.fixture(scope="module")
def hf(tiny: Path, engines: object) -> Iterator[tuple[str, ...]]:
    """Engines without vLLM, beside the others."""
    pool = rollout.start([(tiny, HF)])
    pool.wait(300)
    yield pool.names[tiny, HF]
    for handle in pool.handles:
        ray.kill(handle)


def test_engines_of_vllm_and_of_transformers_agree(tiny: Path, engines: tuple[str, ...], hf: tuple[str, ...]) -> None:
    """... up to rounding: in tokens where the best is clearly the best, and in probabilities."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    prompts = [tokenizer(problem.prompt)["input_ids"] for problem in load(ArithmeticTask()).held_out(256)]
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    rounding, clear = Rounding(model), []
    for name, handles in (("vllm", engines), ("hf", hf)):
        policy = Policy(rollout.connect(handles), name, timeout_s=60)
        policy.publish(named_weights(model), "init", Probe.of(model, named_weights(model), prompts[0]))
        samples = policy.sample(prompts, Sampling(0.0, 5, seed=0))
        clear.append(rounding.check(prompts, samples, greedy=True))
    assert sum(clear[0]) > len(prompts) / 2  # so that this says something


def test_a_run_without_vllm_is_like_one_with_it(
    tiny: Path, engines: tuple[str, ...], hf: tuple[str, ...], tmp_path: Path
) -> None:
    config = _config(GRPO(steps=3, batch_size=32), rollout=HF)
    _, result, lines = _run(tiny, hf, tmp_path / "hf", config)
    assert (result["status"], result["error"]) == ("done", None)
    assert all(0.9 < line["engine_ratio_mean"] < 1.1 for line in lines)
    assert all(0 < line["engine_logp_gap_mean"] < 0.02 for line in lines)
    _, again, _ = _run(tiny, hf, tmp_path / "again", config)
    assert again["final_hash"] == result["final_hash"]
    _, other, _ = _run(tiny, engines, tmp_path / "vllm", dataclasses.replace(config, rollout=ROLLOUT))
    # Of the 64 answers those may differ whose best token is not clearly the best.
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    prompts = [tokenizer(problem.prompt)["input_ids"] for problem in load(ArithmeticTask()).held_out(64)]
    policy = Policy(rollout.connect(engines), "answers", timeout_s=60)
    policy.publish(named_weights(model), "init")
    clear = Rounding(model).check(prompts, policy.sample(prompts, Sampling(0.0, 5, seed=0)), greedy=True)
    one, two = (each["evaluation"]["before"]["greedy"]["accuracy"] for each in (result, other))
    assert abs(one - two) <= 1 - sum(clear) / 64
    # They draw other completions.
    assert result["final_hash"] != other["final_hash"]


# --- runs


@pytest.mark.parametrize(
    "config",
    [
        _config(GRPO(steps=3, batch_size=32)),
        _config(GRPO(steps=3, batch_size=32, beta=0.1, max_grad_norm=None, loss="grpo"), precision="fp32"),
        _config(GRPO(steps=3, batch_size=32, lr=1e-4, optimizer="sgd"), precision="bf16"),
        _config(SFT(steps=3, batch_size=32, schedule="linear", warmup_steps=1, weight_decay=0.1)),
        _config(SFT(steps=3, batch_size=32, data="rejection")),
        _config(DPO(steps=3, batch_size=16)),
        _config(DPO(steps=3, batch_size=16, data="off_policy", schedule="cosine")),
        _config(ORPO(steps=3, batch_size=16)),
        _config(SimPO(steps=3, batch_size=16), precision="bf16"),
        _config(KTO(steps=3, batch_size=16)),
        _config(RLOO(steps=3, batch_size=32, beta=0.1)),
        _config(PPO(steps=3, batch_size=32, beta=0.1)),
        _config(PRIME(steps=3, batch_size=32, prm_lr=1e-4)),
        _config(RAFTPlusPlus(steps=3, batch_size=32, minibatches=2, epochs=2, micro_batch_size=16)),
    ],
    ids=[
        "grpo",
        "grpo_kl_fp32",
        "grpo_sgd_bf16",
        "sft",
        "sft_rejection",
        "dpo",
        "dpo_off_policy",
        "orpo",
        "simpo_bf16",
        "kto",
        "rloo",
        "ppo",
        "prime",
        "raft_plus_plus",
    ],
)
def test_a_run_writes_what_restores_its_final(
    tiny: Path, engines: tuple[str, ...], tmp_path: Path, config: RunConfig
) -> None:
    spec, result, lines = _run(tiny, engines, tmp_path, config)
    assert (result["status"], result["error"]) == ("done", None)
    init = _init(tiny, torch.float32 if config.precision == "fp32" else torch.bfloat16)
    delta, mask = Delta.load(spec.delta), Mask.load(spec.mask)
    final = delta.apply(init)
    assert weights_hash(final) == result["final_hash"]
    assert mask == Mask.between(init, final)
    assert result["density"]["bitwise"] == mask.density > 0
    comparison = compare(init, final, config.measurement.tolerances)
    assert result["density"]["abs"]["1e-05"] == comparison.density_abs[1e-5]
    assert sum(part["changed_bitwise"] for part in result["by_module"].values()) == mask.k
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["density"] == mask.density
    counts = result["dynamics"]["counts"]
    assert (counts["n"], counts["effective"]) == (mask.n, mask.k)
    assert counts["ever"] == counts["effective"] + counts["cancelled"] == round(lines[-1]["density_ever"] * mask.n)
    assert result["dynamics"]["moves"] == sum(round(line["density_step"] * mask.n) for line in lines)
    assert result["dynamics"]["at_snapshots"] == counts  # of three steps each is one
    assert 0 < result["dynamics"]["coherence_held"] <= 1
    # Of weights held in the dtype of export, or exactly representable in it at the init, the export's view is a mask.
    assert result["views"]["density"]["float32" if config.precision == "fp32" else "bfloat16"] == mask.density
    assert mask.density <= result["views"]["density"]["float32"]
    assert (result["views"]["reachable"] is None) == (config.algorithm.optimizer == "sgd")
    ranks = mean_ranks(init, final, config.measurement.ranks)
    assert ranks is not None
    assert result["ranks"] == dataclasses.asdict(ranks)
    assert all(line["grad_norm"] > 0 for line in lines)
    assert result["steps"] == 3
    assert 0 < result["data"]["nll"] < 5
    assert result["evaluation"]["before"]["greedy"]["n"] == 64
    answers = result["evaluation"]["after"]["sampled"]
    assert 0 < answers["entropy"] < 2.8  # ln 16 is that of the uniform distribution
    assert 1 <= answers["completion_length"] <= 5
    # An estimate, of a policy three steps away.
    assert abs(result["kl_to_init"]) < 0.1
    times = [json.loads(line) for line in spec.times.read_text().splitlines()]
    assert [each["step"] for each in times] == [line["step"] for line in lines]
    assert all(each["tokens_per_s"] > 0 for each, line in zip(times, lines, strict=True) if "tokens" in line)
    if config.algorithm.name == "grpo":
        # On the policy: the engine's probabilities are the trainer's, up to rounding, and the correction uses both.
        assert all(0.9 < line["engine_ratio_mean"] < 1.1 for line in lines)
        assert all(line["engine_logp_gap_mean"] > 0 for line in lines)


def test_a_warm_process_gives_the_bytes_of_a_fresh_one(tiny: Path, engines: tuple[str, ...], tmp_path: Path) -> None:
    """Runs of other precisions, algorithms and seeds in between leave nothing behind."""
    config = _config(GRPO(steps=2, batch_size=32))

    @ray.remote(num_cpus=1)
    def fresh(spec: dict[str, Any]) -> None:
        launch(RunSpec.from_dict(spec), max_failures=0)

    spec = RunSpec("fresh", config, tiny, tmp_path / "fresh", engines, 0, 1, 0)
    ray.get(fresh.remote(spec.to_dict()))
    _run(tiny, engines, tmp_path / "other", _config(SFT(steps=1, batch_size=8), precision="fp32", seed=5))
    _, warm, _ = _run(tiny, engines, tmp_path / "warm", config)
    assert json.loads(spec.result.read_text())["final_hash"] == warm["final_hash"]
    _, seeded, _ = _run(tiny, engines, tmp_path / "seed", dataclasses.replace(config, seed=1))
    assert seeded["final_hash"] != warm["final_hash"]


def test_keeping_scores_changes_no_byte_of_a_run(tiny: Path, engines: tuple[str, ...], tmp_path: Path) -> None:
    config = _config(GRPO(steps=3, batch_size=32), precision="bf16")
    plain, without, lines = _run(tiny, engines, tmp_path / "without", config)
    watched, result, watched_lines = _run(
        tiny, engines, tmp_path / "with", dataclasses.replace(config, measurement=Measurement(early=(1, 3)))
    )
    assert {row["step"] for row in result["early"]} == {1, 3}
    assert all(0 < row["auprc"] <= 1 for row in result["early"])
    assert watched.scores(1).is_file()
    assert not [path for path in plain.directory.iterdir() if path.name.startswith("early")]
    assert "early" not in without
    assert result["final_hash"] == without["final_hash"]
    assert watched_lines == lines


def test_two_runs_at_once_on_one_engine_give_the_bytes_of_each_alone(
    tiny: Path, engines: tuple[str, ...], tmp_path: Path
) -> None:
    configs = [_config(GRPO(steps=4, batch_size=32), seed=seed) for seed in (0, 1)]
    alone = [_run(tiny, engines, tmp_path / f"alone-{config.seed}", config)[1] for config in configs]

    @ray.remote(num_cpus=1)
    def start(spec: dict[str, Any]) -> None:
        launch(RunSpec.from_dict(spec), max_failures=0)

    specs = [
        RunSpec(f"shared-{config.seed}", config, tiny, tmp_path / f"shared-{config.seed}", engines, 0, 1, 0)
        for config in configs
    ]
    ray.get([start.remote(spec.to_dict()) for spec in specs])
    shared = [json.loads(spec.result.read_text()) for spec in specs]
    assert [result["final_hash"] for result in shared] == [result["final_hash"] for result in alone]
    assert shared[0]["final_hash"] != shared[1]["final_hash"]
    syncs = [json.loads((spec.directory / "time.json").read_text())["sync"] for spec in specs]
    assert all(sync["publishes"] == 6 for sync in syncs)  # the init, four steps, the final


def test_rollouts_that_are_drawn_ahead_are_the_same_where_the_policy_stands_still(
    tiny: Path, engines: tuple[str, ...], tmp_path: Path
) -> None:
    lines, hashes = {}, {}
    for name, staleness, lr in (("fresh", 0, 1e-30), ("stale", 1, 1e-30), ("moved", 1, 3e-4), ("again", 1, 3e-4)):
        rollout = dataclasses.replace(ROLLOUT, staleness=staleness)
        config = _config(GRPO(steps=4, batch_size=32, lr=lr), rollout=rollout)
        _, result, lines[name] = _run(tiny, engines, tmp_path / name, config)
        hashes[name] = result["final_hash"]
    assert [line["reward"] for line in lines["stale"]] == [line["reward"] for line in lines["fresh"]]
    assert [line["entropy"] for line in lines["stale"]] == [line["entropy"] for line in lines["fresh"]]
    assert [line["rollout_lag"] for line in lines["moved"]] == [0, 1, 1, 1]
    assert hashes["moved"] == hashes["again"]  # whatever was drawn when
    # The first step of a moving policy trains on what it drew itself; its ratios are rounding, the later ones' are not.
    gaps = [line["engine_logp_gap_mean"] for line in lines["moved"]]
    assert min(gaps[1:]) > 2 * gaps[0]


def test_a_run_in_a_worker_group_gives_the_bytes_of_local_mode(
    tiny: Path, engines: tuple[str, ...], tmp_path: Path
) -> None:
    config = _config(SFT(steps=2, batch_size=16))
    _, local, _ = _run(tiny, engines, tmp_path / "local", config)
    spec = RunSpec("group", config, tiny, tmp_path / "group", engines, workers=1, cpus_per_worker=1, gpus_per_worker=0)
    launch(spec, max_failures=0)
    assert json.loads(spec.result.read_text())["final_hash"] == local["final_hash"]


def test_a_run_whose_workers_share_the_model_is_measured_as_others_are(
    tiny: Path, engines: tuple[str, ...], tmp_path: Path
) -> None:
    config = _config(GRPO(steps=3, batch_size=32, beta=0.1))
    _, local, _ = _run(tiny, engines, tmp_path / "local", config)
    spec = RunSpec("shared", config, tiny, tmp_path / "shared", engines, 2, 0.5, 0, sharded=True)
    launch(spec, max_failures=0)
    result = json.loads(spec.result.read_text())
    assert result["status"] == "done", result["error"]
    final = Delta.load(spec.delta).apply(_init(tiny))
    assert weights_hash(final) == result["final_hash"] != result["init_hash"] == local["init_hash"]
    assert compare(_init(tiny), final, (0.0,)).changed_bitwise == Mask.load(spec.mask).k > 0
    # Each worker draws its own rollouts, so that it is another run, of as large steps.
    assert result["density"]["bitwise"] == pytest.approx(local["density"]["bitwise"], rel=0.2)
    assert result["evaluation"]["before"] == local["evaluation"]["before"]
    assert result["data"]["nll"] == pytest.approx(local["data"]["nll"], rel=0.3)
    assert set(result) == set(local)
    assert len(spec.metrics.read_text().splitlines()) == 3


def test_sft_on_what_the_reward_accepts_learns(tiny: Path, engines: tuple[str, ...], tmp_path: Path) -> None:
    config = _config(SFT(steps=60, lr=1e-4, data="rejection"), evaluation=Evaluation(prompts=512))
    _, result, lines = _run(tiny, engines, tmp_path, config)
    assert result["error"] is None
    before, after = (result["evaluation"][when]["sampled"] for when in ("before", "after"))
    assert after["accuracy"] > before["accuracy"] + 3 * (before["accuracy_se"] ** 2 + after["accuracy_se"] ** 2) ** 0.5
    assert lines[-1]["loss"] < lines[0]["loss"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (_config(SFT(steps=3, batch_size=8, lr=1e30)), "at step"),
        (_config(GRPO(steps=2, batch_size=32), rollout=dataclasses.replace(ROLLOUT, timeout_s=1e-6)), None),
    ],
    ids=["diverges", "engine_too_slow"],
)
def test_a_run_that_fails_says_why(
    tiny: Path, engines: tuple[str, ...], tmp_path: Path, config: RunConfig, reason: str | None
) -> None:
    if reason is None:  # another attempt may mend it: that is for Tune to decide
        with pytest.raises(Exception, match=r"no answer from a rollout engine within 1e-06 s \(rollout.timeout_s\)"):
            _run(tiny, engines, tmp_path, config)
        return
    spec, result, _ = _run(tiny, engines, tmp_path, config)
    assert result["status"] == "failed"
    assert reason in result["error"]
    assert not spec.delta.exists()
