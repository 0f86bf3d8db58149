"""Test what W&B has of a sweep itself and of where weights came from, read back from its offline files."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from subnetray.config import Tracking
from subnetray.driver.tracking import RunFiles, Tracker, artifacts
from subnetray.driver.tracking.notes import Notes
from subnetray.reporting.findings import Findings
from tests.driver.sweeps import make_restricted_plan
from tests.driver.tracked import files, label, offline, row, sweep_plan, write_steps

RUN, OTHER = sweep_plan().runs[:2]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subnetray.driver.tracking.patience.TOTAL_S", 180.0)


def _findings(directory: Path) -> Findings:
    from PIL import Image

    figure, page = directory / "figures" / "density.png", directory / "report.html"
    figure.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3)).save(figure)
    page.write_text("<html><body>what was found</body></html>")
    return Findings(
        summary={"runs/done": 2, "sparsity/method/grpo/mean": 0.75, "overlap/seed/o1/mean": 0.5},
        tables={
            "tables/runs": [{"run_id": RUN.run_id, "method": "grpo"}, {"run_id": OTHER.run_id, "method": None}],
            "tables/claims": [{"claim": "sparse", "verdict": "supported"}],
        },
        images={"figures/density": figure},
        pages={"report": page},
    )


def test_the_sweep_s_run_holds_scalars_tables_pictures_and_the_report(tmp_path: Path) -> None:
    directory = tmp_path / "mine"

    def track() -> Any:
        tracker = Tracker(Tracking(mode="offline"), sweep_plan(), directory, print)
        tracker.close(lambda: _findings(directory))
        return offline(directory)["sweep-mine"]

    kept = track()
    assert (kept.summary["sparsity/method/grpo/mean"], kept.summary["overlap/seed/o1/mean"]) == (0.75, 0.5)
    (shown,) = kept.history
    media = {key.removesuffix("/path") for key in shown if key.endswith("/path")}
    assert media == {"tables/runs", "tables/claims", "figures/density", "report"}
    for key in media:
        assert (kept.directory / "files" / shown[f"{key}/path"]).is_file()
        assert kept.summary[f"{key}/path"] == shown[f"{key}/path"]  # and no number has taken its place
    assert json.loads((kept.directory / "files" / shown["tables/claims/path"]).read_text())["data"] == [
        ["sparse", "supported"]
    ]
    assert "what was found" in (kept.directory / "files" / shown["report/path"]).read_text()
    # The same is not logged again; another report is.
    assert track().directory == kept.directory

    def changed() -> Findings:
        found = _findings(directory)
        (directory / "report.html").write_text("<html><body>something else</body></html>")
        return found

    tracker = Tracker(Tracking(mode="offline"), sweep_plan(), directory, print)
    tracker.close(changed)
    assert offline(directory)["sweep-mine"].directory != kept.directory


def test_findings_that_cannot_be_made_are_said_and_keep_nothing_from_being_logged(tmp_path: Path) -> None:
    def broken() -> Findings:
        raise ValueError("claims.json is damaged")

    said: list[str] = []
    tracker = Tracker(Tracking(mode="offline"), sweep_plan(), tmp_path, said.append)
    write_steps(tmp_path, RUN, [1])
    tracker.finish(RUN, label(RUN), files(tmp_path, RUN), row(RUN))
    where = tracker.close(broken)
    assert where == f"W&B: wandb sync {tmp_path}/wandb/offline-run-* uploads it"
    assert Notes(tmp_path / "wandb").place() == ("subnetray", None)
    assert said == ["W&B: not everything is logged (claims.json is damaged); results are not affected"]
    assert set(offline(tmp_path)) == {RUN.run_id}


def _track_one(directory: Path, init: Path, **changes: Any) -> Any:
    write_steps(directory, RUN, [1])
    for name in ("mask", "delta"):
        (files(directory, RUN).directory / f"{name}.safetensors").write_bytes(name.encode() * 100)
    tracker = Tracker(Tracking(mode="offline"), sweep_plan(), directory, print)
    found = row(RUN, init_hash="0123456789abcdef" * 2, final_hash="f", n=100, **changes)
    tracker.finish(RUN, label(RUN), RunFiles(files(directory, RUN).directory, init), found)
    tracker.close(Findings)
    return offline(directory)[RUN.run_id]


def test_lineage_leads_from_the_init_to_mask_and_delta_by_reference(tmp_path: Path) -> None:
    init = tmp_path / "init"
    init.mkdir()
    (init / "model.safetensors").write_bytes(b"weights")
    directory = tmp_path / "mine"
    kept = _track_one(directory, init)
    found = {artifact.name: artifact for artifact in kept.artifacts}
    used, mask, delta = (found[name] for name in ("init-0123456789abcdef", f"mask-{RUN.run_id}", f"delta-{RUN.run_id}"))
    assert (used.type, mask.type, delta.type) == ("model", "mask", "delta")
    assert (used.use_after_commit, mask.use_after_commit, delta.use_after_commit) == (True, False, False)
    for artifact, path in (
        (used, init / "model.safetensors"),
        (mask, files(directory, RUN).directory / "mask.safetensors"),
        (delta, files(directory, RUN).directory / "delta.safetensors"),
    ):
        (content,) = artifact.manifest.contents
        assert (content.ref, content.size) == (path.as_uri(), path.stat().st_size)
        assert not content.local_path  # nothing is uploaded
    assert json.loads(mask.metadata)["density_bitwise"] == 0.25
    # A failed run, which made nothing, has none.
    assert not _track_one(tmp_path / "failed", init, status="failed").artifacts


def test_a_restricted_run_uses_the_mask_of_its_source(tmp_path: Path) -> None:
    plan = make_restricted_plan()
    run = plan.runs[0]
    assert run.source is not None
    for name in (run.run_id, run.source):
        place = tmp_path / "runs" / name
        place.mkdir(parents=True)
        (place / "mask.safetensors").write_bytes(name.encode())
    write_steps(tmp_path, run, [1])
    tracker = Tracker(Tracking(mode="offline"), plan, tmp_path, print)
    tracker.finish(run, "a", files(tmp_path, run), row(run, init_hash="a"))
    tracker.close(Findings)
    kept = offline(tmp_path)[run.run_id]
    assert {artifact.name: artifact.use_after_commit for artifact in kept.artifacts} == {
        "init-a": True,
        f"mask-{run.source}": True,
        f"mask-{run.run_id}": False,
    }


def test_without_the_private_name_what_was_used_is_logged_all_the_same() -> None:
    logged: list[str] = []
    artifacts.use(SimpleNamespace(log_artifact=logged.append), "init")
    assert logged == ["init"]
