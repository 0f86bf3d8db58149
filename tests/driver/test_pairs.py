"""The overlap table against counting each pair by itself."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from subnetray.driver.pairs import Finished, Pairs
from subnetray.store import columns
from subnetray.subnetwork import (
    Delta,
    Mask,
    OverlapCounts,
    agreement,
    expected_overlap,
    joint,
    joint_overlap,
    margins,
    sample,
    statistics,
    ulp_strata,
)
from subnetray.subnetwork.bits import exponents
from tests.driver.sweeps import random_masks, write_init


def _add(
    pairs: Pairs, directory: Path, run_id: str, mask: Mask, init: Path, dtype: torch.dtype = torch.bfloat16
) -> Finished:
    """A finished run of this mask: its files, and its pairs."""
    generator = torch.Generator().manual_seed(int(run_id, 36))
    weights = {name: tensor.to(dtype) for name, tensor in load_file(init / "model.safetensors").items()}
    final = {}
    for name, inside in mask.bools().items():
        sign = torch.where(torch.rand(inside.shape, generator=generator) < 0.7, 1.0, -1.0)
        final[name] = torch.where(
            inside, weights[name] + sign * (1 + torch.rand(inside.shape, generator=generator)), weights[name]
        ).to(dtype)
    assert Mask.between(weights, final) == mask
    mask.save(directory / f"{run_id}-mask", {})
    Delta.between(weights, final).save(directory / f"{run_id}-delta")
    run = Finished(run_id, directory / f"{run_id}-mask", directory / f"{run_id}-delta", init, (run_id, str(mask.k)))
    pairs.add(run)
    return run


def test_every_pair_once_with_counts_and_nulls(tmp_path: Path) -> None:
    init = write_init(tmp_path / "init")
    masks = random_masks(init, [0.2, 0.5, 0.9])
    pairs = Pairs(["0", "1", "2"])
    for index, mask in enumerate(masks):
        _add(pairs, tmp_path, str(index), mask, tmp_path / "init")
    assert [(row["run_a"], row["run_b"]) for row in pairs.rows] == [*(("0", "1"), ("0", "2"), ("1", "2"))]
    pa.Table.from_pylist(pairs.rows, schema=columns.schema(columns.of_pairs()))
    for row, (a, b) in zip(pairs.rows, [(0, 1), (0, 2), (1, 2)], strict=True):
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
        (margin,) = expected_overlap([margins(one)], margins(two))
        assert row["margins_expected"] == pytest.approx(margin)
        assert row["margins_excess"] == pytest.approx(row["k12"] - margin)
        by_strata = [
            joint(mask, ulp_strata(init), sample(mask.shapes, mask.n, 0, by_tensor=False)) for mask in (one, two)
        ]
        expectation = joint_overlap(*by_strata)
        assert row["joint_expected"] == pytest.approx(expectation.k12)
        assert row["joint_excess"] == pytest.approx(row["k12"] - expectation.k12)
        assert row["joint_odds_ratio"] == pytest.approx(expectation.odds_ratio(row["k12"]))
        assert row["same_init"]
        deltas = [Delta.load(tmp_path / f"{index}-delta") for index in (a, b)]
        same = agreement(init, *(delta.apply(init) for delta in deltas))
        assert row["agreement_n"] == row["k12"]
        assert row["sign_agreement"] == same.sign
        assert row["cosine"] == pytest.approx(same.cosine)
        start, first, second = (
            torch.cat([weights[name].double().flatten() for name in init])
            for weights in (init, *(delta.apply(init) for delta in deltas))
        )
        assert row["distance_a"] == pytest.approx(float((first - second).norm() / (first - start).norm()))
        assert row["distance_b"] == pytest.approx(float((first - second).norm() / (second - start).norm()))
        assert row["equal_0.0001"] == pytest.approx(float((first - second).abs().le(1e-4).double().mean()))
        near = (first - second).abs().le(1e-4)
        for side, final in (("a", first), ("b", second)):
            expected = float(near[final != start].double().mean())
            assert row[f"equal_inside_0.0001_{side}"] == pytest.approx(expected)


def test_runs_of_two_inits_are_stratified_by_both(tmp_path: Path) -> None:
    first, second = write_init(tmp_path / "a", seed=0), write_init(tmp_path / "b", seed=1)
    masks = random_masks(first, [0.5, 0.5])
    pairs = Pairs(["a", "b"])
    for name, mask in zip("ab", masks, strict=True):
        _add(pairs, tmp_path, name, mask, tmp_path / name)
    (row,) = pairs.rows
    expected = 0.0
    for name in first:
        strata = list(zip(exponents(first[name]), exponents(second[name]), strict=True))
        for stratum in set(strata):
            at = np.array([found == stratum for found in strata])
            expected += masks[0].flat(name)[at].sum() * masks[1].flat(name)[at].sum() / at.sum()
    assert not row["same_init"]
    table = pa.Table.from_pylist(pairs.rows, schema=columns.schema(columns.of_pairs()))
    assert all(
        table[name].null_count == 1 for name in ("sign_agreement", "cosine", "agreement_n", "distance_a", "equal_1e-05")
    )
    assert row["ulp_expected"] == pytest.approx(expected)


def test_masks_are_read_again_when_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init = write_init(tmp_path / "init")
    tables = []
    for cache in (1 << 30, 0):
        monkeypatch.setattr("subnetray.driver.pairs._CACHE_BYTES", cache)
        monkeypatch.setattr("subnetray.driver.pairs._CACHE_SHARE", 0)
        pairs = Pairs(["0", "1", "2"])
        for index, mask in enumerate(random_masks(init, [0.3, 0.6, 0.6])):
            _add(pairs, tmp_path, str(index), mask, tmp_path / "init")
        tables.append(pairs.rows)
    assert tables[0] == tables[1]
    assert all(math.isfinite(row["kappa"]) for row in tables[0])
    assert len(tables[0]) == len(list(itertools.combinations(range(3), 2)))


def test_of_larger_models_updates_are_compared_at_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subnetray.driver.pairs._SAMPLE", 600)
    init = write_init(tmp_path / "init")
    pairs = Pairs(["0", "1", "2"])
    for index, mask in enumerate(random_masks(init, [0.6, 0.6])):
        _add(pairs, tmp_path, str(index), mask, tmp_path / "init", (torch.bfloat16, torch.float32)[index])
    (row,) = pairs.rows
    assert 0.3 * 600 < row["agreement_n"] < 0.45 * 600 < row["k12"]
    assert row["sign_agreement"] == pytest.approx(0.58, abs=0.15)  # 0.7² + 0.3²
    assert row["cosine"] == pytest.approx(0.15, abs=0.25)


def test_the_table_has_the_same_bytes_whichever_run_ended_first_and_however_often_it_was_begun(tmp_path: Path) -> None:
    init = write_init(tmp_path / "init")
    masks = dict(zip("abcde", random_masks(init, [0.1, 0.3, 0.35, 0.6, 0.9]), strict=True))
    written = []
    for order in ("abcde", "edcba", "cadbe"):
        pairs = Pairs("abcde")
        for name in order:
            _add(pairs, tmp_path, name, masks[name], tmp_path / "init")
        pairs.write(tmp_path / order)
        written.append((tmp_path / order).read_bytes())
    begun = Pairs("abcde")
    for name in "db":
        _add(begun, tmp_path, name, masks[name], tmp_path / "init")
    begun.write(tmp_path / "begun")
    resumed = Pairs("abcde", tmp_path / "begun")
    for name in "bdeca":
        _add(resumed, tmp_path, name, masks[name], tmp_path / "init")
    resumed.write(tmp_path / "begun")
    assert {*written, (tmp_path / "begun").read_bytes()} == {written[0]}


def test_rows_of_an_earlier_table_are_used_without_reading_a_run_again_and_those_of_other_files_are_not(
    tmp_path: Path,
) -> None:
    init = write_init(tmp_path / "init")
    first, second, other = random_masks(init, [0.3, 0.6, 0.9])
    pairs = Pairs("ab")
    runs = [_add(pairs, tmp_path, *each, tmp_path / "init") for each in (("a", first), ("b", second))]
    pairs.write(tmp_path / "table")
    for name in ("a", "b"):
        (tmp_path / f"{name}-mask").unlink()
    again = Pairs("ab", tmp_path / "table")
    assert again.knows({run.run_id: run.identity for run in runs})
    for run in runs:
        again.add(run)
    assert again.rows == pairs.rows
    changed = Pairs("ab", tmp_path / "table")
    for name, mask in (("a", first), ("b", other)):
        _add(changed, tmp_path, name, mask, tmp_path / "init")
    assert changed.rows[0]["k2"] == other.k


@pytest.mark.parametrize("harm", ["missing", "empty", "truncated", "another table"])
def test_an_earlier_table_that_is_not_whole_is_made_again(tmp_path: Path, harm: str) -> None:
    init = write_init(tmp_path / "init")
    masks = random_masks(init, [0.3, 0.6])
    pairs = Pairs("ab")
    for name, mask in zip("ab", masks, strict=True):
        _add(pairs, tmp_path, name, mask, tmp_path / "init")
    table = tmp_path / "table"
    pairs.write(table)
    if harm == "missing":
        table.unlink()
    elif harm == "another table":
        pq.write_table(pa.table({"run_a": ["a"]}), table)
    else:
        table.write_bytes(table.read_bytes()[: 0 if harm == "empty" else 100])
    again = Pairs("ab", table)
    for name, mask in zip("ab", masks, strict=True):
        _add(again, tmp_path, name, mask, tmp_path / "init")
    assert again.rows == pairs.rows
