"""Every block of docs/library.md is run, and prints what it says; the README's numbers are those of kept results."""

from __future__ import annotations

import doctest
import itertools
import re
from pathlib import Path

import pytest

import subnetray
from subnetray.store.results import sha256
from tests import results

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


@pytest.mark.parametrize("kept", results.KEPT.values(), ids=results.KEPT)
def test_pages_show_what_the_kept_results_say(kept: results.Kept) -> None:
    """``python -m tests.results`` writes both."""
    about, text = kept.read("about.json"), kept.page.read_text()
    assert results.with_tables(text) == text
    assert results.claims_table(kept) in text
    assert results.claims_table(kept).count("\n") == 2 + len(kept.shown)
    assert set(about["sha256"]) >= {"claims.json", results.FIGURE}
    for name, digest in about["sha256"].items():
        assert sha256(kept.directory / name) == digest
    figure = (kept.directory / results.FIGURE).relative_to(kept.page.parent)
    assert f"({figure})" in text
    assert all(about[key] for key in ("commit", "processor", "instructions", "init_hashes", "seeds"))


def test_the_first_picture_of_the_readme_says_what_its_results_say() -> None:
    cells = results.KEPT["pretrained"].read("overlap.json")
    (cell,) = (cell for cell in cells if (cell["method"], cell["learning_rate"]) == ("grpo", "2e-5"))
    text = " ".join((results.ROOT / "README.md").read_text().split())
    shared, uniform, joint = (f"{100 * cell[name]:.1f}" for name in ("o1", "uniform", "joint"))
    assert f"share {shared} % of what they change, {uniform} points more than chance" in text
    assert f"but {joint} points more than exponent, row and column" in text
