"""Vocabularies: rows that only one of two models has, and a head that is the embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from subnetray.checkpoints.checkpoint import Checkpoint
from subnetray.checkpoints.rules.names import (
    embedding_and_head,
    is_embedding,
    is_head,
    is_positions,
    is_vocabulary,
    outside,
)

_CHUNK = 1 << 20  # coordinates
_WINDOWS, _WINDOW = 8, 2048  # coordinates that tell whether a head came from an embedding
_SIZES = ("vocab_size", "padded_vocab_size")

Rows = tuple[int, int]


def resized(shapes: Iterable[tuple[str, tuple[int, ...], tuple[int, ...]]]) -> dict[str, str]:
    """Find the pairs of tensors (name, shapes) that differ in rows because a vocabulary was resized, and name it.

    Matrices outside of the numbered layers, with as many columns, that are called a vocabulary, or have as many rows as
    one of these or more rows than columns; and their biases.
    """
    found: dict[str, str] = {}
    changed: set[Rows] = set()
    fitting = [each for each in shapes if len(each[1]) == len(each[2]) and each[1][1:] == each[2][1:]]
    rest = [each for each in fitting if outside(each[0])]
    for name, one, two in rest:
        if len(one) != 2 or one == two:
            continue
        known = is_embedding(name) or is_head(name)
        if known or (min(one[0], two[0]) > one[1] and not is_positions(name)):
            found[name] = "resized vocabulary"
            changed.add((one[0], two[0]))
        elif is_positions(name):
            found[name] = "resized table of positions"
    for name, one, two in (*rest, *(each for each in fitting if is_vocabulary(each[0]))):
        if one != two and len(one) in (1, 2) and (one[0], two[0]) in changed:
            found[name] = "resized vocabulary"
    return found


def is_padding(rows: int, longer: Mapping[str, Any]) -> bool:
    """Return whether the rows from ``rows`` on are padding, as the config of the longer of the two says."""
    sizes = [longer.get(key) for key in _SIZES]
    inner = longer.get("text_config")
    sizes += [inner.get(key) for key in _SIZES] if isinstance(inner, dict) else []
    known = [size for size in sizes if type(size) is int]
    return bool(known) and min(known) <= rows


@dataclass
class Ties:
    """Pair heads and embeddings by name, and list by side what repeats weights that count already."""

    pairs: dict[str, tuple[str, str]] = field(default_factory=dict)
    same: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))


def tie(init: Checkpoint, final: Checkpoint, pairs: dict[str, tuple[str, str]]) -> Ties:
    """Settle heads and embeddings of two checkpoints by what they store; takes pairs out of ``pairs`` that count twice.

    A head of the same bytes as its embedding is tied to it, whatever the config says. One that is not stored is the
    embedding, and an embedding that is not stored is the head, unless the config says that the two are not tied.
    """
    ties = Ties()
    sides = (init, final)
    names = [embedding_and_head(side.tensors) for side in sides]
    _by_place(names, pairs)
    (old_embedding, old_head), (new_embedding, new_head) = names
    paired = set(pairs.values())
    if old_head and new_head and (old_head, new_head) in paired:
        tied = [bool(e and h) and _same(side, e, h) for side, (e, h) in zip(sides, names, strict=True)]
        if old_embedding and new_embedding and all(tied):
            pairs.pop(next(name for name, pair in pairs.items() if pair == (old_head, new_head)))
            for same, (embedding, head) in zip(ties.same, names, strict=True):
                same[str(head)] = f"tied to the embedding {embedding}, which counts"
            return ties
        for number, other in ((0, new_embedding), (1, old_embedding)):
            # One of them stores no embedding: the other's is its head.
            embedding, head = names[1 - number]
            if not _stores(sides[number], is_embedding) and other is not None and _may_tie(sides[number]):
                if tied[1 - number]:
                    ties.same[1 - number][other] = f"tied to the head {head}, which counts"
                else:
                    ties.pairs[other] = _ordered(number, str(names[number][1]), other)
        return ties
    for number in (0, 1):
        embedding, head = names[number]
        other_embedding, _ = names[1 - number]
        if head is None or _stores(sides[1 - number], is_head) or other_embedding is None:
            continue
        if not _may_tie(sides[1 - number]) or (embedding is None and _stores(sides[number], is_embedding)):
            continue
        if embedding is None:
            ties.pairs[head if number == 0 else other_embedding] = _ordered(number, head, other_embedding)
        elif _same(sides[number], embedding, head):
            ties.same[number][head] = f"tied to the embedding {embedding}, which counts"
        elif _says_tied(sides[1 - number]) or _is_near(sides[number], head, sides[1 - number], other_embedding):
            ties.pairs[head] = _ordered(number, head, other_embedding)
    return ties


def repeated(init: Checkpoint, final: Checkpoint, pairs: dict[str, tuple[str, str]], ties: Ties) -> None:
    """Take out of ``pairs`` the vocabularies that hold another's numbers on both sides, as T5's do in pickled files."""
    counted: list[str] = []
    for name in sorted(filter(is_vocabulary, pairs), key=lambda each: (not is_embedding(each), each)):
        pair = pairs[name]
        if len(init.tensor(pair[0]).shape) != 2:
            continue
        for first in counted:
            if _same(init, pairs[first][0], pair[0]) and _same(final, pairs[first][1], pair[1]):
                del pairs[name]
                for same, this, other in zip(ties.same, pair, pairs[first], strict=True):
                    same[this] = f"the same as {other}, which counts"
                break
        else:
            counted.append(name)


def _stores(side: Checkpoint, role: Callable[[str], bool]) -> bool:
    """Return whether a checkpoint has a matrix, or several, of a role."""
    return any(len(tensor.shape) == 2 and role(name) for name, tensor in side.tensors.items())


def alias(side: Checkpoint, name: str, counted: Iterable[str]) -> str | None:
    """The embedding or head, among those that are ``counted``, whose numbers a tensor of another name holds again."""
    if len(side.tensor(name).shape) != 2:
        return None
    same = (other for other in sorted(counted) if is_vocabulary(other) and other != name and _same(side, name, other))
    return next(same, None)


def _by_place(names: list[tuple[str | None, str | None]], pairs: dict[str, tuple[str, str]]) -> None:
    """Pair the embeddings, and the heads, that two models call differently."""
    olds, news = {old for old, _ in pairs.values()}, {new for _, new in pairs.values()}
    for old, new in zip(*names, strict=True):
        if old is not None and new is not None and old not in olds and new not in news:
            pairs[old] = (old, new)


def _ordered(number: int, one: str, other: str) -> tuple[str, str]:
    return (one, other) if number == 0 else (other, one)


def _may_tie(side: Checkpoint) -> bool:
    return tied_by_config(side) is not False


def _says_tied(side: Checkpoint) -> bool:
    """Return whether a model without a head says that it uses its embedding: one for rewards has neither."""
    return tied_by_config(side) is True


def _is_near(side: Checkpoint, head: str, other: Checkpoint, embedding: str) -> bool:
    """Return whether a head may have come from an embedding, by how most numbers differ in windows of both."""
    a, b = side.tensor(head), other.tensor(embedding)
    if a.dtype is None or b.dtype is None or a.shape[1:] != b.shape[1:]:
        return False
    n = min(a.n, b.n)
    starts = range(0, n, max(_WINDOW, n // _WINDOWS))
    one, two = (
        np.concatenate(
            [each.read(name, start, min(start + _WINDOW, n), torch.float32).view(np.float32) for start in starts]
        )
        for each, name in ((side, head), (other, embedding))
    )
    return bool(np.median(np.abs(one - two)) <= np.median(np.abs(two)) / 2)


def tied_by_config(side: Checkpoint) -> bool | None:
    """Return whether a config says that head and embedding are one; None where it says nothing of it."""
    said = side.config.get("tie_word_embeddings")
    inner = side.config.get("text_config")
    if said is None and isinstance(inner, dict):
        said = inner.get("tie_word_embeddings")
    return None if said is None else bool(said)


def _same(side: Checkpoint, one: str | None, other: str | None) -> bool:
    """Whether two tensors of a checkpoint are the same, bit for bit; reads no further than to where they part."""
    a, b = side.tensor(str(one)), side.tensor(str(other))
    if a.shape != b.shape or a.dtype is None or b.dtype is None:
        return False
    # A head in fp32 beside an embedding in bf16 may hold the same numbers.
    dtype = a.dtype if a.dtype == b.dtype else torch.float64
    step = 4096
    start = 0
    while start < a.n:
        stop = min(start + step, a.n)
        if not np.array_equal(side.read(a.name, start, stop, dtype), side.read(b.name, start, stop, dtype)):
            return False
        start, step = stop, _CHUNK
    return True
