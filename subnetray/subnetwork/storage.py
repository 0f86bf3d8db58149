"""The safetensors container of masks and deltas: written whole or not at all, checked when read.

Besides its tensors a file holds, in the metadata entry ``subnetray``, a JSON object with ``kind`` ("mask" or "delta"),
``version`` (1), ``checksums`` (CRC-32 of every tensor's bytes, by its key) and what the kind describes itself by.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from subnetray.files import atomic_path

_KEY = "subnetray"
_VERSION = 1
_COPY = 1 << 22  # bytes copied at a time
# safetensors' names of dtypes.
_NAMES = {
    torch.uint8: "U8",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
}


class CorruptFileError(ValueError):
    """A file that is not what it should be: truncated, damaged, or of another kind."""


def save(
    path: Path, kind: str, tensors: dict[str, Tensor], description: Mapping[str, Any], metadata: Mapping[str, str]
) -> None:
    """Write 1-D ``tensors`` atomically; ``metadata`` is the caller's own and may use any key but ``subnetray``.

    Raises ``OSError`` naming ``path`` when it cannot be written, and leaves no file behind.
    """
    header = {
        "kind": kind,
        "version": _VERSION,
        "checksums": {name: _checksum(tensor) for name, tensor in tensors.items()},
        **description,
    }
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, str(temporary), metadata={**metadata, _KEY: json.dumps(header, separators=(",", ":"))})
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error


@dataclass(frozen=True)
class Part:
    """A tensor's bytes within a spool file; ``checksum`` is their CRC-32."""

    name: str
    dtype: torch.dtype
    offset: int
    nbytes: int
    checksum: int


def assemble(
    path: Path,
    kind: str,
    spools: Mapping[str, BinaryIO],
    parts: Mapping[str, Sequence[Part]],
    description: Mapping[str, Any],
) -> None:
    """Write atomically what :func:`save` would, from tensors spooled to files: none is held in memory.

    ``parts`` maps names of ``spools`` to their tensors; wider dtypes must come first, so that all are aligned.
    """
    every = [(spools[spool], part) for spool, several in parts.items() for part in several]
    meta = {
        "kind": kind,
        "version": _VERSION,
        "checksums": {part.name: part.checksum for _, part in every},
        **description,
    }
    header: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(meta, separators=(",", ":"))}}
    position = 0
    for _, part in every:
        header[part.name] = {
            "dtype": _NAMES[part.dtype],
            "shape": [part.nbytes // part.dtype.itemsize],
            "data_offsets": [position, position + part.nbytes],
        }
        position += part.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for spool, part in every:
            spool.seek(part.offset)
            left = part.nbytes
            while left:
                data = spool.read(min(left, _COPY))
                if not data:
                    raise OSError(f"cannot write {path}: the spool ends {left} bytes before {part.name!r} does")
                file.write(data)
                left -= len(data)


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file of ``kind``; raises :class:`CorruptFileError` unless all of it is intact."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise CorruptFileError(f"{path} is truncated or not a safetensors file: {error}") from error
    header = _header(path, metadata)
    if (header.get("kind"), header.get("version")) != (kind, _VERSION):
        raise CorruptFileError(f"{path} is not a subnetray {kind} file of version {_VERSION}")
    checksums = header.get("checksums")
    if not isinstance(checksums, dict) or checksums.keys() != tensors.keys():
        raise CorruptFileError(f"{path} does not hold the tensors that its header names")
    for name, tensor in tensors.items():
        if tensor.dim() != 1 or _checksum(tensor) != checksums[name]:
            raise CorruptFileError(f"{path} is damaged: checksum of {name!r} does not match")
    return tensors, header


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        header = json.loads(metadata[_KEY])
    except (KeyError, ValueError):
        header = None
    if not isinstance(header, dict):
        raise CorruptFileError(f"{path} was not written by subnetray: no readable metadata entry {_KEY!r}")
    return header


def _checksum(tensor: Tensor) -> int:
    # An empty tensor may have a stride of 0, which cannot be viewed as bytes.
    return zlib.crc32(tensor.view(torch.uint8).numpy().data) if tensor.numel() else 0
