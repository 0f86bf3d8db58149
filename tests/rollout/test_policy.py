"""What a run sends: small updates with its calls, larger ones by way of Ray's object store."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from subnetray.rollout import Policy, Sampling, SyncError
from subnetray.rollout.sync.transfer import Update, whole
from subnetray.rollout.wire import Answer


def _update(size: int) -> Update:
    return Update("digest", None, {}, {"weight": whole(np.zeros(size // 2, np.int16))})


@pytest.mark.parametrize(("size", "stored"), [(512 << 10, False), (514 << 10, True)])
def test_what_is_small_goes_with_the_call(size: int, stored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subnetray.rollout.policy.ray.put", lambda _: "stored")
    sender = Policy([object()], "run", timeout_s=1)
    update = _update(size)
    sent: Any = sender.put(update)
    assert sent == "stored" if stored else sent is update
    assert sender.sync.bytes == size


def test_an_engine_that_takes_nothing_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """... and no draw of fewer completions than were asked for."""
    monkeypatch.setattr("subnetray.rollout.policy.ray.get", lambda answer, **_: answer)
    engine = SimpleNamespace(
        generate=SimpleNamespace(remote=lambda *_: Answer(None)), address=SimpleNamespace(remote=lambda: None)
    )
    policy = Policy([engine], "run", timeout_s=1)
    policy.publish({"weight": torch.zeros(2, dtype=torch.bfloat16)}, "init")
    with pytest.raises(SyncError, match="asks for more"):
        policy.sample([[1]], Sampling(1.0, 2, seed=0))
