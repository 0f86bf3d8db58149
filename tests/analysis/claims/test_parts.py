"""Layers and norms in made-up sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from subnetray.analysis.claims import parts
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim
from tests.analysis.judged import ORIGINS
from tests.analysis.tables import make_runs

LAYERS, NORMS = "layers_alike", "norms_hardly_move"
N = 10_000


def judge(layers: Sequence[float] = (0.5, 0.5), norms: float = 0.5) -> dict[str, Claim]:
    """Sweeps of models with a matrix a layer, changed by so much, and norms of which fp32 changes ``norms``."""
    runs = make_runs(ORIGINS, lambda cell, seed: 0.5)
    of = {run["run_id"]: run for run in runs.to_dict("records")}

    def tensors(run_id: str) -> list[dict[str, Any]]:
        run = of[run_id]
        more = 0.002 * (run["seed"] - 1)
        listed: list[dict[str, Any]] = [
            {"layer": i, "module": "up", "n": N, "changed_bitwise": count, "changed_abs": {"1e-05": count}}
            for i, share in enumerate(layers)
            for count in (round(N * (share + more * (-1) ** i)),)
        ]
        share = norms + more if run["dtype"] == "fp32" else 0.0
        # In fp32 all of them change bit for bit, and some by more than the tolerance.
        moved = {"changed_bitwise": N if run["dtype"] == "fp32" else 0, "changed_abs": {"1e-05": round(N * share)}}
        listed.append({"layer": 0, "module": "norm", "n": N} | moved)
        moved = {"changed_bitwise": N, "changed_abs": {"1e-05": N // 2}}
        listed.append({"layer": None, "module": "embedding", "n": N} | moved)
        return listed

    return {claim.key: claim for claim in parts.claims(Results(ORIGINS, runs, tensors=tensors))}


@pytest.mark.parametrize(
    ("layers", "verdict"),
    [((0.5, 0.52), "supported"), ((0.4, 0.6), "refuted"), ((0.45, 0.55), "inconclusive"), ((0.5, 0.5, 0.8), "refuted")],
)
def test_layers_are_alike_within_the_margin_of_all_of_them(layers: tuple[float, ...], verdict: str) -> None:
    found = judge(layers)[LAYERS]
    assert found.verdict == verdict
    mean = sum(layers) / len(layers)
    assert abs(found.estimate.mean) == pytest.approx(100 * max(abs(each - mean) for each in layers), abs=0.05)
    assert len(found.runs) == 3


def test_one_layer_has_none_to_be_like() -> None:
    assert judge((0.5,))[LAYERS].verdict == "not tested"


@pytest.mark.parametrize(("share", "verdict"), [(0.01, "supported"), (0.9, "refuted"), (0.05, "inconclusive")])
def test_norms_are_judged_in_fp32(share: float, verdict: str) -> None:
    found = judge(norms=share)[NORMS]
    assert (found.verdict, found.note) == (verdict, "of all other weights 50.0 %; of norms at the baseline 0.00 %")
    assert found.estimate.mean == pytest.approx(100 * share, abs=0.05)
    assert len(found.runs) == 3


def test_norms_whose_moves_were_not_counted_at_the_tolerance_are_not_judged() -> None:
    runs = make_runs(ORIGINS, lambda cell, seed: 0.5)
    tensors = [{"layer": 0, "module": "norm", "n": N, "changed_bitwise": 0, "changed_abs": {"0.001": 0}}]
    (_, found) = parts.claims(Results(ORIGINS, runs, tensors=lambda run_id: tensors))
    assert found.verdict == "not tested"
    assert "counted at 1e-05" in found.note
