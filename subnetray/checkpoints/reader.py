"""Opening a checkpoint: which files of a directory hold its weights, and which tensors they are, by headers alone."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from subnetray.checkpoints.checkpoint import Checkpoint
from subnetray.checkpoints.formats import foreign, gguf_file
from subnetray.checkpoints.formats.distributed import METADATA, distributed_tensors
from subnetray.checkpoints.formats.single import file_tensors
from subnetray.checkpoints.quantised import with_scales
from subnetray.checkpoints.rules import lora
from subnetray.checkpoints.stored import StoredTensor
from subnetray.config import ConfigError
from subnetray.headers import HeaderError, open_regular
from subnetray.text import shortened, shown

__all__ = ["NO_PATH", "Checkpoint", "open_checkpoint"]

# In the order in which transformers looks for them.
_STEMS = ("model.safetensors", "pytorch_model.bin")
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_ADAPTER_CONFIG = "adapter_config.json"
_SHARD = re.compile(r"^(.*)-(\d{5,6})-of-(\d{5,6})(\.safetensors|\.bin|\.gguf)$")
_MAX_JSON = 256 << 20  # bytes; indices of the largest models have 20 MB
# Of system calls: what is wrong is the path, not the file.
NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)


def open_checkpoint(path: Path, key: str, base: Path | None = None) -> Checkpoint:
    """The tensors of a directory, whatever tool wrote it, or of one file; ``docs/diff.md`` lists what is read.

    Reads headers only. ``base`` is what an adapter is taken to be of where what it names is not on this machine. Raises
    ConfigError, naming ``key`` and the file, for what is missing, truncated or no weights.
    """
    try:
        return _open(path, key, base)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError) or (isinstance(error, OSError) and error.errno not in NO_PATH):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{key} must be a path: {shown(str(path))} is none ({reason})") from error


def is_adapter(path: Path) -> bool:
    """Return whether a directory, or the directory of a file, is an adapter's."""
    directory = path if path.is_dir() else path.parent
    held = [name for name in _ADAPTERS if (directory / name).is_file()]
    if path.is_file():
        return path.name in _ADAPTERS and (directory / _ADAPTER_CONFIG).is_file()
    return bool(held) and not any((directory / stem).exists() for stem in _STEMS)


def _open(path: Path, key: str, base: Path | None) -> Checkpoint:
    if path.is_file():
        if is_adapter(path):
            return _adapter(path, path.parent, key, base)
        if path.name in _ADAPTERS:
            raise ConfigError(f"{key}: {path} is an adapter, and there is no {_ADAPTER_CONFIG} beside it: add it")
        if (sentence := foreign.named(path)) is not None:
            raise ConfigError(f"{key}: {path} {sentence}")
        held = _sharded(path, key) if path.name.endswith(".index.json") else file_tensors(path, key)
        return _checkpoint(path, held, path.parent, key)
    if not path.is_dir():
        what = "is neither" if path.exists() else "is none that exists"
        raise ConfigError(f"{key} must be a directory, a file or a Hugging Face id, and {shown(str(path))} {what}")
    if is_adapter(path):
        return _adapter(path, path, key, base)
    for stem in _STEMS:
        if (path / stem).is_file():
            return _checkpoint(path, file_tensors(path / stem, key), path, key)
        if (index := path / f"{stem}.index.json").is_file():
            return _checkpoint(path, _sharded(index, key), path, key)
    if (sentence := foreign.named(path)) is not None:
        raise ConfigError(f"{key}: {path} {sentence}")
    if (path / METADATA).is_file():
        tensors, parts = distributed_tensors(path, key)
        checkpoint = _checkpoint(path, tensors, path, key)
        checkpoint.derived |= parts
        return checkpoint
    return _checkpoint(path, _without_index(path, key), path, key)


def _checkpoint(path: Path, tensors: dict[str, StoredTensor], directory: Path, key: str) -> Checkpoint:
    config = _json(directory / "config.json", key) if (directory / "config.json").exists() else {}
    scaled = with_scales(tensors, config)
    if not lora.has_adapters(scaled):
        checkpoint = Checkpoint(path, scaled, config)
        files = {tensor.file for tensor in tensors.values() if tensor.file.suffix == ".gguf"}
        # Of several files the first says what all of them are of.
        checkpoint.facts = gguf_file.facts_of(min(files)) if files else None
        return checkpoint
    said = _json(directory / _ADAPTER_CONFIG, key) if (directory / _ADAPTER_CONFIG).is_file() else None
    return _unwrapped(path, lora.unwrap(scaled, said), config)


def _unwrapped(
    path: Path, found: lora.Unwrapped, config: Mapping[str, Any], base: Path | None = None, notes: tuple[str, ...] = ()
) -> Checkpoint:
    checkpoint = Checkpoint(path, found.tensors, config, base, notes)
    checkpoint.derived |= found.derived
    checkpoint.adapters = found.left
    return checkpoint


