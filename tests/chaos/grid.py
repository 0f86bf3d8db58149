"""The grid that is disturbed, and where its command finds it: short runs of the embedded model, of every kind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

# 20 runs: three methods at two rates, arms whose source is a cell and one whose source is none, rewards of one's own.
_CHAOS = """# @package grid
name: chaos
about: Is the second time right too?
seeds: [0, 1]
overrides:
  - algorithm.steps=4
  - algorithm.batch_size=16
  - evaluation.prompts=16
  - rollout.timeout_s=10
factors:
  method:
    baseline: grpo
    levels:
      grpo: [algorithm=grpo]
      sft: [algorithm=sft]
      dpo: [algorithm=dpo, algorithm.data=on_policy]
  learning_rate:
    baseline: "1e-4"
    levels:
      "1e-5": [algorithm.lr=1e-5]
      "1e-4": [algorithm.lr=1e-4]
  mask:
    baseline: full
    levels:
      full: []
      random: [subnetwork.mask=random]
      elsewhere: [subnetwork.mask=oracle, "subnetwork.source=['algorithm.lr=3e-5']"]
  data:
    baseline: arithmetic
    levels:
      arithmetic: [task=arithmetic]
      own: [task=jsonl, task.path=sums.jsonl, task.gold=right, task.reward=rewards_of_chaos.score, task.timeout_s=2]
one_at_a_time: [mask, data]
crossed:
  - method: [grpo, sft, dpo]
    learning_rate: ["1e-5", "1e-4"]
"""
# 6 runs, one of them restricted to the mask of another.
_SMALL = """# @package grid
name: small
about: Is the second time right too?
seeds: [0, 1]
overrides:
  - algorithm.steps=4
  - algorithm.batch_size=16
  - evaluation.prompts=16
  - rollout.timeout_s=10
factors:
  method:
    baseline: sft
    levels:
      sft: [algorithm=sft]
      grpo: [algorithm=grpo]
  mask:
    baseline: full
    levels:
      full: []
      random: [subnetwork.mask=random]
one_at_a_time: [method, mask]
"""
# Runs of the first grid, and some that must fail: one that blows up, and one whose mask would be that one's.
_DIVERGING = """# @package grid
name: diverging
about: Does a run that blows up fail alone?
seeds: [0]
overrides:
  - algorithm.steps=4
  - algorithm.batch_size=16
  - evaluation.prompts=16
  - rollout.timeout_s=10
factors:
  method:
    baseline: sft
    levels:
      sft: [algorithm=sft, algorithm.lr=1e-4]
      grpo: [algorithm=grpo, algorithm.lr=1e-4]
      absurd: [algorithm=sft, algorithm.lr={rate}]
  mask:
    baseline: full
    levels:
      full: []
      of_absurd: [subnetwork.mask=oracle, "subnetwork.source=['algorithm.lr={rate}']"]
one_at_a_time: [method, mask]
"""
GRIDS = {"chaos": _CHAOS, "small": _SMALL}

# It behaves as the file beside it says, which is no part of any run's identity: a service that is down, and comes back.
_REWARDS = '''"""The reward of the runs data=own."""

import os
import sys
import time
from pathlib import Path


def score(prompt, completion, reference):
    mood = Path(__file__).with_name("mood").read_text()
    if mood == "raise":
        raise RuntimeError("the service is down")
    if mood == "hang":
        time.sleep(600)
    if mood == "nan":
        return float("nan")
    if mood == "exit":
        sys.exit(0)
    if mood == "die":
        os._exit(0)
    return float(completion == reference) + 0.1 * completion[:1].isdigit()
'''
MOODS = ("good", "raise", "hang", "nan", "exit", "die")

# The mode of tracking is in a file and not among the overrides: so every command is the same to the letter, and every
# ``sweep.yaml`` too.
_TRACKING = "defaults:\n  - schema_tracking\n  - _self_\n\nmode: {mode}\n"


@dataclass(frozen=True)
class Layout:
    """A working directory for the command: grids, data and a reward in it, results in ``sweep``."""

    directory: Path
    grid: str = "chaos"
    rollout: str = "vllm"

    @property
    def out(self) -> Path:
        return self.directory / "sweep"

    @property
    def words(self) -> list[str]:
        """Return the words behind ``python -m subnetray.sweep``."""
        return ["--config-dir=conf", f"+grid={self.grid}", f"rollout={self.rollout}", "tracking=chosen", "out=sweep"]

    def write(self) -> None:
        """Write all but results."""
        for name, text in GRIDS.items():
            self._write(f"conf/grid/{name}.yaml", text)
        self._write("rewards_of_chaos.py", _REWARDS)
        sums = [{"prompt": f"{n}+1=", "right": str(n + 1)} for n in range(99)]
        self._write("sums.jsonl", "".join(json.dumps(each) + "\n" for each in sums))
        self.track("offline")
        self.behave("good")

    def track(self, mode: str) -> None:
        """Set the mode of tracking."""
        self._write("conf/tracking/chosen.yaml", _TRACKING.format(mode=mode))

    def behave(self, mood: str) -> None:
        """Set what the reward of ``data=own`` does."""
        assert mood in MOODS
        self._write("mood", mood)

    def diverging(self, rate: str) -> list[str]:
        """Words for a sweep in which the runs at the learning rate ``rate`` must fail."""
        self._write("conf/grid/diverging.yaml", _DIVERGING.format(rate=rate))
        return [word.replace(f"+grid={self.grid}", "+grid=diverging") for word in self.words]

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
