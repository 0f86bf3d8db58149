"""The embedded model's tokenizer: one character, one token."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

PAD = "<pad>"
EOS = "<eos>"
# The position is the token id.
VOCABULARY = (PAD, EOS, *"0123456789+-*=")


def make_tokenizer(model_max_length: int) -> Qwen2Tokenizer:
    """Return a tokenizer without BOS or unknown token: a prompt's ids are its characters, nothing else.

    Characters outside the vocabulary have no id and are dropped. Padding is on the left, as generation needs it.
    """
    from transformers import Qwen2Tokenizer

    # Not a plain PreTrainedTokenizerFast: for a qwen2 model AutoTokenizer (transformers 5, and vLLM through it)
    # ignores the saved class and rebuilds a Qwen2Tokenizer from the vocabulary, with an unknown token of its own
    # beyond the embedding's last row. BPE without merges is one token a character.
    return Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(VOCABULARY)},
        merges=[],
        unk_token=None,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
    )
