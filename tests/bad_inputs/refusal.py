"""Hold bad input to its end: exit code 2, one sentence on one line, nothing written."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from subnetray import diff, report, sweep, train

COMMANDS = {"sweep": sweep.main, "train": train.main, "diff": diff.main, "report": report.main}
LONGEST = 500


@dataclass(frozen=True)
class Case:
    """A command, its words, what its sentence must hold, and what makes the files that it is about."""

    command: str
    words: tuple[str, ...]
    says: str
    make: Callable[[Path], None] = field(default=lambda directory: None)

    def __str__(self) -> str:
        text = f"{self.command} {' '.join(self.words)}"
        return text if len(text) <= 70 else f"{text[:69]}…"


def case(command: str, words: str | Sequence[str], says: str, make: Callable[[Path], None] | None = None) -> Case:
    """A case; words in one string are parted at blanks."""
    parted = tuple(words.split(" ")) if isinstance(words, str) else tuple(words)
    return Case(command, parted, says) if make is None else Case(command, parted, says, make)


def arguments(case: Case) -> list[str]:
    """The words, such that nothing is started if they are taken for good ones."""
    runs = case.command in ("sweep", "train") and not any("dry_run" in word for word in case.words)
    return [*(["dry_run=true"] if runs else []), *case.words]


def listing(directory: Path) -> dict[str, tuple[int, int]]:
    """Every entry below a directory, with its size and time."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
    }


def check_line(code: int, out: str, err: str) -> str:
    """The sentence of a refusal; fails for a traceback, for noise, and for more than a line."""
    assert code == 2, err
    assert out == ""
    assert err.startswith("subnetray: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    text = err.removeprefix("subnetray: ").rstrip("\n")
    assert 0 < len(text) <= LONGEST
    assert text.isprintable()
    return text


def refuse(case: Case, directory: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a case in ``directory`` within this process, and return its sentence."""
    case.make(directory)
    before, here = listing(directory), Path.cwd()
    os.chdir(directory)
    try:
        with warnings.catch_warnings(record=True) as noise:
            warnings.simplefilter("always")
            code = COMMANDS[case.command](arguments(case))
    finally:
        os.chdir(here)
    said = capsys.readouterr()
    text = check_line(code, said.out, said.err)
    assert case.says in text
    assert [str(each.message) for each in noise if "subnetray" in str(each.filename)] == []
    assert listing(directory) == before
    return text
