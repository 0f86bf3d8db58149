"""Imports without looking for garbage."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from subnetray.process.libraries import load

NAME = "a_library_of_the_test"


@pytest.fixture(autouse=True)
def _own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(NAME, None)
    gc.unfreeze()


def test_no_garbage_is_looked_for_while_a_module_is_imported(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.py").write_text("import gc\nlooked = gc.isenabled()\nkept = [[] for _ in range(10_000)]\n")
    before = gc.get_freeze_count()
    load(NAME)
    assert not sys.modules[NAME].looked
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + 10_000


def test_what_is_imported_already_freezes_nothing_again(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.py").write_text("")
    load(NAME)
    before = gc.get_freeze_count()
    kept: list[list[int]] = [[] for _ in range(10_000)]
    load(NAME)
    assert gc.get_freeze_count() < before + len(kept)


def test_garbage_is_looked_for_again_after_an_import_that_fails(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.py").write_text("raise ImportError('broken')")
    with pytest.raises(ImportError, match="broken"):
        load(NAME)
    assert gc.isenabled()


def test_garbage_is_not_looked_for_after_a_module_within_has_loaded_another(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.py").write_text(
        "import gc\nfrom subnetray.process.libraries import load\nload('this')\nlooked = gc.isenabled()\n"
    )
    load(NAME)
    assert not sys.modules[NAME].looked
    assert gc.isenabled()


def test_a_library_does_without_what_it_need_not_find(tmp_path: Path) -> None:
    """... and everybody finds it afterwards, or if it was there before."""
    (tmp_path / f"{NAME}.py").write_text(
        "import importlib.util\nfound = importlib.util.find_spec('this') is not None\n"
        "try:\n    import this\nexcept ImportError:\n    this = None\n"
    )
    sys.modules.pop("this", None)
    load(NAME, without=["this", "that_is_nowhere"])
    library = sys.modules.pop(NAME)
    assert (library.found, library.this) == (False, None)
    assert not {"this", "that_is_nowhere"} & sys.modules.keys()
    importlib.import_module("this")
    load(NAME, without=["this"])
    assert sys.modules[NAME].this is sys.modules["this"]
