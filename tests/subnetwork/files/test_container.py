"""The container of masks and deltas: any damage is found, and nothing partial is left behind."""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save_file

from subnetray.subnetwork import CorruptFileError, Delta, Mask
from subnetray.subnetwork.files.container import Layout, load, save, stream

TENSORS = {
    "wide": torch.tensor([1.0, -0.0, math.nan]),
    "bits": torch.tensor([3, 255], dtype=torch.uint8),
    "none": torch.zeros(0, dtype=torch.bfloat16),
}


def _write(path: Path, kind: str = "mask") -> bytes:
    save(path, kind, dict(TENSORS), {"shapes": {"a": [2]}}, {"run_id": "r"})
    return path.read_bytes()


def test_what_was_saved_is_loaded_and_other_tools_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    _write(path)
    tensors, header = load(path, "mask")
    assert {name: tensor.view(torch.uint8).tolist() for name, tensor in tensors.items() if tensor.numel()} == {
        name: tensor.view(torch.uint8).tolist() for name, tensor in TENSORS.items() if tensor.numel()
    }
    assert (tensors["none"].dtype, tensors["none"].shape) == (torch.bfloat16, (0,))
    assert header["shapes"] == {"a": [2]}
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
        assert torch.equal(file.get_tensor("bits"), TENSORS["bits"])
    assert metadata["run_id"] == "r"
    description = json.loads(metadata["subnetray"])
    assert (description["kind"], description["version"]) == ("mask", 2)
    assert description["checksums"]["bits"] == xxhash.xxh3_64_hexdigest(bytes([3, 255]))
    assert [item.name for item in path.parent.iterdir()] == ["file"]


