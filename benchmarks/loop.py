"""What the runs of a sweep cost as a loop of scripts, one process a run, two at a time, and as plain Ray Tune trials.

    python benchmarks/loop.py [seeds, default 2]

The same six cells (GRPO, SFT, DPO at two learning rates, 60 steps of 128 sequences, the embedded model) by every seed:
as scripts over TRL, Hugging Face generate for rollouts, no measuring and no evaluation, written as one writes them by
hand; the same function in two processes that serve one run after another, as Hydra's joblib launcher has them; as Ray
Tune trials; and ``subnetray.sweep``, evaluation, measuring and report included. Each once, one after the other,
start-up included. vLLM within each script, the other way, costs its start in every process.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

METHODS, RATES = ("grpo", "sft", "dpo"), (1e-5, 1e-4)
STEPS, BATCH, GROUP, TOKENS = 60, 128, 8, 5
AT_ONCE = 2


def script(method: str, rate: float, seed: int, init: str, out: str) -> None:
    """One run, as a script of its own would have it."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

    from subnetray import tasks
    from subnetray.config import ArithmeticTask

    set_seed(seed)
    torch.set_num_threads(1)
    task = tasks.load(ArithmeticTask())
    tokenizer = AutoTokenizer.from_pretrained(init)
    model = AutoModelForCausalLM.from_pretrained(init, dtype=torch.float32)
    shared: dict[str, Any] = {
        **{"output_dir": out, "learning_rate": rate, "lr_scheduler_type": "constant", "max_steps": STEPS, "seed": seed},
        **{"per_device_train_batch_size": BATCH, "bf16": True, "use_cpu": True, "report_to": [], "disable_tqdm": True},
        **{"save_strategy": "no", "logging_steps": 1, "gradient_checkpointing": False},
    }
    parts: dict[str, Any] = {"model": model, "processing_class": tokenizer}
    if method == "grpo":
        problems = {problem.prompt: problem for problem in task.train_prompts(STEPS * BATCH // GROUP, seed)}

        def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
            return [task.reward(problems[p], c) for p, c in zip(prompts, completions, strict=True)]

        trainer: Any = GRPOTrainer(
            reward_funcs=reward,
            args=GRPOConfig(**shared, num_generations=GROUP, max_completion_length=TOKENS, beta=0.0),
            train_dataset=Dataset.from_dict({"prompt": list(problems)}),
            **parts,
        )
    else:
        chosen = task.train_prompts(STEPS * BATCH, seed)
        end = tokenizer.eos_token
        if method == "sft":
            rows: dict[str, list[Any]] = {
                "prompt": [problem.prompt for problem in chosen],
                "completion": [problem.gold + end for problem in chosen],
            }
            arguments = SFTConfig(**shared, max_length=None)
            trainer = SFTTrainer(args=arguments, train_dataset=Dataset.from_dict(rows), **parts)
        else:
            pairs = [pair for pair in _judged(model, tokenizer, task, chosen) if pair is not None]
            pairs = [pairs[index % len(pairs)] for index in range(STEPS * BATCH)]
            rows = {key: [pair[key] for pair in pairs] for key in ("prompt", "chosen", "rejected")}
            arguments = DPOConfig(**shared, max_length=None)
            trainer = DPOTrainer(args=arguments, train_dataset=Dataset.from_dict(rows), **parts)
    trainer.train()
    model.to(torch.bfloat16).save_pretrained(out)


def _judged(model: Any, tokenizer: Any, task: Any, problems: list[Any]) -> Any:
    """A right and a wrong completion of each prompt for which both were sampled, else None."""
    import torch

    tokenizer.padding_side = "left"
    for start in range(0, 2048, 256):
        part = problems[start : start + 256]
        inputs = tokenizer([problem.prompt for problem in part], return_tensors="pt", padding=True)
        with torch.no_grad():
            ids = model.generate(
                **inputs, do_sample=True, max_new_tokens=TOKENS, num_return_sequences=4, pad_token_id=0
            )
        texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, problem in enumerate(part):
            sampled = texts[4 * index : 4 * index + 4]
            right = [text for text in sampled if task.reward(problem, text) > 0]
            wrong = [text for text in sampled if task.reward(problem, text) == 0]
            end = tokenizer.eos_token
            yield (
                {"prompt": problem.prompt, "chosen": right[0] + end, "rejected": wrong[0] + end}
                if right and wrong
                else None
            )


def loop(runs: list[tuple[str, float, int]], init: Path, out: Path) -> None:
    """``xargs -P 2``: a process a run."""

    def one(run: tuple[str, float, int]) -> None:
        words = [*map(str, run), str(init), str(out / "-".join(map(str, run)))]
        subprocess.run([sys.executable, __file__, "script", *words], check=True, stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, runs))


def launcher(runs: list[tuple[str, float, int]], init: Path, out: Path) -> None:
    """Two processes that take run after run: they import once."""
    paths = [str(out / "-".join(map(str, run))) for run in runs]
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn"), initializer=silence) as pool:
        list(pool.map(script, *zip(*runs, strict=True), [str(init)] * len(runs), paths))


def silence() -> None:
    """What trainers print goes nowhere, as that of the scripts does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain_tune(runs: list[tuple[str, float, int]], init: Path, out: Path) -> None:
    """Ray Tune over the same function, two trials at a time, as its documentation has it."""
    code = (
        "import sys; from ray import tune\n"
        f"runs = {runs!r}\n"
        "here, init, out = sys.argv[1:]\n"
        "def trial(c, here=here, init=init, out=out):\n"
        "    import sys; sys.path.insert(0, here); import loop\n"
        "    loop.script(*c['run'], init, out + '/' + '-'.join(map(str, c['run'])))\n"
        "tuner = tune.Tuner(tune.with_resources(trial, {'CPU': 1}), param_space={'run': tune.grid_search(runs)},\n"
        "    run_config=tune.RunConfig(storage_path=out + '/tune', verbose=0))\n"
        "results = tuner.fit()\n"
        "assert not results.errors, results.errors\n"
    )
    words = [str(Path(__file__).parent), str(init), str(out)]
    subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.DEVNULL)


def sweep(seeds: int, out: Path) -> None:
    """The same cells and seeds, as a user runs them."""
    words = [f"grid.seeds={list(range(seeds))}".replace(" ", ""), "grid.overrides=[]", f"out={out}"]
    subprocess.run(
        [sys.executable, "-m", "subnetray.sweep", "+grid=smoke", *words], check=True, stdout=subprocess.DEVNULL
    )


def main() -> None:
    """Print a line a contestant."""
    if sys.argv[1:2] == ["script"]:
        method, rate, seed, model, out = sys.argv[2:]
        script(method, float(rate), int(seed), model, out)
        return
    os.environ.update(OMP_NUM_THREADS="1", TQDM_DISABLE="1", PYTHONWARNINGS="ignore")
    from subnetray import models
    from subnetray.config import EmbeddedModel

    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    init = models.prepare(EmbeddedModel(), models.default_cache(), print)
    runs = list(itertools.product(METHODS, RATES, range(seeds)))
    with tempfile.TemporaryDirectory() as directory:
        contestants: dict[str, Callable[[], None]] = {
            "subnetray.sweep": lambda: sweep(seeds, Path(directory) / "sweep"),
            "scripts, two at a time": lambda: loop(runs, init, Path(directory) / "loop"),
            "processes that are kept": lambda: launcher(runs, init, Path(directory) / "kept"),
            "plain Ray Tune": lambda: plain_tune(runs, init, Path(directory) / "trials"),
        }
        seconds = {}
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds[name] = time.perf_counter() - start
            ratio = seconds[name] / seconds["subnetray.sweep"]
            print(
                f"{name:24} {seconds[name]:7.1f} s  {seconds[name] / len(runs):6.2f} s a run  {ratio:5.2f} × the sweep",
                flush=True,
            )


if __name__ == "__main__":
    main()
