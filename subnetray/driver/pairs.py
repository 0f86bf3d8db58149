"""The overlap of every pair of finished runs, computed as they finish: the rows of ``overlap.parquet``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pyarrow as pa
import torch
from safetensors.torch import load_file

from subnetray.config import Measurement
from subnetray.subnetwork.delta import Delta
from subnetray.subnetwork.displacement import (
    Vector,
    displacement,
    displacement_agreement,
    displacement_distance,
)
from subnetray.subnetwork.margins import Margins, expected_overlap, margins
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.nulls import PairCounts, pair_counts
from subnetray.subnetwork.overlap import OverlapCounts, statistics
from subnetray.subnetwork.sketch import Sample, sample
from subnetray.subnetwork.strata import Arranged, Strata, ulp_strata
from subnetray.subnetwork.weights import Weights

_WHOLE = ("n", "k1", "k2", "k12")
_REAL = (
    *("o1", "o2", "overlap_coefficient", "jaccard", "dice", "kappa", "kappa_max", "phi", "enrichment"),
    *(f"{null}_{value}" for null in ("uniform", "tensor", "ulp") for value in ("expected", "excess", "odds_ratio")),
    *("margins_expected", "margins_excess"),
)
SCHEMA = pa.schema(
    [("run_a", pa.string()), ("run_b", pa.string()), ("same_init", pa.bool_())]
    + [(name, pa.int64()) for name in _WHOLE]
    + [(name, pa.float64()) for name in _REAL]
    # Of runs of one init, where both changed: at ``agreement_n`` coordinates, fewer than k12 where Δ is sampled.
    + [("sign_agreement", pa.float64()), ("cosine", pa.float64()), ("agreement_n", pa.int64())]
    # Of runs of one init: ‖final_a − final_b‖ as a share of ‖Δ‖ of either, and the share of equal weights by tolerance.
    + [(name, pa.float64()) for name in ("distance_a", "distance_b", *(f"equal_{tau:g}" for tau in Measurement.NEAR))]
)

# What is kept of earlier runs takes up to this many bytes in all, or this share of the memory that is free, if that is
# more; beyond it their files are read again.
_CACHE_BYTES, _CACHE_SHARE = 1 << 30, 1 / 8
# Runs that a new one is counted with at a time: bounds what is read again.
_TOGETHER = 64
# Coordinates at which Δ is kept: all of a small model's; of a larger one a sample, whose cosines err by some 1e-3.
_SAMPLE = 1 << 22

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class _Run:
    run_id: str
    mask: Path
    delta: Path
    init: Path
    shapes: Mapping[str, tuple[int, ...]]


class Pairs:
    """Compares each run that is added with all that were before.

    What a pair needs of a run is made once a run: its mask arranged by strata, the margins of its mask, its Δ.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._runs: list[_Run] = []
        self._kept: dict[Hashable, Any] = {}
        self._free = max(_CACHE_BYTES, int(_CACHE_SHARE * psutil.virtual_memory().available))
        self._strata: dict[tuple[Path, Path], Strata] = {}
        self._samples: dict[Hashable, Sample] = {}
        self._inits: dict[Hashable, Weights] = {}

    def add(self, run_id: str, mask: Path, delta: Path, init: Path) -> None:
        """Add a finished run: the files of its mask and delta, and the directory of the init that it started from."""
        bits = Mask.load(mask)
        new = _Run(run_id, mask, delta, init, bits.shapes)
        null, vector = self._margins(new, bits), self._displacement(new)
        # Runs on the same two inits share strata; each group is counted in one pass.
        groups: dict[Path, list[_Run]] = {}
        for other in self._runs:
            if other.shapes == new.shapes:
                groups.setdefault(other.init, []).append(other)
        for other_init, others in groups.items():
            # Strata of two inits are the same in either order of the two.
            inits = min(init, other_init), max(init, other_init)
            column = self._arranged(new, inits, bits)
            for start in range(0, len(others), _TOGETHER):
                part = others[start : start + _TOGETHER]
                counts = pair_counts([self._arranged(other, inits) for other in part], [column])
                by_margins = expected_overlap([self._margins(other) for other in part], null)
                for index, other in enumerate(part):
                    row = {"run_a": other.run_id, "run_b": run_id, "same_init": other_init == init}
                    row |= _columns(counts, index, float(by_margins[index]))
                    if other_init == init:
                        row |= self._compared(self._displacement(other), vector, new)
                    self.rows.append(row)
        self._runs.append(new)

    def _arranged(self, run: _Run, inits: tuple[Path, Path], mask: Mask | None = None) -> Arranged:
        def make() -> Arranged:
            bits = mask or Mask.load(run.mask)
            if inits not in self._strata:
                first, second = (load_weights(init, dict.fromkeys(run.shapes, torch.bfloat16)) for init in inits)
                self._strata[inits] = ulp_strata(first, None if inits[0] == inits[1] else second)
            return self._strata[inits].arrange(bits)

        return self._keep((run.mask, inits), make, lambda value: value.words.nbytes)

    def _margins(self, run: _Run, mask: Mask | None = None) -> Margins:
        return self._keep(
            ("margins", run.mask), lambda: margins(mask or Mask.load(run.mask)), lambda value: value.nbytes
        )

    def _displacement(self, run: _Run) -> Vector:
        def make() -> Vector:
            delta = Delta.load(run.delta)
            layout = tuple(run.shapes.items())
            if layout not in self._samples:
                self._samples[layout] = sample(run.shapes, _SAMPLE, seed=0, by_tensor=False)
            drawn = self._samples[layout]
            dtypes = {name: delta.dtypes[name] for name in run.shapes}
            init = (run.init, tuple(dtypes.items()))
            if init not in self._inits:
                self._inits[init] = drawn.weights(load_weights(run.init, dtypes))
            return displacement(delta, self._inits[init], drawn)

        return self._keep(("displacement", run.delta), make, lambda value: value.nbytes)

    def _compared(self, one: Vector, two: Vector, run: _Run) -> dict[str, Any]:
        found = displacement_agreement(one, two)
        size = self._samples[tuple(run.shapes.items())].n
        apart = displacement_distance(one, two, size, Measurement.NEAR)
        return {
            "sign_agreement": found.sign,
            "cosine": found.cosine,
            "agreement_n": found.n,
            "distance_a": apart.of_one,
            "distance_b": apart.of_two,
            **{f"equal_{tau:g}": share for tau, share in apart.equal.items()},
        }

    def _keep(self, key: Hashable, make: Callable[[], _Value], size: Callable[[_Value], int]) -> _Value:
        """What was made before, or what is made now, which is kept if there is memory for it."""
        if key in self._kept:
            return self._kept[key]
        value = make()
        if size(value) <= self._free:
            self._kept[key] = value
            self._free -= size(value)
        return value


