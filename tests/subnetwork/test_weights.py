"""Names of parts, tied weights, and the identity of weights."""

from __future__ import annotations

import pytest
import torch

from subnetray.subnetwork import named_weights, weights_hash
from subnetray.subnetwork.bits import exponents, flat_integers, float_format, from_integers
from subnetray.subnetwork.weights import layer_index, module_kind
from tests.decoder import decoder


@pytest.mark.parametrize(
    ("name", "kind", "layer"),
    [
        ("model.embed_tokens.weight", "embedding", None),
        ("model.layers.3.self_attn.q_proj.weight", "q", 3),
        ("model.layers.3.self_attn.q_proj.bias", "bias", 3),
        ("model.layers.11.self_attn.q_norm.weight", "norm", 11),
        ("model.layers.0.mlp.down_proj.weight", "down", 0),
        ("model.layers.0.mlp.experts.7.up_proj.weight", "experts", 0),
        ("model.layers.0.mlp.gate.weight", "other", 0),
        ("model.norm.weight", "norm", None),
        ("lm_head.weight", "head", None),
    ],
)
def test_parts_by_name(name: str, kind: str, layer: int | None) -> None:
    assert (module_kind(name), layer_index(name)) == (kind, layer)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_count_once(tied: bool) -> None:
    weights = named_weights(decoder(tie_word_embeddings=tied), torch.bfloat16)
    assert ("lm_head.weight" in weights) is not tied
    assert all(tensor.dtype == torch.bfloat16 and not tensor.requires_grad for tensor in weights.values())


def test_the_hash_sees_names_dtypes_shapes_and_every_bit_but_not_the_order() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    same = {"b": torch.ones(2), "a": torch.zeros(2, 3)}
    others = [
        {"a": torch.zeros(3, 2), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3), "c": torch.ones(2)},
        {"a": torch.zeros(2, 3).bfloat16(), "b": torch.ones(2)},
        {"a": -torch.zeros(2, 3), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0, 1.0000001])},
    ]
    assert weights_hash(base) == weights_hash(same)
    assert len({weights_hash(weights) for weights in (base, *others)}) == 6


def test_bits_of_known_numbers() -> None:
    values = torch.tensor([1.0, -2.0, 0.0, -0.0, 0.75]).bfloat16()
    assert flat_integers(values).tolist() == [0x3F80, 0xC000 - 65536, 0, 0x8000 - 65536, 0x3F40]
    assert exponents(values).tolist() == [127, 128, 0, 0, 126]
    assert torch.equal(from_integers(flat_integers(values), torch.bfloat16), values)
    with pytest.raises(TypeError, match=r"not torch\.int8"):
        float_format(torch.int8)
