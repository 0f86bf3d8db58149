"""What torchrun, accelerate and mpirun leave in a shell is nothing to a driver, unless it is one of several."""

from __future__ import annotations

import os

import pytest

from subnetray.config import ConfigError
from subnetray.driver import launcher

_LEFT = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
    *("TORCHELASTIC_RUN_ID", "PET_NNODES", "ACCELERATE_USE_FSDP", "FSDP_VERSION", "DEEPSPEED_ZERO_STAGE"),
    *("OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMIX_NAMESPACE", "MV2_COMM_WORLD_RANK"),
)
_KEPT = ("CUDA_VISIBLE_DEVICES", "SLURM_PROCID", "NCCL_DEBUG", "OMP_NUM_THREADS", "MY_RANK", "RANKED")


def test_what_a_launcher_left_is_dropped_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_LEFT, *_KEPT):
        monkeypatch.setenv(name, "0")
    launcher.forget()

    assert [name for name in _LEFT if name in os.environ] == []
    assert [name for name in _KEPT if name not in os.environ] == []


@pytest.mark.parametrize(("rank", "size"), [("RANK", "WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")])
def test_one_of_several_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    monkeypatch.setenv(rank, "1")
    monkeypatch.setenv(size, "4")
    with pytest.raises(ConfigError, match=rf"^{rank}=1 of {size}=4: .* start it once, without the launcher"):
        launcher.check()


@pytest.mark.parametrize(("rank", "size"), [("0", "4"), ("3", "1"), ("1", ""), ("", "4"), ("-1", "4"), ("x", "y")])
def test_the_first_of_several_is_not(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    """... nor what is one by a mistake: the variables are dropped."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    launcher.check()
