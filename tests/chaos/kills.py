"""Processes that are killed, stopped or told to end, at a moment of the sweep."""

from __future__ import annotations

import os
import shutil
import signal

from tests.chaos import moments
from tests.chaos.command import Command, Missed
from tests.chaos.faults import fault
from tests.chaos.scene import Scene


@fault("none")
def none(scene: Scene) -> None:
    """Nothing at all: two undisturbed sweeps are equal."""
    with scene.command() as command:
        scene.end(command, [0])
    scene.moment = "the command is given twice"


@fault("plan")
def plan(scene: Scene) -> None:
    """The driver is killed while it plans."""
    with scene.command() as command:
        command.pause(scene.rng.uniform(0.02, 0.4))
        command.kill()
        if (scene.out / "sweep.yaml").exists():
            raise Missed("the plan was made already")
    scene.moment = f"{command.seconds:.2f} s after its start"


@fault("ray")
def ray(scene: Scene) -> None:
    """The driver is killed while it starts Ray."""
    with scene.command() as command:
        command.until(lambda: command.family.named(moments.RAY[0]), "Ray was started")
        command.pause(scene.rng.uniform(0, 0.6))
        begun = [each for each in moments.RAY if command.family.named(each)]
        command.kill()
        if moments.said(command, "starting the rollout engines"):
            raise Missed("Ray was there already")
    scene.moment = f"of Ray {' and '.join(begun)} had been started"


@fault("inits")
def inits(scene: Scene) -> None:
    """The driver is killed while it trains an init that the cache lacks."""
    cold = scene.bench.root / "cold"
    shutil.rmtree(cold, ignore_errors=True)
    with scene.command(variables={"SUBNETRAY_CACHE": str(cold)}) as command:
        begun = command.until(
            lambda: [path.name for path in cold.glob("models/.*") if not path.name.startswith(".blank-")],
            "an init was begun",
        )
        command.pause(scene.rng.uniform(0, 1.0))
        made = [path.name for path in cold.glob("models/*") if not path.name.startswith((".", "blank-"))]
        command.kill()
        if made:
            raise Missed(f"the init {made[0]} was made already")
    with scene.command(variables={"SUBNETRAY_CACHE": str(cold)}) as command:
        scene.end(command, [0])
    left = [path.name for path in cold.glob("models/.*")]
    scene.expect(not left, f"left in the cache: {', '.join(left)}")
    scene.moment = f"{begun[0]} was being filled"


@fault("step")
def step(scene: Scene) -> None:
    """The driver is killed at a step of a run."""
    with scene.command() as command:
        _some_done(scene, command)
        run = command.until(lambda: moments.at_step(scene.out), "a run's first step")
        command.kill()
        lines = (run / "metrics.jsonl").read_bytes().count(b"\n")
        scene.moment = f"run {run.name} after step {lines}, {len(scene.runs.done)} done"


@fault("power")
def power(scene: Scene) -> None:
    """All processes are killed at once between the delta and the result of a run."""
    with scene.command() as command:
        _some_done(scene, command)
        for _ in range(40):
            run = command.until(lambda: moments.between(scene.out), "a run's delta lay there without a result")
            trials = command.family.named(*moments.TRIALS)
            command.send(signal.SIGSTOP, trials)
            if not (run / "result.json").exists():
                command.kill_all()
                break
            command.send(signal.SIGCONT, trials)
        else:
            raise Missed("each time the result was there before the processes could be stopped")
        if (run / "result.json").exists() or not (run / "delta.safetensors").exists():
            raise Missed("the result was there before the processes were gone")
    scene.moment = f"run {run.name} had its delta and no result, {len(scene.runs.done)} done"


@fault("aggregate")
def aggregate(scene: Scene) -> None:
    """The driver is killed while it writes a table."""
    name = scene.rng.choice(["overlap.parquet", "runs.parquet"])
    with scene.command() as command:
        for _ in range(40):
            command.until(lambda: moments.writing(scene.out, name), f"{name} was being written")
            command.send(signal.SIGSTOP)
            if (unfinished := moments.writing(scene.out, name)) is not None:
                command.kill()
                break
            command.send(signal.SIGCONT)
        else:
            raise Missed(f"each time {name} was there before the driver could be stopped")
    scene.moment = f"{unfinished.name} lay there, {len(scene.runs.done)} done"


@fault("report")
def report(scene: Scene) -> None:
    """The driver is killed while it writes the report."""
    there = scene.rng.choice(["", "claims.json", "figures", "tables"])
    with scene.command() as command:
        command.until(lambda: moments.said(command, "writing the report"), "it wrote the report")
        command.until(lambda: (scene.out / there).exists(), f"{there} was there")
        command.kill()
        if moments.said(command, "the report is"):
            raise Missed("the report was written already")
    scene.moment = f"{there or 'nothing'} of it was there"


@fault("trial")
def trial(scene: Scene) -> None:
    """The process of a trial is killed at a step of its run; the command goes on."""
    with scene.command() as command:
        _some_done(scene, command)
        run = command.until(lambda: moments.at_step(scene.out), "a run's first step")
        killed = command.family.named(*moments.TRIALS)[:1]
        if not killed:
            raise Missed("no process of a trial was found")
        command.send(signal.SIGKILL, killed)
        scene.moment = f"while {run.name} trained, {len(scene.runs.done)} done"
        scene.end(command, [0])


@fault("engine-killed")
def engine_killed(scene: Scene) -> None:
    """The process of a rollout engine is killed at a step of a run; the command goes on."""
    _engine(scene, signal.SIGKILL)


@fault("engine-stopped")
def engine_stopped(scene: Scene) -> None:
    """The process of a rollout engine is stopped at a step of a run, and never goes on; the command does."""
    _engine(scene, signal.SIGSTOP)


@fault("sigterm")
def sigterm(scene: Scene) -> None:
    """The driver is told to end, as by a scheduler."""
    _told(scene, signal.SIGTERM)


@fault("sigint")
def sigint(scene: Scene) -> None:
    """The driver is told to end, as by Ctrl-C."""
    _told(scene, signal.SIGINT)


def _engine(scene: Scene, number: signal.Signals) -> None:
    with scene.command() as command:
        _some_done(scene, command)
        command.until(lambda: moments.at_step(scene.out), "a run's first step")
        engines = command.family.named(*moments.ENGINES)
        if not engines:
            raise Missed("no process of an engine was found")
        command.send(number, engines)
        scene.moment = f"{len(scene.runs.done)} done"
        scene.end(command, [0])


def _told(scene: Scene, number: signal.Signals) -> None:
    early = scene.rng.random() < 0.3
    with scene.command() as command:
        if early:
            command.until(lambda: command.family.named(moments.RAY[0]), "Ray was started")
        else:
            _some_done(scene, command)
        # A terminal tells all processes of its group, a scheduler only the one that it knows.
        (os.killpg if number == signal.SIGINT else os.kill)(command.pid, number)
        scene.moment = f"{'Ray was being started' if early else 'runs went on'}, {len(scene.runs.done)} done"
        scene.end(command, [128 + number, -number], limit_s=60)  # which are one to a shell


def _some_done(scene: Scene, command: Command) -> None:
    """Wait until some runs are done, and most are not."""
    count = scene.rng.randint(1, 4 if scene.bench.grid == "chaos" else 2)
    command.until(lambda: len(scene.runs.done) >= count, f"{count} runs were done")
