"""The overlap of every pair of finished runs, computed as they finish: the rows of ``overlap.parquet``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import load_file

from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.nulls import Strata, pair_counts, ulp_strata
from subnetray.subnetwork.overlap import OverlapCounts, odds_ratio, statistics
from subnetray.subnetwork.weights import Weights

_WHOLE = ("n", "k1", "k2", "k12")
_REAL = (
    *("o1", "o2", "jaccard", "kappa"),
    *(f"{null}_{value}" for null in ("uniform", "ulp") for value in ("expected", "excess", "odds_ratio")),
)
SCHEMA = pa.schema(
    [("run_a", pa.string()), ("run_b", pa.string()), ("same_init", pa.bool_())]
    + [(name, pa.int64()) for name in _WHOLE]
    + [(name, pa.float64()) for name in _REAL]
)

# Masks are kept in memory up to this many bytes in all, and read again beyond it.
_CACHE_BYTES = 1 << 30


class Pairs:
    """Compares each run that is added with all that were before."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._runs: list[tuple[str, Path, Path]] = []  # run id, its mask's file, its init's directory
        self._masks: dict[Path, Mask] = {}
        self._strata: dict[tuple[Path, Path], Strata] = {}

    def add(self, run_id: str, mask: Path, init: Path) -> None:
        """Add a finished run: the file of its mask, and the directory of the init that it started from."""
        new = self._mask(mask)
        # Runs on the same two inits share strata; each group is counted in one pass.
        groups: dict[Path, list[tuple[str, Path]]] = {}
        for other_id, other_mask, other_init in self._runs:
            groups.setdefault(other_init, []).append((other_id, other_mask))
        for other_init, others in groups.items():
            for start in range(0, len(others), 64):
                part = others[start : start + 64]
                masks = [self._mask(path) for _, path in part]
                comparable = [(other, m) for (other, _), m in zip(part, masks, strict=True) if m.shapes == new.shapes]
                if not comparable:
                    continue
                counts = pair_counts(self._strata_of(other_init, init, new), [m for _, m in comparable], [new])
                for index, (other_id, _) in enumerate(comparable):
                    self.rows.append(
                        _row(
                            other_id,
                            run_id,
                            OverlapCounts(
                                counts.n, int(counts.k1[index]), int(counts.k2[0]), int(counts.k12[index, 0])
                            ),
                            expected=float(counts.expected[index, 0]),
                            mantel_haenszel=float(counts.odds_ratio[index, 0]),
                            same_init=other_init == init,
                        )
                    )
        self._runs.append((run_id, mask, init))

    def _mask(self, path: Path) -> Mask:
        if (known := self._masks.get(path)) is not None:
            return known
        mask = Mask.load(path)
        held = sum(bits.nbytes for kept in self._masks.values() for bits in kept.bits.values())
        if held + mask.n // 8 <= _CACHE_BYTES:
            self._masks[path] = mask
        return mask

    def _strata_of(self, first: Path, second: Path, like: Mask) -> Strata:
        key = (first, second)
        if key not in self._strata:
            a = load_weights(first, like)
            self._strata[key] = ulp_strata(a) if first == second else ulp_strata(a, load_weights(second, like))
        return self._strata[key]


def load_weights(directory: Path, like: Mask) -> Weights:
    """The tensors that ``like`` covers, in bf16, from a directory in the layout of ``save_pretrained``."""
    index = directory / "model.safetensors.index.json"
    names = (
        sorted(set(json.loads(index.read_bytes())["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    )
    stored = {name: tensor for file in names for name, tensor in load_file(directory / file).items()}
    return {name: stored[name].to(torch.bfloat16) for name in like.shapes}


def _row(
    run_a: str, run_b: str, counts: OverlapCounts, expected: float, mantel_haenszel: float, same_init: bool
) -> dict[str, Any]:
    n, k1, k2, k12 = counts.n, counts.k1, counts.k2, counts.k12
    overlap = statistics(counts)
    uniform = k1 * k2 / n
    return {
        "run_a": run_a,
        "run_b": run_b,
        "same_init": same_init,
        **{"n": n, "k1": k1, "k2": k2, "k12": k12},
        "o1": overlap.o1,
        "o2": overlap.o2,
        "jaccard": overlap.jaccard,
        "kappa": overlap.kappa,
        "uniform_expected": uniform,
        "uniform_excess": k12 - uniform,
        "uniform_odds_ratio": odds_ratio(k12 * (n - k1 - k2 + k12), (k1 - k12) * (k2 - k12)),
        "ulp_expected": expected,
        "ulp_excess": k12 - expected,
        "ulp_odds_ratio": mantel_haenszel,
    }
