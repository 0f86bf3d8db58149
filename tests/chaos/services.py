"""Make what a sweep leans on fail: W&B, a reward, the arithmetic of a learning rate."""

from __future__ import annotations

import re
import shutil

from tests.chaos.command import Command, Missed
from tests.chaos.faults import fault
from tests.chaos.moments import said
from tests.chaos.scene import Scene
from tests.chaos.wandb_server import Server

# What W&B may cost a sweep, and what a busy machine may: a share of the undisturbed one's time.
_TRACKING_S, _BUSY = 10.0, 0.5


@fault("wandb-refuses", tracked=False)
def wandb_refuses(scene: Scene) -> None:
    """W&B refuses: nobody listens, the key is not known, or the server is broken."""
    _wandb(scene, scene.rng.choice(["closed", "unauthorised", "broken"]))


@fault("wandb-stalls", tracked=False)
def wandb_stalls(scene: Scene) -> None:
    """W&B takes every request and answers none."""
    _wandb(scene, "silent")


@fault("wandb-dies", tracked=False)
def wandb_dies(scene: Scene) -> None:
    """W&B works at first, and is gone once steps of a run were sent."""
    _wandb(scene, "well")


@fault("reward-raises")
def reward_raises(scene: Scene) -> None:
    """The reward of two runs raises."""
    _reward(scene, "raise")


@fault("reward-hangs")
def reward_hangs(scene: Scene) -> None:
    """The reward of two runs never returns."""
    _reward(scene, "hang")


@fault("reward-nan")
def reward_nan(scene: Scene) -> None:
    """The reward of two runs is no number."""
    _reward(scene, "nan")


@fault("reward-exits")
def reward_exits(scene: Scene) -> None:
    """The reward of two runs ends its process, as if all were well."""
    _reward(scene, scene.rng.choice(["exit", "die"]))


@fault("nan-loss", tracked=False)
def nan_loss(scene: Scene) -> None:
    """A learning rate is absurd: the run fails by name, as does one that needs it, and the others are done."""
    rate = scene.rng.choice(["1e3", "1e30"])
    words = scene.layout.diverging(rate)
    scene.moment = f"lr={rate}"
    first = scene.layout.directory / "first"
    for again in range(2):
        with scene.command(words) as command:
            scene.end(command, [1])
        _failed(scene, command, "method=absurd", again == 1)
        _failed(scene, command, "mask=of_absurd", again == 1)
        scene.runs.look()
        scene.expect(len(scene.runs.done) == 2, f"{len(scene.runs.done)} runs were done, not 2")
        if again == 0:
            shutil.copytree(scene.out, first)
    scene.expect_equal(first, scene.out)
    known = [run_id for run_id in scene.runs.done if (scene.bench.undisturbed / "runs" / run_id).is_dir()]
    scene.expect(len(known) == 2 or scene.bench.grid != "chaos", "the runs of another grid have other ids")
    for run_id in known:
        scene.expect_equal(scene.bench.undisturbed / "runs" / run_id, scene.out / "runs" / run_id)
    scene.finished = True


def _wandb(scene: Scene, way: str) -> None:
    scene.layout.track("online")
    undisturbed = scene.bench.seconds or 0.0
    with Server(way) as server:
        with scene.command(variables=server.environment) as command:
            if way == "well":
                command.until(lambda: server.logged >= 2, "steps of a run were sent")
                server.die()
            scene.end(command, [0])
        if way != "closed" and not server.asked:
            raise Missed("nobody asked the server anything")
    limit = undisturbed * (1 + _BUSY) + _TRACKING_S
    scene.expect(
        command.seconds <= limit, f"it took {command.seconds:.0f} s, and undisturbed {undisturbed:.0f}: W&B held it up"
    )
    scene.expect(re.search(r"W&B|wandb", command.said, re.IGNORECASE) is not None, "it did not say a word of W&B")
    scene.moment = f"{way}, {server.asked} requests; {command.seconds:.0f} s, undisturbed {undisturbed:.0f}"
    scene.layout.track("offline")


def _reward(scene: Scene, mood: str) -> None:
    scene.layout.behave(mood)
    with scene.command() as command:
        scene.end(command, [1])
    for seed in (0, 1):
        _failed(scene, command, f"data=own seed={seed}")
    scene.runs.look()
    whole = len(list((scene.bench.undisturbed / "runs").iterdir()))
    scene.expect(len(scene.runs.done) == whole - 2, f"{len(scene.runs.done)} runs were done, not {whole - 2}")
    scene.expect((scene.out / "report.md").is_file(), "there is no report of the runs that were done")
    scene.layout.behave("good")
    scene.moment = f"mood {mood}, {len(scene.runs.done)} done"


def _failed(scene: Scene, command: Command, label: str, again: bool = False) -> None:
    """Expect that a run failed and was named."""
    found = re.search(rf"{re.escape(label)}[^\n|]*: failed: ", command.said)
    scene.expect(found is not None, f"it did not say that {label} failed{', the second time' if again else ''}")
    scene.expect(said(command, "failed"), "it did not say that runs failed")
