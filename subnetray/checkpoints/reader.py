"""Reading weights from files: which tensors there are, and any range of their coordinates, without holding them."""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.checkpoints.loops import Place
from subnetray.checkpoints.quantised import blocks_across, dequantise, is_code, scale_rows, with_scales
from subnetray.checkpoints.stored import StoredTensor
from subnetray.config import ConfigError
from subnetray.subnetwork.bits import flat_integers, from_integers, integer_type

# safetensors' names of the formats that weights are compared in.
_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
# How the names of the output head and of the embedding end.
HEAD, EMBEDDING = "lm_head.weight", "embed_tokens.weight"
_LIBC = ctypes.CDLL(None)
_MAX_HEADER = 100 << 20  # bytes; what the safetensors format allows


class Checkpoint:
    """The tensors of a directory or file by name. Files are opened once and closed with :meth:`close`."""

    def __init__(self, path: Path, tensors: dict[str, StoredTensor], tied: bool) -> None:
        self.path, self.tensors, self.tied = path, tensors, tied
        self._handles: dict[Path, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        # For another process, which keeps it open from one task to the next.
        return _reopened, (self.path,)

    def close(self) -> None:
        """Close all files."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def read(
        self, name: str, start: int, stop: int, dtype: torch.dtype, buffer: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[Any]:
        """Coordinates ``start`` to ``stop`` (C order) rounded to ``dtype``, as the integers that hold them.

        ``buffer``, of 8 bytes a coordinate or more, is what they are read into: memory that is in the cache already.
        """
        tensor = self.tensors[name]
        assert tensor.dtype is not None
        if tensor.scales is not None:
            return flat_integers(torch.from_numpy(self._dequantised(tensor, start, stop, buffer)).to(dtype))
        bits = self._bits(tensor, start, stop, tensor.dtype, buffer)
        return bits if dtype == tensor.dtype else flat_integers(from_integers(bits, tensor.dtype).to(dtype))

    def place(self, name: str, start: int, dtype: torch.dtype) -> Place | None:
        """Where coordinate ``start`` of a tensor is stored as ``dtype``; None if it has to be converted first."""
        tensor = self.tensors[name]
        if tensor.dtype != dtype or tensor.scales is not None or tensor.loaded is not None:
            return None
        return Place(self._handle(tensor.file), tensor.offset + start * tensor.itemsize)

    def _dequantised(
        self, tensor: StoredTensor, start: int, stop: int, buffer: npt.NDArray[np.uint8] | None
    ) -> npt.NDArray[np.float32]:
        n = stop - start
        if n == 0:
            return np.empty(0, np.float32)
        assert tensor.scales is not None
        scale = tensor.scales.tensor
        assert scale.dtype is not None
        first, last = scale_rows(tensor, start, stop)
        across = blocks_across(tensor)
        bits = self._bits(scale, first * across, last * across, scale.dtype)
        factors: npt.NDArray[np.float32] = from_integers(bits, scale.dtype).float().numpy()
        # Values first, where they are aligned, then codes.
        space = np.empty(5 * n, np.uint8) if buffer is None else buffer
        values = space[: 4 * n].view(np.float32)
        dequantise(self._bits(tensor, start, stop, torch.uint8, space[4 * n :]), factors, tensor, start, values)
        return values

    def _bits(
        self,
        tensor: StoredTensor,
        start: int,
        stop: int,
        dtype: torch.dtype,
        buffer: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[Any]:
        """The bits of what is stored as ``dtype``: 8-bit codes as uint8, all else as :func:`flat_integers` has it."""
        coded = dtype == torch.uint8
        integer = np.dtype(np.uint8) if coded else integer_type(dtype)
        nbytes = (stop - start) * integer.itemsize
        data = np.empty(nbytes, np.uint8) if buffer is None else buffer[:nbytes]
        bits = data.view(integer)
        if tensor.loaded is not None:
            loaded = tensor.loaded.view(torch.uint8).flatten().numpy() if coded else flat_integers(tensor.loaded)
            mapped = loaded[start:stop]
            bits[:] = mapped
            _give_back(mapped)
            return bits
        done = 0
        while done < nbytes:
            count = os.preadv(
                self._handle(tensor.file), [data[done:].data], tensor.offset + start * integer.itemsize + done
            )
            if count == 0:
                raise ConfigError(f"{tensor.file} ends inside of tensor {tensor.name}: it is truncated")
            done += count
        return bits

    def _handle(self, file: Path) -> int:
        with self._lock:
            if file not in self._handles:
                self._handles[file] = os.open(file, os.O_RDONLY)
            return self._handles[file]


def _give_back(mapped: npt.NDArray[Any]) -> None:
    """Take the whole pages of a mapped file out of this process's memory; reading them again maps them again."""
    first = -(-mapped.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (mapped.ctypes.data + mapped.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        _LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)


@functools.cache
def _reopened(path: Path) -> Checkpoint:
    return open_checkpoint(path, str(path))


def open_checkpoint(path: Path, key: str) -> Checkpoint:
    """The tensors of a safetensors or ``pytorch_model.bin`` directory (sharded or not), or of one such file.

    Reads headers only. Raises ConfigError, naming ``key`` and the file, for what is missing, truncated or no weights.
    """
    if path.is_file():
        return _checkpoint(path, _file_tensors(path, key), path.parent)
    if not path.is_dir():
        raise ConfigError(f"{key} must be a directory, a file or a Hugging Face id, and {path} is none that exists")
    # In the order in which transformers looks for them.
    for stem in ("model.safetensors", "pytorch_model.bin"):
        if (path / stem).is_file():
            tensors = _file_tensors(path / stem, key)
        elif (index := path / f"{stem}.index.json").is_file():
            tensors = _sharded(index, key)
        else:
            continue
        return _checkpoint(path, tensors, path)
    raise ConfigError(
        f"{key}: {path} must hold model.safetensors or pytorch_model.bin, or their .index.json, and holds none of them"
    )


def _checkpoint(path: Path, tensors: dict[str, StoredTensor], directory: Path) -> Checkpoint:
    try:
        config = json.loads((directory / "config.json").read_bytes())
    except (FileNotFoundError, ValueError):
        config = None
    if not isinstance(config, dict):
        return Checkpoint(path, with_scales(tensors, {}), tied=False)
    return Checkpoint(path, with_scales(tensors, config), _ties(config, tensors))


def _sharded(index: Path, key: str) -> dict[str, StoredTensor]:
    weight_map = _json(index, key).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise ConfigError(f"{key}: {index} has no weight_map from tensors to files")
    shards = {}
    for shard in sorted(set(weight_map.values())):
        file = index.parent / shard
        if not file.is_file():
            raise ConfigError(f"{key}: {index.name} names {shard}, and that file is missing in {index.parent}")
        shards[shard] = _file_tensors(file, key)
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise ConfigError(f"{key}: {index.name} says that {shard} holds {name}, and it does not")
    # A tensor that the index forgot is loaded by transformers all the same.
    found = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    return found | {name: shards[shard][name] for name, shard in weight_map.items()}


def _file_tensors(file: Path, key: str) -> dict[str, StoredTensor]:
    return _safetensors(file, key) if file.suffix == ".safetensors" else _pickled(file, key)


def _safetensors(file: Path, key: str) -> dict[str, StoredTensor]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(_MAX_HEADER, size - 8):
            raise ConfigError(f"{key}: {file} is truncated or no safetensors file")
        try:
            header = json.loads(stream.read(length))
            tensors, spans, end = {}, {}, 8 + length
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                first, last = (8 + length + int(offset) for offset in entry["data_offsets"])
                spans[name] = last - first
                tensors[name] = StoredTensor(
                    name=name,
                    shape=tuple(int(extent) for extent in entry["shape"]),
                    dtype=_DTYPES.get(entry["dtype"]),
                    stored_as=entry["dtype"],
                    file=file,
                    offset=first,
                )
                end = max(end, last)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{key}: {file} has no readable safetensors header") from error
    for tensor in tensors.values():
        width = 1 if is_code(tensor.stored_as) else tensor.dtype.itemsize if tensor.dtype else None
        if tensor.offset < 8 + length or (width and spans[tensor.name] != tensor.n * width):
            raise ConfigError(f"{key}: {file} is damaged: the bytes of {tensor.name} do not fit its shape")
    if end != size:
        raise ConfigError(f"{key}: {file} has {size} bytes, and its header asks for {end}")
    return tensors


def _pickled(file: Path, key: str) -> dict[str, StoredTensor]:
    try:
        # weights_only: nothing but tensors and plain containers is ever made.
        loaded = torch.load(file, weights_only=True, mmap=True, map_location="cpu")
    except Exception as error:
        # torch raises whatever its zip reader or unpickler met; each means the same to the user.
        raise ConfigError(f"{key}: {file} cannot be read as weights ({str(error).splitlines()[0]})") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ConfigError(f"{key}: {file} must hold a state dict: names and tensors, nothing else")
    return {
        name: StoredTensor(
            name=name,
            shape=tuple(tensor.shape),
            dtype=tensor.dtype if tensor.dtype in _DTYPES.values() else None,
            stored_as=str(tensor.dtype).removeprefix("torch."),
            file=file,
            loaded=tensor.contiguous(),
        )
        for name, tensor in loaded.items()
    }


def _ties(config: Mapping[str, Any], tensors: Collection[str]) -> bool:
    """Whether the head is the embedding: as the config says; if it leaves that to a default, whether none is stored."""
    said = config.get("tie_word_embeddings")
    return bool(said) if said is not None else not any(name.endswith(HEAD) for name in tensors)


def _json(path: Path, key: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{key}: {path} is not valid JSON") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{key}: {path} must hold a JSON object")
    return content
