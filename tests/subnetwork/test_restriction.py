"""A restriction to all ones is the full run, to all zeros the init; in between nothing moves outside of the mask."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from subnetray.subnetwork import Mask, MismatchError, arms, named_weights
from subnetray.subnetwork.restriction import Restriction
from tests.subnetwork.strategies import raw

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.3, fused=True),
    "adamw_plain": lambda parameters: torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.3, foreach=False),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.3, nesterov=True),
}
# What weights are held in; fp32_master computes in bf16.
PRECISIONS = {"fp32_master": torch.float32, "bf16": torch.bfloat16, "fp32": torch.float32}


class Net(nn.Module):
    """A tied embedding, a matrix, a norm and a parameter without any gradient."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 6)
        self.layer = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.idle = nn.Parameter(torch.randn(5))
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight
        with torch.no_grad():
            self.embedding.weight[0, :2] = torch.tensor([0.0, -0.0])
        self.to(dtype)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.layer(self.embedding(ids)).tanh()))
        return logits


def train(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    max_norm: float | None = None,
    autocast: bool = False,
    seed: int = 1,
    passes: int = 2,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(6):
        for _ in range(passes):
            ids = torch.randint(11, (8,), generator=generator)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                logits = net(ids)
            nn.functional.cross_entropy(3 * logits.float(), ids.roll(1)).backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(net.parameters(), max_norm)
        optimizer.step()
        optimizer.zero_grad()


def trained(
    precision: str, make: Make, mask: Mask | None, clip: str = "before", max_norm: float = 0.5
) -> tuple[dict[str, Tensor], dict[str, Tensor], Restriction | None]:
    net = Net(PRECISIONS[precision])
    init = copy.deepcopy(named_weights(net))
    optimizer = make(list(net.parameters()))
    restriction = None
    if mask is not None:
        restriction = Restriction(dict(net.named_parameters()), mask, clip, max_norm)
        restriction.attach(optimizer)
    train(net, optimizer, max_norm if mask is None else None, autocast=precision == "fp32_master")
    return init, named_weights(net), restriction


def ones() -> Mask:
    return Mask.from_bools(
        {name: torch.ones(p.shape, dtype=torch.bool) for name, p in Net(torch.float32).named_parameters()}
    )


cases = pytest.mark.parametrize(
    ("precision", "make"),
    [pytest.param(p, make, id=f"{p}-{name}") for p in PRECISIONS for name, make in OPTIMIZERS.items()],
)


@cases
@pytest.mark.parametrize("clip", ["before", "after"])
def test_a_mask_of_ones_is_the_full_run_bit_for_bit(precision: str, make: Make, clip: str) -> None:
    init, full, _ = trained(precision, make, None)
    _, final, restriction = trained(precision, make, ones(), clip)
    assert all(raw(final[name]) == raw(full[name]) for name in full)
    assert raw(full["layer.weight"]) != raw(init["layer.weight"])
    assert restriction is not None
    assert all(one == other for one, other in restriction.norms)


@cases
def test_a_mask_of_zeros_is_the_init_bit_for_bit(precision: str, make: Make) -> None:
    init, final, restriction = trained(precision, make, ~ones())
    assert all(raw(final[name]) == raw(init[name]) for name in init)
    assert restriction is not None
    assert all(full > 0 and masked == 0 for full, masked in restriction.norms)


@cases
@pytest.mark.parametrize("clip", ["before", "after"])
def test_nothing_outside_of_the_mask_moves_and_what_is_inside_does(precision: str, make: Make, clip: str) -> None:
    mask = arms.random(ones().shapes, 80, seed=2)
    init, final, restriction = trained(precision, make, mask, clip)
    for name, bools in mask.bools().items():
        before, after = init[name], final[name]
        assert raw(after[~bools]) == raw(before[~bools])
        if name not in ("idle", "embedding.weight"):  # of the embedding, ±0 and rows that never occurred stay
            assert (after != before)[bools].float().mean() > 0.9
    assert (Mask.between(init, final) & ~mask).k == 0
    assert restriction is not None
    assert all(0 < masked < full for full, masked in restriction.norms)


def one_step(clip: str, max_norm: float) -> tuple[Tensor, Restriction]:
    weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    mask = Mask.from_bools({"w": torch.tensor([True, False, True])})
    restriction = Restriction({"w": weight}, mask, clip, max_norm)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    restriction.attach(optimizer)
    weight.grad = torch.tensor([3.0, 12.0, 4.0])
    optimizer.step()
    return weight.detach(), restriction


@pytest.mark.parametrize(
    ("clip", "scale"), [("before", 1.3 / 13), ("after", 1.3 / 5)], ids=["norm of all", "norm of the mask's"]
)
def test_clipping_goes_by_the_norm_that_was_chosen(clip: str, scale: float) -> None:
    weight, restriction = one_step(clip, 1.3)
    assert weight.tolist() == pytest.approx([1 - 3 * scale, 2, 3 - 4 * scale], rel=1e-5)
    assert restriction.norms == [(13.0, 5.0)]  # before any clipping


def test_the_optimizer_keeps_state_of_the_mask_s_coordinates_only() -> None:
    net = Net(torch.float32)
    mask = arms.random(ones().shapes, 80, seed=2)
    optimizer = OPTIMIZERS["adamw"](list(net.parameters()))
    Restriction(dict(net.named_parameters()), mask).attach(optimizer)
    train(net, optimizer)
    inside = {name: int(bools.sum()) for name, bools in mask.bools().items() if name != "idle"}
    assert [state["exp_avg"].shape for state in optimizer.state.values()] == [(k,) for k in inside.values()]
    assert [state["exp_avg_sq"].shape for state in optimizer.state.values()] == [(k,) for k in inside.values()]
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_frozen_gradient_that_is_not_finite_does_no_harm() -> None:
    weight = nn.Parameter(torch.ones(2))
    mask = Mask.from_bools({"w": torch.tensor([True, False])})
    restriction = Restriction({"w": weight}, mask, "after", 1.0)
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.1)
    restriction.attach(optimizer)
    weight.grad = torch.tensor([1.0, torch.inf])
    optimizer.step()
    assert weight[0] < 1
    assert weight[1] == 1


