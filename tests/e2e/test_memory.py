"""A process of runs holds nothing of those that have ended."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import torch
from transformers import Qwen2ForCausalLM

from subnetray import rollout
from subnetray.config import (
    DPO,
    GRPO,
    SFT,
    ArithmeticTask,
    Cluster,
    EmbeddedModel,
    Evaluation,
    Measurement,
    Rollout,
    RunConfig,
)
from subnetray.driver import cluster
from subnetray.job import RunSpec, launch
from subnetray.models import pretraining
from subnetray.models.tokenizer import make_tokenizer

pytestmark = pytest.mark.e2e

MODEL = EmbeddedModel(hidden_size=256, intermediate_size=1024, heads=4, layers=2)
ROLLOUT = Rollout(name="hf")
ALGORITHMS = (GRPO(steps=1, batch_size=8), SFT(steps=1, batch_size=8), DPO(steps=1, batch_size=8, data="off_policy"))


class _Trial:
    """A process of runs, each in a thread of its own, as Ray Tune has them."""

    def launch(self, spec: RunSpec) -> float:
        """MB that are this process's own once the run has ended."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(launch, spec, 0).result()
        result = json.loads(spec.result.read_bytes())
        assert result["status"] == "done", result["error"]
        return float(psutil.Process().memory_full_info().uss) / 1e6


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights, 8 MB in fp32: whatever keeps one of a run is seen at once."""
    directory = tmp_path_factory.mktemp("init")
    torch.manual_seed(0)
    Qwen2ForCausalLM(pretraining.shape(MODEL)).to(torch.bfloat16).save_pretrained(directory)
    make_tokenizer(pretraining.MAX_POSITIONS).save_pretrained(directory)
    return directory


def test_a_run_adds_no_megabyte_to_its_process(init: Path, tmp_path: Path) -> None:
    cluster.start(Cluster())
    try:
        pool = rollout.start([(init, ROLLOUT)])
        trial = ray.remote(_Trial).options(num_cpus=1).remote()
        held = []
        for number in range(16):
            algorithm = ALGORITHMS[number % len(ALGORITHMS)]
            config = RunConfig(
                MODEL, ArithmeticTask(), algorithm, ROLLOUT, Evaluation(prompts=8), Measurement(), seed=number
            )
            spec = RunSpec(f"run-{number}", config, init, tmp_path / str(number), pool.names[init, ROLLOUT], 0, 1, 0)
            held.append(ray.get(trial.launch.remote(spec)))
    finally:
        cluster.stop()
    steps = np.sort(np.diff(held[4:]))  # what libraries set up once is there by then
    # An allocator takes a few MB at a time, whenever it needs them; what one algorithm of the three kept would be there
    # four times, with 8 MB each.
    assert steps[:-2].sum() / len(steps) < 1, held
