"""Which tensor of one checkpoint is compared with which of the other, and what is left out and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from subnetray.checkpoints.checkpoint import Checkpoint
from subnetray.checkpoints.coverage import Coverage, Skipped
from subnetray.checkpoints.rules import foreign_names, fused, unread, vocabulary
from subnetray.checkpoints.rules.names import no_weight, pair_names
from subnetray.checkpoints.stored import StoredTensor
from subnetray.config import ConfigError
from subnetray.text import shown

__all__ = ["Coverage", "Match", "Matching", "Skipped", "match", "why_no_delta"]


@dataclass(frozen=True)
class Match:
    """Two tensors that are compared over their first ``n`` coordinates (C order); ``shape`` is what they share.

    ``name`` is what the comparison is called by: the init's name, or that of a head that only one of them has, or of
    a part that only one of them stores apart.
    """

    name: str
    init: str
    final: str
    shape: tuple[int, ...]

    @property
    def n(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Matching:
    """Two checkpoints, the pairs of their tensors in order of their names, what is left out, and how much that is."""

    init: Checkpoint
    final: Checkpoint
    matches: tuple[Match, ...]
    skipped: tuple[Skipped, ...]
    coverage: Coverage

    @property
    def n(self) -> int:
        """Coordinates that are compared."""
        return sum(each.n for each in self.matches)

    def dtype(self, each: Match, dtype: torch.dtype | None) -> torch.dtype:
        """The dtype in which a pair is compared: ``dtype``, or that of the final's tensor."""
        return dtype or self.final.tensor(each.final).dtype or torch.float32


def match(init: Checkpoint, final: Checkpoint) -> Matching:
    """Pair the tensors of two checkpoints.

    Names may differ by wrappers; what one stores fused the other may store apart; a vocabulary may have been resized
    (shared rows are compared); a head that is tied to the embedding counts once. Raises ConfigError for shapes that
    differ otherwise, or if nothing is shared.
    """
    sides = (init, final)
    for side, label in zip(sides, ("init", "final"), strict=True):
        if not side.tensors:
            raise ConfigError(f"{label}: {side.path} holds no tensors")
    pairs = {old: (old, new) for old, new in foreign_names.paired(init, final, pair_names).items()}
    ties = vocabulary.tie(init, final, pairs)
    pairs |= ties.pairs
    vocabulary.repeated(init, final, pairs, ties)
    pairs |= _apart(init, final, pairs)
    matches, skipped = _shared(init, final, pairs)
    used = (_sources(init, (old for old, _ in pairs.values())), _sources(final, (new for _, new in pairs.values())))
    totals = []
    for number, side in enumerate(sides):
        label = ("init", "final")[number]
        method = unread.method(side.tensors, side.config)
        total = 0
        for name, (tensor, why) in side.adapters.items():
            total += tensor.n
            skipped.insert(0, _left(name, why, tensor.n, label))
        for name in sorted(side.tensors):
            tensor = side.tensors[name]
            if name in ties.same[number]:
                tied = Skipped(name, ties.same[number][name], counted=True)
                skipped += [tied] if tied not in skipped else []
            elif name in used[number]:
                total += tensor.n
            elif (reason := no_weight(tensor)) is not None:
                skipped.append(Skipped(name, reason))
            elif (other := vocabulary.alias(side, name, used[number])) is not None:
                skipped.append(Skipped(name, f"the same as {other}, which counts", counted=True))
            else:
                total += tensor.n
                skipped.append(_unmatched(tensor, label, method))
        totals.append(total)
    if not matches:
        if any(each.refused for each in skipped):
            each = next(each for each in skipped if each.refused)
            raise ConfigError(f"init and final: {shown(each.name)} is {each.reason}: {each.refused}")
        raise ConfigError(f"init and final have no tensor in common: {init.path} and {final.path} are other models")
    left = sum(each.of_init for each in skipped), sum(each.of_final for each in skipped)
    coverage = Coverage(totals[0], totals[1], *left)
    return Matching(init, final, tuple(matches), tuple(skipped), coverage)


def why_no_delta(matching: Matching, dtypes: Mapping[Match, torch.dtype]) -> str | None:
    """Why the tensors as compared, in ``dtypes``, are not enough to turn the init's files into the final's weights.

    None if they are. A delta has the init's names: that the final calls a tensor otherwise is no obstacle.
    """
    init, final = matching.init, matching.final
    if matching.skipped:
        return f"{len(matching.skipped)} tensors or rows were left out"
    for each in matching.matches:
        for side, tensor in (("init", init.tensor(each.init)), ("final", final.tensor(each.final))):
            name = shown(tensor.name)
            if tensor.merged is not None:
                return f"{name} has an adapter in the {side}: it was merged and rounded"
            if tensor.scales is not None or tensor.decoder is not None:
                return f"{name} is {tensor.stored_as} in the {side}: it was dequantised and rounded"
            if tensor.dtype != dtypes[each]:
                return f"{name} was rounded from {tensor.stored_as} in the {side}"
        if each.init in init.derived:
            return f"{shown(each.final)} is a part of another tensor in the init"
        if each.name != each.init:
            return f"{shown(each.final)} is {shown(each.init)} in the init, which is tied to it there"
    return None


