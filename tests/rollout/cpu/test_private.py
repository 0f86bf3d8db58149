"""What this vLLM lacks is left to vLLM; real engines without names are in tests/e2e/test_engines.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from subnetray.private import Gone
from subnetray.rollout.cpu import private
from subnetray.rollout.cpu.batch import Batch
from subnetray.rollout.cpu.packed import Packed

_RELOAD = "vllm.model_executor.model_loader.reload"


class UnquantizedLinearMethod:
    def process_weights_after_loading(self, layer: Any) -> None:
        """Pack nothing."""


def _model(empty: bool) -> Any:
    """A model of one layer, which vLLM has packed, and whose weight it has dropped or kept."""
    layer: Any = nn.Linear(2, 0 if empty else 2, bias=False)
    layer.quant_method, layer.cpu_linear = UnquantizedLinearMethod(), None
    model: Any = nn.Sequential(layer)
    model.load_weights = dict
    return model


def _hide(hidden: str, patch: pytest.MonkeyPatch) -> None:
    """Have vLLM lack what ``hidden`` is, and give back what it is given by all else."""

    def reach(module: str, name: str) -> Any:
        if hidden == f"{module}.{name}":
            raise Gone(f"vllm 9.9 has no {hidden}")
        if name == "get_layerwise_info":
            return lambda layer: type("Info", (), {"restore_metadata": [{"weight": torch.zeros(2, 2)}]})
        return lambda tensor, *_: tensor

    patch.setattr(private, "reach", reach)


@pytest.mark.parametrize(
    "hidden",
    [
        f"{_RELOAD}.layerwise.get_layerwise_info",
        f"{_RELOAD}.meta.materialize_meta_tensor",
        f"{_RELOAD}.sanitize.restore_layer_refs",
    ],
)
def test_loading_is_vllm_s_own_without(
    hidden: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _hide(hidden, monkeypatch)
    assert Packed.of(_model(empty=True)) is None
    assert hidden in caplog.text
    assert Packed.of(_model(empty=False)) is not None  # where nothing was dropped no name is needed
    _hide("", monkeypatch)
    assert Packed.of(_model(empty=True)) is not None


@pytest.mark.parametrize("name", ["load_weights", "process_weights_after_loading"])
def test_so_it_is_without_a_method(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """... which would be missed in the middle of loading."""
    model = _model(empty=False)
    if name == "load_weights":
        del model.load_weights
    else:
        monkeypatch.delattr(UnquantizedLinearMethod, name)
    assert Packed.of(model) is None


def test_an_engine_of_other_insides_is_left_to_its_scheduler(caplog: pytest.LogCaptureFixture) -> None:
    assert Batch.of(object()) is None
    assert "its own way is taken, more slowly" in caplog.text


def test_what_is_not_vllm_s_fault_is_raised() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        private.tried(interrupted, "here")


@pytest.mark.parametrize(("processes", "executor"), [(1, "uniproc"), (2, "multiproc")])
def test_an_engine_is_not_left_open(
    processes: int, executor: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def gone(module: str, name: str, _: object) -> None:
        raise Gone(f"vllm 9.9 has no {module}.{name}")

    monkeypatch.setattr(private, "replace", gone)
    with pytest.raises(Gone, match=rf"^vllm 9\.9 has no vllm\.v1\.executor\.{executor}_exec.* would listen on"):
        private.meet_in(tmp_path, processes)