def _adapter(path: Path, directory: Path, key: str, other: Path | None) -> Checkpoint:
    """A base with its adapter: the base that the adapter names, if it is a directory here, or ``other``."""
    said = _json(directory / _ADAPTER_CONFIG, key)
    if said.get("peft_type", "LORA") != "LORA":
        raise ConfigError(
            f"{key}: {directory} is an adapter of kind {shown(str(said.get('peft_type')))}: merge it with PEFT"
        )
    named = said.get("base_model_name_or_path")
    place = Path(named) if isinstance(named, str) and named and len(named) < 1024 else None
    if place is not None and str(named).startswith("~/"):
        place = place.expanduser()
    notes: tuple[str, ...] = ()
    if place is None or not place.is_dir() or is_adapter(place):
        of = f"of {shown(str(named))}, which is no directory here" if named else "that does not say of which base"
        if other is None or is_adapter(other):
            raise ConfigError(
                f"{key}: {directory} is an adapter {of}: write where it is into base_model_name_or_path of its"
                f" {_ADAPTER_CONFIG}"
            )
        place = other
        notes = (f"{key} is an adapter {of}: it was merged into {other}, what it is compared with",)
    held = _open(place, f"{key} (base of the adapter)", None)
    file = path if path.is_file() else next(directory / name for name in _ADAPTERS if (directory / name).is_file())
    joined = lora.join(held.tensors, file_tensors(file, key), said)
    if not joined.derived and not joined.left:
        raise ConfigError(f"{key}: {file} holds no adapter: no tensor is called lora_A or lora_B")
    checkpoint = _unwrapped(path, joined, held.config, place, notes)
    checkpoint.derived |= held.derived
    return checkpoint


def _sharded(index: Path, key: str) -> dict[str, StoredTensor]:
    weight_map = _json(index, key).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise ConfigError(f"{key}: {index} has no weight_map from tensors to files")
    shards = {}
    for shard in sorted(set(weight_map.values())):
        name = PurePosixPath(shard)
        if name.is_absolute() or ".." in name.parts or "\0" in shard or not shard:
            raise ConfigError(f"{key}: {index.name} names the file {shown(shard)}, which is outside of {index.parent}")
        file = index.parent / shard
        if not file.is_file():
            raise ConfigError(f"{key}: {index.name} names {shown(shard)}, and that file is missing in {index.parent}")
        shards[shard] = file_tensors(file, key)
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise ConfigError(f"{key}: {index.name} says that {shown(shard)} holds {shown(name)}, and it does not")
    # A tensor that the index forgot is loaded by transformers all the same.
    forgotten = {
        shard: {name: each for name, each in held.items() if name not in weight_map} for shard, held in shards.items()
    }
    return _joined(forgotten, key, index.parent) | {name: shards[shard][name] for name, shard in weight_map.items()}


def _joined(shards: Mapping[str, dict[str, StoredTensor]], key: str, directory: Path) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    for shard, held in shards.items():
        for name, tensor in held.items():
            if name in found:
                raise ConfigError(
                    f"{key}: {found[name].file.name} and {shown(shard)} in {directory} both hold {shown(name)}, and no"
                    " index says which of the two counts"
                )
            found[name] = tensor
    return found


def _without_index(path: Path, key: str) -> dict[str, StoredTensor]:
    """The weights of a directory that has neither of transformers' names, if it is clear which files they are."""
    for suffix in (".safetensors", ".gguf", ".bin", ".pth", ".pt"):
        files = sorted(file for file in path.glob(f"*{suffix}") if file.is_file() and file.name not in _NO_WEIGHTS)
        shards = [(file, match) for file in files if (match := _SHARD.match(file.name))]
        if len(files) == 1 and not shards:
            return file_tensors(files[0], key)
        if shards and len(shards) == len(files) and len({match.group(1, 3, 4) for _, match in shards}) == 1:
            expected = int(shards[0][1][3])
            missing = sorted(set(range(1, expected + 1)) - {int(match[2]) for _, match in shards})
            if missing or len(shards) != expected:
                raise ConfigError(
                    f"{key}: {path} holds {len(shards)} of {expected} shards: number {missing[:1]} is missing"
                )
            return _joined({file.name: file_tensors(file, key) for file in files}, key, path)
        if files:
            names = shortened(", ".join(file.name for file in files), 120)
            raise ConfigError(f"{key}: {path} holds several files of weights and no index of them: name one of {names}")
    inside = [each for each in (*path.glob("*"), *path.glob("snapshots/*")) if each.is_dir() and _is_checkpoint(each)]
    # checkpoint-100 comes after checkpoint-99.
    inside.sort(key=lambda each: [int(part) if part.isdigit() else -1 for part in re.split(r"(\d+)", each.name)])
    hint = f"; did you mean {shown(str(inside[-1]))}?" if inside else ""
    raise ConfigError(
        f"{key}: {path} must hold model.safetensors or pytorch_model.bin, or their .index.json, and holds none of"
        f" them{hint}"
    )


_NO_WEIGHTS = frozenset(
    ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scheduler.bin", "rng_state.pth")
)


def _is_checkpoint(path: Path) -> bool:
    names = (*_STEMS, *(f"{stem}.index.json" for stem in _STEMS), METADATA)
    return any((path / name).is_file() for name in names)


def _json(path: Path, key: str) -> dict[str, Any]:
    try:
        with open_regular(path) as stream:
            data = stream.read(_MAX_JSON + 1)
        if len(data) > _MAX_JSON:
            raise HeaderError(f"has more than {_MAX_JSON >> 20} MiB: it is none of a checkpoint")
        content = json.loads(data)
    except HeaderError as error:
        raise ConfigError(f"{key}: {path} {error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{key}: {path} is not valid JSON") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{key}: {path} must hold a JSON object")
    return content
