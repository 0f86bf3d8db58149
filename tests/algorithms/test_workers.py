"""Training on two workers, each with the whole model or with a part of every parameter."""

from __future__ import annotations

import dataclasses
import os
import socket
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from subnetray import algorithms
from subnetray.algorithms.shared.loading import Placement, gathered, load, skeleton
from subnetray.config import DPO, GRPO, KTO, PPO, PRIME, SFT, Algorithm, Subnetwork
from subnetray.models.tokenizer import make_tokenizer
from subnetray.rollout import Probe
from subnetray.subnetwork import Mask, arms, named_weights
from subnetray.subnetwork.weights import is_sharded
from tests.algorithms.lab import make_setting
from tests.algorithms.shared.test_restricted import SETTINGS, ones, trained
from tests.decoder import decoder
from tests.subnetwork.strategies import raw

CPU = torch.device("cpu")
MASKS = ("ones", "zeros", "part")
# Both of a step's passes, a reference that TRL loads itself, one that it is given, and models of their own.
RESTRICTED: dict[str, Algorithm] = {
    "sft": SFT(batch_size=8, micro_batch_size=2, **SETTINGS),
    "dpo": DPO(batch_size=4, data="off_policy", **SETTINGS),
    "grpo": GRPO(batch_size=8, group_size=4, beta=0.1, **SETTINGS),
}
OTHERS: dict[str, Algorithm] = {
    "ppo": PPO(batch_size=8, group_size=4, **SETTINGS),
    "prime": PRIME(batch_size=8, group_size=4, oversample=1, **SETTINGS),
}
LAYOUTS = {"none": 1, "full": 2}  # parts that the model is in


