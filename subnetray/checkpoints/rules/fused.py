"""Matrices that one tool stores in one tensor and another apart: q, k and v; gate and up; the experts of a layer.

How parts lie in a fused tensor is not told by names: one after another or row by row in turn, by heads, transposed.
So each layout that the shapes allow is tried on the numbers, and the one in which both checkpoints hold nearly the same
is it; where none is, or two are, the tensors are left out. A wrong layout compares weights that have nothing to do
with each other, and their distance is as large as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from subnetray.checkpoints.checkpoint import Checkpoint
from subnetray.checkpoints.rules.names import bare
from subnetray.checkpoints.stored import Piece, StoredTensor, dense
from subnetray.subnetwork.bits import from_integers

_SYNONYMS = {
    **dict.fromkeys(("self_attn", "self_attention", "attention", "attn"), "attn"),
    **dict.fromkeys(("mlp", "block_sparse_moe", "feed_forward", "ffn", "moe"), "mlp"),
    **dict.fromkeys(("experts", "local_experts", "switch_mlp"), "experts"),
    **dict.fromkeys(("h", "blocks", "block", "layers"), "layers"),
}
_PARTS = {
    **dict.fromkeys(("q_proj", "wq", "query", "q"), "q"),
    **dict.fromkeys(("k_proj", "wk", "key", "k"), "k"),
    **dict.fromkeys(("v_proj", "wv", "value", "v"), "v"),
    **dict.fromkeys(("gate_proj", "w1"), "gate"),
    **dict.fromkeys(("up_proj", "w3"), "up"),
    **dict.fromkeys(("down_proj", "w2"), "down"),
}
_FUSED = {
    **dict.fromkeys(("qkv_proj", "qkv", "W_pack", "Wqkv", "wqkv", "query_key_value", "c_attn"), ("q", "k", "v")),
    **dict.fromkeys(
        ("gate_up_proj", "gate_up", "w13", "linear_fc1", "dense_h_to_4h", "fc1", "wi"),
        ("gate", "up"),
    ),
}
_HEADS = (2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 120, 128, 160, 192, 256, 512)  # coordinates of a head
_WINDOWS, _WINDOW = 8, 2048  # coordinates that layouts are tried on
_NEAR, _FAR = 0.7, 1.5  # mean distance over mean size; how much farther any other layout is
_TRIED = 3  # tensors that settle a layout

Leaf = tuple[str, str, str, str]  # place, expert, part, weight or bias
Layout = tuple[str, int]


@dataclass(frozen=True)
class _Whole:
    """A tensor that holds ``parts`` of all experts (``stacked``), of one ``expert`` or of one module."""

    name: str
    place: str
    parts: tuple[str, ...]
    kind: str
    stacked: bool
    expert: str = ""


def split(
    one: Checkpoint, fused: Sequence[str], other: Checkpoint, apart: Sequence[str]
) -> dict[str, list[tuple[str, StoredTensor]]]:
    """For each of the tensors ``fused`` of ``one`` that is stored in parts among ``apart`` of ``other``: these parts.

    A part is the name that ``other`` calls it by, and the tensor of ``one`` that holds the same.
    """
    leaves = {leaf: name for name in apart if (leaf := _leaf(name)) is not None}
    groups: dict[tuple[tuple[str, ...], str, bool], list[tuple[_Whole, dict[Layout, dict[Leaf, Piece]]]]] = {}
    for name in fused:
        whole = _whole(name, one.tensor(name))
        if whole is None or one.tensor(name).dtype is None:
            continue
        ways = {
            layout: pieces
            for layout, pieces in _layouts(one.tensor(name), whole, leaves, other)
            if all(leaf in leaves and other.tensor(leaves[leaf]).dtype is not None for leaf in pieces)
        }
        if ways:
            groups.setdefault((whole.parts, whole.kind, whole.stacked), []).append((whole, ways))
    found: dict[str, list[tuple[str, StoredTensor]]] = {}
    settled: dict[tuple[tuple[str, ...], bool], Layout] = {}
    # Weights first: biases, which may be zero throughout, follow them.
    for (parts, kind, stacked), wholes in sorted(groups.items(), key=lambda group: group[0][1] == "bias"):
        layout = _settle(one, other, leaves, wholes) if kind == "weight" else settled.get((parts, stacked))
        layout = layout or _settle(one, other, leaves, wholes)
        if layout is None:
            continue
        settled[parts, stacked] = layout
        for whole, ways in wholes:
            if (pieces := ways.get(layout) or _of_bias(ways, layout)) is not None:
                found[whole.name] = [
                    (leaves[leaf], _part(one, piece, leaf, other.tensor(leaves[leaf]).shape))
                    for leaf, piece in pieces.items()
                ]
    return found


def _of_bias(ways: Mapping[Layout, dict[Leaf, Piece]], layout: Layout) -> dict[Leaf, Piece] | None:
    """A bias has no columns to transpose."""
    return ways.get((layout[0].removesuffix(", transposed"), layout[1]))


def _leaf(name: str) -> Leaf | None:
    """Name the part that a tensor is of a fused one; None if it is none that others fuse."""
    *rest, kind = _canonical(name)
    if kind not in ("weight", "bias") or not rest or rest[-1] not in _PARTS:
        return None
    part = _PARTS[rest.pop()]
    expert = rest.pop() if len(rest) > 1 and rest[-1].isdigit() and rest[-2] == "experts" else ""
    return ".".join(rest), expert, part, kind


def _whole(name: str, tensor: StoredTensor) -> _Whole | None:
    parts = _canonical(name)
    kind = "weight"
    if parts[-1] in ("weight", "bias"):
        kind = parts.pop()
    elif parts[-1].endswith("_bias"):
        kind, parts[-1] = "bias", parts[-1].removesuffix("_bias")
    if len(parts) < 2:
        return None
    last, inside = parts[-1], parts[-2] == "experts"
    leaf = _leaf(name)
    if leaf is not None and len(tensor.shape) == 2 - (kind == "bias"):  # the same under another name
        return _Whole(name, leaf[0], (leaf[2],), kind, stacked=False, expert=leaf[1])
    held = _FUSED.get(last) or ((_PARTS[last],) if inside and last in _PARTS else None)
    if held is None or len(tensor.shape) != (3 if inside else 2) - (kind == "bias"):
        return None
    return _Whole(name, ".".join(parts[:-1]), held, kind, stacked=inside)


def _canonical(name: str) -> list[str]:
    return [_SYNONYMS.get(part, part) for part in bare(name).split(".")]


def _layouts(
    tensor: StoredTensor, whole: _Whole, leaves: Mapping[Leaf, str], other: Checkpoint
) -> Iterator[tuple[Layout, dict[Leaf, Piece]]]:
    """Every layout that the shapes of the parts allow, with where the parts are then."""
    count = tensor.shape[0] if whole.stacked else 1
    if whole.stacked and (whole.place, str(count - 1), whole.parts[0], whole.kind) not in leaves:
        return
    experts = [str(number) for number in range(count)] if whole.stacked else [whole.expert]
    shapes = []
    for part in whole.parts:
        name = leaves.get((whole.place, experts[0], part, whole.kind))
        if name is None:
            return
        shapes.append(other.tensor(name).shape)
    inner = tensor.shape[1:] if whole.stacked else tensor.shape
    size = math.prod(inner)
    for layout, views in _views(inner, shapes):
        yield (
            layout,
            {
                (whole.place, expert, part, whole.kind): replace(view, of=tensor.name, start=view.start + number * size)
                for number, expert in enumerate(experts)
                for part, view in zip(whole.parts, views, strict=True)
            },
        )


def _views(inner: tuple[int, ...], shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[Layout, list[Piece]]]:
    """List where parts of these shapes can be in a matrix or a bias of shape ``inner``."""
    rows, rest = [shape[0] for shape in shapes], shapes[0][1:]
    if any(shape[1:] != rest for shape in shapes):
        return
    if inner == (sum(rows), *rest):
        for layout, taken in _row_layouts(rows):
            yield layout, [_rows(index, rest) for index in taken]
    if len(inner) == 2 and inner == (*rest, sum(rows)) and rest:
        for (way, head), taken in _row_layouts(rows):
            yield (f"{way}, transposed", head), [_columns(index, inner) for index in taken]


_Rows = tuple[int, tuple[int, ...], tuple[int, ...]]  # first row, and rows as an array: shape and strides in rows


def _row_layouts(rows: Sequence[int]) -> Iterator[tuple[Layout, list[_Rows]]]:
    """The ways in which rows of several parts can be in turn in one tensor."""
    starts = [sum(rows[:number]) for number in range(len(rows))]
    yield ("one after another", 0), [(start, (count,), (1,)) for start, count in zip(starts, rows, strict=True)]
    if len(rows) == 1:
        return
    if len(rows) == 2:
        if rows[0] == rows[1]:
            yield ("in turn", 0), [(number, (rows[0],), (2,)) for number in range(2)]
            yield ("the second first", 0), [(rows[0], (rows[0],), (1,)), (0, (rows[0],), (1,))]
        return
    queries, keys, values = rows
    if keys != values or not keys or queries % keys:
        return
    for head in {*_HEADS, keys}:
        if keys % head or (head == keys and queries == 0):
            continue
        groups, share = keys // head, queries // keys
        if groups == 1:
            continue  # one after another
        group = (share + 2) * head
        yield (
            ("by heads", head),
            [
                (0, (groups, share * head), (group, 1)),
                (share * head, (groups, head), (group, 1)),
                ((share + 1) * head, (groups, head), (group, 1)),
            ],
        )


def _rows(index: _Rows, rest: tuple[int, ...]) -> Piece:
    first, shape, strides = index
    width = math.prod(rest)
    piece = Piece("", first * width, (*shape, *rest), (*(stride * width for stride in strides), *dense(rest)))
    return _plain(piece)


def _columns(index: _Rows, inner: tuple[int, ...]) -> Piece:
    first, shape, strides = index
    return Piece("", first, (*shape, inner[0]), (*strides, inner[1]))


def _plain(piece: Piece) -> Piece:
    """The same with one dimension less where two follow each other without a gap."""
    shape, strides = list(piece.shape), list(piece.strides)
    for at in range(len(shape) - 1, 0, -1):
        if strides[at - 1] == strides[at] * shape[at]:
            shape[at - 1 : at + 1] = [shape[at - 1] * shape[at]]
            strides[at - 1 : at + 1] = [strides[at]]
    return replace(piece, shape=tuple(shape), strides=tuple(strides))


def _settle(
    one: Checkpoint,
    other: Checkpoint,
    leaves: Mapping[Leaf, str],
    wholes: Sequence[tuple[_Whole, dict[Layout, dict[Leaf, Piece]]]],
) -> Layout | None:
    """The layout in which both hold nearly the same numbers; None if there is none, or not one alone."""
    common = set.intersection(*(set(ways) for _, ways in wholes[:_TRIED]))
    scores: dict[Layout, float] = {}
    for layout in common:
        distance = size = 0.0
        for _, ways in wholes[:_TRIED]:
            pieces = list(ways[layout].items())
            for leaf, piece in pieces[:3] + pieces[3:][-3:]:
                name = leaves[leaf]
                apart, large = _distance(one, _part(one, piece, leaf, other.tensor(name).shape), other, name)
                distance, size = distance + apart, size + large
        scores[layout] = distance / size if size else (0.0 if not distance else math.inf)
    order = sorted(scores, key=lambda layout: (scores[layout], layout))
    if not order or not scores[order[0]] <= _NEAR:
        return None
    if len(order) > 1 and scores[order[1]] < max(_FAR * scores[order[0]], 1e-3):
        # Both fit: the numbers are the same throughout, and any layout gives the same counts.
        return ("one after another", 0) if scores[order[1]] == 0 and ("one after another", 0) in scores else None
    return order[0]


def _distance(one: Checkpoint, part: StoredTensor, other: Checkpoint, name: str) -> tuple[float, float]:
    """Sums, over some windows, of the distances and of the sizes of the numbers of ``other``."""
    distance = size = 0.0
    one.derived[part.name] = part
    step = max(_WINDOW, -(-part.n // _WINDOWS))
    for start in range(0, part.n, step):
        stop = min(start + _WINDOW, part.n)
        a, b = (_values(side, each, start, stop) for side, each in ((one, part.name), (other, name)))
        distance += float(np.abs(a - b).sum())
        size += float(np.abs(b).sum())
    del one.derived[part.name]
    return distance, size


def _values(side: Checkpoint, name: str, start: int, stop: int) -> npt.NDArray[np.float64]:
    values = from_integers(side.read(name, start, stop, torch.float32), torch.float32).double().numpy()
    found: npt.NDArray[np.float64] = np.nan_to_num(values, posinf=0, neginf=0)
    return found


def _part(one: Checkpoint, piece: Piece, leaf: Leaf, shape: tuple[int, ...]) -> StoredTensor:
    """The tensor that a piece is; where its numbers follow one another in a file, one like any other."""
    of = one.tensor(piece.of)
    name = f"{piece.of}[{'.'.join(each for each in leaf[1:3] if each)}]"
    while name in one.tensors:
        name += "'"
    if of.plain and piece.strides == dense(piece.shape):
        assert of.dtype is not None
        offset = of.offset + piece.start * of.dtype.itemsize
        return replace(of, name=name, shape=shape, offset=offset, part_of=piece.of)
    return StoredTensor(name, shape, of.dtype, of.stored_as, of.file, pieces=(piece,), part_of=piece.of)
