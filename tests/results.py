"""``python -m tests.results outputs/origins``: take a sweep's claims and figure over into the documentation.

``make results`` runs the sweep first. What README and docs then show lies in ``docs/results``: the figure and
``claims.json`` as the sweep wrote them, ``cells.json``, means over the seeds of each cell, ``overlap.json``, what these
share, and ``about.json``, which says of what they are. A sweep is known by its grid's name.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from subnetray.doctor.hardware import processor_kind
from subnetray.nulls import NULLS
from subnetray.store.results import sha256

ROOT = Path(__file__).parents[1]
FIGURE = "density.png"
_NULLS = ("uniform", "ulp", "joint")
MEANS = (
    *("density_bitwise", "density_1e-05", "data_nll", "kl_to_init", "accuracy_sampled_before"),
    *("accuracy_sampled_after", "accuracy_greedy_before", "accuracy_greedy_after"),
)
_TABLES = re.compile(r"(<!-- (claims|cells|overlap) of docs/results/(\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


@dataclass(frozen=True)
class Kept:
    """The results of a grid that the documentation shows: ``shown`` are claims, in their order, on ``page``.

    ``command``: what makes them; empty: as the sweep was last called. ``figures``: those of its report that are shown.
    """

    directory: Path
    page: Path
    shown: tuple[str, ...]
    command: str = ""
    figures: tuple[str, ...] = (FIGURE,)

    def read(self, name: str) -> Any:
        """Return the content of one of its JSON files."""
        return json.loads((self.directory / name).read_text())


KEPT = {
    "origins": Kept(
        ROOT / "docs" / "results" / "origins",
        ROOT / "README.md",
        (
            "rl_sparser_than_sft",
            "rl_updates_5_to_30_percent",
            "sparse_in_bf16_not_in_fp32",
            "limited_impact_of_kl",
            "in_distribution_is_the_main_cause",
            "seeds_overlap_beyond_uniform",
            "seeds_overlap_beyond_joint",
            "all_changed_overlap_beyond_joint",
        ),
        "make results",
    ),
    "pretrained": Kept(
        ROOT / "docs" / "results" / "smollm2",
        ROOT / "docs" / "pretrained.md",
        (
            "rl_sparser_than_sft",
            "rl_updates_5_to_30_percent",
            "rejection_sampling_sparse",
            "in_distribution_sparser",
            "in_distribution_is_the_main_cause",
            "off_distribution_dpo_dense",
            "unchanged_were_never_changed",
            "layers_alike",
            "updates_of_full_rank",
            "updates_concentrated",
            "seeds_overlap_beyond_uniform",
            "seeds_overlap_beyond_joint",
        ),
        figures=(FIGURE, "overlap_heat_map.png"),
    ),
}


def claims_table(kept: Kept) -> str:
    """Write some of the claims as a table in Markdown."""
    by_key = {claim["claim"]: claim for claim in kept.read("claims.json")}
    lines = ["| Claim | Verdict here | Estimate |", "| --- | --- | --- |"]
    lines += [
        f"| {each['statement']} | {each['verdict']} | {_estimate(each)} |"
        for each in map(by_key.get, kept.shown)
        if each
    ]
    return "".join(f"{line}\n" for line in lines)


def cells_table(kept: Kept) -> str:
    """Write the means over seeds of every cell as a table in Markdown."""
    cells = kept.read("cells.json")
    factors = [name for name in cells[0] if name not in (*MEANS, "runs")]
    header = [*factors, "seeds", "changed, %", "by more than 1e-5, %", "NLL of the data", "sampled accuracy, %"]
    lines = [f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    for cell in cells:
        before, after = (f"{100 * cell[f'accuracy_sampled_{when}']:.1f}" for when in ("before", "after"))
        row = [
            *(f"`{cell[name]}`" for name in factors),
            str(cell["runs"]),
            f"{100 * cell['density_bitwise']:.1f}",
            f"{100 * cell['density_1e-05']:.1f}",
            "–" if cell["data_nll"] is None else f"{cell['data_nll']:.2f}",
            f"{before} → {after}",
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "".join(f"{line}\n" for line in lines)


def overlap_table(kept: Kept) -> str:
    """Write what runs of each cell share between seeds, and how far above the nulls that is, as a table in Markdown."""
    found = kept.read("overlap.json")
    factors = [name for name in found[0] if name not in ("pairs", "o1", *_NULLS)]
    header = [*factors, "pairs", "shared (o1), %", *(f"above the {NULLS[null].title} null" for null in _NULLS)]
    lines = [f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    for cell in found:
        numbers = [f"{100 * cell[name]:.1f}" for name in ("o1", *_NULLS)]
        lines.append(f"| {' | '.join([*(f'`{cell[name]}`' for name in factors), str(cell['pairs']), *numbers])} |")
    return "".join(f"{line}\n" for line in lines)


def with_tables(text: str) -> str:
    """Put the tables between their marks in a page."""
    by_directory = {kept.directory.name: kept for kept in KEPT.values()}
    make = {"claims": claims_table, "cells": cells_table, "overlap": overlap_table}
    return _TABLES.sub(lambda found: found[1] + make[found[2]](by_directory[found[3]]) + found[4], text)


def _estimate(claim: Mapping[str, Any]) -> str:
    if claim["estimate"] is None:
        return str(claim["note"])
    mean = f"{round(claim['estimate'], 1) + 0.0:.1f}"
    if mean == "100.0" and claim["estimate"] < 100:  # which nothing is that is not all
        mean = f"{claim['estimate']:.2f}"
    unit = {"percentage points": "points"}.get(claim["unit"], claim["unit"])
    if claim["interval"] is None:
        return f"{mean} {unit}".replace("-", "−")
    low, high = (f"{round(value, 1) + 0.0:.1f}" for value in claim["interval"])
    return f"{mean} {unit} ({100 * claim['level']:.0f} %: {low} to {high})".replace("-", "−")


def _about(sweep: Path, kept: Kept, commit: str) -> dict[str, Any]:
    written = yaml.safe_load((sweep / "sweep.yaml").read_text())
    runs = [run["run_id"] for run in _done(sweep)]
    results = [json.loads((sweep / "runs" / run / "result.json").read_text()) for run in runs]
    model, instructions = processor_kind()
    words = [word for word in written["history"][-1] if not word.startswith("out=")]
    return {
        "command": kept.command or f"python -m subnetray.sweep {shlex.join(words)}",
        "seeds": written["grid"]["seeds"],
        "runs": len(results),
        "commit": commit,
        "processor": model,
        "instructions": instructions,
        "init_hashes": sorted({result["init_hash"] for result in results if "init_hash" in result}),
        "sha256": {path.name: sha256(path) for path in sorted(kept.directory.iterdir()) if path.name != "about.json"},
    }


def cells(sweep: Path) -> list[dict[str, Any]]:
    """Return, for each cell that has finished runs, its levels, their number and their means; None where unknown."""
    factors = yaml.safe_load((sweep / "sweep.yaml").read_text())["grid"]["factors"]
    by_cell: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for run in _done(sweep):
        by_cell.setdefault(tuple(run[name] for name in factors), []).append(run)
    return [
        {**dict(zip(factors, cell, strict=True)), "runs": len(inside), **{name: _mean(inside, name) for name in MEANS}}
        for cell, inside in by_cell.items()
    ]


def overlaps(sweep: Path) -> list[dict[str, Any]]:
    """Return, for each cell with pairs of seeds, its levels and means over these: o1, and the excess over each null."""
    factors = yaml.safe_load((sweep / "sweep.yaml").read_text())["grid"]["factors"]
    cell_of = {run["run_id"]: tuple(run[name] for name in factors) for run in _done(sweep)}
    by_cell: dict[tuple[str, ...], list[Mapping[str, Any]]] = {cell: [] for cell in cell_of.values()}
    for pair in pq.read_table(sweep / "overlap.parquet").to_pylist():
        if pair["k1"] and cell_of.get(pair["run_a"]) == cell_of.get(pair["run_b"]):
            by_cell[cell_of[pair["run_a"]]].append(pair)
    return [
        {
            **dict(zip(factors, cell, strict=True)),
            **{"pairs": len(pairs), "o1": math.fsum(pair["o1"] for pair in pairs) / len(pairs)},
            **{null: math.fsum(pair[f"{null}_excess"] / pair["k1"] for pair in pairs) / len(pairs) for null in _NULLS},
        }
        for cell, pairs in by_cell.items()
        if pairs
    ]


def _done(sweep: Path) -> list[Mapping[str, Any]]:
    return [run for run in pq.read_table(sweep / "runs.parquet").to_pylist() if run["status"] == "done"]


def _mean(runs: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [run.get(name) for run in runs]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(known) / len(known) if len(known) == len(runs) else None


def main(sweep: Path, commit: str) -> None:
    """Write what is kept of a finished sweep, and its page's tables."""
    kept = KEPT[yaml.safe_load((sweep / "sweep.yaml").read_text())["grid"]["name"]]
    kept.directory.mkdir(parents=True, exist_ok=True)
    for place in ("claims.json", *(f"figures/{name}" for name in kept.figures)):
        shutil.copyfile(sweep / place, kept.directory / Path(place).name)
    for name, content in (("cells.json", cells(sweep)), ("overlap.json", overlaps(sweep))):
        (kept.directory / name).write_text(json.dumps(content, indent=1) + "\n")
    (kept.directory / "about.json").write_text(json.dumps(_about(sweep, kept, commit), indent=1) + "\n")
    kept.page.write_text(with_tables(kept.page.read_text()))


if __name__ == "__main__":
    head = ["git", "describe", "--always", "--abbrev=12", "--dirty"]
    given = sys.argv[2] if len(sys.argv) > 2 else subprocess.check_output(head, cwd=ROOT, text=True).strip()
    main(Path(sys.argv[1]), given)
