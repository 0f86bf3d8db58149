"""Whether an engine can serve a model at all: its context, and room for one sequence in the cache."""

from __future__ import annotations

from typing import Any

import pytest

from subnetray.config import ConfigError, Rollout
from subnetray.grid.checks import check_engine

# Llama-3.1-8B: 32 layers, 8 heads of 128 for keys and values: 128 KiB a token in bf16.
LLAMA = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    ("architecture", "rollout", "needed"),
    [
        (LLAMA, {"max_model_len": 8192}, 1024),
        (LLAMA, {"max_model_len": 8065}, 1024),  # blocks of 128
        (LLAMA, {"max_model_len": 1024, "dtype": "float32"}, 256),
        (LLAMA | {"head_dim": 64}, {"max_model_len": 8192}, 512),
        ({**LLAMA, "num_key_value_heads": 32}, {"max_model_len": 8192}, 4096),
        ({"text_config": LLAMA}, {"max_model_len": 8192}, 1024),
    ],
)
def test_the_cache_must_hold_one_sequence(architecture: Any, rollout: dict[str, Any], needed: int) -> None:
    check_engine(architecture, Rollout(**rollout, kv_cache_mib=needed))
    with pytest.raises(
        ConfigError, match=rf"^rollout\.kv_cache_mib must hold .*, so at least {needed}, not {needed - 1}$"
    ):
        check_engine(architecture, Rollout(**rollout, kv_cache_mib=needed - 1))
    # vLLM takes a share of a GPU's memory, whatever the key says.
    check_engine(architecture, Rollout(**rollout, kv_cache_mib=1, gpus_per_engine=1))


@pytest.mark.parametrize(
    ("parts", "kv_heads", "ok"), [(2, 8, True), (8, 8, True), (16, 8, True), (8, 2, True), (5, 8, False), (4, 3, False)]
)
def test_parts_of_an_engine_have_whole_heads(parts: int, kv_heads: int, ok: bool) -> None:
    architecture = LLAMA | {"num_key_value_heads": kv_heads}
    rollout = Rollout(tensor_parallel=parts, gpus_per_engine=parts)
    if ok:
        check_engine(architecture, rollout)
        return
    with pytest.raises(
        ConfigError,
        match=rf"^rollout\.tensor_parallel must divide the model's 32 .* its {kv_heads} heads .*, not {parts}$",
    ):
        check_engine(architecture, rollout)


def test_without_vllm_the_cache_has_no_blocks_and_is_the_key_s_on_gpus_too() -> None:
    for gpus in (0, 1):
        rollout: dict[str, Any] = {"name": "hf", "max_model_len": 8000, "gpus_per_engine": gpus}
        check_engine(LLAMA, Rollout(**rollout, kv_cache_mib=1000))
        with pytest.raises(ConfigError, match=r"\(8000 tokens of 128 KiB\), so at least 1000, not 999$"):
            check_engine(LLAMA, Rollout(**rollout, kv_cache_mib=999))


def test_the_context_is_the_model_s_unless_its_positions_are_scaled() -> None:
    rollout = Rollout(max_model_len=8193, kv_cache_mib=2048)
    with pytest.raises(
        ConfigError, match=r"^rollout\.max_model_len must be at most the model's context of 8192 tokens, not 8193$"
    ):
        check_engine(LLAMA, rollout)
    check_engine(LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, rollout)
    check_engine(LLAMA | {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, rollout)
    check_engine({}, rollout)
