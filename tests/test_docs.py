"""Every block of docs/library.md is run, and prints what it says."""

from __future__ import annotations

import doctest
import itertools
import re
from pathlib import Path

import pytest

import subnetray

LIBRARY = Path(subnetray.__file__).parents[1] / "docs" / "library.md"


def test_every_block_of_the_library_guide_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = LIBRARY.read_text()
    examples = doctest.DocTestParser().get_examples(text)
    # None is outside of a block, and no block is without one: what is not run is not shown.
    fences = [(match.start(), match.end(), match[1]) for match in re.finditer(r"```(\w*)\n.*?\n```", text, re.DOTALL)]
    assert {language for _, _, language in fences} == {"pycon"}
    lines = [text[:start].count("\n") for start, _, _ in fences] + [text.count("\n")]
    assert all(any(first < each.lineno < last for each in examples) for first, last in itertools.pairwise(lines))
    failed, tried = doctest.testfile(str(LIBRARY), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert tried == len(examples)
    assert failed == 0, capsys.readouterr().out