def load_weights(directory: Path, dtypes: Mapping[str, torch.dtype]) -> Weights:
    """The tensors that ``dtypes`` names, cast to these, from a directory in the layout of ``save_pretrained``."""
    index = directory / "model.safetensors.index.json"
    names = (
        sorted(set(json.loads(index.read_bytes())["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    )
    stored = {name: tensor for file in names for name, tensor in load_file(directory / file).items()}
    return {name: stored[name].to(dtype) for name, dtype in dtypes.items()}


def _columns(counts: PairCounts, row: int, by_margins: float) -> dict[str, Any]:
    """The counts of one pair (of the only column) and what the nulls expect, by the names of the table's columns."""
    table = OverlapCounts(counts.n, int(counts.k1[row]), int(counts.k2[0]), int(counts.k12[row, 0]))
    values = dataclasses.asdict(table) | dataclasses.asdict(statistics(table))
    for name, null in (("uniform", counts.uniform), ("tensor", counts.tensor), ("ulp", counts.stratified)):
        values[f"{name}_expected"] = float(null.expected[row, 0])
        values[f"{name}_excess"] = float(null.excess[row, 0])
        values[f"{name}_odds_ratio"] = float(null.odds_ratio[row, 0])
    values |= {"margins_expected": by_margins, "margins_excess": table.k12 - by_margins}
    return {name: values[name] for name in (*_WHOLE, *_REAL)}
