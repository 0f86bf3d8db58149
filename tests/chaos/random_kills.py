"""A sweep of any grid whose driver is killed at a random second, again and again, and then let be."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos.command import Command
from tests.chaos.compare import differences, unfinished
from tests.chaos.report import Outcome
from tests.chaos.runs import Runs

# Of the undisturbed sweep's time: so that ten kills fall into a sweep that still has runs to do.
_SHARE = 0.5
_FIRST_S = 1.0


def random_kills(
    root: Path, words: Sequence[str], kills: int, seed: int, say: Callable[[str], None], undisturbed: Path | None = None
) -> Outcome:
    """Kill the driver of ``python -m subnetray.sweep *words`` ``kills`` times, and compare with ``undisturbed``.

    Both write to a directory ``sweep`` of a working directory of the same path, unless an undisturbed one is given.
    """
    here, kept = root / "here", root / "undisturbed"
    shutil.rmtree(here, ignore_errors=True)
    if undisturbed is None:
        seconds, undisturbed = _undisturbed(here, words, kept)
        say(f"undisturbed: {seconds:.0f} s")
    else:
        seconds = 120.0
    here.mkdir(parents=True)
    began, rng, runs = time.monotonic(), random.Random(f"random kills {seed}"), Runs(here / "sweep")
    orphans: list[str] = []
    problems: list[str] = []
    for number in range(1, kills + 1):
        due = rng.uniform(_FIRST_S, max(_FIRST_S, _SHARE * seconds))
        with _command(here, words, root / "logs" / f"kill-{number}.txt", runs) as command:
            code = command.wait(due)
            command.kill()
        orphans += command.orphans
        how = f"killed after {due:.1f} s" if code is None else f"ended with {code} before {due:.1f} s had passed"
        if code not in (None, 0):
            problems.append(f"command {number} ended with {code}: {command.said.strip()[-160:]}")
        say(f"{number} of {kills}: {how}; {len(runs.done)} runs done, {len(command.orphans)} orphans")
    with _command(here, words, root / "logs" / "last.txt", runs) as command:
        code = command.wait(3600)
    orphans += command.orphans
    if code != 0:
        problems.append(f"the last command ended with {code}: {command.said.strip()[-160:]}")
    problems += differences(undisturbed, here / "sweep")
    problems += [f"left in the sweep: {name}" for name in unfinished(here / "sweep")]
    return Outcome(
        seed=seed,
        fault="random-kills",
        about="The driver is killed at a random second, again and again",
        moment=f"{kills} kills; {' '.join(words)}",
        seconds=time.monotonic() - began,
        lost=runs.lost,
        repeated=runs.repeated,
        orphans=orphans,
        problems=problems,
    )


def _undisturbed(here: Path, words: Sequence[str], kept: Path) -> tuple[float, Path]:
    here.mkdir(parents=True)
    began = time.monotonic()
    subprocess.run(_line(words), cwd=here, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(kept, ignore_errors=True)
    (here / "sweep").rename(kept)
    shutil.rmtree(here)
    return time.monotonic() - began, kept


def _command(here: Path, words: Sequence[str], log: Path, runs: Runs) -> Command:
    log.parent.mkdir(parents=True, exist_ok=True)
    return Command(_line(words), here, log, runs)


def _line(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "subnetray.sweep", *words, "out=sweep"]
