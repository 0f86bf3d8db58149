"""A damaged file is read, or refused in one sentence, in time; never a traceback, and nothing is written."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray.config import EmbeddedModel
from subnetray.driver.ledger import Ledger
from subnetray.models import parameter_shapes
from subnetray.report import main as report
from subnetray.store import results
from subnetray.subnetwork import Mask
from tests.bad_inputs.damage import damaged
from tests.bad_inputs.refusal import COMMANDS, check_line, listing
from tests.checkpoints import pairs
from tests.checkpoints.layouts import MOVED, adapter, dense
from tests.driver.sweeps import make_plan, write_result
from tests.fuzzing import fuzz

# Of processor time a command: what an undamaged file takes, a few times over.
_LIMIT_S = 30.0
_GRID = """# @package grid
name: mine
about: A question?
seeds: [0, 1]
overrides: [algorithm.steps=3, 'task.operators=[+]']
factors:
  rate:
    baseline: "1e-5"
    levels:
      "1e-5": [algorithm.lr=1e-5]
      "1e-4": [algorithm.lr=1e-4, seed=3]
one_at_a_time: [rate]
"""
_MODEL = "defaults: [tiny, _self_]\nlayers: 3\nname: mine\n"


@dataclass(frozen=True)
class Target:
    """Files that ``make`` writes into a directory, those of them that are damaged, and a command that reads them."""

    make: Callable[[Path], object]
    files: str
    command: str
    words: tuple[str, ...]


def _pair(layout: str) -> Callable[[Path], None]:
    def make(directory: Path) -> None:
        weights = {name: tensor for name, tensor in dense().items() if "experts" not in name or layout != "GGUF"}
        pairs.save(directory / "init", weights)
        if layout == "adapter":
            adapter(directory / "final", weights)
        else:
            MOVED[layout](directory / "final", pairs.moved(weights))

    return make


def _quantised(directory: Path) -> None:
    pairs.save(
        *(directory / "init", pairs.weights()),
        quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["a"]},
        tie_word_embeddings=True,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    pairs.save(directory / "final", pairs.moved(pairs.weights()))


def _mask(directory: Path) -> None:
    shapes = parameter_shapes(EmbeddedModel(), directory)
    bools = {name: torch.rand(shape) < 0.1 for name, shape in shapes.items()}
    Mask.from_bools(bools).save(directory / "m.safetensors", {})


def _configs(directory: Path) -> None:
    for group, text in (("grid", _GRID), ("model", _MODEL)):
        (directory / "conf" / group).mkdir(parents=True)
        (directory / "conf" / group / "mine.yaml").write_text(text)


_DIFF = ("init=init", "final=final", "threads=1")
TARGETS = {
    "config.json": Target(_quantised, "init/config.json", "diff", _DIFF),
    **{
        name: Target(_pair(name), f"final/{files}", "diff", _DIFF)
        for name, files in {
            "model.safetensors": "*",
            "model.safetensors.index.json": "*",
            "pytorch_model.bin": "*",
            "pytorch_model.bin of before 1.6": "*",
            "torch.distributed.checkpoint": ".metadata",
            "GGUF": "*",
            "adapter": "*",
        }.items()
    },
    "mask": Target(_mask, "m.safetensors", "train", ("dry_run=true", "algorithm=sft", "subnetwork.mask=m.safetensors")),
    "grid": Target(_configs, "conf/grid/*", "sweep", ("--config-dir=conf", "+grid=mine", "dry_run=true")),
    "model": Target(_configs, "conf/model/*", "train", ("--config-dir=conf", "model=mine", "dry_run=true")),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The undamaged files of every target, once."""
    directory = tmp_path_factory.mktemp("made")
    for name, target in TARGETS.items():
        (directory / name).mkdir()
        target.make(directory / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield directory


def _copy(source: Path, to: Path, files: str, data: st.DataObject) -> None:
    """Copy a directory, and damage one of ``files`` in it."""
    shutil.copytree(source, to, dirs_exist_ok=True)
    path = data.draw(st.sampled_from(sorted(path for path in to.glob(files) if path.is_file())))
    path.write_bytes(data.draw(damaged(path.read_bytes())))


def _run(command: Callable[[list[str]], int], words: list[str], directory: Path) -> tuple[int, str, str]:
    """Run a command in ``directory``, within its time: its exit code, and what it wrote."""
    out, err, here, start = io.StringIO(), io.StringIO(), Path.cwd(), time.process_time()
    os.chdir(directory)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("error", category=UserWarning)
            code = command(words)
    finally:
        os.chdir(here)
    assert time.process_time() - start < _LIMIT_S
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("name", TARGETS)
@fuzz(6)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(made: Path, name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        _copy(made / name, directory, target.files, data)
        before = listing(directory)
        code, out, err = _run(COMMANDS[target.command], list(target.words), directory)
        assert listing(directory) == before
    if code:
        check_line(code, out, err)
    else:
        assert err.strip() == ""  # a line of progress has ended


_OF_A_SWEEP = (
    *("sweep.yaml", "claims.json", "*.parquet", ".*"),
    *(f"runs/*/{name}" for name in (results.RESULT, results.CONFIG, results.TIME, results.METRICS)),
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep with its report."""
    plan = make_plan("grid.seeds=[0]")
    ledger = Ledger(tmp_path_factory.mktemp("fuzzed") / "smoke", plan)
    ledger.open(["+grid=smoke"], "auto")
    for run in plan.runs:
        write_result(ledger.directory, run)
    ledger.release()
    assert report([f"sweep={ledger.directory}", "cache=none"]) == 0
    return ledger.directory


@fuzz(4)
@given(data=st.data())
def test_a_report_is_written_of_a_damaged_sweep_or_says_why_not(swept: Path, data: st.DataObject) -> None:
    files = data.draw(st.sampled_from(_OF_A_SWEEP))
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "smoke"
        _copy(swept, directory, files, data)
        (directory / "report.md").unlink()
        code, out, err = _run(report, ["sweep=smoke", "cache=none"], Path(scratch))
        assert (directory / "report.md").exists() == (code == 0)
    if code:
        check_line(code, "", err)
    else:
        assert err == ""
        assert f"the report is {directory / 'report.md'}" in out
