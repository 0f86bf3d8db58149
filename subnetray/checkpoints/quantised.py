"""Weights stored as 8-bit codes and scales: code × scale in fp32, then rounded to the dtype that is compared.

That is what DeepSeek's own conversion and transformers do (``X.weight`` with ``X.weight_scale_inv`` or ``X.scale``, one
factor a block of ``quantization_config.weight_block_size`` in config.json), compressed-tensors (``X.weight_scale``, one
factor a tensor, an output channel or a block) and the microscaling formats (a power of two, E8M0, for 32 codes of a
row). All of these names hold what a code is multiplied by. A block whose scale changed is changed throughout, whatever
its codes. Blocks that config.json does not give are those that the shapes allow, if that is one way only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.checkpoints.stored import Scales, StoredTensor
from subnetray.subnetwork.bits import from_integers
from subnetray.subnetwork.loops.compiled import compiled

# Names in safetensors, and torch's own, of the formats that codes are stored in.
_CODES = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
}
_WHOLE = {"I8": torch.int8, "int8": torch.int8}  # codes only where there are scales
# The value of each of the 256 codes.
_VALUES = {
    name: torch.arange(256, dtype=torch.uint8).view(kind).float().numpy() for name, kind in (_CODES | _WHOLE).items()
}
# What stands in place of ``weight`` or behind the whole name where the scales of it are.
_SUFFIXES = ("_scale_inv", "_scale")
_NAMES = ("scale", "scale_inv", "weight_scale", "weight_scale_inv")
# Scales that are exponents of two with a bias of 127: named so, and as bare bytes for the blocks of microscaling.
_EXPONENTS = ("F8_E8M0", "float8_e8m0fnu")
_BYTES = ("U8", "uint8")
_MICRO = (1, 32)
_BLOCKS = (16, 32, 64, 128, 256, 512)
# What quantised models compute in, and what converters write.
_EXPORT = torch.bfloat16


def is_code(stored_as: str) -> bool:
    """Return whether a format is one of 8-bit floats, which are weights only together with scales."""
    return stored_as in _CODES


def with_scales(tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """``tensors``, those of 8-bit codes with their scales, which are no tensors of their own any more.

    ``config`` is the content of config.json. A tensor whose scales are missing or do not fit it has no dtype, and
    says why in ``stored_as``.
    """
    found = dict(tensors)
    for name, tensor in tensors.items():
        if tensor.stored_as not in _VALUES:
            continue
        scale = next((tensors[each] for each in _scale_names(name) if each in tensors), None)
        if tensor.stored_as in _WHOLE and (scale is None or _offset(name) in tensors or scale.dtype is None):
            continue
        if scale is None:
            found[name] = replace(tensor, stored_as=f"{tensor.stored_as} without scales")
            continue
        found.pop(scale.name, None)
        block = _block(tensor.shape, scale, config)
        if isinstance(block, str):
            found[name] = replace(tensor, stored_as=f"{tensor.stored_as} with {scale.name} {block}")
        else:
            found[name] = replace(tensor, dtype=_EXPORT, scales=Scales(scale, *block))
    return found


def factors_of(bits: npt.NDArray[Any], scale: StoredTensor) -> npt.NDArray[np.float32]:
    """The fp32 factors that the stored bits of scales mean."""
    if scale.dtype is None:
        # 255 is NaN, as in torch.
        exponents: npt.NDArray[np.float32] = torch.from_numpy(bits).view(torch.float8_e8m0fnu).float().numpy()
        return exponents
    factors: npt.NDArray[np.float32] = from_integers(bits, scale.dtype).float().numpy()
    return factors


def _scale_names(name: str) -> Iterable[str]:
    yield from (name + suffix for suffix in _SUFFIXES)
    if name.endswith(".weight"):
        yield from (name.removesuffix("weight") + each for each in _NAMES)


def _offset(name: str) -> str:
    return f"{name}_zero_point"


def _block(shape: tuple[int, ...], scale: StoredTensor, config: Mapping[str, Any]) -> tuple[int, int] | str:
    """Rows and columns that a factor holds for, or what is wrong with the factors."""
    if scale.dtype is None and scale.stored_as not in (*_EXPONENTS, *_BYTES):
        return f"stored as {scale.stored_as}"
    found = _block_of(shape, scale, config)
    if scale.stored_as in _BYTES and found != _MICRO:
        return f"stored as {scale.stored_as}"
    return found


def _block_of(shape: tuple[int, ...], scale: StoredTensor, config: Mapping[str, Any]) -> tuple[int, int] | str:
    rows, columns = (1, 1, *shape)[-2:]
    if scale.shape in ((), (1,)):
        return rows, columns
    quantisation = config.get("quantization_config")
    block = quantisation.get("weight_block_size") if isinstance(quantisation, dict) else None
    if block is None:
        if scale.n == 1:
            return rows, columns
        ways = _ways(shape, scale.shape)
        if len(ways) == 1:
            return ways[0]
        return f"of shape {scale.shape}, and config.json has no quantization_config.weight_block_size"
    if not (isinstance(block, list) and len(block) == 2 and all(type(b) is int and b > 0 for b in block)):
        return f"of blocks that config.json gives as {block!r}"
    expected = (*shape[:-2], -(-rows // block[0]), -(-columns // block[1]))
    if len(shape) < 2 or scale.shape != expected:
        return f"of shape {scale.shape}, not {expected} as blocks of {block[0]} × {block[1]} ask for"
    return block[0], block[1]


def _ways(shape: tuple[int, ...], scales: tuple[int, ...]) -> list[tuple[int, int]]:
    """The blocks that so many factors can be of."""
    if len(shape) == 2 and scales == shape[:1] and shape[0] != shape[1]:
        return [(1, shape[1])]  # of output channels, as PyTorch has them
    if len(shape) < 2 or scales[:-2] != shape[:-2] or len(scales) != len(shape):
        return []

    def along(side: int, count: int) -> list[int]:
        if count in (1, side):
            return [side // count] if count else []
        return [block for block in _BLOCKS if -(-side // block) == count]

    return [(high, wide) for high in along(shape[-2], scales[-2]) for wide in along(shape[-1], scales[-1])]


def scale_rows(tensor: StoredTensor, start: int, stop: int) -> tuple[int, int]:
    """The rows of blocks (of all matrices, one after another) that coordinates ``start`` to ``stop`` lie in."""
    first, last = _block_rows(tensor, np.array([start, stop - 1]) // _columns(tensor))
    return int(first), int(last) + 1


def dequantise(
    codes: npt.NDArray[np.uint8],
    scales: npt.NDArray[np.float32],
    tensor: StoredTensor,
    start: int,
    out: npt.NDArray[np.float32],
) -> None:
    """Put the fp32 values of the codes from coordinate ``start`` on into ``out``.

    ``scales`` are the factors, flat, of the rows of blocks that :func:`scale_rows` names for them.
    """
    assert tensor.scales is not None
    columns = _columns(tensor)
    first, last = start // columns, (start + codes.size - 1) // columns
    rows = _block_rows(tensor, np.arange(first, last + 1))
    factors = scales.reshape(-1, blocks_across(tensor))
    column = start - first * columns
    _multiply(codes, _VALUES[tensor.stored_as], factors, rows - rows[0], tensor.scales.columns, column, columns, out)


@compiled
def _multiply(
    codes: npt.NDArray[np.uint8],
    values: npt.NDArray[np.float32],
    factors: npt.NDArray[np.float32],
    rows: npt.NDArray[np.intp],
    width: int,
    column: int,
    columns: int,
    out: npt.NDArray[np.float32],
) -> None:
    # Block by block of each row: numpy would widen the codes to look them up, and spread the factors.
    done = 0
    for row in rows:
        while column < columns and done < codes.size:
            stop = min(done + min(width - column % width, columns - column), codes.size)
            factor = factors[row, column // width]
            for i in range(done, stop):
                out[i] = values[codes[i]] * factor
            column += stop - done
            done = stop
        column = 0


def blocks_across(tensor: StoredTensor) -> int:
    """Factors a row of blocks."""
    assert tensor.scales is not None
    return -(-_columns(tensor) // tensor.scales.columns)


def _columns(tensor: StoredTensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def _block_rows(tensor: StoredTensor, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The rows of blocks that rows lie in, both counted over all matrices of a tensor, one after another."""
    assert tensor.scales is not None
    if tensor.scales.tensor.n == 1:
        return np.zeros_like(rows)
    height = tensor.shape[-2]
    return rows // height * -(-height // tensor.scales.rows) + rows % height // tensor.scales.rows
