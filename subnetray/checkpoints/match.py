"""Which tensor of one checkpoint is compared with which of the other, and what is left out and why."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from subnetray.checkpoints.reader import EMBEDDING, HEAD, Checkpoint
from subnetray.config import ConfigError

# What wrappers put before the names of a model's parameters, any number of them one after another.
_PREFIXES = ("model.", "module.", "_orig_mod.", "base_model.", "transformer.", "language_model.")


@dataclass(frozen=True)
class Match:
    """Two tensors that are compared over their first ``n`` coordinates (C order); ``shape`` is what they share.

    ``name`` is what the comparison is called by: the init's name, or that of a head that only one of them has.
    """

    name: str
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
    """Pair the tensors of two checkpoints by name, in order of the names that the comparison calls them by.

    Names may differ by wrappers' prefixes; a vocabulary may have been resized (shared rows are compared); a head that
    is tied to the embedding counts once. Raises ConfigError for shapes that differ otherwise, or if nothing is shared.
    """
    pairs = {old: (old, new) for old, new in _names(init.tensors, final.tensors).items()}
    tied = _tie(init, final, pairs)
    olds, news = {old for old, _ in pairs.values()}, {new for _, new in pairs.values()}
    skipped = [Skipped(name, "tied to the embedding, which counts") for name in sorted(tied)]
    skipped += [Skipped(name, "only in the init") for name in sorted(init.tensors.keys() - olds - tied)]
    skipped += [Skipped(name, "only in the final") for name in sorted(final.tensors.keys() - news - tied)]
    matches = []
    for name, (old, new) in sorted(pairs.items()):
        one, two = init.tensors[old], final.tensors[new]
        for tensor, side in ((one, "init"), (two, "final")):
            if tensor.dtype is None:
                skipped.append(Skipped(tensor.name, f"stored as {tensor.stored_as} in the {side}"))
                break
        else:
            shape, rest = _shared(name, one.shape, two.shape)
            skipped += rest
            matches.append(Match(name, old, new, shape))
    if not matches:
        raise ConfigError(f"init and final have no tensor in common: {init.path} and {final.path} are other models")
    return matches, skipped


def why_no_delta(
    init: Checkpoint,
    final: Checkpoint,
    matches: Sequence[Match],
    skipped: Sequence[Skipped],
    dtypes: Mapping[Match, torch.dtype],
) -> str | None:
    """Why the tensors as compared, in ``dtypes``, are not enough to turn the init's files into the final's weights.

    None if they are. A delta has the init's names: that the final calls a tensor otherwise is no obstacle.
    """
    if skipped:
        return f"{len(skipped)} tensors or rows were left out"
    for each in matches:
        for side, tensor in (("init", init.tensors[each.init]), ("final", final.tensors[each.final])):
            if tensor.scales is not None:
                return f"{tensor.name} is {tensor.stored_as} in the {side}: it was dequantised and rounded"
            if tensor.dtype != dtypes[each]:
                return f"{tensor.name} was rounded from {tensor.stored_as} in the {side}"
        if each.name != each.init:
            return f"{each.final} is {each.init} in the init, which is tied to it there"
    return None


def _names(init: Collection[str], final: Collection[str]) -> dict[str, str]:
    """Names of the init to those of the final: the same, or the same but for prefixes, where that is unambiguous."""
    names = {name: name for name in init if name in final}
    olds = _by_bare_name(name for name in init if name not in names)
    news = _by_bare_name(name for name in final if name not in names)
    for bare in olds.keys() & news.keys():
        if len(olds[bare]) == len(news[bare]) == 1:
            names[olds[bare][0]] = news[bare][0]
    return names


def _by_bare_name(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        bare = name
        while prefix := next((each for each in _PREFIXES if bare.startswith(each)), None):
            bare = bare.removeprefix(prefix)
        found.setdefault(bare, []).append(name)
    return found


def _tie(init: Checkpoint, final: Checkpoint, pairs: dict[str, tuple[str, str]]) -> set[str]:
    """Settle the output head in ``pairs``; returns the names of heads that are the embedding, counted already."""
    if init.tied and final.tied:
        heads = {name for side in (init, final) for name in side.tensors if name.endswith(HEAD)}
        for name in heads:
            pairs.pop(name, None)
        return heads
    # A head that one of them has and the other ties to its embedding is compared with that embedding.
    for has, ties in ((final, init), (init, final)):
        head = next((name for name in has.tensors if name.endswith(HEAD)), None)
        embedding = next((name for name in ties.tensors if name.endswith(EMBEDDING)), None)
        if ties.tied and head is not None and embedding is not None and head not in pairs:
            pairs[head] = (embedding, head) if has is final else (head, embedding)
    return set()


def _shared(name: str, one: tuple[int, ...], two: tuple[int, ...]) -> tuple[tuple[int, ...], list[Skipped]]:
    if one == two:
        return one, []
    if len(one) == len(two) and one[1:] == two[1:] and (name.endswith(HEAD) or name.endswith(EMBEDDING)):
        rows, more = min(one[0], two[0]), max(one[0], two[0])
        side = "init" if one[0] > two[0] else "final"
        return (rows, *one[1:]), [
            Skipped(name, f"rows {rows} to {more - 1} are only in the {side}: resized vocabulary")
        ]
    raise ConfigError(f"tensor {name} has shape {one} in the init and {two} in the final: these are other models")
