"""Strata: which coordinates are in one, and masks put in their order."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import Arranged, Mask, MismatchError, Strata, tensor_strata, ulp_strata
from subnetray.subnetwork.bits import exponents
from subnetray.subnetwork.overlap import strata
from tests.subnetwork.strategies import pairs


def _members(found: Strata, shapes: dict[str, tuple[int, ...]]) -> list[tuple[str, list[int]]]:
    """The coordinates of every stratum, by asking where the only bit of a mask goes."""
    members: list[tuple[str, list[int]]] = [("", []) for _ in range(found.n.size)]
    for name, shape in shapes.items():
        for index in range(math.prod(shape)):
            bools = {other: torch.zeros(size, dtype=torch.bool) for other, size in shapes.items()}
            bools[name].view(-1)[index] = True
            (stratum,) = np.flatnonzero(found.arrange(Mask.from_bools(bools)).k)
            assert members[stratum][0] in ("", name)
            members[stratum] = (name, [*members[stratum][1], index])
    return members


@given(pair=pairs(), block=st.sampled_from([64, 1 << 16]))
@settings(max_examples=15)
def test_strata_are_the_exponents_that_occur_and_of_two_inits_their_pairs(
    pair: tuple[dict[str, Tensor], dict[str, Tensor]], block: int
) -> None:
    one, two = pair
    shapes = {name: tuple(tensor.shape) for name, tensor in one.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strata, "_BLOCK", block)
        single, joint = _members(ulp_strata(one), shapes), _members(ulp_strata(one, two), shapes)
    for found, code in (
        (single, {name: exponents(one[name]).astype(np.int64) for name in one}),
        (joint, {name: exponents(one[name]).astype(np.int64) * 10**4 + exponents(two[name]) for name in one}),
    ):
        expected = [
            (name, np.flatnonzero(values == value).tolist())
            for name, values in code.items()
            for value in np.unique(values)
        ]
        assert found == expected


def _bits(arranged: Arranged, stratum: int) -> list[int]:
    begin, end = arranged.strata.word[stratum : stratum + 2]
    return np.flatnonzero(np.unpackbits(arranged.words[begin:end].view(np.uint8), bitorder="little")).tolist()


@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(0, 300), min_size=1, max_size=4))
@settings(max_examples=40)
def test_arranged_masks_keep_every_bit_and_their_meetings(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    ids = {str(i): np.unique(rng.integers(0, 5, size), return_inverse=True)[1] for i, size in enumerate(sizes)}
    shapes = {str(i): (size,) for i, size in enumerate(sizes)}
    masks = [
        Mask.from_bools({name: torch.from_numpy(rng.random(shape) < 0.3) for name, shape in shapes.items()})
        for _ in range(2)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strata, "_BLOCK", 64)
        found = strata.strata_of({name: part.astype(np.uint8) for name, part in ids.items()}, shapes)
        one, two = (found.arrange(mask) for mask in masks)
    assert found.n.tolist() == [size for part in ids.values() for size in np.bincount(part)]
    assert found.tensor.tolist() == np.cumsum([0, *(part.max(initial=-1) + 1 for part in ids.values())]).tolist()
    stratum = 0
    for name, part in ids.items():
        for value in range(int(part.max(initial=-1)) + 1):
            x, y = (mask.flat(name)[part == value] for mask in masks)
            assert (one.k[stratum], two.k[stratum]) == (x.sum(), y.sum())
            assert len(set(_bits(one, stratum)) & set(_bits(two, stratum))) == (x & y).sum()
            stratum += 1


def test_many_strata_and_blocks_as_large_as_they_are() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 700, 200_001).astype(np.uint16)
    bools = rng.random(ids.size) < 0.3
    found = strata.strata_of({"a": ids}, {"a": ids.shape})
    arranged = found.arrange(Mask.from_bools({"a": torch.from_numpy(bools)}))
    assert found.n.tolist() == np.bincount(ids).tolist()
    assert arranged.k.tolist() == np.bincount(ids, weights=bools).tolist()


def test_one_stratum_a_tensor_leaves_the_bits_in_place() -> None:
    mask = Mask.from_bools(
        {"a": torch.rand(70_000) < 0.5, "b": torch.zeros(0, dtype=torch.bool), "c": torch.ones(3) > 0}
    )
    arranged = tensor_strata(mask).arrange(mask)
    assert arranged.k.tolist() == [mask.flat("a").sum(), 3]
    assert arranged.words[: 70_000 // 64].tolist() == mask.bits["a"][: 70_000 // 64 * 8].view(np.uint64).tolist()


def test_other_tensors_are_refused() -> None:
    init = {name: torch.ones(4, 4) for name in "ab"}
    with pytest.raises(MismatchError):
        ulp_strata(init).arrange(Mask.from_bools({"a": torch.ones(4, 4, dtype=torch.bool)}))
    with pytest.raises(MismatchError):
        ulp_strata(init).arrange(Mask.from_bools({name: torch.ones(2, 8, dtype=torch.bool) for name in "ab"}))
    with pytest.raises(MismatchError):
        ulp_strata(init, {"a": init["a"]})
    with pytest.raises(MismatchError):
        ulp_strata(init, {name: tensor[:2] for name, tensor in init.items()})
