"""Directories of ``torch.distributed.checkpoint``: a ``.metadata`` file and parts of tensors in ``*.distcp`` files.

Its own reader unpickles ``.metadata`` whatever it names. Here nothing is made of it but torch's own records of names,
shapes and places, and the parts are read where they lie.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import struct
import zipfile
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch.distributed.checkpoint import metadata

from subnetray.checkpoints.formats.single import DTYPES
from subnetray.checkpoints.stored import Piece, StoredTensor, dense, whole
from subnetray.config import ConfigError
from subnetray.headers import open_regular
from subnetray.text import shown

METADATA = ".metadata"
_MOST = 1 << 30  # bytes of .metadata
_OPTIMISER = (
    "optim.",
    "optimizer.",
    "optimizer_state.",
    "optim_state.",
    "lr_scheduler.",
    "train_state.",
    "dataloader.",
)


class _Properties:
    """A tensor's properties: of what torch writes of them only the dtype is kept."""

    dtype: torch.dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = state[0]


class _Place:
    """The place of a part of a tensor: its file, and its bytes there."""

    relative_path: str
    offset: int
    length: int


# Everything that torch writes into .metadata, by module and name; nothing else is ever made.
_RECORDS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): lambda name: name,
    ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"): lambda number: number,
    **{
        ("torch.distributed.checkpoint.metadata", name): getattr(metadata, name)
        for name in (
            *("Metadata", "MetadataIndex", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata"),
            "StorageMeta",
        )
    },
    ("torch.distributed.checkpoint.metadata", "TensorProperties"): _Properties,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): _Place,
}


class _Records(pickle.Unpickler):
    """An unpickler that makes records and nothing else: what is not in the list above is refused, not imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _RECORDS:
            return _RECORDS[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module == "pathlib" and name in ("PosixPath", "PurePosixPath", "Path"):
            return Path
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def distributed_tensors(directory: Path, key: str) -> tuple[dict[str, StoredTensor], dict[str, StoredTensor]]:
    """Tensors of such a directory by name, and the parts that those of several parts are made of."""
    file = directory / METADATA
    try:
        with open_regular(file) as stream:
            data = stream.read(_MOST)
        found = _Records(io.BytesIO(data)).load()
        return _tensors(directory, found)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{key}: {METADATA} names {shown(str(error.filename))}, and that file is missing") from error
    except Exception as error:
        # Whatever an unpickler or a record met: each means the same to the user.
        raise ConfigError(
            f"{key}: {file} is no metadata of torch.distributed.checkpoint that can be read ({shown(str(error), 120)}):"
            f" convert it with python -m torch.distributed.checkpoint.format_utils dcp_to_torch DIRECTORY FILE"
        ) from error


def _tensors(directory: Path, found: Any) -> tuple[dict[str, StoredTensor], dict[str, StoredTensor]]:
    tensors: dict[str, StoredTensor] = {}
    parts: dict[str, StoredTensor] = {}
    for name, record in found.state_dict_metadata.items():
        if not isinstance(record, metadata.TensorStorageMetadata) or name.startswith(_OPTIMISER):
            continue
        shape, torch_dtype = tuple(map(int, record.size)), record.properties.dtype
        dtype = torch_dtype if torch_dtype in DTYPES.values() else None
        stored_as = str(torch_dtype).removeprefix("torch.")
        chunks = sorted(record.chunks, key=lambda chunk: tuple(chunk.offsets))
        if dtype is None or not _rows(shape, chunks):
            how = stored_as if dtype is None else f"{stored_as}, in parts that are no rows"
            tensors[name] = StoredTensor(name, shape, None, how, directory / METADATA)
            continue
        places = [
            _part(directory, name, found.storage_data[metadata.MetadataIndex(name, chunk.offsets)], chunk, dtype)
            for chunk in chunks
        ]
        if len(places) == 1:
            tensors[name] = places[0]
            continue
        named = {f"{name}[part {number}]": place for number, place in enumerate(places)}
        parts |= {
            each: StoredTensor(each, place.shape, dtype, stored_as, place.file, place.offset)
            for each, place in named.items()
        }
        pieces: tuple[Piece, ...] = tuple(whole(parts[each]) for each in named)
        tensors[name] = StoredTensor(name, shape, dtype, stored_as, directory / METADATA, pieces=pieces)
    return tensors, parts


def _rows(shape: tuple[int, ...], chunks: list[Any]) -> bool:
    """Return whether the parts are rows of the tensor that follow one another without a gap."""
    at = 0
    for chunk in chunks:
        offsets, sizes = tuple(chunk.offsets), tuple(chunk.sizes)
        if len(chunks) == 1 and sizes == shape:
            return True
        if not shape or offsets != (at, *(0,) * (len(shape) - 1)) or sizes[1:] != shape[1:]:
            return False
        at += sizes[0]
    return at == shape[0] if shape else False


def _part(directory: Path, name: str, place: Any, chunk: Any, dtype: torch.dtype) -> StoredTensor:
    """Find where a part's numbers begin: a zip file of torch.save lies in the file, and its numbers are not packed."""
    if getattr(place, "transform_descriptors", None):
        raise ConfigError(f"{shown(name)} in {directory} is compressed: save it without")
    relative = Path(str(place.relative_path))
    file = directory / relative
    if relative.is_absolute() or ".." in relative.parts:
        raise ConfigError(f"{METADATA} places {shown(name)} outside of the directory: {shown(str(relative))}")
    shape = tuple(map(int, chunk.sizes))
    nbytes = math.prod(shape) * dtype.itemsize
    damaged = ConfigError(f"{file} is damaged: it does not hold the numbers of {shown(name)} where {METADATA} says")
    with open_regular(file) as stream:
        begin, length = int(place.offset), int(place.length)
        if begin < 0 or length < 0 or begin + length > file.stat().st_size:
            raise damaged
        head = _Slice(stream, begin, length)
        with zipfile.ZipFile(head) as archive:
            entries = [each for each in archive.infolist() if each.filename.endswith("/data/0")]
            if len(entries) != 1 or entries[0].compress_type != zipfile.ZIP_STORED or entries[0].file_size != nbytes:
                raise damaged
            with torch.serialization.skip_data():
                head.seek(0)
                held = torch.load(cast(IO[bytes], head), weights_only=True, map_location="cpu")
        if not isinstance(held, torch.Tensor) or tuple(held.shape) != shape or held.dtype != dtype:
            raise damaged
        if held.stride() != dense(shape) and held.numel() > 1 and not held.is_contiguous():
            raise ConfigError(f"{shown(name)} in {directory} is stored transposed: save it contiguous")
        head.seek(entries[0].header_offset + 26)
        names, extra = struct.unpack("<HH", head.read(4))
        offset = begin + entries[0].header_offset + 30 + names + extra
    if offset + nbytes > begin + length:
        raise damaged
    return StoredTensor(name, shape, dtype, str(dtype).removeprefix("torch."), file, offset)


class _Slice(io.RawIOBase):
    """Some bytes of an open file as a file of its own."""

    def __init__(self, stream: Any, begin: int, length: int) -> None:
        self._stream, self._begin, self._length, self._at = stream, begin, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._length)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._length - self._at))
        self._stream.seek(self._begin + self._at)
        data = self._stream.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
