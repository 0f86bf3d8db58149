"""Which tensor of one checkpoint is compared with which of the other, and what is left out and why."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from subnetray.checkpoints.reader import Checkpoint
from subnetray.config import ConfigError

# What wrappers put before the names of a model's parameters.
_PREFIXES = ("model.", "module.", "_orig_mod.", "base_model.model.", "transformer.", "language_model.")
_HEAD, _EMBEDDING = "lm_head.weight", "embed_tokens.weight"


@dataclass(frozen=True)
class Match:
    """Two tensors that are compared over their first ``n`` coordinates (C order); ``shape`` is what they share."""

    init: str
    final: str
    shape: tuple[int, ...]

    @property
    def n(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Skipped:
    """Something that was not compared."""

    name: str
    reason: str


def match(init: Checkpoint, final: Checkpoint) -> tuple[list[Match], list[Skipped]]:
    """Pair the tensors of two checkpoints by name, in order of the init's names.

    Names may differ by a wrapper's prefix; a vocabulary may have been resized (shared rows are compared); a head that
    is tied to the embedding counts once. Raises ConfigError for shapes that differ otherwise, or if nothing is shared.
    """
    names = _names(init.tensors, final.tensors)
    skipped = []
    pairs = []
    for name in sorted(init.tensors):
        if name not in names:
            skipped.append(Skipped(name, "only in the init"))
            continue
        pairs.append((name, names[name]))
    skipped += [Skipped(name, "only in the final") for name in sorted(final.tensors.keys() - set(names.values()))]
    pairs, skipped = _tie(init, final, pairs, skipped)
    matches = []
    for old, new in pairs:
        one, two = init.tensors[old], final.tensors[new]
        for tensor, side in ((one, "init"), (two, "final")):
            if tensor.dtype is None:
                skipped.append(Skipped(tensor.name, f"stored as {tensor.stored_as} in the {side}"))
                break
        else:
            shape, rest = _shared(old, one.shape, two.shape)
            skipped += rest
            matches.append(Match(old, new, shape))
    if not matches:
        raise ConfigError(f"init and final have no tensor in common: {init.path} and {final.path} are other models")
    return matches, skipped


def _names(init: Collection[str], final: Collection[str]) -> dict[str, str]:
    """Names of the init to those of the final, by the prefix that lets most of them meet."""
    ways = [{name: name for name in final}]
    for prefix in _PREFIXES:
        ways.append({name.removeprefix(prefix): name for name in final})
        ways.append({prefix + name: name for name in final})
    best = max(ways, key=lambda way: len(way.keys() & set(init)))
    return {name: best[name] for name in init if name in best}


def _tie(
    init: Checkpoint, final: Checkpoint, pairs: list[tuple[str, str]], skipped: list[Skipped]
) -> tuple[list[tuple[str, str]], list[Skipped]]:
    if init.tied and final.tied:
        heads = {name for pair in pairs for name in pair if name.endswith(_HEAD)}
        pairs = [pair for pair in pairs if pair[0] not in heads]
        skipped = [each for each in skipped if not each.name.endswith(_HEAD)]
        return pairs, skipped + [Skipped(name, "tied to the embedding, which counts") for name in sorted(heads)]
    # A head that one of them has and the other ties to its embedding is compared with that embedding.
    for has, ties in ((final, init), (init, final)):
        head = next((each for each in skipped if each.name.endswith(_HEAD) and each.name in has.tensors), None)
        embedding = next((name for name in ties.tensors if name.endswith(_EMBEDDING)), None)
        if head is not None and embedding is not None and ties.tied:
            skipped = [each for each in skipped if each is not head]
            pairs = [*pairs, (embedding, head.name) if has is final else (head.name, embedding)]
    return pairs, skipped


def _shared(name: str, one: tuple[int, ...], two: tuple[int, ...]) -> tuple[tuple[int, ...], list[Skipped]]:
    if one == two:
        return one, []
    if len(one) == len(two) and one[1:] == two[1:] and (name.endswith(_HEAD) or name.endswith(_EMBEDDING)):
        rows, more = min(one[0], two[0]), max(one[0], two[0])
        side = "init" if one[0] > two[0] else "final"
        return (rows, *one[1:]), [
            Skipped(name, f"rows {rows} to {more - 1} are only in the {side}: resized vocabulary")
        ]
    raise ConfigError(f"tensor {name} has shape {one} in the init and {two} in the final: these are other models")
