"""An algorithm, a null, a claim and a section from outside, in a sweep of two seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.outside import install

pytestmark = pytest.mark.e2e


def test_one_of_each_from_outside_works_in_a_sweep(tiny: Path, tmp_path: Path) -> None:
    environment = install(tmp_path / "site")
    command = [sys.executable, "-m", "subnetray.sweep", "+grid=single", "grid.seeds=[0,1]", "tracking=disabled"]
    size = ["algorithm.steps=2", "algorithm.batch_size=8", "evaluation.prompts=4"]
    done = subprocess.run(
        [*command, "algorithm=frozen", *size, "out=here"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "here"
    results = [json.loads(path.read_text()) for path in out.glob("runs/*/result.json")]
    assert len(results) == 2
    for result in results:
        changed = {each["module"]: each["changed_bitwise"] for each in result["tensors"]}
        assert changed["norm"] == 0 < changed["q"]
    (pair,) = pq.read_table(out / "overlap.parquet").to_pylist()
    assert pair["shares_expected"] == pytest.approx(pair["uniform_expected"])
    judged = {claim["claim"]: claim for claim in json.loads((out / "claims.json").read_text())}
    assert judged["something_changes"]["seeds"] == 2
    assert "There are 2 runs." in (out / "report.html").read_text()
