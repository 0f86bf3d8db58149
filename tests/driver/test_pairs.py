"""The overlap table against counting each pair by itself."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from subnetray.driver.pairs import SCHEMA, Pairs
from subnetray.subnetwork import OverlapCounts, statistics
from subnetray.subnetwork.bits import exponents
from tests.driver.sweeps import random_masks, write_init


def test_every_pair_once_with_counts_and_nulls(tmp_path: Path) -> None:
    init = write_init(tmp_path / "init")
    masks = random_masks(init, [0.2, 0.5, 0.9])
    pairs = Pairs()
    for index, mask in enumerate(masks):
        mask.save(tmp_path / f"{index}.safetensors", {})
        pairs.add(str(index), tmp_path / f"{index}.safetensors", tmp_path / "init")
    assert [(row["run_a"], row["run_b"]) for row in pairs.rows] == [
        (str(a), str(b)) for b in range(3) for a in range(b)
    ]
    pa.Table.from_pylist(pairs.rows, schema=SCHEMA)
    for row, (b, a) in zip(pairs.rows, [(1, 0), (2, 0), (2, 1)], strict=True):
        one, two = masks[a], masks[b]
        expected = concordant = discordant = 0.0
        for name, tensor in init.items():
            x, y = one.flat(name), two.flat(name)
            for exponent in np.unique(exponents(tensor)):
                at = exponents(tensor) == exponent
                n, k1, k2, k12 = at.sum(), x[at].sum(), y[at].sum(), (x & y)[at].sum()
                expected += k1 * k2 / n
                concordant += k12 * (n - k1 - k2 + k12) / n
                discordant += (k1 - k12) * (k2 - k12) / n
        assert row["k12"] == (one & two).k
        assert (row["n"], row["k1"], row["k2"]) == (one.n, one.k, two.k)
        assert row["o1"] == pytest.approx((one & two).k / one.k)
        assert row["uniform_expected"] == pytest.approx(one.k * two.k / one.n)
        assert row["ulp_expected"] == pytest.approx(expected)
        assert row["ulp_excess"] == pytest.approx(row["k12"] - expected)
        assert row["ulp_odds_ratio"] == pytest.approx(concordant / discordant)
        tensor = sum(one.flat(name).sum() * two.flat(name).sum() / init[name].numel() for name in init)
        assert row["tensor_expected"] == pytest.approx(tensor)
        assert row["tensor_excess"] == pytest.approx(row["k12"] - tensor)
        found = statistics(OverlapCounts(one.n, one.k, two.k, (one & two).k))
        for name in ("overlap_coefficient", "jaccard", "dice", "kappa", "kappa_max", "phi", "enrichment"):
            assert row[name] == getattr(found, name)
        assert row["uniform_odds_ratio"] == pytest.approx(found.odds_ratio)
        assert row["same_init"]


def test_runs_of_two_inits_are_stratified_by_both(tmp_path: Path) -> None:
    first, second = write_init(tmp_path / "a", seed=0), write_init(tmp_path / "b", seed=1)
    masks = random_masks(first, [0.5, 0.5])
    pairs = Pairs()
    for name, mask in zip("ab", masks, strict=True):
        mask.save(tmp_path / f"{name}.safetensors", {})
        pairs.add(name, tmp_path / f"{name}.safetensors", tmp_path / name)
    (row,) = pairs.rows
    expected = 0.0
    for name in first:
        strata = list(zip(exponents(first[name]), exponents(second[name]), strict=True))
        for stratum in set(strata):
            at = np.array([found == stratum for found in strata])
            expected += masks[0].flat(name)[at].sum() * masks[1].flat(name)[at].sum() / at.sum()
    assert not row["same_init"]
    assert row["ulp_expected"] == pytest.approx(expected)


def test_masks_are_read_again_when_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init = write_init(tmp_path / "init")
    tables = []
    for cache in (1 << 30, 0):
        monkeypatch.setattr("subnetray.driver.pairs._CACHE_BYTES", cache)
        pairs = Pairs()
        for index, mask in enumerate(random_masks(init, [0.3, 0.6, 0.6])):
            mask.save(tmp_path / f"{index}.safetensors", {})
            pairs.add(str(index), tmp_path / f"{index}.safetensors", tmp_path / "init")
        tables.append(pairs.rows)
    assert tables[0] == tables[1]
    assert all(math.isfinite(row["kappa"]) for row in tables[0])
    assert len(tables[0]) == len(list(itertools.combinations(range(3), 2)))
