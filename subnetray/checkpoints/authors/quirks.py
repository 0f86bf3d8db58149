"""Name each way in which the authors' scripts differ from ``subnetray``, and what files cannot tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from subnetray.checkpoints.authors import RANK, SPARSITY


@dataclass(frozen=True)
class Quirk:
    """A way of the scripts ``of``, in words, and what is done here instead."""

    name: str
    of: tuple[str, ...]
    theirs: str
    ours: str


_BOTH = (SPARSITY, RANK)

QUIRKS = (
    Quirk(
        "density_as_sparsity",
        (SPARSITY,),
        "what stands under 'Layer-wise sparsity' is density: the share of weights that changed",
        "sparsity is the unchanged share, density the changed one",
    ),
    Quirk(
        "unweighted_mean",
        (SPARSITY,),
        "a layer's figure is the mean over its tensors, where a norm counts as much as a matrix",
        "a layer's share is of its weights",
    ),
    Quirk(
        "layers_exact",
        (SPARSITY,),
        "the layers count every change, whatever the tolerances",
        "diff.json has both of every tensor",
    ),
    Quirk(
        "layers_by_prefix",
        (SPARSITY,),
        "only names that begin with model.layers have a layer, and other families print none",
        "a layer is the number behind layers, wherever that stands in a name",
    ),
    Quirk(
        "share_as_percentage",
        (SPARSITY,),
        "what is called 'Percentage of 0 values' is a share of 1",
        "percentages have their sign",
    ),
    Quirk(
        "rounded_tolerance",
        (SPARSITY,),
        "torch rounds a tolerance to the dtype of the difference, up or down",
        "the tolerance is taken as it was given",
    ),
    Quirk(
        "nan_changed",
        (SPARSITY,),
        "NaN, and an infinity that stays one, count as changed",
        "equal bits are unchanged, and what is not finite is counted by itself",
    ),
    Quirk(
        "one_dtype",
        _BOTH,
        "both models, and their difference again, are rounded to one dtype, bfloat16 unless another is asked for",
        "the dtype is the final's as stored, unless dtype= says otherwise",
    ),
    Quirk(
        "skipped",
        _BOTH,
        "a tensor that the final lacks, or whose shape differs, is left out, and the figures are of the rest",
        "rows that both have are compared, and less than 99 % is refused",
    ),
    Quirk(
        "stretched",
        _BOTH,
        "a tensor of other shape that torch can repeat (broadcast) to fit is subtracted and counted",
        "other shapes are other models, a resized vocabulary aside",
    ),
    Quirk(
        "ties_by_config",
        _BOTH,
        "a head counts beside its embedding, even with the same bits, unless the init's config ties them",
        "a head that holds its embedding's bits counts once",
    ),
    Quirk(
        "no_wrappers",
        _BOTH,
        "tensors are paired by equal names alone",
        "names may differ by wrappers, and parts may lie in fused tensors",
    ),
    Quirk(
        "mean_of_matrices",
        (RANK,),
        "the mean is over matrices, each with the share of its full rank, embedding and head among them",
        "the same mean, beside that of the shuffled null (rank=true)",
    ),
    Quirk(
        "no_layernorm",
        (RANK,),
        "tensors whose name holds layernorm, or of one dimension, are left out",
        "tensors of one dimension are left out, whatever their name",
    ),
    Quirk(
        "rank_in_fp32",
        (RANK,),
        "singular values are fp32, and so is the mean",
        "singular values are fp64, counted by the same threshold, and bounded beyond 4,096 rows and columns",
    ),
    Quirk(
        "many_dimensions",
        (RANK,),
        "a tensor of more than two dimensions has a rank for each of its matrices, over the least of all its sides",
        "each of its matrices is one more matrix",
    ),
    Quirk(
        "fixed_pair",
        (RANK,),
        "its two models, and bfloat16, stand in the script (Tulu-3 8B SFT and DPO)",
        "it is applied to init and final",
    ),
)

UNKNOWN = (
    "what the files lack and the model needs transformers makes up at random; it is left out here",
    "names are those in the files: a version of transformers that renames or fuses as it loads has others",
    "a head that is stored beside a config that ties it is left aside, as by transformers 4; version 5 has it count"
    " where its bits are others",
    "sums are in order of layers and names, where the scripts take that of modules: it can change the last digit",
    "a rank near its threshold may depend on the processor and its LAPACK",
)


def quirks(scripts: tuple[str, ...], here: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the quirks of some scripts, as ``diff.json`` has them; ``here``: what each comes to, by its name."""
    return [
        {"name": each.name, "scripts": each.theirs, "subnetray": each.ours, "here": here.get(each.name, "")}
        for each in QUIRKS
        if set(each.of) & set(scripts)
    ]
