"""The safetensors container of masks, deltas, scores and checkpoints: written whole or not at all, checked when read.

Besides its tensors a file holds, in the metadata entry ``subnetray``, a JSON object with ``kind`` ("mask", "delta",
"scores" or "checkpoint"), its ``version``, ``checksums`` (XXH3-64 of every tensor's bytes as stored, in hex, by its
key), ``compressed`` (those that are a zstd frame, with the number of bytes in it) and what the kind describes itself
by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import xxhash
from safetensors import SafetensorError, safe_open
from torch import Tensor

from subnetray.files import atomic_path
from subnetray.headers import HeaderError, inflate, read_header
from subnetray.subnetwork.files.direct_write import Output, Run

_KEY = "subnetray"
_VERSIONS = {"mask": 2, "delta": 4, "scores": 2, "checkpoint": 1}
# safetensors' names of dtypes.
_NAMES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
}


class CorruptFileError(ValueError):
    """A file that is not what it should be: truncated, damaged, or of another kind."""


def save(
    path: Path,
    kind: str,
    tensors: dict[str, Tensor],
    description: Mapping[str, Any],
    metadata: Mapping[str, str],
) -> None:
    """Write 1-D ``tensors`` atomically; ``metadata`` is the caller's own and may use any key but ``subnetray``.

    Those of uint8 are stored compressed by zstd if they are smaller by a tenth or more. The same content gives the
    same bytes; safetensors' own writer puts the keys of ``metadata`` in an order of chance.

    Raises ``OSError`` naming ``path`` when it cannot be written, and leaves no file behind.
    """
    compressed: dict[str, int] = {}
    for name in [name for name, tensor in tensors.items() if tensor.dtype == torch.uint8]:
        nbytes = tensors[name].numel()
        frame = pa.compress(tensors[name].numpy(), codec="zstd", asbytes=True) if nbytes else b""
        if len(frame) < 0.9 * nbytes:
            compressed[name] = nbytes
            tensors = tensors | {name: torch.frombuffer(bytearray(frame), dtype=torch.uint8)}
    checksums = {name: _checksum(tensor) for name, tensor in tensors.items()}
    own = _description(kind, checksums, {"compressed": compressed, **description})
    # Wider dtypes first, so that all are aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted({**metadata, _KEY: own}.items()))}
    end = 0
    for name in order:
        begin, end = end, end + tensors[name].nbytes
        header[name] = {
            "dtype": _NAMES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(_framed(header))
            for name in order:
                file.write(_bytes(tensors[name]))
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error


@dataclass
class _Region:
    """Where a tensor's bytes are, counted from the end of the header, and what has been written of them."""

    dtype: torch.dtype
    begin: int
    end: int
    checksum: Any = field(default_factory=xxhash.xxh3_64)


@dataclass(frozen=True)
class Layout:
    """The tensors of a file that is written part by part, in their order.

    ``fixed`` are uint8 tensors of known numbers of bytes; ``growing`` follow them, with as many elements of their dtype
    as will come, one after another. Names of wider dtypes should come first, and ``fixed`` be a multiple of 8 bytes in
    all, so that all are aligned.
    """

    fixed: Mapping[str, int]
    growing: Mapping[str, torch.dtype]


