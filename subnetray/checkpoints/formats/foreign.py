"""Checkpoints that are not read: each is named, with the command of its own tool that converts it."""

from __future__ import annotations

import re
from pathlib import Path

_ZERO = (
    "is a DeepSpeed ZeRO checkpoint, in parts of what each process held: convert it with python zero_to_fp32.py"
    " DIRECTORY OUT (the script lies in the directory, or in deepspeed.utils) and name OUT"
)
_VERL = (
    "is a checkpoint of verl's FSDP workers, in a part a rank: convert it with python -m verl.model_merger merge"
    " --backend fsdp --local_dir DIRECTORY --target_dir OUT and name OUT"
)
_MEGATRON = (
    "is a Megatron checkpoint: convert it to Hugging Face's layout with Megatron's tools/checkpoint/convert.py (or"
    " Megatron-Bridge's export_ckpt) and name the result"
)
_OTHER = "holds weights of {}: load them with transformers, from_pretrained(DIRECTORY, {}), and save_pretrained(OUT)"
_RUN_OF_VERL = "is the directory of a run of verl: name one of its steps, such as DIRECTORY/{}/actor, to be converted"
_PARALLEL = (
    "holds the parts of a tensor-parallel model, each with some rows or columns of every matrix: convert them to"
    " safetensors with the tool that wrote them and name the result"
)
_JAX = "is an Orbax checkpoint of JAX: export it to safetensors and name the result"
_ZERO_FILE = re.compile(r"(?:.*_)?(?:mp_rank_\d+|zero_pp_rank_\d+.*)_(?:model|optim)_states\.pt$")
_PART_FILE = re.compile(r"consolidated\.\d\d\.(?:pth|safetensors)$|model-rank-\d+-part-\d+\.safetensors$")
_VERL_FILE = re.compile(r"model_world_size_\d+_rank_\d+\.pt$")


def named(path: Path) -> str | None:
    """Name what a directory or a file is and what converts it; None if it is none of these."""
    if path.is_file():
        return _ZERO if _ZERO_FILE.match(path.name) else _VERL if _VERL_FILE.match(path.name) else None
    names = sorted(each.name for each in path.iterdir())
    inside = [name for name in names if (path / name).is_dir()]
    if "zero_to_fp32.py" in names or any(map(_ZERO_FILE.match, names)):
        return _ZERO
    if "latest" in names and any(name.startswith("global_step") for name in inside):
        return _ZERO
    if any(map(_VERL_FILE.match, names)):
        return _VERL
    for role in ("actor", "critic"):
        if role in inside and any(_VERL_FILE.match(each.name) for each in (path / role).iterdir()):
            return _VERL.replace("DIRECTORY", f"DIRECTORY/{role}")
    if steps := [name for name in inside if re.fullmatch(r"global_step_\d+", name)]:
        return _RUN_OF_VERL.format(max(steps, key=lambda name: int(name.rpartition("_")[2])))
    if sum(_PART_FILE.match(name) is not None for name in names) > 1:
        return _PARALLEL
    if "latest_checkpointed_iteration.txt" in names or any(re.match(r"mp_rank_\d\d", name) for name in inside):
        return _MEGATRON
    if "common.pt" in names and ({".metadata", "metadata.json"} & set(names)):
        return _MEGATRON
    fsdp = [name for name in inside if re.fullmatch(r"pytorch_model_fsdp_\d+", name)]
    if fsdp:
        return f"holds a model in the layout of torch.distributed.checkpoint in {fsdp[0]}: name {path / fsdp[0]}"
    return _of_another_library(names)


def _of_another_library(names: list[str]) -> str | None:
    if any(name.startswith("flax_model") for name in names):
        return _OTHER.format("Flax", "from_flax=True")
    if any(name.startswith("tf_model") or name.endswith(".ckpt.index") for name in names):
        return _OTHER.format("TensorFlow", "from_tf=True")
    if {"_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"} & set(names):
        return _JAX
    return None
