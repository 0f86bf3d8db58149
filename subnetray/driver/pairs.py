"""The overlap of every pair of finished runs, computed as they finish: the rows of ``overlap.parquet``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from subnetray.config import Measurement
from subnetray.files import atomic_path
from subnetray.nulls import NULLS, Null, Pair, Run
from subnetray.store import columns
from subnetray.subnetwork.delta import Delta
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.overlap.displacement import (
    Vector,
    displacement,
    displacement_agreement,
    displacement_distance,
)
from subnetray.subnetwork.overlap.nulls import pair_counts
from subnetray.subnetwork.overlap.sketch import Sample, sample
from subnetray.subnetwork.overlap.strata import Arranged, Strata, ulp_strata
from subnetray.subnetwork.overlap.table import OverlapCounts, statistics
from subnetray.subnetwork.weights import Weights

_OF_COUNTS = (
    *("n", "k1", "k2", "k12"),
    *("o1", "o2", "overlap_coefficient", "jaccard", "dice", "kappa", "kappa_max", "phi", "enrichment"),
)
# In the table's metadata: of which files its rows are.
_KEY = b"subnetray"
# Raise it whenever the same two runs would get another row.
_VERSION = 3

# What is kept of earlier runs takes up to this many bytes in all, or this share of the memory that is free, if that is
# more; beyond it their files are read again.
_CACHE_BYTES, _CACHE_SHARE = 1 << 30, 1 / 8
# Runs that a new one is counted with at a time: bounds what is read again.
_TOGETHER = 64
# Strata that are summed at a time, whatever the number of runs: sums are the same in every order of runs.
_STRATA = 1 << 15
# Coordinates at which Δ and the joint null are kept: all of a small model's; of a larger one a sample, whose cosines
# err by some 1e-3, and its expectations by less than 1e-4 of all coordinates.
_SAMPLE = 1 << 22

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Finished:
    """A finished run: the files of its mask and delta, the directory of the init that it started from, and an
    ``identity``, the hashes of all three.
    """

    run_id: str
    mask: Path
    delta: Path
    init: Path
    identity: tuple[str, ...]


class Pairs:
    """Compares each run that is added with all that were before: the rows of ``overlap.parquet``.

    Rows do not depend on the order in which runs are added: of a pair the run that is first in ``order`` is run_a, and
    each sum is taken by itself. What a pair needs of a run is made once a run: its mask arranged by strata, the margins
    of its mask, its Δ. ``table``: an earlier ``overlap.parquet``, whose rows are used for runs with the same files.
    """

    def __init__(self, order: Sequence[str], table: Path | None = None) -> None:
        self._order = {run_id: place for place, run_id in enumerate(dict.fromkeys(order))}
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        self._runs: dict[str, Finished] = {}
        self._known, self._identities = _earlier(table)
        self._shapes: dict[str, Mapping[str, tuple[int, ...]]] = {}
        self._kept: dict[Hashable, Any] = {}
        self._free = max(_CACHE_BYTES, int(_CACHE_SHARE * psutil.virtual_memory().available))
        self._strata: dict[tuple[Path, Path], Strata] = {}
        self._samples: dict[Hashable, Sample] = {}
        self._inits: dict[Hashable, Weights] = {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row a pair, in the order of the grid."""
        return [self._rows[key] for key in sorted(self._rows, key=lambda key: [self._order[run_id] for run_id in key])]

    def write(self, path: Path) -> None:
        """Write the table atomically."""
        identities = {run_id: self._runs[run_id].identity for run_id in sorted(self._runs)}
        noted = json.dumps({"version": _VERSION, "runs": identities}, separators=(",", ":")).encode()
        schema = columns.schema(columns.of_pairs()).with_metadata({_KEY: noted})
        with atomic_path(path) as temporary:
            pq.write_table(pa.Table.from_pylist(self.rows, schema=schema), temporary)

    def knows(self, identities: Mapping[str, tuple[str, ...]]) -> bool:
        """Return whether the earlier table has been made of all of these runs, so that no init is needed for them."""
        return all(self._identities.get(run_id) == identity for run_id, identity in identities.items())

    def add(self, new: Finished) -> None:
        """Add a finished run, once."""
        others = [other for other in self._runs.values() if not self._recall(other, new)]
        self._runs[new.run_id] = new
        if not others:
            return
        # Runs on the same two inits share strata; each group is counted in one pass.
        groups: dict[tuple[Path, bool], list[Finished]] = {}
        for other in others:
            if self._shape(other) == self._shape(new):
                groups.setdefault((other.init, self._first(other, new)), []).append(other)
        for (other_init, first), group in groups.items():
            # Strata of two inits are the same in either order of the two.
            inits = min(new.init, other_init), max(new.init, other_init)
            for start in range(0, len(group), _TOGETHER):
                part = group[start : start + _TOGETHER]
                counts = pair_counts(
                    [self._arranged(other, inits) for other in part],
                    [self._arranged(new, inits)],
                    strata_at_once=_STRATA,
                )
                for index, other in enumerate(part):
                    a, b = (other, new) if first else (new, other)
                    made = {name: (self._made(null, a), self._made(null, b)) for name, null in NULLS.items()}
                    row = {"run_a": a.run_id, "run_b": b.run_id, "same_init": other_init == new.init}
                    row |= _columns(Pair(counts, index, made), swapped=not first)
                    if other_init == new.init:
                        row |= self._compared(self._displacement(a), self._displacement(b), new)
                    self._rows[a.run_id, b.run_id] = row

    def _first(self, one: Finished, two: Finished) -> bool:
        return self._order[one.run_id] < self._order[two.run_id]

    def _recall(self, one: Finished, two: Finished) -> bool:
        """Take the row of a pair from the earlier table; whether that has been made of these two runs."""
        if not self.knows({run.run_id: run.identity for run in (one, two)}):
            return False
        key = (one.run_id, two.run_id) if self._first(one, two) else (two.run_id, one.run_id)
        if key in self._known:
            self._rows[key] = self._known[key]
            return True
        return (key[1], key[0]) not in self._known  # not comparable, or in another order than the grid's now

    def _shape(self, run: Finished) -> Mapping[str, tuple[int, ...]]:
        if run.run_id not in self._shapes:
            self._shapes[run.run_id] = self._mask(run).shapes
        return self._shapes[run.run_id]

    def _mask(self, run: Finished) -> Mask:
        return self._keep(("mask", run.mask), lambda: Mask.load(run.mask), lambda value: value.n // 8)

    def _arranged(self, run: Finished, inits: tuple[Path, Path]) -> Arranged:
        return self._keep(
            (run.mask, inits),
            lambda: self._strata_of(run, inits).arrange(self._mask(run)),
            lambda value: value.words.nbytes,
        )

    def _strata_of(self, run: Finished, inits: tuple[Path, Path]) -> Strata:
        if inits not in self._strata:
            # As they are stored: where that is wider than what is compared, all runs share what is rounded off.
            first, second = (load_weights(init, dict.fromkeys(self._shape(run))) for init in inits)
            self._strata[inits] = ulp_strata(first, None if inits[0] == inits[1] else second, torch.bfloat16)
        return self._strata[inits]

    def _made(self, null: Null, run: Finished) -> Any:
        def make() -> Any:
            return null.of_run(
                Run(self._mask(run), lambda: self._strata_of(run, (run.init, run.init)), lambda: self._sample(run))
            )

        def size(value: Any) -> int:
            return 0 if null.costly else getattr(value, "nbytes", 0)

        return self._keep((null.name, run.mask), make, size)

    def _sample(self, run: Finished) -> Sample:
        layout = tuple(self._shape(run).items())
        if layout not in self._samples:
            self._samples[layout] = sample(self._shape(run), _SAMPLE, seed=0, by_tensor=False)
        return self._samples[layout]

    def _displacement(self, run: Finished) -> Vector:
        def make() -> Vector:
            delta = Delta.load(run.delta)
            drawn = self._sample(run)
            dtypes = {name: delta.dtypes[name] for name in self._shape(run)}
            init = (run.init, tuple(dtypes.items()))
            if init not in self._inits:
                self._inits[init] = drawn.weights(load_weights(run.init, dtypes))
            return displacement(delta, self._inits[init], drawn)

        return self._keep(("displacement", run.delta), make, lambda value: value.nbytes)

    def _compared(self, one: Vector, two: Vector, run: Finished) -> dict[str, Any]:
        found = displacement_agreement(one, two)
        apart = displacement_distance(one, two, self._sample(run).n, Measurement.NEAR)
        return {
            "sign_agreement": found.sign,
            "cosine": found.cosine,
            "agreement_n": found.n,
            "distance_a": apart.of_one,
            "distance_b": apart.of_two,
            **{f"equal_{tau:g}": share for tau, share in apart.equal.items()},
            **{f"equal_inside_{tau:g}_a": share for tau, share in apart.inside_one.items()},
            **{f"equal_inside_{tau:g}_b": share for tau, share in apart.inside_two.items()},
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


def load_weights(directory: Path, dtypes: Mapping[str, torch.dtype | None]) -> Weights:
    """Load the tensors that ``dtypes`` names from a directory in the layout of ``save_pretrained``; None: as stored."""
    index = directory / "model.safetensors.index.json"
    names = (
        sorted(set(json.loads(index.read_bytes())["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    )
    stored = {name: tensor for file in names for name, tensor in load_file(directory / file).items()}
    return {name: stored[name] if dtype is None else stored[name].to(dtype) for name, dtype in dtypes.items()}


def _earlier(path: Path | None) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[str, tuple[str, ...]]]:
    """The rows of an earlier table by pair, and the identities of its runs; nothing of one that is not whole."""
    if path is None or not path.is_file():
        return {}, {}
    try:
        table = pq.read_table(path)
        noted = json.loads(table.schema.metadata[_KEY])
        if noted["version"] != _VERSION or table.schema.names != [column.name for column in columns.of_pairs()]:
            return {}, {}
        rows = {(row["run_a"], row["run_b"]): row for row in table.to_pylist()}
        return rows, {run_id: tuple(identity) for run_id, identity in noted["runs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
        return {}, {}


def _columns(pair: Pair, swapped: bool) -> dict[str, Any]:
    """The counts of one pair and what the nulls expect, by the names of the table's columns.

    ``swapped``: whether the run of the counts' column is run_a.
    """
    counts = pair.counts
    k1, k2 = int(counts.k1[pair.row]), int(counts.k2[0])
    if swapped:
        k1, k2 = k2, k1
    table = OverlapCounts(counts.n, k1, k2, pair.k12)
    found = dataclasses.asdict(table) | dataclasses.asdict(statistics(table))
    values = {name: found[name] for name in _OF_COUNTS}
    for name, null in NULLS.items():
        expectation = null.of_pair(pair)
        values |= {f"{name}_expected": expectation.k12, f"{name}_excess": table.k12 - expectation.k12}
        if null.odds:
            values[f"{name}_odds_ratio"] = expectation.odds_ratio
    return values
