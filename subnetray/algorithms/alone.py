"""TRL by itself: imported before any of its trainers.

Where vLLM is installed TRL imports it for engines of its own, which no run has: a third of a run's process's imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_utilities: Any = import_module("trl.import_utils")
_utilities.is_vllm_available = lambda min_version=None: False

_heads: Any = import_module("trl.trainer.utils")
_LOGITS = int(_heads._CHUNKED_LOGPROB_CHUNK_SIZE)


def fit_head(vocabulary: int) -> None:
    """Have trainers of TRL, from now on, make no room for more logits a token than a ``vocabulary`` has.

    They do for 32768: of a small one, getting that memory takes far longer than the logits do.
    """
    _heads._CHUNKED_LOGPROB_CHUNK_SIZE = min(_LOGITS, vocabulary)