def test_every_flipped_bit_and_every_truncation_is_found_or_harmless(tmp_path: Path) -> None:
    """A flip within the caller's own metadata changes no tensor; any other must be refused."""
    path = tmp_path / "file"
    whole = _write(path)
    expected = [TENSORS[name].view(torch.uint8).tolist() for name in ("wide", "bits")]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFileError, match="file"):
            load(path, "mask")
    survived = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        try:
            tensors, _ = load(path, "mask")
        except CorruptFileError:
            continue
        survived += 1
        assert [tensors[name].view(torch.uint8).tolist() for name in ("wide", "bits")] == expected
    assert survived < 40  # of some 400 bytes: names of keys that load() does not read


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        (None, "was not written by subnetray"),
        ({"subnetray": "{"}, "was not written by subnetray"),
        ({"subnetray": "[1]"}, "was not written by subnetray"),
        ({"subnetray": '{"kind":"delta","version":2,"checksums":{}}'}, "is not a subnetray mask file"),
        ({"subnetray": '{"kind":"mask","version":1,"checksums":{}}'}, "is not a subnetray mask file of version 2"),
        ({"subnetray": '{"kind":"mask","version":2,"checksums":{}}'}, "does not hold the tensors that its header"),
        ({"subnetray": '{"kind":"mask","version":2,"checksums":[]}'}, "does not hold the tensors that its header"),
        ({"subnetray": '{"kind":"mask","version":2,"checksums":{"a":1}}'}, "checksum of 'a' does not match"),
    ],
)
def test_files_of_others_are_refused(tmp_path: Path, metadata: dict[str, str] | None, text: str) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "file", metadata=metadata)
    with pytest.raises(CorruptFileError, match=text):
        load(tmp_path / "file", "mask")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    whole = _write(path)
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        save(path / "below", "mask", dict(TENSORS), {}, {})

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"), stream(path, "mask", Layout({"a": 4}, {}), {}) as writer:
        writer.append("a", np.zeros(4, np.uint8))
    assert path.read_bytes() == whole
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("most", [1, 3, 1 << 20])
def test_streamed_files_are_those_that_save_writes(tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the parts, and when the system writes fewer bytes than it was given."""
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, position: write(file, data[:most], position))
    growing = {"wide": torch.float32, "none": torch.bfloat16, "late": torch.float16, "never": torch.float16}
    tensors = {**TENSORS, "late": torch.tensor([1.0, 2.0, 3.0]).half(), "never": torch.zeros(0).half()}
    layout = Layout({"bits": 2, "padding": 6}, growing)
    with stream(tmp_path / "file", "mask", layout, {"shapes": {}, "hash": "00"}) as writer:
        writer.append("bits", np.array([3], np.uint8))
        writer.append("wide", tensors["wide"][:2].numpy())
        writer.append("bits", np.array([255], np.uint8))
        writer.append("wide", tensors["wide"][2:].numpy())
        writer.append("padding", np.zeros(6, np.uint8))
        writer.append("none", np.zeros(0, np.int16))
        writer.append("late", tensors["late"].numpy())
        writer.description["hash"] = "ff"
    found, header = load(tmp_path / "file", "mask")
    assert found.pop("padding").tolist() == [0] * 6
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert np.array_equal(found[name].float().numpy(), tensor.float().numpy(), equal_nan=True)
    assert (header["shapes"], header["hash"]) == ({}, "ff")
    (length,) = struct.unpack("<Q", (tmp_path / "file").read_bytes()[:8])
    assert length % 8 == 0


def _rewrite(path: Path, tensors: dict[str, torch.Tensor], description: dict[str, object], kind: str) -> None:
    save(path, kind, tensors, description, {})


@pytest.mark.parametrize(
    ("shapes", "bits", "text"),
    [
        ({"a": [9]}, [1], "mask of 'a' must be 2 bytes for its 9 coordinates"),
        ({"a": [3]}, [9], "bits set beyond its 3 coordinates"),
        ({"a": [3], "b": [1]}, [1], "a mask for every shape"),
        ({"a": "x"}, [1], "no readable shapes"),
        ([3], [1], "no readable shapes"),
    ],
)
def test_a_mask_that_does_not_fit_its_shapes_is_refused(
    tmp_path: Path, shapes: object, bits: list[int], text: str
) -> None:
    _rewrite(tmp_path / "m", {"a": torch.tensor(bits, dtype=torch.uint8)}, {"shapes": shapes}, "mask")
    with pytest.raises(CorruptFileError, match=text):
        Mask.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("description", "steps", "text"),
    [
        ({}, [1, 5], "one step for every coordinate"),
        ({}, [1, 5, 6, 7], "one step for every coordinate"),
        ({}, [1, 5, 0, 7], "one step for every coordinate"),  # 0: a longer one follows, of two bytes
        ({}, [2, 5, 0, 7], "one step for every coordinate"),
        ({}, [0], "one step for every coordinate"),
        ({}, [0, 0x51, 6], "one step for every coordinate"),
        ({}, [0, 0x01], "one step for every coordinate"),  # a longer one follows
        ({}, [0, 0x01, 1], "one step for every coordinate"),
        ({}, [0, 0x01, 0, 5], "one step for every coordinate"),  # not of half a byte
        ({}, [3, 5, 6], "one step for every coordinate"),  # no width of bf16's
        ({}, [], "one step for every coordinate"),
        ({}, None, "one step for every coordinate"),
        ({"dtypes": {"a": "int8"}}, [1, 5, 6], "one step for every coordinate"),
        ({"dtypes": {}}, [1, 5, 6], "one step for every coordinate"),
        ({"dtypes": 3}, [1, 5, 6], "one step for every coordinate"),
        ({"final_hash": None}, [1, 5, 6], "no final_hash"),
        ({"init_hash": 3}, [1, 5, 6], "no init_hash"),
    ],
)
def test_a_delta_that_does_not_fit_its_mask_is_refused(
    tmp_path: Path, description: dict[str, object], steps: list[int] | None, text: str
) -> None:
    whole: dict[str, object] = {"shapes": {"a": [3]}, "init_hash": "x", "final_hash": "y", "dtypes": {"a": "bfloat16"}}
    tensors = {"mask/a": torch.tensor([3], dtype=torch.uint8)}
    _rewrite(tmp_path / "d", tensors | {"steps/a": torch.tensor([1, 5, 6], dtype=torch.uint8)}, whole, "delta")
    assert Delta.load(tmp_path / "d").steps["a"].tolist() == [5, 6]
    if steps is not None:
        tensors["steps/a"] = torch.tensor(steps, dtype=torch.uint8)
    _rewrite(tmp_path / "d", tensors, whole | description, "delta")
    with pytest.raises(CorruptFileError, match=text):
        Delta.load(tmp_path / "d")
