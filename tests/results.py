"""``python -m tests.results outputs/origins``: take a sweep's claims and figure over into the README.

``make results`` runs the sweep first. What the README shows then lies in ``docs/results/origins``: the figure and
``claims.json`` as the sweep wrote them, and ``about.json``, which says of what they are.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from subnetray.doctor.hardware import processor_kind
from subnetray.store.results import sha256

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
KEPT = ROOT / "docs" / "results" / "origins"
FIGURE = "density.png"
SHOWN = (
    "rl_sparser_than_sft",
    "rl_updates_5_to_30_percent",
    "sparse_in_bf16_not_in_fp32",
    "limited_impact_of_kl",
    "in_distribution_is_the_main_cause",
    "seeds_overlap_beyond_uniform",
    "seeds_overlap_beyond_joint",
    "all_changed_overlap_beyond_joint",
)
_TABLE = re.compile(r"(<!-- claims of docs/results/origins -->\n).*?(<!-- end -->\n)", re.DOTALL)


def table(claims: Sequence[Mapping[str, Any]]) -> str:
    """Write some of the claims as a table in Markdown."""
    by_key = {claim["claim"]: claim for claim in claims}
    lines = ["| Claim | Verdict here | Estimate |", "| --- | --- | --- |"]
    lines += [
        f"| {each['statement']} | {each['verdict']} | {_estimate(each)} |" for each in map(by_key.get, SHOWN) if each
    ]
    return "".join(f"{line}\n" for line in lines)


def _estimate(claim: Mapping[str, Any]) -> str:
    if claim["estimate"] is None:
        return str(claim["note"])
    low, high = claim["interval"]
    low, mean, high = (f"{round(value, 1) + 0.0:.1f}" for value in (low, claim["estimate"], high))
    unit = {"percentage points": "points"}.get(claim["unit"], claim["unit"])
    return f"{mean} {unit} ({100 * claim['level']:.0f} %: {low} to {high})".replace("-", "−")


def with_table(text: str, claims: Sequence[Mapping[str, Any]]) -> str:
    """Put the table between its two marks in the README."""
    assert _TABLE.search(text)
    return _TABLE.sub(lambda found: found[1] + table(claims) + found[2], text)


def _about(sweep: Path, commit: str) -> dict[str, Any]:
    written = yaml.safe_load((sweep / "sweep.yaml").read_text())
    results = [json.loads(path.read_text()) for path in sorted(sweep.glob("runs/*/result.json"))]
    model, instructions = processor_kind()
    return {
        "command": "make results",
        "seeds": written["grid"]["seeds"],
        "runs": len(results),
        "commit": commit,
        "processor": model,
        "instructions": instructions,
        "init_hashes": sorted({result["init_hash"] for result in results if "init_hash" in result}),
        "sha256": {name: sha256(sweep / place) for name, place in _files().items()},
    }


def _files() -> dict[str, str]:
    return {"claims.json": "claims.json", FIGURE: f"figures/{FIGURE}"}


def main(sweep: Path, commit: str) -> None:
    """Write ``docs/results/origins`` and the README's table from a finished sweep."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name, place in _files().items():
        shutil.copyfile(sweep / place, KEPT / name)
    (KEPT / "about.json").write_text(json.dumps(_about(sweep, commit), indent=1) + "\n")
    README.write_text(with_table(README.read_text(), json.loads((KEPT / "claims.json").read_text())))


if __name__ == "__main__":
    head = ["git", "describe", "--always", "--abbrev=12", "--dirty"]
    given = sys.argv[2] if len(sys.argv) > 2 else subprocess.check_output(head, cwd=ROOT, text=True).strip()
    main(Path(sys.argv[1]), given)