def _apart(init: Checkpoint, final: Checkpoint, pairs: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Pairs of a part of a fused tensor of one and the tensor of the other that holds the same."""
    rest = [
        sorted(side.tensors.keys() - {pair[number] for pair in pairs.values()})
        for number, side in enumerate((init, final))
    ]
    found: dict[str, tuple[str, str]] = {}
    for number, (one, other) in enumerate(((init, final), (final, init))):
        for stored, parts in fused.split(one, rest[number], other, rest[1 - number]).items():
            for name, part in parts:
                # All of a tensor, as it is stored, is that tensor under another name.
                same = part.plain and part.shape == one.tensor(stored).shape
                own = stored if same else part.name
                if not same:
                    one.derived[part.name] = part
                found[own if same and number == 0 else name] = (own, name) if number == 0 else (name, own)
                rest[number] = [each for each in rest[number] if each != stored]
                rest[1 - number] = [each for each in rest[1 - number] if each != name]
    return found


def _shared(
    init: Checkpoint, final: Checkpoint, pairs: Mapping[str, tuple[str, str]]
) -> tuple[list[Match], list[Skipped]]:
    """Return the pairs that are compared, and what is not: rows that one side lacks, formats that are not read."""
    matches: list[Match] = []
    skipped: list[Skipped] = []
    methods = [unread.method(side.tensors, side.config) for side in (init, final)]
    resized = vocabulary.resized(
        (name, init.tensor(old).shape, final.tensor(new).shape) for name, (old, new) in pairs.items()
    )
    for name, (old, new) in sorted(pairs.items()):
        one, two = init.tensor(old), final.tensor(new)
        unreadable = next(
            (
                (tensor, side, method)
                for tensor, side, method in zip((one, two), ("init", "final"), methods, strict=True)
                if tensor.dtype is None or (method is not None and unread.is_part(tensor.name, tensor))
            ),
            None,
        )
        if unreadable is not None:
            tensor, side, method = unreadable
            refused = _advice(tensor, method) if no_weight(tensor) is None else ""
            sizes = (one.n, two.n) if no_weight(tensor) is None else (0, 0)
            reason = no_weight(tensor) or f"{_stored(tensor, method)} in the {side}"
            skipped.append(Skipped(tensor.name, reason, *sizes, refused=refused))
        elif one.shape == two.shape:
            matches.append(Match(name, old, new, one.shape))
        elif name in resized:
            matches.append(Match(name, old, new, (min(one.shape[0], two.shape[0]), *one.shape[1:])))
            skipped.append(_rows(name, one, two, resized[name], (init, final)))
        elif 0 in (one.n, two.n):
            side = "final" if one.n else "init"
            raise ConfigError(
                f"{side}: {shown(name)} has no numbers, as where DeepSpeed ZeRO-3 saved a model in parts: gather it"
                " with zero_to_fp32.py, or with stage3_gather_16bit_weights_on_model_save, and name the result"
            )
        else:
            raise ConfigError(
                f"tensor {shown(name)} has shape {one.shape} in the init and {two.shape} in the final: these are other"
                " models"
            )
    return matches, skipped


def _rows(name: str, one: StoredTensor, two: StoredTensor, what: str, sides: tuple[Checkpoint, Checkpoint]) -> Skipped:
    rows, more = sorted((one.shape[0], two.shape[0]))
    longer = 0 if one.shape[0] > rows else 1
    if vocabulary.is_padding(rows, sides[longer].config):
        what = "padding of the vocabulary"
    n = (more - rows) * math.prod(one.shape[1:])
    reason = f"rows {rows} to {more - 1} are only in the {('init', 'final')[longer]}: {what}"
    # As many new rows again as there were: more is another vocabulary.
    return Skipped(name, reason, *((n, 0) if longer == 0 else (0, n)), forgiven=more <= 2 * rows)


def _unmatched(tensor: StoredTensor, label: str, method: str | None) -> Skipped:
    if tensor.dtype is None or (method is not None and unread.is_part(tensor.name, tensor)):
        reason = f"{_stored(tensor, method)}, only in the {label}"
        return _left(tensor.name, reason, tensor.n, label, _advice(tensor, method))
    return _left(tensor.name, f"only in the {label}", tensor.n, label)


def _left(name: str, reason: str, n: int, label: str, refused: str = "") -> Skipped:
    of_init, of_final = (n, 0) if label == "init" else (0, n)
    return Skipped(name, reason, of_init, of_final, refused=refused)


def _stored(tensor: StoredTensor, method: str | None) -> str:
    return f"stored as {tensor.stored_as}" + (f" ({method})" if method else "")


def _advice(tensor: StoredTensor, method: str | None) -> str:
    if method:
        return unread.advice(method)
    return unread.advice("") if tensor.stored_as.upper().startswith(("F8", "FLOAT8", "F4", "FLOAT4")) else ""


def _sources(side: Checkpoint, names: Iterable[str]) -> set[str]:
    """The stored tensors that the named ones are, or are parts of."""
    return {side.derived[name].part_of if name in side.derived else name for name in names}