class Writer:
    """Puts the tensors of a file that :func:`stream` opened where they belong."""

    def __init__(self, output: Output, kind: str, layout: Layout, description: Mapping[str, Any]) -> None:
        fixed, growing = layout.fixed, layout.growing
        self._kind, self._growing = kind, growing
        self._fixed, self._grown = Run(output), Run(output)
        self.description = dict(description)
        self._regions: dict[str, _Region] = {}
        begin = 0
        for name, nbytes in fixed.items():
            self._regions[name] = _Region(torch.uint8, begin, begin)
            begin += nbytes
        self._end = begin
        # The header comes first and is known last: it never needs more than with entries of this length.
        longest = {name: _Region(torch.bfloat16, 10**17, 10**18) for name in (*fixed, *growing)}
        self._start = len(self._header(longest))

    def append(self, name: str, data: npt.NDArray[Any]) -> None:
        """The next elements of the tensor ``name``; a growing one begins where the one before ends."""
        if name not in self._regions:
            self._regions[name] = _Region(self._growing[name], self._end, self._end)
        if not data.size:
            return
        region, view = self._regions[name], np.ascontiguousarray(data).view(np.uint8)
        run = self._grown if name in self._growing else self._fixed
        run.write(view, self._start + region.end)
        region.checksum.update(view.data)
        region.end += view.nbytes
        self._end = max(self._end, region.end)

    def finish(self) -> None:
        """Write what is left, and the header."""
        for name, dtype in self._growing.items():
            self._regions.setdefault(name, _Region(dtype, self._end, self._end))
        header = self._header(self._regions)
        header += b" " * (self._start - len(header))
        self._grown.finish()
        self._fixed.write(np.frombuffer((len(header) - 8).to_bytes(8, "little") + header[8:], np.uint8), 0)
        self._fixed.finish()

    def _header(self, regions: Mapping[str, _Region]) -> bytes:
        meta = _description(self._kind, {name: r.checksum.hexdigest() for name, r in regions.items()}, self.description)
        header: dict[str, Any] = {"__metadata__": {_KEY: meta}}
        for name, region in regions.items():
            header[name] = {
                "dtype": _NAMES[region.dtype],
                "shape": [(region.end - region.begin) // region.dtype.itemsize],
                "data_offsets": [region.begin, region.end],
            }
        return _framed(header)


@contextmanager
def stream(
    path: Path,
    kind: str,
    layout: Layout,
    description: Mapping[str, Any],
    threads: Executor | None = None,
) -> Iterator[Writer]:
    """Write atomically what :func:`save` would, tensor by tensor and part by part: none is held in memory.

    The writer's ``description`` may change, but not get longer. Several files may share the ``threads`` that write
    them.
    """
    with (
        atomic_path(path) as temporary,
        nullcontext(threads) if threads else ThreadPoolExecutor(1) as writers,
        closing(Output(temporary, writers)) as output,
    ):
        writer = Writer(output, kind, layout, description)
        yield writer
        writer.finish()


def load(path: Path, kind: str, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file of ``kind``; of the tensors those whose name begins with ``prefix``.

    Raises :class:`CorruptFileError` unless all that is read is intact.
    """
    try:
        metadata = read_header(path).metadata
        with safe_open(str(path), framework="pt") as file:
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names if name.startswith(prefix)}
    except HeaderError as error:
        raise CorruptFileError(f"{path} {error}") from error
    except SafetensorError as error:
        raise CorruptFileError(f"{path} is truncated or not a safetensors file: {error}") from error
    header = _header(path, metadata)
    if (header.get("kind"), header.get("version")) != (kind, _VERSIONS[kind]):
        raise CorruptFileError(f"{path} is not a subnetray {kind} file of version {_VERSIONS[kind]}")
    checksums = header.get("checksums")
    if not isinstance(checksums, dict) or checksums.keys() != set(names):
        raise CorruptFileError(f"{path} does not hold the tensors that its header names")
    for name, tensor in tensors.items():
        if tensor.dim() != 1 or _checksum(tensor) != checksums[name]:
            raise CorruptFileError(f"{path} is damaged: checksum of {name!r} does not match")
    try:
        compressed = {name: size for name, size in header.get("compressed", {}).items() if name.startswith(prefix)}
        for name, nbytes in compressed.items():
            raw = bytearray()
            for part in inflate(tensors[name].numpy(), nbytes):
                raw += part
            tensors[name] = torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFileError(f"{path} is damaged: what it says is compressed cannot be read") from error
    return tensors, header


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        header = json.loads(metadata[_KEY])
    except (KeyError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise CorruptFileError(f"{path} was not written by subnetray: no readable metadata entry {_KEY!r}")
    return header


def _description(kind: str, checksums: Mapping[str, str], description: Mapping[str, Any]) -> str:
    whole = {"kind": kind, "version": _VERSIONS[kind], "checksums": checksums, **description}
    return json.dumps(whole, separators=(",", ":"))


def _framed(header: Mapping[str, Any]) -> bytes:
    """A file's header behind its length, as safetensors has it."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _checksum(tensor: Tensor) -> str:
    return xxhash.xxh3_64_hexdigest(_bytes(tensor))


def _bytes(tensor: Tensor) -> Any:
    # An empty tensor may have a stride of 0, which cannot be viewed as bytes.
    return tensor.view(torch.uint8).numpy().data if tensor.numel() else b""
