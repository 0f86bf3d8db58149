"""Two directories are equal in every byte but times, and where they are not, it is said which file and what."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from tests.chaos.compare import differences, unfinished


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal sweeps."""
    for name in ("one", "other"):
        run = tmp_path / name / "runs" / "0123456789ab"
        run.mkdir(parents=True)
        (run / "result.json").write_text(json.dumps({"status": "done", "density": {"bitwise": 0.25}}))
        (run / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
        save_file({"a": torch.arange(4)}, run / "mask.safetensors", metadata={"run_id": "0123456789ab"})
        pq.write_table(pa.table({"run": ["x", "y"], "o1": [0.5, 0.25]}), tmp_path / name / "overlap.parquet")
        (tmp_path / name / "report.md").write_text("# Report\n\nfound\n")
    return tmp_path / "one", tmp_path / "other"


def test_copies_are_equal(pair: tuple[Path, Path]) -> None:
    assert differences(*pair) == []


@pytest.mark.parametrize("name", ["time.json", "runs/0123456789ab/time.jsonl", "time.parquet", ".lock", "wandb/x.txt"])
def test_times_and_what_is_the_sweep_s_own_do_not_count(pair: tuple[Path, Path], name: str) -> None:
    for number, directory in enumerate(pair):
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}")
    assert differences(*pair) == []


def test_a_file_too_many_and_one_too_few_are_named(pair: tuple[Path, Path]) -> None:
    one, other = pair
    (other / "report.md").rename(other / "report.txt")
    assert differences(one, other) == ["report.md is missing", "report.txt should not be there"]


def _change(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def test_what_differs_is_said_by_its_place_in_the_file(pair: tuple[Path, Path]) -> None:
    one, other = pair
    run = other / "runs" / "0123456789ab"
    _change(run / "result.json", "0.25", "0.75")
    _change(run / "metrics.jsonl", '"loss": 0.25', '"loss": 0.125')
    _change(other / "report.md", "found", "lost")
    pq.write_table(pa.table({"run": ["x", "y"], "o1": [0.5, 0.3]}), other / "overlap.parquet")
    save_file({"a": torch.arange(4) + 1}, run / "mask.safetensors", metadata={"run_id": "0123456789ab"})
    assert differences(one, other) == [
        "overlap.parquet differs: 1 columns, first o1 of row 1: 0.3, not 0.25",
        "report.md differs: line 3 is lost, not found",
        "runs/0123456789ab/mask.safetensors differs: its tensors",
        "runs/0123456789ab/metrics.jsonl differs: [1].loss is 0.125, not 0.25",
        "runs/0123456789ab/result.json differs: density.bitwise is 0.75, not 0.25",
    ]


def test_the_same_values_in_other_bytes_are_not_equal(pair: tuple[Path, Path]) -> None:
    one, other = pair
    path = other / "runs" / "0123456789ab" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    pq.write_table(pq.read_table(other / "overlap.parquet"), other / "overlap.parquet", compression="none")
    assert differences(one, other) == [
        "overlap.parquet differs: the same values in other bytes",
        "runs/0123456789ab/result.json differs: the same values in other bytes",
    ]


def test_of_a_long_line_the_place_is_shown_where_it_begins_to_differ(pair: tuple[Path, Path]) -> None:
    for directory, word in zip(pair, ("one", "two"), strict=True):
        (directory / "report.md").write_text("a" * 200 + word)
    assert differences(*pair) == [f"report.md differs: line 1 is ...{'a' * 20}two, not ...{'a' * 20}one"]


def test_a_file_that_cannot_be_read_is_told_by_its_first_other_byte(pair: tuple[Path, Path]) -> None:
    one, other = pair
    path = other / "overlap.parquet"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-10])
    assert differences(one, other) == [
        f"overlap.parquet differs: {size} bytes became {size - 10}, and byte {size - 10} is the first that is another"
    ]


def test_what_is_left_of_writes_that_were_cut_off_is_found(pair: tuple[Path, Path]) -> None:
    one, _ = pair
    (one / ".overlap.parquet.a1b2c3d4").write_bytes(b"")
    (one / ".tune" / ".hidden").mkdir(parents=True)
    (one / ".lock").write_bytes(b"")
    (one / ".seen.json").write_bytes(b"")
    assert unfinished(one) == [".overlap.parquet.a1b2c3d4", ".tune"]
