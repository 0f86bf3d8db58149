"""A model that others trained: a local directory, or an id on the Hugging Face hub.

What is trained must be whole: config, tokenizer, safetensors. What is only compared may be pickled weights alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from subnetray.config import ConfigError, PretrainedModel

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What a model needs, and nothing that could run: no Python, no pickled weights.
_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model"]
# The same weights again in other layouts, as Llama and Mistral repositories carry them.
_DUPLICATES = ["original/*", "consolidated*", "onnx/*"]
# To compare weights: their files, the config that says how they are stored, and the index of shards. In this order.
_WEIGHTS = (["*.json", "*.safetensors"], ["*.json", "pytorch_model*.bin"])
_PICKLED = ("*.bin", "*.pt", "*.pth")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")

_BLOCK = 4096  # bytes
_BLOCKS = 256


def check(config: PretrainedModel) -> None:
    """Raise ``ConfigError`` if ``path`` is an unusable directory, or neither a directory nor a Hub id."""
    directory = _local(config)
    if directory is not None:
        validate(directory)


def key(config: PretrainedModel) -> dict[str, Any]:
    """Return what identifies the weights: id and revision on the Hub, a fingerprint of a local directory.

    The Hub's default branch may move: only a ``revision`` that is a commit names its bytes for good.
    """
    directory = _local(config)
    if directory is None:
        return {"kind": "hub", "id": config.path, "revision": config.revision}
    return {"kind": "directory", "fingerprint": fingerprint(directory)}


def architecture(config: PretrainedModel) -> dict[str, Any] | None:
    """``config.json`` of a local directory."""
    directory = _local(config)
    return None if directory is None else _read_json(directory / "config.json")


def prepare(config: PretrainedModel, log: Callable[[str], None]) -> Path:
    """Return the validated local directory, or download the Hub's snapshot and return where it lies."""
    directory = _local(config)
    if directory is None:
        log(f"fetching {config.path} from the Hugging Face hub, unless it is on this machine already")
        directory = _download(config.path, config.revision, _PATTERNS, "model.path")
        validate(directory)
    return directory


def locate_weights(text: str, key: str, log: Callable[[str], None], fetch: bool = True) -> Path:
    """Return the file or directory that ``text`` names, or where the hub's snapshot of that id lies.

    Of a repository on the hub only the weights are fetched (or, without ``fetch``, looked for on this machine), and
    pickled ones only if there are no others. Raises ``ConfigError`` naming ``key``; what the files hold is not looked
    at.
    """
    path = Path(text)
    if path.exists():
        return path
    if not _HUB_ID.fullmatch(text):
        raise ConfigError(
            f"{key} must be a local directory or file, or a Hugging Face id such as Qwen/Qwen2.5-0.5B, not {text!r}"
        )
    if fetch:
        log(f"fetching {text} from the Hugging Face hub, unless it is on this machine already")
    for patterns in _WEIGHTS:
        path = _download(text, None, patterns, key, fetch)
        if any(path.glob(patterns[-1])):
            return path
    raise ConfigError(f"{key}: {text} on the Hugging Face hub has no weights ({' or '.join(p[-1] for p in _WEIGHTS)})")


def validate(directory: Path) -> None:
    """Raise ``ConfigError`` unless the directory holds a config, a tokenizer and whole safetensors weights.

    Headers and sizes are read, not the weights, so that the cost does not grow with the model.
    """
    if "model_type" not in _read_json(directory / "config.json"):
        raise ConfigError(f"model.path: {directory / 'config.json'} must name a model_type")
    if not any((directory / name).is_file() for name in _TOKENIZERS):
        raise ConfigError(f"model.path: {directory} must hold a tokenizer ({', '.join(_TOKENIZERS)})")
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        _validate_shards(index)
    elif (directory / "model.safetensors").is_file():
        _tensor_names(directory / "model.safetensors")
    else:
        pickled = sorted(path.name for pattern in _PICKLED for path in directory.glob(pattern))
        found = f"only {pickled[0]}: convert it with save_pretrained" if pickled else "no weights"
        raise ConfigError(
            f"model.path: {directory} must hold model.safetensors or model.safetensors.index.json, and has {found}"
        )


def fingerprint(directory: Path) -> str:
    """Return a SHA-256 over the files of a model, wherever they lie.

    Of a weights file above 1 MiB it covers the size, the header and 256 evenly spaced blocks of 4 KiB: enough to
    tell two trained models apart in milliseconds, not a guard against forgery.
    """
    return _fingerprint({path for pattern in _PATTERNS for path in directory.glob(pattern)})


def weights_fingerprint(path: Path) -> str:
    """What :func:`fingerprint` is to a model, of weights alone: a file's, or those of a directory with its config."""
    names = (
        *("config.json", "*.safetensors", "*.index.json", "pytorch_model*.bin"),
        *("adapter_config.json", "adapter_model.bin", "*.gguf", ".metadata", "*.distcp"),
    )
    return _fingerprint({path} if path.is_file() else {file for name in names for file in path.glob(name)})


def _fingerprint(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        total.update(_digest(path))
    return total.hexdigest()


def _digest(path: Path) -> bytes:
    size = path.stat().st_size
    if path.suffix not in (".safetensors", ".bin", ".gguf", ".distcp") or size <= _BLOCK * _BLOCKS:
        return hashlib.sha256(path.read_bytes()).digest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            header = int.from_bytes(file.read(8), "little")
            digest.update(file.read(min(header, size)))
        for block in range(_BLOCKS):
            file.seek(block * (size - _BLOCK) // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return digest.digest()


def _local(config: PretrainedModel) -> Path | None:
    """Return the directory, or None if ``path`` is the id of a model on the Hub."""
    directory = Path(config.path)
    if directory.is_dir():
        return directory.resolve()
    if _HUB_ID.fullmatch(config.path):
        return None
    raise ConfigError(
        f"model.path must be a local directory or a Hugging Face id such as Qwen/Qwen2.5-0.5B, not {config.path!r}"
    )


def _download(repository: str, revision: str | None, patterns: list[str], key: str, fetch: bool = True) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError

    what = repository if revision is None else f"{repository} at revision {revision}"
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=patterns,
                ignore_patterns=_DUPLICATES,
                local_files_only=not fetch,
            )
        )
    except GatedRepoError as error:
        raise ConfigError(
            f"{key}: {what} is gated: accept its licence on the Hugging Face hub and set HF_TOKEN"
        ) from error
    except (OSError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"{key}: {what} is no local directory and could not be fetched from the Hugging Face hub "
            f"({reason.rstrip('.')})"
        ) from error


def _validate_shards(index: Path) -> None:
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConfigError(f"model.path: {index} must have a weight_map from tensor names to files")
    for shard in sorted(set(weight_map.values())):
        path = index.parent / shard
        if not path.is_file():
            raise ConfigError(f"model.path: {index} names {shard}, and that file is missing")
        missing = {name for name, file in weight_map.items() if file == shard} - _tensor_names(path)
        if missing:
            raise ConfigError(f"model.path: {path} must hold {min(missing)}, as {index.name} says")


def _tensor_names(path: Path) -> set[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"model.path: {path} is no whole safetensors file ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"model.path: {path.parent} must hold {path.name}") from None
    except ValueError as error:
        raise ConfigError(f"model.path: {path} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"model.path: {path} must hold a JSON object")
    return content
