"""LoRA: adapters of PEFT, in a directory of their own or within a model that was saved as it was wrapped.

A model is compared as it computes: with its adapters, if what scales them is known, and with the modules that were
trained in place of others. What cannot be merged is left out by name, and the matrix beneath is compared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from subnetray.checkpoints.rules.names import bare
from subnetray.checkpoints.stored import Merged, StoredTensor

_ADAPTER = re.compile(r"^(.*)\.(lora_[a-zA-Z_]+?)(?:\.([^.]+))?(?:\.(weight|bias))?$")
_SAVED = re.compile(r"^(.*)\.modules_to_save\.[^.]+\.(.*)$")
_PAIRS = ({"lora_A", "lora_B"}, {"lora_embedding_A", "lora_embedding_B"})
_KINDS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", "lora_bias")


@dataclass(frozen=True)
class Unwrapped:
    """The weights of a model as it computes; ``derived`` are tensors that these are made of.

    ``left`` are parts of adapters that were not merged, with the reason.
    """

    tensors: dict[str, StoredTensor]
    derived: dict[str, StoredTensor] = field(default_factory=dict)
    left: dict[str, tuple[StoredTensor, str]] = field(default_factory=dict)


def has_adapters(tensors: Mapping[str, StoredTensor]) -> bool:
    """Return whether some of the tensors are adapters' or were wrapped together with them."""
    return any(".lora_" in name or ".base_layer." in name or ".modules_to_save." in name for name in tensors)


def unwrap(tensors: Mapping[str, StoredTensor], said: Mapping[str, Any] | None) -> Unwrapped:
    """The weights of a wrapped model by the names of what is beneath; ``said`` is what adapter_config.json says."""
    found: dict[str, StoredTensor] = {}
    adapters: dict[str, dict[str, list[StoredTensor]]] = {}
    replaced: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        if (parts := _ADAPTER.match(name)) and parts[2] in _KINDS:
            adapters.setdefault(parts[1], {}).setdefault(parts[2], []).append(tensor)
        elif parts := _SAVED.match(name):
            replaced[f"{parts[1]}.{parts[2]}"] = tensor
        else:
            plain = name.replace(".base_layer.", ".").replace(".original_module.", ".")
            found[plain] = replace(tensor, name=plain)
    found |= {name: replace(tensor, name=name) for name, tensor in replaced.items()}
    return _merge(found, adapters, said)


def join(base: Mapping[str, StoredTensor], adapter: Mapping[str, StoredTensor], said: Mapping[str, Any]) -> Unwrapped:
    """A base with the adapter of another directory; what that holds whole takes the place of what the base has."""
    names: dict[str, list[str]] = {}
    for name in base:
        names.setdefault(bare(name), []).append(name)

    def of_base(name: str) -> str:
        return names[bare(name)][0] if len(names.get(bare(name), ())) == 1 else name

    found = dict(base)
    adapters: dict[str, dict[str, list[StoredTensor]]] = {}
    for name, tensor in adapter.items():
        if (parts := _ADAPTER.match(name)) and parts[2] in _KINDS:
            module = of_base(f"{parts[1]}.weight").removesuffix(".weight")
            adapters.setdefault(module, {}).setdefault(parts[2], []).append(tensor)
        else:
            plain = of_base(name.replace(".base_layer.", ".").replace(".modules_to_save.", "."))
            found[plain] = replace(tensor, name=plain)
    return _merge(found, adapters, said)


def _merge(
    found: dict[str, StoredTensor],
    adapters: Mapping[str, Mapping[str, list[StoredTensor]]],
    said: Mapping[str, Any] | None,
) -> Unwrapped:
    result = Unwrapped(found)
    for module, kinds in adapters.items():
        base = found.get(f"{module}.weight")
        scale = _scale(module, kinds, base, said)
        parts = [tensor for each in kinds.values() for tensor in each]
        if isinstance(scale, str) or base is None:
            reason = f"an adapter that is not merged: {scale}"
            result.left.update({tensor.name: (tensor, reason) for tensor in parts})
            continue
        under = replace(base, name=f"{base.name}[base]")
        down, up = _factors(kinds)
        result.derived.update({each.name: each for each in (under, down, up)})
        # PEFT rounds the product to the dtype of the adapter, and of an embedding to that of what it is added to.
        product = base.dtype if "lora_embedding_A" in kinds else up.dtype
        assert product is not None
        merged = Merged(under.name, down.name, up.name, scale, product, _is_transposed(base, down, up, said))
        found[base.name] = StoredTensor(
            base.name, base.shape, base.dtype, f"{base.stored_as} with an adapter", base.file, merged=merged
        )
    return result


def _scale(
    module: str, kinds: Mapping[str, list[StoredTensor]], base: StoredTensor | None, said: Mapping[str, Any] | None
) -> float | str:
    """Return the scale of an adapter's product, or the reason why it cannot be merged."""
    if base is None:
        return "its matrix is not there"
    if kinds.keys() not in _PAIRS:
        return "it is not of two matrices, lora_A and lora_B"
    if any(len(each) != 1 for each in kinds.values()):
        return "there are several of them for one matrix"
    down, up = _factors(kinds)
    if len(base.shape) != 2 or len(up.shape) != 2 or len(down.shape) != 2 or down.shape[0] != up.shape[1]:
        return "its shapes do not fit its matrix"
    product = (up.shape[0], down.shape[1])
    if base.shape != (product[::-1] if _is_transposed(base, down, up, said) else product):
        return "its shapes do not fit its matrix"
    if base.dtype is None or down.dtype is None or up.dtype != down.dtype:
        return "it is stored in a format that it cannot be merged in"
    if said is None:
        return "no adapter_config.json says what scales it"
    if said.get("use_dora") or said.get("lora_bias"):
        return "it is no plain LoRA (use_dora or lora_bias)"
    alpha = _by_pattern(said.get("alpha_pattern"), module, said.get("lora_alpha"))
    rank = down.shape[0]
    if not isinstance(alpha, (int, float)) or isinstance(alpha, bool) or not math.isfinite(alpha) or not rank:
        return "adapter_config.json gives no lora_alpha"
    return alpha / math.sqrt(rank) if said.get("use_rslora") else alpha / rank


def _factors(kinds: Mapping[str, list[StoredTensor]]) -> tuple[StoredTensor, StoredTensor]:
    """Return the matrices A and B of an adapter, of a linear module or of an embedding."""
    down, up = (kinds[name][0] for name in sorted(kinds))
    return down, up


def _is_transposed(base: StoredTensor, down: StoredTensor, up: StoredTensor, said: Mapping[str, Any] | None) -> bool:
    """Return whether a matrix is stored as (in, out): its shape tells, of a square one its kind and the config."""
    if base.shape != (base.shape[0],) * 2:
        return base.shape == (down.shape[1], up.shape[0])
    return "lora_embedding" in down.name or bool(said and said.get("fan_in_fan_out"))


def _by_pattern(patterns: Any, module: str, default: Any) -> Any:
    """PEFT's choice of a value for a module: that of the first pattern that its name ends with."""
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error:
            return None
    return default
