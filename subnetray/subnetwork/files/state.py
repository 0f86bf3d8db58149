"""Keep what something needs to go on as if it had never stopped: tensors and plain values by name, in one file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from subnetray.subnetwork.bits import flat_integers, from_integers
from subnetray.subnetwork.files import container
from subnetray.subnetwork.files.container import CorruptFileError
from subnetray.subnetwork.loops.scatter import kept, put
from subnetray.subnetwork.mask import pack, unpack
from subnetray.subnetwork.weights import Weights

_KIND, _VALUES = "checkpoint", "values.json"
_WHOLE, _WHERE, _CHANGED = "whole", "where", "changed"
_LENGTHS, _NUMBERS = "lengths", "numbers"


@dataclass
class State:
    """``tensors`` of any shape and ``values`` as JSON has them; parts have names of their own in both."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def put(self, name: str, part: State) -> None:
        """Take ``part`` in under ``name``, which has no slash."""
        self.tensors |= {f"{name}/{key}": tensor for key, tensor in part.tensors.items()}
        self.values[name] = part.values

    def part(self, name: str) -> State:
        """Return what was taken in under ``name``; an empty one where nothing was."""
        prefix = f"{name}/"
        tensors = {key.removeprefix(prefix): each for key, each in self.tensors.items() if key.startswith(prefix)}
        return State(tensors, self.values.get(name, {}))

    def save(self, path: Path, description: Mapping[str, Any]) -> None:
        """Write a safetensors file atomically (see ``container``): tensors flat, and ``values.json`` as bytes.

        Its header says what it is of (``description``), and the ``shapes`` of all tensors.
        """
        flat = {name: each.detach().cpu().contiguous().reshape(-1) for name, each in self.tensors.items()}
        shapes = {name: list(each.shape) for name, each in self.tensors.items()}
        flat[_VALUES] = from_bytes(json.dumps(self.values, separators=(",", ":")).encode())
        container.save(path, _KIND, flat, {**description, "shapes": shapes}, {})

    @classmethod
    def load(cls, path: Path) -> tuple[State, dict[str, Any]]:
        """Read what :meth:`save` wrote, and its header; raises :class:`CorruptFileError` unless all of it is intact.

        Tensors lie in the file until they are cloned.
        """
        tensors, header = container.load(path, _KIND)
        try:
            values = json.loads(to_bytes(tensors.pop(_VALUES)))
            shaped = {name: each.view(header["shapes"][name]) for name, each in tensors.items()}
        except (KeyError, TypeError, ValueError, RuntimeError, RecursionError) as error:
            raise CorruptFileError(f"{path} is damaged: its values or shapes cannot be read") from error
        return cls(shaped, values), header


def from_bytes(data: bytes) -> Tensor:
    """``data`` as a tensor of uint8."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def to_bytes(tensor: Tensor) -> bytes:
    """Inverse of :func:`from_bytes`."""
    return tensor.numpy().tobytes()


def from_lists(lists: Sequence[Sequence[float]], dtype: torch.dtype) -> State:
    """Lists of numbers, of int64 or float64, one after another."""
    numbers = torch.tensor([number for each in lists for number in each], dtype=dtype)
    return State({_NUMBERS: numbers, _LENGTHS: torch.tensor([len(each) for each in lists], dtype=torch.int64)})


def to_lists(state: State) -> list[list[Any]]:
    """Inverse of :func:`from_lists`."""
    numbers, lists, at = state.tensors[_NUMBERS].tolist(), [], 0
    for length in state.tensors[_LENGTHS].tolist():
        lists.append(numbers[at : at + length])
        at += length
    return lists


def from_weights(weights: Iterable[tuple[str, Tensor]], base: Weights) -> State:
    """``weights`` as the coordinates that differ from ``base`` in the dtype of the former, or whole: what is smaller.

    A bit a coordinate and the values that differ; of an fp32 master nearly all do, of a restricted run's those of its
    mask alone.
    """
    state = State()
    for name, tensor in weights:
        new, old = flat_integers(tensor), flat_integers(base[name].to(tensor.dtype))
        where = new != old
        count = int(np.count_nonzero(where))
        if count * new.itemsize + where.size // 8 < new.nbytes:
            state.tensors[f"{_WHERE}/{name}"] = torch.from_numpy(pack(where))
            state.tensors[f"{_CHANGED}/{name}"] = from_integers(kept(new, where, count), tensor.dtype)
        else:
            state.tensors[f"{_WHOLE}/{name}"] = tensor
    return state


def to_weights(state: State, base: Weights, dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
    """Inverse of :func:`from_weights` for weights of ``dtype`` (None: that of ``base``), one by one, on the host."""
    for name, each in base.items():
        tensor = each if dtype is None else each.to(dtype)
        if (whole := state.tensors.get(f"{_WHOLE}/{name}")) is not None:
            yield name, whole.clone()
            continue
        bits = flat_integers(tensor).copy()
        where = unpack(state.tensors[f"{_WHERE}/{name}"].numpy(), bits.size)
        put(flat_integers(state.tensors[f"{_CHANGED}/{name}"]), where, bits)
        yield name, from_integers(bits, tensor.dtype).view(tensor.shape)
