"""What runs and engines say to each other, and all of it as bytes: numbers and names, nothing that could run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from subnetray.rollout.sampling import Samples, Sampling
from subnetray.rollout.sync.probe import Probe
from subnetray.rollout.sync.transfer import SyncError, Update


@dataclass(frozen=True)
class Target:
    """The weights that a call is to sample from; ``version`` is what their run calls them, ``shapes`` are by name.

    ``initial``: whether they are those that the run starts from, as other runs may.
    """

    version: str
    digest: str
    shapes: Mapping[str, tuple[int, ...]]
    probe: Probe | None
    initial: bool


@dataclass(frozen=True)
class Answer:
    """Samples, what sampling took (seconds), and what taking up the weights did: seconds, and the probe's distance.

    ``samples`` may be of the first prompts only: the engine is to be asked for the others again, and serves whoever
    asked meanwhile before that. None: it holds nothing that the updates start from, and asks for more.
    """

    samples: Samples | None
    sync_s: float = 0.0
    logp_gap: float = 0.0
    rollout_s: float = 0.0


Call = tuple[Target, list[list[int]], Sampling, int, list[Update]]  # the arguments of ``Engine.generate``


def call(
    target: Target, prompts: Sequence[list[int]], sampling: Sampling, first: int, updates: Sequence[Update]
) -> bytes:
    """The arguments of ``Engine.generate``."""
    return _encoder.encode((target, prompts, sampling, first, updates))


def read_call(message: bytes) -> Call:
    """What :func:`call` made the message of; arrays are read-only."""
    return _calls.decode(message)


def answer(given: Answer | SyncError) -> bytes:
    """An engine's answer, or why there is none."""
    return _encoder.encode(str(given) if isinstance(given, SyncError) else given)


def read_answer(message: bytes) -> Answer:
    """What :func:`answer` made the message of; raises :class:`SyncError` if it was one."""
    found = _answers.decode(message)
    if isinstance(found, str):
        raise SyncError(found)
    return found


def _parts(array: npt.NDArray[Any]) -> tuple[str, memoryview]:
    return array.dtype.str, array.data


def _array(_: type, parts: tuple[str, bytes]) -> npt.NDArray[Any]:
    kind, content = parts
    return np.frombuffer(content, kind)


_encoder = msgspec.msgpack.Encoder(enc_hook=_parts)
_calls = msgspec.msgpack.Decoder(Call, dec_hook=_array)
_answers = msgspec.msgpack.Decoder(Answer | str, dec_hook=_array)
