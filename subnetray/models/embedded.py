"""The embedded tiny model: made on first use, then read from the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from subnetray.config import ConfigError, EmbeddedModel
from subnetray.models import pretraining
from subnetray.models.cache import check_room, make_once

# What vLLM's attention on CPU has kernels for (vllm 0.27.1, v1/attention/backends/cpu_attn.py).
_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def check(config: EmbeddedModel) -> None:
    """Raise ``ConfigError`` for a shape that no rollout engine could load."""
    head_size = config.hidden_size // config.heads
    if head_size not in _HEAD_SIZES:
        raise ConfigError(
            f"model.hidden_size / model.heads must be one of {', '.join(map(str, _HEAD_SIZES))}, not {head_size}"
        )


def architecture(config: EmbeddedModel) -> dict[str, Any]:
    """The shape as ``config.json`` has it."""
    return {
        "model_type": "qwen2",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "max_position_embeddings": pretraining.MAX_POSITIONS,
    }


def locate_blank(config: EmbeddedModel, cache_dir: Path) -> Path:
    """Return the directory of the model without its weights: config and tokenizer; it may be yet to be made.

    Models of one shape share it.
    """
    return cache_dir / "models" / f"blank-{_hash({'recipe': pretraining.RECIPE_VERSION, **architecture(config)})}"


def prepare_blank(config: EmbeddedModel, cache_dir: Path) -> Path:
    """Return that directory, made first if the cache lacks it."""
    return make_once(locate_blank(config, cache_dir), lambda out: pretraining.outline(config, out))


def key(config: EmbeddedModel) -> dict[str, Any]:
    """Return what decides the weights; the name is a label, and SFT settings count only if there is SFT."""
    content = {"kind": "embedded", "recipe": pretraining.RECIPE_VERSION, **dataclasses.asdict(config)}
    del content["name"]
    if config.sft_steps == 0:
        del content["sft_steps"], content["sft_lr"]
    return content


def locate(config: EmbeddedModel, cache_dir: Path) -> Path:
    """Return the directory that :func:`prepare` returns; it may be yet to be made."""
    path = place(config, cache_dir)
    check_room(path)
    return path


def place(config: EmbeddedModel, cache_dir: Path) -> Path:
    """The same, whether it could be made or not."""
    return cache_dir / "models" / f"embedded-{_hash(key(config))}"


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def prepare(config: EmbeddedModel, cache_dir: Path, log: Callable[[str], None]) -> Path:
    """Return the model's directory, made first if the cache lacks it; SFT starts from the cached base model."""
    path = place(config, cache_dir)
    if path.is_dir():
        return path
    if config.sft_steps == 0:
        return make_once(path, lambda out: pretraining.pretrain(config, out, log))
    base = prepare(dataclasses.replace(config, sft_steps=0), cache_dir, log)
    return make_once(path, lambda out: pretraining.fine_tune(config, base, out, log))
