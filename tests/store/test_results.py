"""The files of a run: done means that every one of them is as it was written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from subnetray.store import results


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run's directory."""
    for name in (results.CONFIG, results.METRICS, results.MASK, results.DELTA, results.TIME, "early-3.safetensors"):
        (tmp_path / name).write_text(f"what is in {name}" * 9)
    results.write(tmp_path, {"run_id": "a", "status": "done", "error": None, "n": 3, "growth": None})
    return tmp_path


def test_a_finished_run_is_done_and_says_what_was_written(run: Path) -> None:
    state = results.inspect(run)
    assert state.status == "done"
    assert state.result is not None
    assert state.result["n"] == 3
    assert set(state.result["files"]) == {
        *(results.CONFIG, results.METRICS, results.MASK, results.DELTA, "early-3.safetensors")
    }


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _nested(path: Path) -> None:
    path.write_text("[" * 100_000)


GONE = (Path.unlink, _link_to_nowhere)


@pytest.mark.parametrize("harm", [_flip, _truncate, _empty, _pipe, _directory, _nested, *GONE])
@pytest.mark.parametrize(
    "name", [results.CONFIG, results.METRICS, results.MASK, results.DELTA, "early-3.safetensors", results.RESULT]
)
def test_harm_to_any_file_is_noticed_and_named(run: Path, name: str, harm: Callable[[Path], Any]) -> None:
    harm(run / name)
    state = results.inspect(run)
    assert state.status == ("missing" if name == results.RESULT and harm in GONE else "damaged")
    if state.status == "damaged":
        assert f"its {name} " in str(state.reason)


def test_times_are_no_part_of_what_is_vouched_for(run: Path) -> None:
    (run / results.TIME).unlink()
    (run / results.TIMES).write_text("anything")
    assert results.inspect(run).status == "done"


@pytest.mark.parametrize("change", [{"n": 4}, {"status": "failed", "error": "x"}, {"more": 1}])
def test_a_result_that_was_edited_is_not_believed(run: Path, change: dict[str, Any]) -> None:
    content = json.loads((run / results.RESULT).read_bytes())
    (run / results.RESULT).write_text(json.dumps(content | change))
    assert "was changed after it was written" in str(results.inspect(run).reason)


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"status": "done"}', "[" * 100_000, '{"status": 1, "error": 2}'])
def test_what_is_no_result_is_damaged(run: Path, text: str) -> None:
    (run / results.RESULT).write_text(text)
    assert results.inspect(run).status == "damaged"


@pytest.mark.parametrize(
    "files",
    [None, [], {"../mask.safetensors": {}}, {"early-/../x.safetensors": {}}, {"mask.safetensors": 3}, {"a": {}}],
)
def test_a_result_that_lists_other_files_is_damaged(run: Path, files: Any) -> None:
    content = {"run_id": "a", "status": "done", "error": None, "files": files}
    (run / results.RESULT).write_text(json.dumps(content | {"digest": results.digest(content)}))
    assert results.inspect(run).reason == "its result.json does not list the files of a run"


def test_files_that_look_as_they_did_are_not_read_again_and_others_are(run: Path) -> None:
    seen = results.inspect(run).stats
    assert results.inspect(run, seen).status == "done"
    _flip(run / results.DELTA)
    stat = (run / results.MASK).stat()
    os.utime(run / results.DELTA, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert results.inspect(run, seen).status == "damaged"


def test_clearing_removes_what_runs_write_and_nothing_else(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    results.clear(run)
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


def test_a_checkpoint_is_cleared_unless_it_is_kept(run: Path) -> None:
    path, early = results.checkpoint(run), run / "early-1.safetensors"
    path.parent.mkdir()
    for each in (path, early, path.with_name(".state.safetensors.abcdefgh")):
        each.touch()
    results.clear(run, [path, early])
    assert {each.name for each in run.rglob("*") if each.is_file()} == {
        path.name,
        early.name,
        ".state.safetensors.abcdefgh",
    }
    (path.parent / "notes.txt").touch()
    results.clear(run)
    assert [each.name for each in run.rglob("*")] == ["checkpoint", "notes.txt"]


def test_equal_content_gives_equal_bytes(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    for path in results.of_run(run):
        (other / path.name).write_bytes(path.read_bytes())
    results.write(other, {"run_id": "a", "status": "done", "error": None, "n": 3, "growth": None})
    assert (other / results.RESULT).read_bytes() == (run / results.RESULT).read_bytes()


def test_what_a_run_does_is_noted_while_it_goes_on_and_never_part_of_it(run: Path, tmp_path: Path) -> None:
    assert results.doing(run) == ""
    before = results.of_run(run)
    results.note_doing(run, "evaluates")
    results.note_doing(run / "no such directory", "evaluates")
    assert results.doing(run) == "evaluates"
    assert results.of_run(run) == before
    assert results.inspect(run).status == "done"
    (note,) = results.unfinished(run)
    results.forget(run)
    assert not note.exists()
    results.note_doing(run, "measures")
    results.clear(run)
    assert list(tmp_path.iterdir()) == []