def test_a_mask_of_other_tensors_is_refused() -> None:
    net = Net(torch.float32)
    mask = ones()
    del mask.shapes["idle"], mask.bits["idle"]
    with pytest.raises(MismatchError, match="idle"):
        Restriction(dict(net.named_parameters()), mask)


def test_an_optimizer_of_other_parameters_is_refused() -> None:
    net = Net(torch.float32)
    restriction = Restriction(dict(net.named_parameters()), ones())
    with pytest.raises(MismatchError, match="that the mask has not"):
        restriction.attach(torch.optim.SGD([nn.Parameter(torch.ones(3))], lr=1.0))


def worker(rank: int, directory: Path) -> None:
    """One of two data-parallel workers, each with data of its own: the full run, then those of three masks."""
    torch.distributed.init_process_group("gloo", f"file://{directory / 'meet'}", rank=rank, world_size=2)
    part = arms.random(ones().shapes, 80, seed=2)
    for name, mask in {"full": None, "ones": ones(), "zeros": ~ones(), "part": part}.items():
        net = Net(torch.float32)
        optimizer = OPTIMIZERS["adamw"](list(net.parameters()))
        if mask is not None:
            Restriction(dict(net.named_parameters()), mask, max_norm=0.5).attach(optimizer)
        parallel = nn.parallel.DistributedDataParallel(net, find_unused_parameters=True)
        train(parallel, optimizer, 0.5 if mask is None else None, seed=rank, passes=1)
        save_file(named_weights(net), directory / f"{name}-{rank}")
    torch.distributed.destroy_process_group()


def test_two_data_parallel_workers_are_restricted_alike(tmp_path: Path) -> None:
    spawn(worker, (tmp_path,), nprocs=2)
    finals = {path.name: load_file(path) for path in tmp_path.glob("*-*")}
    init = named_weights(Net(torch.float32))
    for name, tensor in init.items():
        found = {key: raw(final[name]) for key, final in finals.items()}
        assert all(found[f"{key}-0"] == found[f"{key}-1"] for key in ("full", "ones", "zeros", "part"))
        assert found["ones-0"] == found["full-0"]
        assert found["zeros-0"] == raw(tensor)
    mask = arms.random(ones().shapes, 80, seed=2)
    assert (Mask.between(init, finals["part-0"]) & ~mask).k == 0
    assert Mask.between(init, finals["part-0"]).k > 40
