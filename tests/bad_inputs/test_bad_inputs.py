"""Every bad input is one sentence: exit code 2, no traceback, no noise, nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_inputs import grids, keys, places, words
from tests.bad_inputs.refusal import Case, check_line, listing, refuse


@pytest.mark.parametrize("case", [*words.CASES, *grids.CASES], ids=str)
def test_bad_words_are_one_sentence(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refuse(case, tmp_path, capsys)


@pytest.mark.parametrize("case", keys.CASES, ids=str)
def test_bad_values_are_one_sentence_that_names_the_key(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(case, tmp_path, capsys)


@pytest.mark.parametrize("case", places.CASES, ids=str)
def test_bad_files_are_one_sentence(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refuse(case, tmp_path, capsys)


def test_the_table_has_hundreds_of_kinds() -> None:
    cases = [*words.CASES, *grids.CASES, *keys.CASES, *places.CASES]
    assert len(cases) >= 300
    assert {case.command for case in cases} == {"sweep", "train", "diff", "report"}


@pytest.mark.parametrize(
    ("command", "word"), [("sweep", "+grid=nope"), ("train", "seed=x"), ("diff", "init="), ("report", "sweep=nope")]
)
def test_no_library_says_a_word_of_its_own(command: str, word: str, tmp_path: Path) -> None:
    """In a process of its own: what is imported warns of nothing either."""
    done = subprocess.run(
        [sys.executable, "-m", f"subnetray.{command}", word], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    check_line(done.returncode, done.stdout, done.stderr)
    assert listing(tmp_path) == {}
