"""The file of scores: what was kept comes back, rounded to bf16, and damage is found."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from subnetray.subnetwork import CorruptFileError, Mask, load_scores, save_scores
from tests.subnetwork.strategies import raw

SHAPES = {"a.weight": (2, 3), "none": (0,), "b": ()}


def test_scores_come_back_by_name_and_other_tools_can_read_them(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = {
        score: {name: torch.rand(shape, generator=generator) for name, shape in SHAPES.items()}
        for score in ("update", "gradient")
    }
    path = tmp_path / "early-5.safetensors"
    save_scores(path, 5, SHAPES, {score: iter(tensors.values()) for score, tensors in scores.items()})
    for score, tensors in scores.items():
        loaded = load_scores(path, score)
        assert list(loaded) == list(SHAPES)
        for name, tensor in tensors.items():
            assert loaded[name].shape == tensor.shape
            assert raw(loaded[name]) == raw(tensor.bfloat16())
    with safe_open(str(path), framework="pt") as file:
        assert json.loads(file.metadata()["subnetray"])["step"] == 5
        assert file.get_tensor("update/a.weight").tolist() == scores["update"]["a.weight"].bfloat16().flatten().tolist()
    # A header, and two bytes a coordinate and score.
    coordinates = sum(math.prod(shape) for shape in SHAPES.values())
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert path.stat().st_size == header + 2 * len(scores) * coordinates


def test_what_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "early-1.safetensors"
    save_scores(path, 1, {"w": (4,)}, {"update": [torch.ones(4)]})
    with pytest.raises(CorruptFileError, match="'snip'"):
        load_scores(path, "snip")
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CorruptFileError, match="checksum"):
        load_scores(path, "update")
    Mask.from_bools({"w": torch.tensor([True])}).save(path, {})
    with pytest.raises(CorruptFileError, match="not a subnetray scores file"):
        load_scores(path, "update")
