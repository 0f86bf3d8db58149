"""Names of tensors: what wrappers add to them, which are vocabularies, and what is no weight."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from subnetray.checkpoints.stored import StoredTensor

# Parts of names that stand for a wrapper or for a model within a model, wherever they are.
_WRAPPERS = frozenset(
    (
        *("module", "_orig_mod", "_fsdp_wrapped_module", "_fsdp_module", "_checkpoint_wrapped_module"),
        *("_forward_module", "_ddp_module", "pretrained_model", "base_model", "model", "transformer"),
        *("language_model", "text_model", "gpt_neox"),
    )
)
_EMBEDDINGS = frozenset(
    (
        *(
            "embed_tokens",
            "wte",
            "embed_in",
            "word_embeddings",
            "tok_embeddings",
            "token_embd",
            "embedding",
            "embeddings",
        ),
        *("embed", "shared"),
    )
)
_HEADS = frozenset(("lm_head", "embed_out", "output", "ff_out", "output_layer", "head", "proj_out"))
_POSITIONS = frozenset(("wpe", "embed_positions", "position_embeddings", "position_embedding"))
# Buffers of modules, which a tool may store or leave out: they follow from the config.
_BUFFERS = re.compile(
    r"(?:^|\.)(?:inv_freq|position_ids|masked_bias|num_batches_tracked|_extra_state|rope_freqs\.weight|cos_cached"
    r"|sin_cached|token_type_ids)$"
)
_ACTIVATIONS = re.compile(
    r"(?:^|\.)(?:[kvq]_scale|input_scale|output_scale|activation_scale|act_scale|input_global_scale)$"
)


def bare(name: str) -> str:
    """A name without wrappers."""
    parts = name.split(".")
    return ".".join(part for part in parts if part not in _WRAPPERS) or name


def pair_names(init: Collection[str], final: Collection[str]) -> dict[str, str]:
    """Names of the init to those of the final: the same, or the same but for wrappers, where that is unambiguous.

    A wrapper is one of those that are known, or what stands before all names of a model that the other does not have.
    """
    names = {name: name for name in init if name in final}
    taken = set(names.values())
    olds = _by_bare_name(name for name in init if name not in names)
    news = _by_bare_name(name for name in final if name not in taken)
    for short in olds.keys() & news.keys():
        if len(olds[short]) == len(news[short]) == 1:
            names[olds[short][0]] = news[short][0]
    taken = set(names.values())
    olds = _by_bare_name(name for name in init if name not in names)
    return names | _by_prefix(olds, _by_bare_name(name for name in final if name not in taken))


def _by_prefix(olds: Mapping[str, list[str]], news: Mapping[str, list[str]]) -> dict[str, str]:
    """Pairs that are the same but for what one of the models has before its names, as in ``actor.layers.0``.

    Only where one prefix explains most of what is left of the other side, and no other explains as much: of two models
    in one file none is guessed.
    """
    found: list[dict[str, str]] = []
    for number, (wrapped, plain) in enumerate(((olds, news), (news, olds))):
        for prefix in sorted({prefix for name in wrapped for prefix in _prefixes(name)}):
            pairs = {
                names[0]: plain[short][0]
                for name, names in wrapped.items()
                if name.startswith(prefix) and len(names) == len(plain.get(short := name[len(prefix) :], ())) == 1
            }
            if 2 * len(pairs) > len(plain):
                found.append(pairs if number == 0 else {old: new for new, old in pairs.items()})
    found.sort(key=len, reverse=True)
    return found[0] if found and (len(found) == 1 or len(found[1]) < len(found[0])) else {}


def _by_bare_name(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(bare(name), []).append(name)
    return found


def _prefixes(name: str) -> Iterator[str]:
    """The first part of a name, and the first two, unless they are a layer's number."""
    prefix = ""
    for part in name.split(".", 2)[:2]:
        if part.isdigit():
            break
        prefix += f"{part}."
        yield prefix


def outside(name: str) -> bool:
    """Return whether a tensor is in none of the numbered layers."""
    return not any(part.isdigit() for part in name.split("."))


def is_embedding(name: str) -> bool:
    """Return whether a tensor is the embedding of a vocabulary."""
    return _role(name) in _EMBEDDINGS


def is_head(name: str) -> bool:
    """Return whether a tensor is the output head."""
    return _role(name) in _HEADS


def is_positions(name: str) -> bool:
    """Return whether a tensor has a row a position."""
    return _role(name) in _POSITIONS


def is_vocabulary(name: str) -> bool:
    """Return whether a tensor is called as an embedding or a head, in a layer (of multi-token prediction) too."""
    return _module(name) in _EMBEDDINGS | _HEADS


def _role(name: str) -> str:
    return _module(name) if outside(name) else ""


def _module(name: str) -> str:
    module, _, kind = bare(name).rpartition(".")
    return module.rpartition(".")[2] if kind == "weight" else ""


def embedding_and_head(tensors: Mapping[str, StoredTensor]) -> tuple[str | None, str | None]:
    """The names of a checkpoint's embedding and head; None where it has none, or several."""
    found = []
    for role in (is_embedding, is_head):
        names = [name for name, tensor in tensors.items() if len(tensor.shape) == 2 and role(name)]
        found.append(names[0] if len(names) == 1 else None)
    return found[0], found[1]


def no_weight(tensor: StoredTensor) -> str | None:
    """Return the reason why a tensor is none of the model's weights; None if it is one."""
    if _BUFFERS.search(tensor.name) or _is_mask(tensor):
        return "a buffer, no weight"
    if _ACTIVATIONS.search(tensor.name):
        return "a scale of activations, no weight"
    return None


def _is_mask(tensor: StoredTensor) -> bool:
    """The mask that GPT-2's and GPT-NeoX's attention called its bias."""
    shape = tensor.shape
    return tensor.name.endswith((".attn.bias", ".attention.bias")) and len(shape) == 4 and shape[-2] == shape[-1]
