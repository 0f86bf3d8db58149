"""The entry ``parity`` of ``diff.json``, and what the terminal shows of it: the scripts' figures beside ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from subnetray.checkpoints.authors import COMMIT, RANK, REPOSITORY, SCRIPTS, SPARSITY
from subnetray.checkpoints.authors.figures import LAYERS, Ranks, Sparsity, check_sparsity, update_rank
from subnetray.checkpoints.authors.parameters import Parameters
from subnetray.checkpoints.authors.quirks import UNKNOWN, quirks
from subnetray.checkpoints.rules.names import is_head
from subnetray.subnetwork.visible import Comparison
from subnetray.text import shown

_NAMES = 3  # of what was left out, in a line


@dataclass(frozen=True)
class Options:
    """The options of the scripts: ``parity`` as in ``SCRIPTS``, dtype and tolerances of ``check_sparsity.py``."""

    parity: str
    dtype: torch.dtype
    tolerances: tuple[float, ...]

    @property
    def scripts(self) -> tuple[str, ...]:
        return SCRIPTS[self.parity]


def describe_parity(
    of: Parameters, options: Options, comparison: Comparison, progress: Callable[[int], None]
) -> dict[str, Any]:
    """Describe what the scripts would print, each figure beside that of ``comparison``, and why the two differ.

    ``progress`` is told how many coordinates are done, by each script.
    """
    sparsity = check_sparsity(of, options.dtype, options.tolerances, progress) if SPARSITY in options.scripts else None
    ranks = update_rank(of, progress) if RANK in options.scripts else None
    content: dict[str, Any] = {
        "repository": REPOSITORY,
        "commit": COMMIT,
        "figures": [] if sparsity is None else _sparsities(sparsity, comparison),
    }
    if sparsity is not None:
        content[SPARSITY] = _described(sparsity, options.dtype)
    if ranks is not None:
        content[RANK] = _described_ranks(ranks)
    left_out = [{"name": each.name, "reason": each.reason, "n": each.n} for each in of.left_out]
    left_out += [{"name": name, "reason": "it has no numbers", "n": 0} for name in (sparsity.empty if sparsity else ())]
    return content | {
        "left_out": left_out,
        "quirks": quirks(options.scripts, _here(of, options, comparison)),
        "unknown": list(UNKNOWN),
    }


def show_parity(content: dict[str, Any], rank: float | None, console: Console) -> None:
    """Print what :func:`describe_parity` says; ``rank`` is our mean of numerical ranks, where it was asked for."""
    table = Table(
        title=Text("what the authors' scripts print, and what is found here"),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("authors' scripts", "print", "here"):
        table.add_column(column, justify="left" if column.startswith("a") else "right", no_wrap=column != "here")
    for each in content["figures"]:
        number = f"{each['subnetray']:.4f}" if isinstance(each["subnetray"], float) else each["subnetray"]
        table.add_row(Text(each["figure"]), each["printed"], "–" if number is None else f"{number} {each['called']}")
    if RANK in content:
        printed = content[RANK]["printed"]
        ours = "– (rank=true)" if rank is None else f"{rank:.4f} numerical rank"
        table.add_row("mean rank of Δ, of full", printed[0] if printed else "–", ours)
    console.print(table)
    lines = [f"{script}.py stops: {content[script]['stops']}" for script in (SPARSITY, RANK) if _stops(content, script)]
    left_out = content["left_out"]
    if left_out:
        names = ", ".join(shown(each["name"], 100) for each in left_out[:_NAMES])
        more = ", …" if len(left_out) > _NAMES else ""
        n = sum(each["n"] for each in left_out)
        lines.append(f"left out by the scripts: {len(left_out)} tensors ({n:,} weights): {names}{more}")
    lines.append("why they differ:")
    for each in content["quirks"]:
        lines.append(f"  {each['name']}: {each['scripts']}; here, {each['subnetray']}{_in_brackets(each['here'])}")
    lines += [f"  not known: {each}" for each in content["unknown"]]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _sparsities(found: Sparsity, comparison: Comparison) -> list[dict[str, Any]]:
    """Each figure as printed, and what is found here under its own name."""

    def row(figure: str, printed: str, ours: float, called: str) -> dict[str, Any]:
        known = ours if math.isfinite(ours) else None
        return {"figure": figure, "printed": printed, "subnetray": known, "called": called}

    if not found.n:
        return []
    rows = [
        row("Deltas shape", f"{found.n}", comparison.n, "weights compared"),
        row("Percentage of 0 values", f"{found.zeros / found.n:.4f}", comparison.sparsity_bitwise, "sparsity"),
    ]
    for tolerance, count in found.close.items():
        ours = 1 - comparison.density_abs[tolerance]
        rows.append(row(f"Tolerance = {tolerance:.0e}", f"{count / found.n:.4f}", ours, f"sparsity ≤{tolerance:g}"))
    by_layer = comparison.by_layer()
    for layer, density in found.layers.items():
        ours = by_layer[int(layer)].density_bitwise if int(layer) in by_layer else math.nan
        rows.append(row(f"Layer-wise sparsity, Layer {layer}", f"{density:.4f}", ours, "density"))
    return rows


def _here(of: Parameters, options: Options, comparison: Comparison) -> dict[str, str]:
    """Count what the quirks come to in these two checkpoints, where that is possible."""
    names = {each.name for each in comparison.tensors}
    counted = {
        "skipped": len(of.left_out),
        "stretched": sum(each.stretched for each in of.compared),
        "many_dimensions": sum(len(each.shape) > 2 for each in of.compared),
    }
    here = {name: f"in these: {count} tensors" for name, count in counted.items() if count}
    if comparison.nonfinite:
        here["nan_changed"] = f"in these: {comparison.nonfinite} coordinates are not finite"
    if twice := [each.name for each in of.compared if each.name not in names and is_head(each.name)]:
        here["ties_by_config"] = f"in these: {shown(twice[0])} counts"
    rounded = {tau: float(torch.tensor(tau, dtype=torch.float32).to(options.dtype)) for tau in options.tolerances}
    here["rounded_tolerance"] = "that is, " + ", ".join(
        f"{tau:g} is {near:.4g}" for tau, near in rounded.items() if tau
    )
    if not any(each.name.startswith(LAYERS) for each in of.compared):
        here["layers_by_prefix"] = "in these: none"
    return here


def _described(found: Sparsity, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "n": found.n,
        "zeros": found.zeros,
        "close": {f"{tolerance:g}": count for tolerance, count in found.close.items()},
        "mean_density_by_layer": found.layers,
        "density_by_tensor": found.densities,
        "printed": found.printed(),
        "stops": found.stops,
    }


def _described_ranks(found: Ranks) -> dict[str, Any]:
    mean: float | None = None
    if found.mean is not None and found.mean.dim() == 0 and math.isfinite(float(found.mean)):
        mean = float(found.mean)
    matrices = [asdict(each) | {"shape": list(each.shape)} for each in found.matrices]
    return {"matrices": matrices, "mean": mean, "printed": found.printed(), "stops": found.stops}


def _stops(content: dict[str, Any], script: str) -> bool:
    return bool(content.get(script, {}).get("stops"))


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""
