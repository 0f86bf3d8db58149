"""A mask's file before a run: its identity, and one sentence for each way in which it is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from subnetray.config import ConfigError
from subnetray.mask_file import inspect
from subnetray.subnetwork import Delta, Mask
from subnetray.subnetwork.files import container

ONES = {"a.weight": torch.ones(300, 70, dtype=torch.bool), "b.bias": torch.arange(5) == 2}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Mask.from_bools(ONES).save(tmp_path / "mask.safetensors", {"run_id": "one"})
    return tmp_path / "mask.safetensors"


def test_identity_is_of_shapes_and_bits_alone(path: Path, tmp_path: Path) -> None:
    digest = inspect(path).digest
    other = tmp_path / "other.safetensors"
    Mask.from_bools(ONES).save(other, {"run_id": "two"})
    assert other.read_bytes() != path.read_bytes()
    assert inspect(other).digest == digest
    for changed in (
        ONES | {"b.bias": torch.arange(5) == 3},
        ONES | {"a.weight": ONES["a.weight"].T},
        {"c.weight": ONES["a.weight"], "b.bias": ONES["b.bias"]},
    ):
        Mask.from_bools(changed).save(other, {})
        assert inspect(other).digest != digest
    assert inspect(path).shapes == {"a.weight": (300, 70), "b.bias": (5,)}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_version_1(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(container._VERSIONS, "mask", 1)
        Mask.from_bools(ONES).save(path, {})


def a_delta(path: Path) -> None:
    Delta.between({"w": torch.zeros(3)}, {"w": torch.ones(3)}).save(path, {})


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, r"cannot be read \(No such file"),
    "a directory": (to_directory, "cannot be read"),
    "no bytes": (lambda path: path.write_bytes(b""), "damaged"),
    "text": (lambda path: path.write_text("a mask, honestly"), "damaged"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-3]), "damaged"),
    "a flipped bit": (flip, "damaged"),
    "a delta": (a_delta, "holds a delta"),
    "of an earlier version": (of_version_1, "is of version 1"),
    "zeros": (lambda path: Mask.from_bools({"w": torch.zeros(3, dtype=torch.bool)}).save(path, {}), "empty mask"),
    "no tensors": (lambda path: Mask.from_bools({}).save(path, {}), "empty mask"),
}


@pytest.mark.parametrize(("damage", "text"), [pytest.param(*case, id=name) for name, case in DAMAGE.items()])
def test_what_is_no_mask_is_named_in_one_sentence(path: Path, damage: Callable[[Path], object], text: str) -> None:
    damage(path)
    with pytest.raises(ConfigError, match=f"^subnetwork.mask: .*mask.safetensors .*{text}") as found:
        inspect(path)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ({"a.weight": (70, 300), "b.bias": (5,)}, r"'a.weight' is of shape \[300, 70\] in the mask and of shape \[70"),
        ({"a.weight": (300, 70)}, "'b.bias' is of shape .* and absent in the model"),
        ({"a.weight": (300, 70), "b.bias": (5,), "c": (1,)}, "'c' is absent in the mask"),
    ],
)
def test_another_model_is_refused(path: Path, shapes: dict[str, tuple[int, ...]], text: str) -> None:
    inspect(path).require(inspect(path).shapes, Path("model"))
    with pytest.raises(ConfigError, match=f"^subnetwork.mask: .*another model than model: tensor {text}"):
        inspect(path).require(shapes, Path("model"))


def test_no_torch_is_needed(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from subnetray.mask_file import inspect;"
        "inspect(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 0
