"""The identity of weights: blocks may be hashed in any order, and nothing that differs goes unseen."""

from __future__ import annotations

import pytest
import torch

from subnetray.subnetwork import hashing, tensor_hash, weights_hash
from subnetray.subnetwork.bits import flat_integers
from subnetray.subnetwork.hashing import block_hash, combined_hash, joined_hash


def test_blocks_join_to_the_hash_of_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "BLOCK", 16)
    tensor = torch.randn(5, 11, generator=torch.Generator().manual_seed(0)).bfloat16()
    bits = flat_integers(tensor)
    blocks = {start: block_hash(bits[start : start + 16]) for start in (48, 16, 0, 32)}
    assert joined_hash([blocks[start] for start in sorted(blocks)], tensor.dtype, (5, 11)) == tensor_hash(tensor)
    assert joined_hash([blocks[start] for start in blocks], tensor.dtype, (5, 11)) != tensor_hash(tensor)
    assert combined_hash({"a": tensor_hash(tensor)}) == weights_hash({"a": tensor})


@pytest.mark.parametrize("position", [0, 17, 54])
def test_a_flipped_bit_is_another_tensor(position: int) -> None:
    tensor = torch.ones(55)
    flat_integers(tensor)[position] ^= 1
    assert tensor_hash(tensor) != tensor_hash(torch.ones(55))


def test_the_same_numbers_elsewhere_in_memory_are_the_same_tensor() -> None:
    tensor = torch.randn(6, 4)
    assert tensor_hash(tensor.t().contiguous().t()) == tensor_hash(tensor)
    assert tensor_hash(torch.zeros(0, 3)) != tensor_hash(torch.zeros(3, 0))
