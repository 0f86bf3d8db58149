"""What ``diff.json`` says of the matrices of two checkpoints, and the short table of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from subnetray.checkpoints.match import Matching, Skipped
from subnetray.checkpoints.matrices import NO_MATRIX, Asked, matrices, whole_concentration
from subnetray.subnetwork.update.energy import Concentration
from subnetray.subnetwork.update.geometry import Enrichment, Geometry, Profile
from subnetray.subnetwork.update.rank import Rank, RankBounds
from subnetray.text import shown

_RANKS = {"numerical": "numerical", "energy_99": "99 % energy", "entropy": "entropy", "stable": "stable"}
_DRIFT = {
    "nss": "‖Δσ‖/‖σ‖ (NSS)",
    "relative_norm": "‖Δ‖/‖init‖",
    "left": "largest angle, left",
    "right": "largest angle, right",
}


def describe_matrices(
    matching: Matching, dtype: torch.dtype | None, asked: Asked, threads: int, progress: Callable[[int], None]
) -> dict[str, Any]:
    """The entries ``rank`` and ``geometry`` of ``diff.json``, those that are asked for.

    ``rank``: ``matrices``, ``mean`` (over those of exact rank, as shares of full but for ``stable``) and ``skipped``.
    ``geometry``: ``matrices``, ``mean`` (enrichments pooled: Σk12/Σexpected), ``concentration`` over all weights, and
    ``skipped``. Null is what has no value. ``progress`` is told how many coordinates are done; linear algebra uses
    ``threads``.
    """
    rank_of, geometry_of, skipped = [], [], []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for each in matrices(matching, dtype, asked):
            if isinstance(each, Skipped):
                skipped.append({"name": each.name, "reason": each.reason})
                continue
            # Described at once: profiles of all matrices together are large.
            name = {"name": each.name, "shape": list(each.shape)}
            if each.rank is not None and each.null is not None:
                rank_of.append(name | _rank(each.rank) | {"shuffled": _rank(each.null)})
            if each.geometry is not None and each.concentration is not None:
                geometry_of.append(name | _geometry(each.geometry) | {"concentration": _spread(each.concentration)})
            progress(math.prod(each.shape))
    finally:
        torch.set_num_threads(before)
    content: dict[str, Any] = {}
    if asked.ranks:
        content["rank"] = {"matrices": rank_of, "mean": _mean_rank(rank_of), "skipped": skipped}
    if asked.geometry:
        try:
            whole: dict[str, Any] | None = _spread(whole_concentration(matching, dtype))
        except ValueError as error:
            whole, skipped = None, [*skipped, {"name": "concentration", "reason": str(error)}]
        content["geometry"] = {
            "matrices": geometry_of,
            "mean": _mean_geometry(geometry_of),
            "concentration": whole,
            "skipped": skipped,
        }
    return content


def show_matrices(content: dict[str, Any], console: Console) -> None:
    """Print a short table of what :func:`describe_matrices` says, and name what was skipped, norms and biases aside."""
    console.print(_table(content))
    skipped = {each["name"]: each["reason"] for part in content.values() for each in part["skipped"]}
    for name, reason in skipped.items():
        if reason != NO_MATRIX:
            console.print(f"not decomposed: {shown(name)}: {reason}", markup=False, highlight=False)


def _table(content: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("means over matrices", no_wrap=True)
    for column in ("measured", "null"):
        table.add_column(column, justify="right", no_wrap=True)
    if "rank" in content:
        found = content["rank"]["mean"]
        table.add_section()
        table.add_row(f"rank of Δ, of full ({found['exact']} matrices)", "", "shuffled")
        for key, text in _RANKS.items():
            style = "{:.1f}" if key == "stable" else "{:.2%}"
            table.add_row(f"  {text}", _text(found[key], style), _text(found["shuffled"][key], style))
    if "geometry" in content:
        found, whole = content["geometry"]["mean"], content["geometry"]["concentration"]
        table.add_section()
        table.add_row("dispersion over lines (1: none)", "", "in ULP strata")
        for key in ("rows", "columns"):
            line = found[key]
            table.add_row(f"  {key}", _text(line["dispersion"]), _text(line["dispersion_within_ulp"]))
        table.add_row("enrichment (1: none)", "", "in ULP strata")
        for key in ("principal", "small"):
            for share, pooled in found[key].items():
                table.add_row(
                    f"  in {float(share):.0%} {key} weights",
                    _text(pooled["enrichment"]),
                    _text(pooled.get("within_ulp", {}).get("enrichment")),
                )
        table.add_row("spectral drift", "", "")
        for key, text in _DRIFT.items():
            table.add_row(f"  {text}", _text(found["drift"][key], "{:.2e}"), "")
        if whole is not None:
            table.add_row("weights that hold ΣΔ², of all", "", "")
            for share, count in whole["counts"].items():
                table.add_row(f"  {float(share):.0%}", _text(count / whole["n"] if whole["n"] else None, "{:.2%}"), "")
    return table


def _rank(found: Rank | RankBounds) -> dict[str, Any]:
    if isinstance(found, Rank):
        return {
            "method": "exact",
            "full": found.full,
            "numerical": found.numerical,
            "stable": _known(found.stable),
            "entropy": _known(found.entropy),
            "energy_99": found.energy_99,
        }
    # Lowest and highest that they can be.
    return {
        "method": "randomised",
        "full": found.full,
        "directions": found.directions,
        "captured": _known(found.captured),
        "numerical": list(found.numerical),
        "stable": [_known(each) for each in found.stable],
        "energy_99": list(found.energy_99),
    }


def _geometry(found: Geometry) -> dict[str, Any]:
    drift = found.drift
    return {
        "rows": _profile(found.rows, found.rows_within_ulp),
        "columns": _profile(found.columns, found.columns_within_ulp),
        "principal": {
            f"{share:g}": _enrichment(each) | {"within_ulp": _expectation(found.principal_within_ulp[share])}
            for share, each in found.principal.items()
        },
        "small": {f"{share:g}": _enrichment(each) for share, each in found.small.items()},
        "drift": {
            "method": "exact" if drift.exact else "randomised",
            "k": drift.k,
            "nss": None if drift.nss is None else _known(drift.nss),
            "nss_leading": _known(drift.nss_leading),
            "relative_norm": _known(drift.relative_norm),
            "left": _known(drift.left),
            "right": _known(drift.right),
            "left_rms": _known(drift.left_rms),
            "right_rms": _known(drift.right_rms),
            "angle_error": drift.angle_error,
        },
    }


def _profile(found: Profile, within: Profile) -> dict[str, Any]:
    return {
        "lines": found.counts.size,
        "density_min": float(found.densities.min()),
        "density_max": float(found.densities.max()),
        "cv": _known(found.cv),
        "dispersion": _known(found.dispersion),
        "dispersion_within_ulp": _known(within.dispersion),
    }


def _enrichment(found: Enrichment) -> dict[str, Any]:
    counts = found.counts
    return {"n": counts.n, "k1": counts.k1, "k2": counts.k2, "k12": counts.k12} | _expectation(found)


def _expectation(found: Enrichment) -> dict[str, Any]:
    return {
        "expected": found.expected,
        "enrichment": _known(found.enrichment),
        "odds_ratio": _known(found.odds_ratio),
    }


def _spread(found: Concentration) -> dict[str, Any]:
    return {
        "n": found.n,
        "changed": found.changed,
        "energy": found.energy,
        "participation": _known(found.participation),
        "gini": _known(found.gini),
        "gini_error": found.gini_error,
        "counts": {f"{share:g}": count for share, count in found.counts.items()},
    }


def _mean_rank(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    exact = [each for each in found if each["method"] == "exact"]

    def means(of: Sequence[dict[str, Any]]) -> dict[str, Any]:
        shares = {
            key: _mean(None if each[key] is None else each[key] / each["full"] for each in of)
            for key in ("numerical", "entropy", "energy_99")
        }
        return shares | {"stable": _mean(each["stable"] for each in of)}

    return {"exact": len(exact)} | means(exact) | {"shuffled": means([each["shuffled"] for each in exact])}


def _mean_geometry(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def pooled(of: Sequence[dict[str, Any]], k12: Sequence[int]) -> dict[str, Any]:
        expected = sum(each["expected"] for each in of)
        return {"expected": expected, "enrichment": sum(k12) / expected if expected else None}

    def targets(kind: str) -> dict[str, Any]:
        result = {}
        for share in found[0][kind] if found else ():
            of = [each[kind][share] for each in found]
            k12 = [each["k12"] for each in of]
            result[share] = {"k12": sum(k12)} | pooled(of, k12)
            if "within_ulp" in of[0]:
                result[share]["within_ulp"] = pooled([each["within_ulp"] for each in of], k12)
        return result

    return {
        "matrices": len(found),
        **{
            axis: {
                key: _mean(each[axis][key] for each in found) for key in ("cv", "dispersion", "dispersion_within_ulp")
            }
            for axis in ("rows", "columns")
        },
        "principal": targets("principal"),
        "small": targets("small"),
        "drift": {
            key: _mean(each["drift"][key] for each in found)
            for key in ("nss", "nss_leading", "relative_norm", "left", "right", "left_rms", "right_rms")
        },
    }


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of what there is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(value: float | None, style: str = "{:.3f}") -> str:
    return "–" if value is None else style.format(value)
