"""List what ``diff`` reads and refuses: the table of ``docs/diff.md``. Tests make one of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """A way in which weights lie on disk, and what becomes of it; ``read`` or named in a sentence that converts it."""

    name: str
    read: bool
    what: str


LAYOUTS = (
    Layout("model.safetensors", True, "as it is"),
    Layout("model.safetensors.index.json", True, "shards inside of the directory; what the index forgot too"),
    Layout(
        "pytorch_model.bin",
        True,
        "`torch.load(weights_only=True)`, mapped: not held in memory; `model`, `state_dict`, … in what a loop saved",
    ),
    Layout("pytorch_model.bin of before 1.6", True, "whole, up to 1 GiB; above it a command writes it anew"),
    Layout("shards without an index", True, "if all of `-00001-of-0000N` are there"),
    Layout("one safetensors file of any name", True, "`consolidated.safetensors`, `model.fp16.safetensors`"),
    Layout(
        "torch.distributed.checkpoint",
        True,
        "parts along rows; the optimiser's are left aside; its pickled index makes torch's records of places alone",
    ),
    Layout("GGUF", True, "dequantised by `gguf`; beside transformers' names: llama, qwen2, qwen3"),
    Layout(
        "PEFT adapter",
        True,
        "base + adapter of linears and embeddings, rounded as PEFT merges; `modules_to_save`",
    ),
    Layout("LoRA saved whole", True, "the base by its own names; merged if `adapter_config.json` gives the scale"),
    Layout(
        "wrappers in names",
        True,
        "`module.`, `_orig_mod.`, FSDP's and others, anywhere; what one alone has before its names",
    ),
    Layout("tied embeddings", True, "by bytes, not by config: a head counts once, or as the one it is"),
    Layout("resized vocabulary", True, "the rows that both have, whatever the family calls them"),
    Layout("q, k, v in one", True, "one after another, or by heads: the layout in which both hold nearly the same"),
    Layout("gate and up in one", True, "one after another, either first, or row by row in turn"),
    Layout(
        "experts in one",
        True,
        "`(E, 2I, H)`, transposed or in turn, beside one tensor an expert; `w1`, `w3`, `w2` beside `gate_proj`, …",
    ),
    Layout("FP8 with scales", True, "`weight_scale_inv`, `weight_scale`, `scale`; a tensor, channels, blocks; E8M0"),
    Layout("int8 with scales", True, "compressed-tensors, symmetric: a tensor, channels or blocks"),
    Layout("GPTQ, AWQ", False, "dequantise with transformers"),
    Layout("bitsandbytes", False, "dequantise with transformers"),
    Layout("MXFP4, NVFP4", False, "dequantise with transformers"),
    Layout("DeepSpeed ZeRO", False, "`zero_to_fp32.py`"),
    Layout("verl", False, "`python -m verl.model_merger`"),
    Layout("Megatron", False, "Megatron's converter"),
    Layout("Flax, TensorFlow", False, "load and save with transformers"),
    Layout("Git LFS pointer", False, "`git lfs pull`"),
)


def table() -> str:
    """The rows as Markdown."""
    lines = [f"| {each.name} | {'read' if each.read else 'refused'} | {each.what} |" for each in LAYOUTS]
    return "\n".join(("| On disk | | How |", "| --- | --- | --- |", *lines))
