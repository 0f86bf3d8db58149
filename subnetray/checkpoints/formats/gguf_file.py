"""GGUF, the format of llama.cpp: its header is read here, and codes are turned into numbers by the package ``gguf``.

The package reads headers too, but believes the lengths in them.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.checkpoints.stored import StoredTensor
from subnetray.headers import HeaderError, open_regular
from subnetray.text import shown

MAGIC = b"GGUF"
_PLAIN = {0: torch.float32, 1: torch.float16, 30: torch.bfloat16, 28: torch.float64}
_WIDTHS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_MOST = 1 << 24  # entries of any list; the largest vocabularies have a million
_EXPORT = torch.bfloat16


@dataclass(frozen=True)
class Rows:
    """Decodes the rows of a tensor: ``nbytes`` bytes and ``columns`` coordinates each, in the format ``kind``."""

    kind: int
    offset: int
    columns: int
    nbytes: int

    def __call__(self, file: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        from gguf import GGMLQuantizationType, dequantize

        first, last = start // self.columns, -(-stop // self.columns)
        data = os.pread(file, (last - first) * self.nbytes, self.offset + first * self.nbytes)
        if len(data) < (last - first) * self.nbytes:
            raise OSError(f"a GGUF file ends at byte {self.offset + first * self.nbytes + len(data)}: it was cut")
        codes = np.frombuffer(data, np.uint8).reshape(last - first, self.nbytes)
        values = dequantize(codes, GGMLQuantizationType(self.kind)).reshape(-1)
        found: npt.NDArray[np.float32] = values[start - first * self.columns : stop - first * self.columns]
        return found


def tensors_of(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a GGUF file by its own names; raises HeaderError for what is damaged."""
    return _read(file)[0]


def facts_of(file: Path) -> dict[str, Any]:
    """Return the header's other numbers and short texts, by key."""
    return _read(file)[1]


def _read(file: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    stat = file.stat()
    return _parse(file, stat.st_mtime_ns, stat.st_size)


@cache
def _parse(file: Path, _: int, size: int) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    with open_regular(file) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _tensors(_Cursor(data), file, size)
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise HeaderError("is a GGUF file whose header is damaged or cut") from error


class _Cursor:
    """Reads numbers and texts of a mapped file one after another; ``struct.error`` beyond its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self.at = data, 4

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack_from("<" + kind, self._data, self.at)
        self.at += struct.calcsize("<" + kind)
        return value

    def text(self) -> str:
        length = self.number("Q")
        if length > len(self._data) - self.at:
            raise IndexError
        self.at += length
        return self._data[self.at - length : self.at].decode() if length < 1 << 16 else ""

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind in _WIDTHS:
            return self.number(_WIDTHS[kind])
        if kind != _LIST:
            raise IndexError
        inner, count = self.number("I"), self.number("Q")
        if count > _MOST or inner == _LIST:
            raise IndexError
        if inner == _TEXT:
            for _ in range(count):
                self.text()
            return None
        values = [self.number(_WIDTHS[inner]) for _ in range(min(count, 256))] if inner in _WIDTHS else None
        if values is None:
            raise IndexError
        self.at += (count - len(values)) * struct.calcsize("<" + _WIDTHS[inner])
        return values


def _tensors(cursor: _Cursor, file: Path, size: int) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    version, count, entries = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version not in (2, 3):
        raise HeaderError(f"is a GGUF file of version {version}, and versions 2 and 3 are read")
    if max(count, entries) > _MOST:
        raise IndexError
    facts: dict[str, Any] = {}
    for _ in range(entries):
        key = cursor.text()
        facts[key] = cursor.value(cursor.number("I"))
    heads = []
    for _ in range(count):
        name, dimensions = cursor.text(), cursor.number("I")
        if dimensions > 8:
            raise IndexError
        shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
        heads.append((name, shape, cursor.number("I"), cursor.number("Q")))
    alignment = facts.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise IndexError
    start = -(-cursor.at // alignment) * alignment
    found: dict[str, StoredTensor] = {}
    for name, shape, kind, at in heads:
        try:
            format_ = GGMLQuantizationType(kind)
        except ValueError:
            raise HeaderError(
                f"stores {shown(name)} in a format ({kind}) that the package gguf does not know"
            ) from None
        block, nbytes = GGML_QUANT_SIZES[format_]
        columns = shape[-1] if shape else 1
        total = math.prod(shape) // block * nbytes
        if name in found or columns % block or start + at + total > size:
            raise HeaderError(f"is damaged or cut: the bytes of {shown(name)} do not fit its shape or the file")
        rows = Rows(kind, start + at, columns, columns // block * nbytes)
        dtype = _PLAIN.get(kind)
        coded = dtype is None and _decodes(kind)
        found[name] = StoredTensor(
            name, shape, dtype or (_EXPORT if coded else None), format_.name, file, start + at,
            decoder=rows if coded else None,
        )  # fmt: skip
    return found, facts


@cache
def _decodes(kind: int) -> bool:
    """Return whether the package turns codes of this format into numbers."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    format_ = GGMLQuantizationType(kind)
    if format_.name.startswith("I") and format_.name[1:].isdigit():
        return False  # whole numbers
    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[format_][1]), np.uint8), format_)
    except (NotImplementedError, ValueError, KeyError):
        return False
    return True
