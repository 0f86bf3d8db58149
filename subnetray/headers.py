"""Headers of safetensors files, believed in nothing: what is read from here on lies inside of the file, once.

Weights, masks and deltas are such files. Everything that a header says is held against the size of the file before
anything is allocated by it: names, formats, shapes and spans. Needs no torch.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subnetray.text import shown

# Bits a coordinate, by safetensors' names of formats.
BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32},
    **{"U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
MAX_HEADER = 100 << 20  # bytes; what the format allows
_MAX_DIMENSIONS, _MAX_SIDE = 32, 1 << 62
_PART = 1 << 20  # bytes of a frame at a time
_POINTER = b"version https://git-lfs"


class HeaderError(ValueError):
    """A file that is no safetensors file, or a damaged one; the text goes behind the file's name."""


@dataclass(frozen=True)
class Entry:
    """A tensor: its format, its shape and the bytes of the file that hold it."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class Header:
    """The tensors of a file in its order of names, and what it says besides."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of a safetensors file; raises HeaderError for any that safetensors itself would not write.

    Tensors follow one another without a gap from the header to the end of the file. ``OSError`` is the system's.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if (start + file.read(len(_POINTER))).startswith(_POINTER):
            raise HeaderError(POINTER_TEXT)
        length = int.from_bytes(start, "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise HeaderError("is truncated or no safetensors file")
        file.seek(8)
        text = file.read(length)
    content = _parsed(text)
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise HeaderError("has no readable safetensors header: its __metadata__ must be texts")
    entries = {name: _entry(name, value, 8 + length) for name, value in content.items()}
    _check_spans(entries, 8 + length, size)
    return Header(entries, metadata)


POINTER_TEXT = "is a Git LFS pointer, not the file itself: run `git lfs pull` in its directory, or download it again"


def is_pointer(path: Path) -> bool:
    """Return whether a file holds no more than where Git LFS has the real one."""
    if path.stat().st_size > 1024:
        return False
    with open_regular(path) as file:
        return file.read(len(_POINTER)) == _POINTER


def open_regular(path: Path) -> Any:
    """Open a file to read bytes; HeaderError for pipes, sockets and devices, which would be waited for without end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise HeaderError("is no file but a pipe, a socket or a device")
    return path.open("rb")


def shapes_of(value: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by name, as the header of a mask or a delta gives them; ValueError unless all sides are whole and >= 0."""
    if not isinstance(value, dict):
        raise ValueError("no shapes")
    for shape in value.values():
        if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
            raise ValueError("no shape")
        if not all(type(side) is int and 0 <= side < _MAX_SIDE for side in shape):
            raise ValueError("no shape")
    return {name: tuple(shape) for name, shape in value.items()}


def inflate(stored: Any, nbytes: Any) -> Iterator[bytes]:
    """The ``nbytes`` bytes of a zstd frame, some at a time; ValueError where it holds more or fewer, or is none.

    Nothing is allocated by what the header, or the frame, says that there will be.
    """
    import pyarrow as pa

    if type(nbytes) is not int or nbytes < 0:
        raise ValueError("no size")
    left = nbytes
    try:
        with pa.CompressedInputStream(pa.BufferReader(stored), "zstd") as frame:
            while data := frame.read(min(_PART, left + 1)):
                left -= len(data)
                if left < 0:
                    raise ValueError("too long")
                yield data
    except OSError as error:
        raise ValueError(str(error)) from error
    if left:
        raise ValueError("too short")


def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """For ``json.loads``: an object whose names are all different and can be written."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise HeaderError(f"is damaged: its header names {shown(name)} twice")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise HeaderError(f"is damaged: the name {shown(name)} in its header is no text") from None
        found[name] = value
    return found


def _parsed(text: bytes) -> dict[str, Any]:
    def never(constant: str) -> None:
        raise ValueError(constant)

    try:
        content = json.loads(text.decode(), object_pairs_hook=unique, parse_constant=never)
    except HeaderError:
        raise
    except (ValueError, RecursionError):
        raise HeaderError("has no readable safetensors header") from None
    if not isinstance(content, dict):
        raise HeaderError("has no readable safetensors header")
    return content


def _entry(name: str, value: Any, start: int) -> Entry:
    wrong = HeaderError(f"has no readable safetensors header: the entry of {shown(name)} is none of a tensor")
    if not isinstance(value, dict):
        raise wrong
    dtype, shape, span = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not (isinstance(dtype, str) and isinstance(shape, list) and isinstance(span, list)):
        raise wrong
    # bool is an int of Python's.
    if len(span) != 2 or not all(type(number) is int and 0 <= number < _MAX_SIDE for number in (*span, *shape)):
        raise HeaderError(f"is damaged: the shape or the span of {shown(name)} are no whole numbers >= 0")
    begin, end = span
    fits = len(shape) <= _MAX_DIMENSIONS and begin <= end
    if not fits or (dtype in BITS and math.prod(shape) * BITS[dtype] != 8 * (end - begin)):
        raise HeaderError(f"is damaged: the bytes of {shown(name)} do not fit its shape")
    return Entry(dtype, tuple(shape), start + begin, start + end)


def _check_spans(entries: dict[str, Entry], start: int, size: int) -> None:
    at, before = start, ""
    order = sorted(entries.items(), key=lambda each: (each[1].begin, each[1].end))
    asked = max((entry.end for _, entry in order), default=start)
    if asked > size:
        raise HeaderError(f"has {size} bytes, and its header asks for {asked}: it is truncated")
    for name, entry in order:
        if entry.begin < at:
            raise HeaderError(f"is damaged: {shown(before)} and {shown(name)} share bytes")
        if entry.begin > at:
            raise HeaderError(f"is damaged: {entry.begin - at} bytes before {shown(name)} belong to no tensor")
        at, before = entry.end, name
    if at != size:
        raise HeaderError(f"has {size} bytes, and its header asks for {at}")
