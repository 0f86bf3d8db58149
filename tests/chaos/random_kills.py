"""A sweep of any grid whose driver is killed at a random second, again and again, and then let be."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import tracked
from tests.chaos.command import Command
from tests.chaos.compare import differences, unfinished
from tests.chaos.report import Outcome
from tests.chaos.runs import Runs
from tests.chaos.scene import SWEEP

# Of the undisturbed sweep's time: so that ten kills fall into a sweep that still has runs to do.
_SHARE = 0.2
_FIRST_S = 1.0
_LAST_S = 3600.0


@dataclass(frozen=True)
class RandomKills:
    """A command, ``words`` after ``program``, that writes to ``sweep`` in the working directory ``root/here``."""

    root: Path
    words: tuple[str, ...]
    say: Callable[[str], None]
    program: tuple[str, ...] = SWEEP

    @property
    def _here(self) -> Path:
        return self.root / "here"

    def undisturbed(self) -> tuple[Path, float]:
        """The directory of a sweep that nobody disturbed, made if it is not there, and the seconds that it took."""
        kept, noted = self.root / "undisturbed", self.root / "seconds"
        if not noted.is_file():
            self._clear()
            with self._command("undisturbed", Runs(self._here / "sweep")) as command:
                code = command.wait(_LAST_S)
            if code != 0:
                raise RuntimeError(f"the undisturbed sweep did not end well: {command.said.strip()[-500:]}")
            shutil.rmtree(kept, ignore_errors=True)
            (self._here / "sweep").rename(kept)
            noted.write_text(f"{command.seconds:.1f}")
        seconds = float(noted.read_text())
        self.say(f"undisturbed: {seconds:.0f} s")
        return kept, seconds

    def run(self, kills: int, seed: int, undisturbed: Path | None = None) -> Outcome:
        """Kill the driver ``kills`` times, each time after a random second, and compare what it ends with."""
        expected, seconds = self.undisturbed() if undisturbed is None else (undisturbed, 120.0)
        self._clear()
        began, rng, runs = time.monotonic(), random.Random(f"random kills {seed}"), Runs(self._here / "sweep")
        orphans: list[str] = []
        problems: list[str] = []
        for number in range(1, kills + 1):
            due = rng.uniform(_FIRST_S, max(_FIRST_S, _SHARE * seconds))
            with self._command(f"{seed}-kill-{number}", runs) as command:
                code = command.wait(due)
                command.kill()
            orphans += command.orphans
            how = f"killed after {due:.1f} s" if code is None else f"ended with {code} within {due:.1f} s"
            if code not in (None, 0):
                problems.append(f"command {number} ended with {code}: {command.said.strip()[-160:]}")
            self.say(f"{number} of {kills}: {how}; {len(runs.done)} runs done, {len(command.orphans)} orphans")
        with self._command(f"{seed}-last", runs) as command:
            code = command.wait(_LAST_S)
        orphans += command.orphans
        if code != 0:
            problems.append(f"the last command ended with {code}: {command.said.strip()[-160:]}")
        found = self._here / "sweep"
        problems += differences(expected, found)
        if (expected / "wandb").is_dir():
            problems += tracked.problems(found / "wandb", tracked.steps(expected))
        problems += [f"left in the sweep: {name}" for name in unfinished(found)]
        return Outcome(
            seed=seed,
            fault="random-kills",
            about="The driver is killed at a random second, again and again",
            moment=f"{kills} kills; {' '.join(self.words)}",
            seconds=time.monotonic() - began,
            lost=runs.lost,
            repeated=runs.repeated,
            orphans=orphans,
            problems=problems,
        )

    @property
    def _line(self) -> Sequence[str]:
        return [*self.program, *self.words, "out=sweep"]

    def _clear(self) -> None:
        shutil.rmtree(self._here, ignore_errors=True)
        self._here.mkdir(parents=True)

    def _command(self, name: str, runs: Runs) -> Command:
        log = self.root / "logs" / f"{name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        return Command(self._line, self._here, log, runs)
