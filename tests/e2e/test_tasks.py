"""Tasks of one's own through the main command: records, pairs without a reward, a reward by dotted path; failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.e2e

_REWARDS = """
import time

def shaped(prompt, completion, reference):
    return float(completion == reference) + 0.1 * completion[:1].isdigit()

def raising(prompt, completion, reference):
    return 1 / 0

def hanging(prompt, completion, reference):
    time.sleep(600)
"""
_GRID = """
# @package grid
name: own
overrides: [algorithm.steps=2, algorithm.batch_size=8, evaluation.prompts=4, task.path=data/sums.jsonl]
factors:
  way:
    baseline: own_reward
    levels:
      own_reward: [algorithm=grpo, task=jsonl, task.reward=rewards_of_mine.shaped]
      pairs: [algorithm=dpo, algorithm.data=off_policy, task=jsonl]
      raises: [algorithm=grpo, task=jsonl, task.reward=rewards_of_mine.raising]
      hangs: [algorithm=grpo, task=jsonl, task.reward=rewards_of_mine.hanging, task.timeout_s=0.5]
      diverges: [algorithm=sft, task=jsonl, algorithm.lr=1e30]
one_at_a_time: [way]
"""


def test_tasks_of_one_s_own_and_what_fails_is_recorded_while_the_others_go_on(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "rewards_of_mine.py").write_text(_REWARDS)
    (tmp_path / "conf" / "grid").mkdir(parents=True)
    (tmp_path / "conf" / "grid" / "own.yaml").write_text(_GRID)
    (tmp_path / "data").mkdir()
    records = [{"prompt": f"{n}+1=", "chosen": str(n + 1), "rejected": str(n + 2)} for n in range(99)]
    (tmp_path / "data" / "sums.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    command = [sys.executable, "-m", "subnetray.sweep", "--config-dir=conf", "+grid=own", "tracking=disabled"]
    done = subprocess.run(
        [*command, "task.gold=chosen", "task.rejected=rejected"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "outputs" / "own" / "runs.parquet").to_pylist()
    by_way = {row["way"]: row for row in rows}
    assert {way: row["status"] for way, row in by_way.items()} == {
        "own_reward": "done",
        "pairs": "done",
        "raises": "failed",
        "hangs": "failed",
        "diverges": "failed",
    }
    # A digit earns a tenth, which is no right answer.
    assert by_way["own_reward"]["reward_before"] >= by_way["own_reward"]["accuracy_sampled_before"]
    assert by_way["pairs"]["reward_before"] is by_way["pairs"]["accuracy_greedy_after"] is None
    assert by_way["pairs"]["density_bitwise"] > 0
    assert "task.reward=rewards_of_mine.raising raised ZeroDivisionError: division by zero" in by_way["raises"]["error"]
    assert "task.reward=rewards_of_mine.hanging did not end on the completion" in by_way["hangs"]["error"]
    assert "step" in by_way["diverges"]["error"]
    assert by_way["diverges"]["error"] in (tmp_path / "outputs" / "own" / "report.md").read_text()
