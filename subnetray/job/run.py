"""What happens in a run: load, evaluate, train, evaluate, measure, write."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from transformers import AutoTokenizer

from subnetray import algorithms, rollout, tasks
from subnetray.algorithms.shared.loading import Placement, gathered, load
from subnetray.algorithms.shared.restricted import restrict
from subnetray.algorithms.shared.resuming import train
from subnetray.algorithms.shared.setting import DataLog, RunError, Setting
from subnetray.bf16 import products
from subnetray.files import write_atomic
from subnetray.job import blowup, checkpoint
from subnetray.job.early import Early, fisher
from subnetray.job.evaluation import Score, evaluate
from subnetray.job.measurement import DTYPES, Followed, exported, measure
from subnetray.job.recorder import Recorder
from subnetray.job.spec import RunSpec
from subnetray.process.clock import Clock
from subnetray.store import results


def run(values: dict[str, Any], import_s: float = 0.0) -> None:
    """Execute one worker's part of the run that ``values`` (a :class:`RunSpec` as a dictionary) describes.

    It goes on from the checkpoint of an earlier execution, if there is one (``job.checkpoint``). Rank 0 removes all
    else that such a one left in the run's directory, then writes ``config.yaml``,
    ``metrics.jsonl``, ``mask.safetensors``, ``delta.safetensors``, the mask that it was restricted to and the scores of
    early steps where there are any, times, and, last, ``result.json``.
    """
    with products():
        _run(RunSpec.from_dict(values), import_s)


def _run(spec: RunSpec, import_s: float) -> None:
    config = spec.config
    rank, workers = int(os.environ.get("RANK", "0")), max(1, spec.workers)
    clock = Clock()
    found = checkpoint.find(spec) if workers == 1 else None
    if rank == 0:
        kept = () if found is None else (results.checkpoint(spec.directory), *found.scores)
        results.clear(spec.directory, kept)
    doing = functools.partial(results.note_doing, spec.directory) if rank == 0 else _unsaid
    doing("waits for its init and its engines")
    with clock("start"):
        rollout.await_model(spec.init)
        engines = rollout.connect(spec.engines)
    began = time.perf_counter()
    # What is there when a run begins stays: to look for garbage among it again and again takes 50 ms a run. What
    # earlier runs left in cycles goes first: frozen, it would stay for ever.
    gc.collect()
    gc.freeze()
    quiet()
    doing("loads the model")
    with clock("load"):
        held, export = DTYPES[config.precision]
        # Seeds torch, numpy and random: what is drawn before the trainer seeds them again is decided too.
        transformers.set_seed(config.seed)
        tokenizer = AutoTokenizer.from_pretrained(spec.init, local_files_only=True)
        if tokenizer.eos_token_id is None:
            raise RunError(f"the tokenizer of {spec.init} has no end-of-sequence token")
        shards = workers if spec.sharded else 1
        model = load(spec.init, config, Placement(held, _device(spec), shards))
        init = exported(model, export)
        if found is not None:
            found = checkpoint.of_init(found, spec, init)
        policy = rollout.Policy(engines, spec.run_id, config.rollout.timeout_s, config.rollout.staleness)
    with tempfile.TemporaryDirectory(prefix="subnetray-") as scratch:
        recorder = Recorder(spec.metrics, model, init, config.measurement.every, write=rank == 0)
        setting = Setting(
            config=config,
            init=spec.init,
            model=model,
            tokenizer=tokenizer,
            task=tasks.load(config.task),
            policy=policy,
            data=DataLog(),
            callbacks=[recorder],
            scratch=Path(scratch),
            workers=workers,
            rank=rank,
            shards=shards,
            drawn=found.drawn if found is not None else {} if spec.checkpoint.wanted else None,
            doing=doing,
        )
        doing("evaluates the init")
        setting.publish("init")
        with clock("evaluate"):
            before = evaluate(setting)[0] if found is None else found.before
        doing("prepares to train")
        with _beside(clock, "prepare", policy):
            restricted = restrict(setting, init, spec.source)
            early = None
            if config.measurement.early and restricted is None and rank == 0:
                information = fisher(setting) if found is None else found.fisher
                early = Early(spec.scores, config.measurement.early, model, init, information)
                setting.callbacks.append(early)
            trainer = algorithms.build(setting)
            # The model's own progress and metrics tables; the recorder writes both.
            trainer.remove_callback(transformers.PrinterCallback)
            if found is not None or spec.checkpoint.wanted:
                running = checkpoint.Running(setting, trainer, recorder, early, restricted, init, before)
                trainer.add_callback(checkpoint.Checkpoints(spec, running, found))
                del running
        went_on_from, reached = (None, None) if found is None else (found.step, found.reached)
        found = None
        doing(results.TRAINS)
        with _beside(clock, "train", policy):
            train(trainer, Path(scratch), reached)
        doing("evaluates the final")
        setting.publish("final")
        with clock("evaluate"):
            after, sampled = evaluate(setting)
        # Cycles would keep the optimizer's moments while what it did is measured, and gradients are of no more use.
        del trainer
        model.zero_grad()
        if spec.sharded:  # from here on one worker goes on alone
            model = gathered(model, spec.init, config)
            setting = dataclasses.replace(setting, model=model)
        gc.collect()
    if rank != 0:
        return
    doing("measures the update")
    with clock("measure"):
        blowup.check(setting, init, recorder.update_norm, before, after)
        measured = measure(spec, setting, init, Followed(recorder, early), sampled)
    doing("writes its results")
    with clock("write"):
        metadata = {"run_id": spec.run_id}
        write_atomic(spec.directory / results.CONFIG, yaml.safe_dump(config.to_dict(), sort_keys=False))
        measured.mask.save(spec.mask, metadata)
        measured.delta.save(spec.delta, metadata)
        if restricted is not None:
            restricted.restriction.mask.save(spec.restriction, metadata)
    seconds = {"import": import_s} | clock.seconds
    seconds["total"] = time.perf_counter() - began
    took = {
        "seconds": {phase: round(value, 4) for phase, value in seconds.items()},
        # What is sent, and how, depends on what else the engines served meanwhile.
        "sync": dataclasses.asdict(policy.sync),
        **({} if went_on_from is None else {"went_on_from_step": went_on_from}),
    }
    write_atomic(spec.directory / results.TIME, json.dumps(took, indent=1))
    result = {
        "run_id": spec.run_id,
        "status": "done",
        "error": None,
        "steps": recorder.steps,
        "sum_lr": recorder.sum_lr,
        "evaluation": {"before": _scores(before), "after": _scores(after)},
        **({} if restricted is None else {"subnetwork": restricted.summary() | {"distance": measured.distance}}),
        **measured.values,
    }
    results.write(spec.directory, result)
    results.forget(spec.directory)


def _unsaid(words: str) -> None:
    """Say nothing: the other workers do what the first does."""


@contextlib.contextmanager
def _beside(clock: Clock, phase: str, policy: rollout.Policy) -> Iterator[None]:
    """A phase without what sampling takes in it, which has phases of its own; evaluation is nothing else."""
    before = policy.seconds
    with clock(phase):
        yield
    for key, value in policy.seconds.items():
        clock.add(key, value - before[key])
        clock.add(phase, before[key] - value)


def quiet() -> None:
    """Keep the libraries' banners and progress bars off the sweep's own output; errors still appear."""
    import datasets

    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    logging.getLogger("trl").setLevel(logging.ERROR)
    # transformers deprecates what TRL still asks of it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def _device(spec: RunSpec) -> torch.device:
    if spec.gpus_per_worker == 0:
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _scores(scores: dict[str, Score]) -> dict[str, Any]:
    return {kind: dataclasses.asdict(score) for kind, score in scores.items()}
