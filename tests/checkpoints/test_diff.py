"""``python -m subnetray.diff``: counts, masks and deltas are those of weights in memory."""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from subnetray import diff
from subnetray.checkpoints import Work, loops, open_checkpoint, part
from subnetray.checkpoints import compare as module
from subnetray.checkpoints.loops import IN_MEMORY, Found, Place
from subnetray.checkpoints.match import match
from subnetray.diff import main
from subnetray.subnetwork import Delta, Mask, compare, hashing, weights_hash
from subnetray.subnetwork import delta as delta_module
from subnetray.subnetwork.counting import Thresholds
from subnetray.subnetwork.files import encoding as steps_module
from tests.checkpoints import pairs


@pytest.mark.parametrize("shards", [(1, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_counts_mask_and_delta_are_those_of_weights_in_memory(
    tmp_path: Path, shards: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "Work", functools.partial(Work, part=512))  # several blocks a part, and parts a tensor
    monkeypatch.setattr(part, "BLOCK", 256)
    monkeypatch.setattr(hashing, "BLOCK", 256)
    monkeypatch.setattr(delta_module, "BLOCK", 256)
    monkeypatch.setattr(steps_module, "BLOCK", 256)
    init = pairs.weights(dtype=dtype)
    final = pairs.moved(init)
    final["model.norm.weight"] = init["model.norm.weight"]
    one, two = pairs.save(tmp_path / "init", init, shards[0]), pairs.save(tmp_path / "final", final, shards[1])
    found = pairs.diff(one, two, tmp_path / "out", "threads=3")
    pairs.check(found, init, final)
    assert found["skipped"] == []
    assert found["bytes_read"] == 2 * found["n"] * init["lm_head.weight"].element_size()
    assert Mask.load(tmp_path / "out" / "mask.safetensors") == Mask.between(init, final)
    delta = Delta.load(tmp_path / "out" / "delta.safetensors")
    assert delta.init_hash == weights_hash(init)
    delta.verify(init)
    assert weights_hash(delta.apply(init)) == weights_hash(final)


@pytest.mark.e2e
def test_a_ray_cluster_gives_the_same_bytes(tmp_path: Path) -> None:
    """A process of its own: Ray must not have been imported before."""
    init = pairs.weights()
    one, two = (
        pairs.save(tmp_path / "init", init, shards=2),
        pairs.save(tmp_path / "final", pairs.moved(init), shards=3),
    )
    local = pairs.diff(one, two, tmp_path / "local")
    words = [sys.executable, "-m", "subnetray.diff", f"init={one}", f"final={two}", "cluster=ray"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    subprocess.run([*words, f"out={tmp_path / 'ray'}"], check=True, env=environment)
    found = json.loads((tmp_path / "ray" / "diff.json").read_text())
    assert {**found, "seconds": 0} == {**local, "seconds": 0}
    for name in ("mask.safetensors", "delta.safetensors"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_bit_for_bit_alone_gives_the_same_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = pairs.weights()
    final = pairs.moved(init)
    init["model.norm.weight"][:4] = torch.tensor([0.0, -0.0, 0.0, math.nan])
    final["model.norm.weight"][:4] = torch.tensor([-0.0, 0.0, 1e-40, math.inf])
    one, two = pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", final)
    assert main([f"init={one}", f"final={two}", "tolerances=[]", "ulps=[]"]) == 0
    said = capsys.readouterr().out
    expected = compare(init, final, ())
    assert f"{expected.sparsity_bitwise:.2%}" in said
    assert "1 coordinates are NaN or infinite" in said
    with open_checkpoint(one, "init") as a, open_checkpoint(two, "final") as b:
        found = module.compare_checkpoints(match(a, b), Thresholds(), None, Work(2)).comparison
    assert sorted(found.tensors, key=str) == sorted(expected.tensors, key=str)


@pytest.mark.parametrize("done", [0, 256])
def test_a_read_that_is_interrupted_goes_on(tmp_path: Path, done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    init, final = pairs.weights(), pairs.moved(pairs.weights())
    one, two = pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", final)
    scan, tally, calls = loops.scan_places, loops.tally_places, list[Place]()

    def interrupted(function: Callable[..., Found], *arguments: Any) -> Found:
        (old, new), n, *rest = arguments
        again = old == IN_MEMORY or old in calls  # each place once, whichever thread comes first
        calls.append(old)
        return function(*arguments) if again or n <= done else function((old, new), done, *rest)

    monkeypatch.setattr(part, "BLOCK", 256)
    monkeypatch.setattr(hashing, "BLOCK", 256)
    monkeypatch.setattr(delta_module, "BLOCK", 256)
    monkeypatch.setattr(steps_module, "BLOCK", 256)
    monkeypatch.setattr(part, "scan_places", functools.partial(interrupted, scan))
    monkeypatch.setattr(part, "tally_places", functools.partial(interrupted, tally))
    pairs.check(pairs.diff(one, two, tmp_path / "out"), init, final)
    delta = Delta.load(tmp_path / "out" / "delta.safetensors")
    delta.verify(init)
    assert weights_hash(delta.apply(init)) == weights_hash(final)
    assert calls.count(IN_MEMORY) >= 3  # so many tensors are longer
    calls.clear()
    with open_checkpoint(one, "init") as a, open_checkpoint(two, "final") as b:
        found = module.compare_checkpoints(match(a, b), Thresholds(), None, Work(2)).comparison
    assert found.changed_bitwise == compare(init, final, ()).changed_bitwise
    assert len(calls) > len(init)


@pytest.mark.parametrize("tolerances", ["[]", "[0,1e-5]"])
def test_one_side_that_has_to_be_converted_is_counted_alike(tmp_path: Path, tolerances: str) -> None:
    init, final = pairs.weights(dtype=torch.float32), pairs.moved(pairs.weights())
    one = pairs.save(tmp_path / "init", init)
    (tmp_path / "final").mkdir()
    torch.save(final, tmp_path / "final" / "pytorch_model.bin")
    words = [f"tolerances={tolerances}", "ulps=[]"]
    found = pairs.diff(one, tmp_path / "final", tmp_path / "out", *words)
    expected = compare({name: tensor.bfloat16() for name, tensor in init.items()}, final, ())
    assert found["sparsity"]["bitwise"] == expected.sparsity_bitwise
    with open_checkpoint(one, "a") as a, open_checkpoint(tmp_path / "final", "b") as b:
        counted = module.compare_checkpoints(match(a, b), Thresholds(), None, Work(1)).comparison
    assert counted.changed_bitwise == expected.changed_bitwise


def test_pytorch_files_are_read_without_running_anything(tmp_path: Path) -> None:
    init, final = pairs.weights(), pairs.moved(pairs.weights())
    one = pairs.save(tmp_path / "init", init)
    two = tmp_path / "final"
    two.mkdir()
    torch.save(final, two / "pytorch_model.bin")
    pairs.check(pairs.diff(one, two, tmp_path / "out"), init, final)
    torch.save({"a": print}, two / "pytorch_model.bin")
    assert main([f"init={one}", f"final={two}"]) == 2


def test_mixed_dtypes_are_compared_in_the_dtype_asked_for(tmp_path: Path) -> None:
    init = pairs.weights(dtype=torch.float32)
    final = pairs.moved(init, scale=1e-5)
    one = pairs.save(tmp_path / "init", init)
    two = pairs.save(tmp_path / "final", {name: tensor.bfloat16() for name, tensor in final.items()})
    rounded = {name: tensor.bfloat16() for name, tensor in init.items()}
    found = pairs.diff(one, two, tmp_path / "out")
    pairs.check(found, rounded, {name: tensor.bfloat16() for name, tensor in final.items()})
    assert "rounded" in found["no_delta"]
    assert not (tmp_path / "out" / "delta.safetensors").exists()
    both = pairs.save(tmp_path / "both", final)
    pairs.check(
        pairs.diff(one, both, tmp_path / "half", "dtype=float16"),
        *({name: tensor.half() for name, tensor in weights.items()} for weights in (init, final)),
    )


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """Two files of 320 MiB, of both kinds: neither is held in memory, mapped or not, beside the chunks in work."""
    shape = (8, 5 << 20)
    weights = [{f"model.layers.{n}.x": torch.full(shape, value).bfloat16() for n in range(4)} for value in (1.0, 2.0)]
    pairs.save(tmp_path / "init", weights[0])
    (tmp_path / "final").mkdir()
    torch.save(weights[1], tmp_path / "final" / "pytorch_model.bin")
    # Not ru_maxrss, which a child takes over from its parent.
    code = (
        "import re, sys; from pathlib import Path; from subnetray.diff import main;"
        "peak = lambda: int(re.search('VmHWM:\\\\s*(\\\\d+)', Path('/proc/self/status').read_text())[1]) // 1024;"
        "base = peak();"
        "assert main(sys.argv[1:]) == 0;"
        "print('used', peak() - base)"
    )
    words = [f"init={tmp_path / 'init'}", f"final={tmp_path / 'final'}", f"out={tmp_path / 'out'}", "threads=2"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    used = int(done.stdout.split("used ")[1])
    assert used < 350
    assert json.loads((tmp_path / "out" / "diff.json").read_text())["sparsity"]["bitwise"] == 0


def test_names_of_tensors_are_shown_as_they_are_and_control_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = pairs.weights() | {"[bold]x[/bold] :smile: \x1b[31mred": torch.ones(3)}
    final = pairs.moved(pairs.weights()) | {"[/nosuch]y": torch.ones(3)}
    pairs.diff(pairs.save(tmp_path / "a", init), pairs.save(tmp_path / "b", final), tmp_path / "out")
    said = " ".join(capsys.readouterr().out.split())
    assert "[bold]x[/bold] :smile: \\x1b[31mred" in said
    assert "[/nosuch]y" in said
    assert "\x1b[31m" not in said
