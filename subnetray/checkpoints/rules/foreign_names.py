"""Names of llama.cpp: a GGUF file beside a checkpoint of transformers, where their conversion is only of names.

The package ``gguf`` knows the names. Of Llama it also turns the rows of q and k, which is undone here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from subnetray.checkpoints.checkpoint import Checkpoint
from subnetray.checkpoints.rules.names import bare
from subnetray.checkpoints.stored import Piece, StoredTensor
from subnetray.config import ConfigError
from subnetray.text import shown

# Architectures whose weights GGUF holds as transformers does, but for names and what is said above.
_SAME = ("llama", "qwen2", "qwen3")
_TURNED = ("llama",)

Names = Callable[[Collection[str], Collection[str]], dict[str, str]]


def paired(init: Checkpoint, final: Checkpoint, pair: Names) -> dict[str, str]:
    """Names of the init to those of the final, by ``pair``; if one is a GGUF file, by those of the package ``gguf``."""
    if (init.facts is None) == (final.facts is None):
        return pair(init.tensors, final.tensors)
    file, other = (init, final) if init.facts is not None else (final, init)
    found = _named(file, other)
    return found if file is init else {other_name: name for name, other_name in found.items()}


def _named(file: Checkpoint, other: Checkpoint) -> dict[str, str]:
    """Names of a GGUF file to those of a checkpoint of transformers."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    facts: dict[str, Any] = dict(file.facts or {})
    said = facts.get("general.architecture")
    if said not in _SAME:
        raise ConfigError(
            f"{file.path} is a GGUF file of architecture {shown(str(said))}, which is compared with another GGUF"
            " file only: convert it with transformers, from_pretrained(DIRECTORY, gguf_file=NAME) and"
            f" save_pretrained(OUT), or name one of {', '.join(_SAME)}"
        )
    layers = facts.get(f"{said}.block_count")
    if type(layers) is not int or not 0 <= layers <= 10_000:
        raise ConfigError(f"{file.path} does not say how many layers it has ({said}.block_count)")
    known: MODEL_ARCH = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == said)
    names = get_tensor_name_map(known, layers)
    found: dict[str, str] = {}
    for name in other.tensors:
        short = bare(name)
        for key in (name, f"model.{short}", short):
            ours = names.get_name(key, try_suffixes=(".weight", ".bias"))
            if ours in file.tensors:
                found[_turned(file, ours, said, facts) if said in _TURNED else ours] = name
                break
    return found


def _turned(file: Checkpoint, name: str, architecture: str, facts: dict[str, Any]) -> str:
    """The name of q or k with its rows as transformers has them: both halves of a head one after the other."""
    part = next((each for each in ("attn_q", "attn_k") if f".{each}." in name), None)
    if part is None:
        return name
    heads = facts.get(f"{architecture}.attention.head_count")
    if part == "attn_k":
        heads = facts.get(f"{architecture}.attention.head_count_kv", heads)
    of = file.tensors[name]
    if type(heads) is not int or heads <= 0 or not of.shape or of.shape[0] % (2 * heads):
        raise ConfigError(
            f"{file.path}: {shown(name)} does not fit the {shown(str(heads))} heads that its header gives"
        )
    size, width = of.shape[0] // heads, of.n // of.shape[0]
    view = Piece(name, 0, (heads, 2, size // 2, width), (size * width, width, 2 * width, 1))
    turned = f"{name}[rows of transformers]"
    file.derived[turned] = StoredTensor(turned, of.shape, of.dtype, of.stored_as, of.file, pieces=(view,), part_of=name)
    return turned
