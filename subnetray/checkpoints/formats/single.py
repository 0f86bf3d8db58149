"""One file: safetensors, GGUF, or what ``torch.save`` wrote; which of them it is shows in its first bytes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from subnetray.checkpoints.formats import gguf_file
from subnetray.checkpoints.stored import StoredTensor
from subnetray.config import ConfigError
from subnetray.headers import POINTER_TEXT, HeaderError, is_pointer, open_regular, read_header
from subnetray.text import shown

# safetensors' names of the formats that weights are compared in.
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
# Where training loops put the state dict, beside their own state.
_INSIDE = ("model", "state_dict", "module", "model_state_dict")
# How files begin that are no weights of PyTorch, whatever they are called.
_OTHERS = {
    b"": "is empty",
    b"\x1f\x8b": "is compressed (gzip): unpack it",
    b"BZh": "is compressed (bzip2): unpack it",
    b"\xfd7zX": "is compressed (xz): unpack it",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd): unpack it",
    b"\x89HDF": "is HDF5, as TensorFlow and Keras write: load it with transformers and save it as safetensors",
    b"<": "is HTML or XML, as of a page that was saved in its place: download it again",
    b"{": "is JSON and no weights",
    b"\x93NUM": "is an array of NumPy: save it as safetensors",
}
_IN_MEMORY = 1 << 30  # bytes of a file in PyTorch's old format, which can be read only whole


def file_tensors(file: Path, key: str) -> dict[str, StoredTensor]:
    """The tensors of a file by name; raises ConfigError, naming ``key`` and the file, for what is none of weights."""
    try:
        with open_regular(file) as stream:
            magic = stream.read(4)
        if is_pointer(file):
            raise HeaderError(POINTER_TEXT)
        if file.suffix == ".safetensors":
            return _safetensors(file)
        return gguf_file.tensors_of(file) if magic == gguf_file.MAGIC else _pickled(file, magic)
    except HeaderError as error:
        raise ConfigError(f"{key}: {file} {error}") from error


def _safetensors(file: Path) -> dict[str, StoredTensor]:
    return {
        name: StoredTensor(name, entry.shape, DTYPES.get(entry.dtype), entry.dtype, file, entry.begin)
        for name, entry in read_header(file).entries.items()
    }


def _pickled(file: Path, magic: bytes) -> dict[str, StoredTensor]:
    size, zipped = file.stat().st_size, magic[:2] == b"PK"
    for start, what in _OTHERS.items():
        if magic.startswith(start) and (start or not magic):
            raise HeaderError(f"cannot be read as weights: it {what}")
    if not zipped and size > _IN_MEMORY:
        raise HeaderError(
            f"is in PyTorch's format of before 1.6, which can be read only whole, and has {size / 1e9:.1f} GB: write it"
            " again with python -c 'import sys, torch; torch.save(torch.load(sys.argv[1], weights_only=True),"
            " sys.argv[2])' OLD NEW"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of storages and of formats: nothing that a user could change
            # weights_only: nothing but tensors and plain containers is ever made.
            loaded = torch.load(file, weights_only=True, mmap=zipped, map_location="cpu")
    except Exception as error:
        # torch raises whatever its zip reader or unpickler met; each means the same to the user.
        raise HeaderError(
            "cannot be read as weights: it is damaged, or holds other things than tensors by name, which are never"
            " made: write its state dict with torch.save(model.state_dict(), FILE)"
        ) from error
    if not _is_state_dict(loaded):
        inside = [loaded[name] for name in _INSIDE if isinstance(loaded, dict) and _is_state_dict(loaded.get(name))]
        if len(inside) != 1:
            raise HeaderError("must hold a state dict: names and tensors, nothing else")
        loaded = inside[0]
    return {name: _held(name, value, file, zipped) for name, value in loaded.items()}


def _is_state_dict(loaded: Any) -> bool:
    return isinstance(loaded, dict) and all(
        isinstance(name, str) and (isinstance(value, Tensor) or name.endswith("_extra_state"))
        for name, value in loaded.items()
    )


def _held(name: str, tensor: Any, file: Path, mapped: bool) -> StoredTensor:
    if not isinstance(tensor, Tensor):  # what a module of Transformer Engine says of itself
        return StoredTensor(name, (0,), None, type(tensor).__name__, file)
    stored_as = str(tensor.dtype).removeprefix("torch.")
    dense = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    if not dense:
        layout = "without numbers" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")
        return StoredTensor(name, tuple(tensor.shape), None, f"{stored_as}, {layout}", file)
    # A shape may ask for any number of coordinates of a storage that has few of them.
    if not tensor.is_contiguous() and tensor.numel() * tensor.element_size() > file.stat().st_size:
        raise HeaderError(f"is damaged: {shown(name)} has more coordinates than the file has bytes")
    dtype = tensor.dtype if tensor.dtype in DTYPES.values() else None
    mapped = mapped and tensor.is_contiguous()
    held = tensor.detach().contiguous()
    return StoredTensor(name, tuple(tensor.shape), dtype, stored_as, file, loaded=held, mapped=mapped)
