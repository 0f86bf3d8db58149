"""examples/library.ipynb is docs/library.md: it runs from top to bottom, and shows what it has stored."""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.notebook import LIBRARY, NOTEBOOK, notebook

_STORED: dict[str, Any] = json.loads(NOTEBOOK.read_text())
_CODE = [cell for cell in _STORED["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_made_from_the_guide() -> None:
    """``python -m tests.notebook > examples/library.ipynb`` writes it."""
    assert notebook(LIBRARY.read_text()) == _STORED
    examples = doctest.DocTestParser().get_examples(LIBRARY.read_text())
    assert "".join(f"{''.join(cell['source'])}\n" for cell in _CODE) == "".join(each.source for each in examples)


def test_it_is_a_notebook() -> None:
    """What the format asks of nbformat 4.5."""
    assert (_STORED["nbformat"], _STORED["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in _STORED["cells"]}) == len(_STORED["cells"])
    for cell in _STORED["cells"]:
        needed = {"id", "cell_type", "metadata", "source"}
        assert cell.keys() == needed | ({"execution_count", "outputs"} if cell["cell_type"] == "code" else set())
    first, *_ = _STORED["cells"]
    assert first["source"][0] == "# `subnetray.subnetwork` from a notebook\n"


def test_its_cells_run_in_order_and_show_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    checker = doctest.OutputChecker()
    for cell in _CODE:
        source, stored = "".join(cell["source"]), _shown(cell["outputs"])
        assert checker.check_output(stored, found := _run(source, names), doctest.ELLIPSIS), (source, found)


def _run(source: str, names: dict[str, Any]) -> str:
    """What a notebook shows of a cell: what it prints, and the value of an expression at its end; or its error."""
    tree = ast.parse(source)
    last = tree.body[-1]
    value = ast.Expression(last.value) if isinstance(last, ast.Expr) else None
    if value is not None:
        del tree.body[-1]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(tree, "<cell>", "exec"), names)
            shown = None if value is None else eval(compile(value, "<cell>", "eval"), names)
        except Exception as error:
            return f"{type(error).__name__}: {error}\n"
    return printed.getvalue() + ("" if shown is None else f"{shown!r}\n")


def _shown(outputs: list[dict[str, Any]]) -> str:
    """What is stored of a cell's outputs, as :func:`_run` has it."""
    if not outputs:
        return ""
    (output,) = outputs
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}\n"
    text = output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]
    return f"{''.join(text).rstrip(chr(10))}\n"
