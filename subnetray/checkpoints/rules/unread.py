"""Weights in formats that are not read: which one it is, and how its own library turns it into one that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from subnetray.checkpoints.stored import StoredTensor

_DEQUANTIZE = "load it with transformers, call dequantize() and save_pretrained(OUT), and name OUT"
_BY_METHOD = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "mxfp4": "MXFP4",
    "compressed-tensors": "compressed-tensors",
    "modelopt": "ModelOpt",
    "hqq": "HQQ",
    "aqlm": "AQLM",
    "torchao": "torchao",
    "quark": "Quark",
}
# Ends of names that only one of the formats writes.
_BY_NAME = {
    "SCB": "bitsandbytes int8",
    "absmax": "bitsandbytes 4 bit",
    "quant_map": "bitsandbytes 4 bit",
    "g_idx": "GPTQ",
    "qweight": "GPTQ or AWQ",
    "qzeros": "GPTQ or AWQ",
    "weight_packed": "compressed-tensors",
    "weight_scale_2": "NVFP4",
    "W_q": "HQQ",
    "codebooks": "AQLM",
}
_FLOATS = ("F16", "BF16", "F32", "F64", "float16", "bfloat16", "float32", "float64")


def method(tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> str | None:
    """The format that a checkpoint is quantised in, if some of its weights are in one; None if it is in none."""
    if not any(tensor.dtype is None for tensor in tensors.values()):
        return None
    ends = {name.rpartition(".")[2] for name in tensors}
    found = next((text for end, text in _BY_NAME.items() if end in ends), None)
    if found is None and any(end.endswith("_blocks") for end in ends) and any(end.endswith("_scales") for end in ends):
        found = "MXFP4"
    if found is None and any(tensor.stored_as in ("U32", "uint32") for tensor in tensors.values()) and "scales" in ends:
        found = "MLX's own"
    said = config.get("quantization_config")
    named = said.get("quant_method") if isinstance(said, dict) else None
    return _BY_METHOD.get(str(named), found) if found is None or "or" in found else found


def is_part(name: str, tensor: StoredTensor) -> bool:
    """Return whether a tensor belongs to a quantised one, as scales do, without being one itself."""
    end = name.rpartition(".")[2]
    return tensor.stored_as in _FLOATS and (end in ("scales", "qzeros", "biases", *_BY_NAME) or end.endswith("_scales"))


def advice(name: str) -> str:
    """Say what to do with a checkpoint in a format that is not read."""
    if name == "MXFP4":
        return "load it with transformers, quantization_config=Mxfp4Config(dequantize=True), and save_pretrained(OUT)"
    return _DEQUANTIZE
