"""The identity of weights: a hash of every tensor, and one of all of them.

XXH3-128 is several times as fast as memory is read, where SHA-256 would be what a comparison waits for. It tells
weights apart and finds damage; it does not defend against someone who makes two tensors of one hash on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy.typing as npt
import torch
import xxhash

from subnetray.subnetwork.bits import flat_integers
from subnetray.subnetwork.weights import Weights

# Coordinates hashed at a time: blocks of a tensor may be hashed in any order, by any number of threads.
BLOCK = 1 << 18


def weights_hash(weights: Weights) -> str:
    """Identity of ``weights``, whatever the order of their names: 32 hex digits over the hash of every tensor."""
    return combined_hash({name: tensor_hash(tensor) for name, tensor in weights.items()})


def tensor_hash(tensor: torch.Tensor) -> str:
    """Identity of a tensor: 32 hex digits over its dtype, its shape and the hash of every block of coordinates."""
    bits = flat_integers(tensor)
    blocks = (block_hash(bits[start : start + BLOCK]) for start in range(0, bits.size, BLOCK))
    return joined_hash(blocks, tensor.dtype, tuple(tensor.shape))


def block_hash(bits: npt.NDArray[Any]) -> bytes:
    """Hash of the next ``BLOCK`` coordinates (or the last ones) of a tensor, from the integers that hold them."""
    return xxhash.xxh3_128_digest(bits.data)


def joined_hash(blocks: Iterable[bytes], dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    """:func:`tensor_hash` from the :func:`block_hash` of all blocks in order."""
    # With dtype and shape known, so is where the blocks end: no two tensors give the same bytes.
    digest = xxhash.xxh3_128(json.dumps([str(dtype), list(shape)]).encode())
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def combined_hash(hashes: Mapping[str, str]) -> str:
    """:func:`weights_hash` from the :func:`tensor_hash` of every tensor by name."""
    return xxhash.xxh3_128_hexdigest(json.dumps(sorted(hashes.items())).encode())
