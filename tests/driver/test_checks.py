"""What a command refuses before any work, which ``dry_run=true`` refuses too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from subnetray import places
from subnetray.config import ConfigError
from subnetray.config.compose import Composer
from subnetray.driver import checks, machine
from subnetray.driver.checks import check_all
from subnetray.grid import plan
from subnetray.subnetwork import Mask
from tests.read_only import read_only

MIB = 1 << 20


@pytest.fixture(autouse=True)
def two_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setenv("SUBNETRAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def _check(*overrides: str, grid: str = "smoke") -> None:
    check_all(*plan(Composer(), [f"+grid={grid}", *overrides]))


def _records(path: Path, **columns: str) -> str:
    records = [{name: value.format(n) for name, value in columns.items()} for n in range(60)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_a_plan_that_can_run_passes_and_nothing_is_made(tmp_path: Path) -> None:
    _check(grid="origins")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["cluster.workers=8", "grid.overrides=[]", "algorithm.batch_size=64"], "asks for 8.1 cores a run"),
        (["out=file/sweep"], "out must be a directory that can be written to, and .*file is no directory: choose"),
        (["cache=file"], "the cache must be a directory that can be written to, and .*file is no directory: choose"),
        (["tracking=online"], "tracking=online needs an account"),
    ],
)
def test_what_would_keep_the_runs_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], words: str
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=words):
        _check(*overrides)


def test_an_output_directory_on_a_read_only_file_system_is_one_sentence(tmp_path: Path) -> None:
    with read_only(tmp_path / "sealed"), pytest.raises(ConfigError, match=r"^out must be a directory that can be wri"):
        _check(f"out={tmp_path / 'sealed' / 'sweep'}")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("out", r"^out needs at least 32 MiB on the disk of .*, which has 8 left: free some, or choose another direct"),
        ("cache", r"^the cache needs at least \d+ MiB on the disk of .*, which has 2 left: free some, or choose"),
        ("temporary", r"^TMPDIR needs at least 64 MiB on the disk of .*, which has 8 left: free some, or choose"),
    ],
)
def test_a_disk_without_room_is_refused_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch, what: str, words: str
) -> None:
    monkeypatch.setattr(checks, "free_bytes", lambda _: (2 if what == "cache" else 8) * MIB)
    sweep, planned = plan(Composer(), ["+grid=smoke"])
    with pytest.raises(ConfigError, match=words):
        getattr(checks, what)(sweep, planned)
    assert places.free_bytes(Path("/")) > 0


def test_a_sweep_that_is_done_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "free_bytes", lambda _: 0)
    sweep, planned = plan(Composer(), ["+grid=smoke", f"out={tmp_path}"])
    for run in planned.runs:
        (tmp_path / "runs" / run.run_id).mkdir(parents=True)
        (tmp_path / "runs" / run.run_id / "result.json").write_text("{}")
    checks.out(sweep, planned)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task.prompt=question"], "have no column question, but prompt, answer"),
        (["task.gold=solution"], "have no column solution, but prompt, answer"),
        (["task.reward=mine.no_such"], "task.reward=mine.no_such raised AttributeError: .* has no attribute 'no_such'"),
        (["task.reward=broken.reward"], "task.reward=broken.reward raised SystemExit: 0"),
        (["task.reward=ends.reward"], "task.reward=ends.reward did not load and ended its process"),
        (["task.reward=absent.reward"], "there is no module absent to import it from"),
        (["task.reward=package.absent.reward"], "there is no module package.absent to import it from"),
        (["task.reward=package.inner.reward"], "task.reward=package.inner.reward raised SystemExit: 0"),
    ],
)
def test_wrong_columns_and_rewards_are_known_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], words: str
) -> None:
    """... among them rewards whose modules, or packages, end the process that imports them."""
    (tmp_path / "package").mkdir()
    for name, text in (
        ("mine", "def reward(prompt, completion, reference): return 1.0\n"),
        ("broken", "raise SystemExit(0)\n"),
        ("ends", "import os\nos._exit(0)\n"),
        ("package/__init__", "import sys\nsys.exit(0)\n"),
        ("package/inner", "def reward(prompt, completion, reference): return 1.0\n"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = _records(tmp_path / "my.jsonl", prompt="{}+1=", answer="7")
    task = [f"task.path={path}", "task.gold=answer", "task.reward=exact"]
    chosen = {text.partition("=")[0] for text in overrides}
    with pytest.raises(ConfigError, match=words):
        _check("task=jsonl", *(text for text in task if text.partition("=")[0] not in chosen), *overrides)
    assert "package" not in sys.modules


def test_a_mask_of_another_model_is_known_before_the_model_is_made(tmp_path: Path) -> None:
    Mask.from_bools({"model.embed_tokens.weight": torch.ones(4, 4, dtype=torch.bool)}).save(tmp_path / "mask", {})
    with pytest.raises(ConfigError, match=r"^subnetwork\.mask: .* is a mask of another model than .*/embedded-"):
        _check(f"subnetwork.mask={tmp_path / 'mask'}")
    assert not (tmp_path / "cache").exists()


def test_checks_import_nothing_that_is_slow_to_import() -> None:
    code = (
        "import sys\n"
        "from subnetray.config.compose import Composer\n"
        "from subnetray.driver.checks import check_all\n"
        "from subnetray.grid import plan\n"
        "check_all(*plan(Composer(), ['+grid=smoke', 'tracking=disabled']))\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'ray', 'wandb') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