def worker(rank: int, inits: dict[str, Path], directory: Path) -> None:
    """Both layouts in one process, whose imports take longer than all that it does then."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (directory / "port").read_text()}
    os.environ |= {"WORLD_SIZE": "2", "RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "LOCAL_WORLD_SIZE": "2"} | address
    torch.distributed.init_process_group("gloo", f"file://{directory / 'meet'}", rank=rank, world_size=2)
    for tied, init in inits.items():
        take_apart(init, tied == "tied")
    for layout, shards in LAYOUTS.items():
        ask(rank, inits["untied"], shards)
        train(rank, inits["untied"], directory, directory / layout, shards)
    torch.distributed.destroy_process_group()


def take_apart(init: Path, tied: bool) -> None:
    """A model in parts is whole where it must be."""
    config = make_setting(init, SFT()).config
    plain, model = (load(init, config, Placement(torch.float32, CPU, shards)) for shards in (1, 2))
    held = sum(is_sharded(each) and each.to_local().numel() for each in model.parameters())
    assert held < 0.6 * sum(each.numel() for each in plain.parameters())
    weights = named_weights(model)
    for name, each in named_weights(plain).items():
        assert raw(weights[name]) == raw(each)
    copy = gathered(model, init, config)
    assert (copy.get_output_embeddings().weight is copy.get_input_embeddings().weight) == tied
    expected = Probe.of(plain, weights, [3, 12, 4, 15])
    assert Probe.of(skeleton(init, config, CPU), weights, [3, 12, 4, 15]) == expected
    assert Probe.of(copy, named_weights(copy), [3, 12, 4, 15]) == expected


def ask(rank: int, init: Path, shards: int) -> None:
    """Workers share out what the init is asked for, and each has all that its own batches need."""
    layout: dict[str, Any] = {"workers": 2, "rank": rank, "shards": shards}
    for algorithm in (DPO(batch_size=6, steps=3, data="off_policy"), KTO(batch_size=6, steps=3, data="off_policy")):
        setting = make_setting(init, algorithm)
        model = load(init, setting.config, Placement(torch.float32, CPU, shards))
        trainer = algorithms.build(dataclasses.replace(setting, model=model, **layout))
        names = ("ref_chosen_logps", "ref_rejected_logps") if algorithm.name == "dpo" else ("ref_logps", "ref_KL_logps")
        batches = list(trainer.get_train_dataloader())
        assert len(batches) == 3
        for batch in batches:
            for name, expected in zip(names, trainer.compute_ref_log_probs(trainer.model, batch), strict=True):
                torch.testing.assert_close(batch[name], expected)


def train(rank: int, init: Path, masks: Path, out: Path, shards: int) -> None:
    """Every algorithm, and the restricted ones with three masks."""
    subnetworks = {name: Subnetwork(mask=str(masks / name)) for name in MASKS}
    for name, algorithm in (RESTRICTED | OTHERS).items():
        for mask, subnetwork in {"whole": Subnetwork(), **(subnetworks if name in RESTRICTED else {})}.items():
            _, final, _, log = trained(init, algorithm, "fp32_master", subnetwork, workers=2, rank=rank, shards=shards)
            norms = torch.tensor([line["grad_norm"] for line in log])
            save_file({**final, "grad_norm": norms}, out / f"{name}-{mask}-{rank}")


def finals_of(directory: Path) -> dict[str, dict[str, Tensor]]:
    """Finals, by algorithm and mask, of which both workers have the same."""
    finals = {path.name.removesuffix("-0"): load_file(path) for path in directory.glob("*-0")}
    for name, final in finals.items():
        other = load_file(directory / f"{name}-1")
        assert all(raw(final[key]) == raw(other[key]) for key in final), name
    return finals


def changed(before: dict[str, Tensor], final: dict[str, Tensor]) -> Mask:
    return Mask.between(before, {name: final[name] for name in before})


def part_of(whole: Mask) -> Mask:
    return arms.random(whole.shapes, whole.n // 5, seed=0)


def test_the_identities_hold_with_two_workers_however_they_hold_the_model(init: Path, tmp_path: Path) -> None:
    whole = ones(init)
    before = named_weights(make_setting(init, SFT()).model)
    for name, mask in {"ones": whole, "zeros": ~whole, "part": part_of(whole)}.items():
        mask.save(tmp_path / name, {})
    for layout in LAYOUTS:
        (tmp_path / layout).mkdir()
    make_tokenizer(64).save_pretrained(tmp_path / "tied")
    decoder(tie_word_embeddings=True).save_pretrained(tmp_path / "tied")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    spawn(worker, ({"tied": tmp_path / "tied", "untied": init}, tmp_path), nprocs=2)
    finals = {layout: finals_of(tmp_path / layout) for layout in LAYOUTS}
    assert len(finals["full"]) == len(finals["none"]) == 14
    for found in finals.values():
        for name in RESTRICTED:
            full, same, nothing, part = (found[f"{name}-{mask}"] for mask in ("whole", *MASKS))
            assert all(raw(same[key]) == raw(full[key]) for key in full), name  # and the norms
            assert all(raw(nothing[key]) == raw(before[key]) for key in before), name
            assert changed(before, full).k > 0.5 * whole.n
            moved = changed(before, part)
            assert 0.5 * part_of(whole).k < moved.k == (moved & part_of(whole)).k
    for name, one in finals["none"].items():  # in parts norms are summed up in another order, and nothing else is other
        other = finals["full"][name]
        torch.testing.assert_close(other["grad_norm"], one["grad_norm"], rtol=1e-5, atol=0)
        for key, start in before.items():
            assert (other[key] - one[key]).norm() <= 1e-4 * (one[key] - start).norm(), (name, key)


def test_a_skeleton_holds_no_weights(init: Path) -> None:
    setting = make_setting(init, SFT())
    shape = skeleton(init, setting.config, CPU)
    assert {each.device.type for each in shape.parameters()} == {"meta"}
    assert {each.device.type for each in shape.buffers()} == {"cpu"}
    assert list(dict(shape.named_parameters())) == list(named_weights(setting.model))
    dataclasses.replace(setting, shards=2).publish("init")  # which no part of the model takes part in
