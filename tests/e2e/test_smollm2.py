"""SmolLM2-135M: vLLM serves it, its recipe trains it; ``diff`` says what bits counted by hand say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from subnetray import models, rollout
from subnetray.config import Cluster, Rollout, SmolLM2Model
from subnetray.driver import cluster
from subnetray.rollout import Policy, Probe, Sampling
from subnetray.subnetwork import Delta, Mask, named_weights
from tests.rounding import Rounding

pytestmark = pytest.mark.e2e

_TEXT = (
    "Fine-tuning a language model with reinforcement learning seems to change only a small part of its weights: five to"
    " thirty per cent, much the same part whatever the seed, data and algorithm."
)


@pytest.fixture(scope="module")
def init() -> Path:
    return models.prepare(SmolLM2Model(), models.default_cache(), print)


@pytest.fixture(scope="module")
def final(init: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of AdamW on fp32 weights, exported in bf16."""
    directory = tmp_path_factory.mktemp("smollm2") / "final"
    model = AutoModelForCausalLM.from_pretrained(init, dtype=torch.float32, local_files_only=True)
    ids = AutoTokenizer.from_pretrained(init, local_files_only=True)(_TEXT, return_tensors="pt")["input_ids"][:, :32]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
    for _ in range(3):
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.to(torch.bfloat16).save_pretrained(directory)
    return directory


def _bits(directory: Path) -> dict[str, npt.NDArray[np.uint16]]:
    """The bf16 tensors of the one weights file, read by the format's description alone."""
    raw = (directory / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    return {
        name: np.frombuffer(raw[8 + length + entry["data_offsets"][0] : 8 + length + entry["data_offsets"][1]], "<u2")
        for name, entry in header.items()
    }


def _values(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_an_engine_serves_it(init: Path) -> None:
    config = Rollout(max_model_len=96, max_new_tokens=16)
    tokenizer = AutoTokenizer.from_pretrained(init, local_files_only=True)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(init, dtype=torch.bfloat16, local_files_only=True)
    # What it knows; which words it chooses depends on how bf16 was rounded.
    answer = tokenizer("The capital of France is Paris.<|im_end|>", add_special_tokens=False)["input_ids"]
    probe = Probe.of(model, named_weights(model), [*prompt, *answer])
    assert sum(probe.logprobs[-len(answer) :]) / len(answer) > -0.5
    cluster.start(Cluster())
    try:
        pool = rollout.start([(init, config)])
        pool.wait(300)
        policy = Policy(rollout.connect(pool.names[init, config]), "serve", timeout_s=120)
        policy.publish(named_weights(model), "init", probe)  # which the engine must give the same probability
        samples = policy.sample([prompt], Sampling(temperature=0.0, max_new_tokens=16, seed=0))
    finally:
        cluster.stop()
    Rounding(model).check([prompt], samples, greedy=True)


def test_two_steps_of_its_recipe(tmp_path: Path) -> None:
    """Two of thirty: what the whole gains is measured in docs/algorithms.md."""
    small = ["algorithm.steps=2", "algorithm.batch_size=16", "algorithm.micro_batch_size=8", "evaluation.prompts=8"]
    command = [sys.executable, "-m", "subnetray.train", "+recipe=smollm2_chain_sum", "tracking=disabled"]
    done = subprocess.run(
        [*command, *small, "out=out"], cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (directory,) = (tmp_path / "out" / "runs").iterdir()
    result = json.loads((directory / "result.json").read_text())
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert (result["status"], result["n"], result["steps"]) == ("done", 134_515_008, 2)
    assert [line["step"] for line in lines] == [1, 2]
    # The engines and the trainer see one model and one tokenizer.
    assert all(0.9 < line["engine_ratio_mean"] < 1.1 for line in lines)
    assert all(0 < line["completion_length"] <= 12 for line in lines)
    assert 0 < result["density"]["bitwise"] < 1


def test_diff_of_a_fine_tuned_smollm2(init: Path, final: Path, tmp_path: Path) -> None:
    out = tmp_path / "difference"
    subprocess.run(
        [sys.executable, "-m", "subnetray.diff", f"init={init}", f"final={final}", f"out={out}"],
        check=True,
        capture_output=True,
    )
    diff = json.loads((out / "diff.json").read_text())
    counted = {tensor["name"]: tensor for tensor in diff["tensors"]}
    before, after = _bits(init), _bits(final)
    assert before.keys() == after.keys() == counted.keys()
    total = 0
    for name, old in before.items():
        new = after[name]
        zero = ((old | new) & 0x7FFF) == 0
        distance = np.abs(_values(new) - _values(old)).astype(np.float64)  # rounded once, to fp32
        expected = {
            "n": old.size,
            "changed_bitwise": int(((old != new) & ~zero).sum()),
            **{f"changed_{tau:g}": int((distance > tau).sum()) for tau in (0, 1e-8, 1e-6, 1e-5, 1e-4)},
        }
        assert {key: counted[name][key] for key in expected} == expected, name
        total += expected["changed_bitwise"]
    assert diff["n"] == 134_515_008
    assert diff["skipped"] == []
    assert diff["sparsity"]["bitwise"] == 1 - total / diff["n"]
    # A real update: neither nothing nor everything.
    assert 0.01 < total / diff["n"] < 0.9
    assert Mask.load(out / "mask.safetensors").density == total / diff["n"]
    restored = Delta.load(out / "delta.safetensors").apply(load_file(init / "model.safetensors"))
    for name, tensor in load_file(final / "model.safetensors").items():
        assert torch.equal(restored[name].view(torch.int16), tensor.view(torch.int16)), name
