"""The overlap of every pair of finished runs, computed as they finish: the rows of ``overlap.parquet``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import load_file

from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.nulls import PairCounts, pair_counts
from subnetray.subnetwork.overlap import OverlapCounts, statistics
from subnetray.subnetwork.strata import Arranged, Strata, ulp_strata
from subnetray.subnetwork.weights import Weights

_WHOLE = ("n", "k1", "k2", "k12")
_REAL = (
    *("o1", "o2", "overlap_coefficient", "jaccard", "dice", "kappa", "kappa_max", "phi", "enrichment"),
    *(f"{null}_{value}" for null in ("uniform", "tensor", "ulp") for value in ("expected", "excess", "odds_ratio")),
)
SCHEMA = pa.schema(
    [("run_a", pa.string()), ("run_b", pa.string()), ("same_init", pa.bool_())]
    + [(name, pa.int64()) for name in _WHOLE]
    + [(name, pa.float64()) for name in _REAL]
)

# Arranged masks are kept in memory up to this many bytes in all, and read and arranged again beyond it.
_CACHE_BYTES = 1 << 30
# Runs that a new one is counted with at a time: bounds what is read again.
_TOGETHER = 64


@dataclass(frozen=True)
class _Run:
    run_id: str
    mask: Path
    init: Path
    shapes: Mapping[str, tuple[int, ...]]


class Pairs:
    """Compares each run that is added with all that were before, for which it arranges the mask of the new one only."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._runs: list[_Run] = []
        self._strata: dict[tuple[Path, Path], Strata] = {}
        self._arranged: dict[tuple[Path, Path, Path], Arranged] = {}  # by mask and the inits of its strata

    def add(self, run_id: str, mask: Path, init: Path) -> None:
        """Add a finished run: the file of its mask, and the directory of the init that it started from."""
        bits = Mask.load(mask)
        new = _Run(run_id, mask, init, bits.shapes)
        # Runs on the same two inits share strata; each group is counted in one pass.
        groups: dict[Path, list[_Run]] = {}
        for other in self._runs:
            if other.shapes == new.shapes:
                groups.setdefault(other.init, []).append(other)
        for other_init, others in groups.items():
            # Strata of two inits are the same in either order of the two.
            inits = min(init, other_init), max(init, other_init)
            column = self._arrange(new, inits, bits)
            for start in range(0, len(others), _TOGETHER):
                part = others[start : start + _TOGETHER]
                counts = pair_counts([self._arrange(other, inits) for other in part], [column])
                for index, other in enumerate(part):
                    same = {"run_a": other.run_id, "run_b": run_id, "same_init": other_init == init}
                    self.rows.append(same | _columns(counts, index))
        self._runs.append(new)

    def _arrange(self, run: _Run, inits: tuple[Path, Path], mask: Mask | None = None) -> Arranged:
        key = (run.mask, *inits)
        if (known := self._arranged.get(key)) is not None:
            return known
        mask = mask or Mask.load(run.mask)
        if inits not in self._strata:
            first, second = inits
            weights = load_weights(first, mask)
            self._strata[inits] = ulp_strata(weights, None if first == second else load_weights(second, mask))
        arranged = self._strata[inits].arrange(mask)
        held = sum(kept.words.nbytes for kept in self._arranged.values())
        if held + arranged.words.nbytes <= _CACHE_BYTES:
            self._arranged[key] = arranged
        return arranged


def load_weights(directory: Path, like: Mask) -> Weights:
    """The tensors that ``like`` covers, in bf16, from a directory in the layout of ``save_pretrained``."""
    index = directory / "model.safetensors.index.json"
    names = (
        sorted(set(json.loads(index.read_bytes())["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    )
    stored = {name: tensor for file in names for name, tensor in load_file(directory / file).items()}
    return {name: stored[name].to(torch.bfloat16) for name in like.shapes}


def _columns(counts: PairCounts, row: int) -> dict[str, Any]:
    """The counts of one pair (of the only column) by the names of the table's columns."""
    table = OverlapCounts(counts.n, int(counts.k1[row]), int(counts.k2[0]), int(counts.k12[row, 0]))
    values = dataclasses.asdict(table) | dataclasses.asdict(statistics(table))
    for name, null in (("uniform", counts.uniform), ("tensor", counts.tensor), ("ulp", counts.stratified)):
        values[f"{name}_expected"] = float(null.expected[row, 0])
        values[f"{name}_excess"] = float(null.excess[row, 0])
        values[f"{name}_odds_ratio"] = float(null.odds_ratio[row, 0])
    return {name: values[name] for name in (*_WHOLE, *_REAL)}
