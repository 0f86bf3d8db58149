"""Every bad input is one sentence: exit code 2, no traceback, no noise, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bad_inputs import words
from tests.bad_inputs.refusal import Case, refuse


@pytest.mark.parametrize("case", words.CASES, ids=str)
def test_bad_words_are_one_sentence(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refuse(case, tmp_path, capsys)
