"""``python -m tests.notebook > examples/library.ipynb``: print docs/library.md as a notebook, with what it prints."""

from __future__ import annotations

import ast
import doctest
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "docs" / "library.md"
NOTEBOOK = ROOT / "examples" / "library.ipynb"
_BLOCK = re.compile(r"```pycon\n(.*?)\n```\n?", re.DOTALL)


def notebook(text: str) -> dict[str, Any]:
    """The notebook (nbformat 4.5) of a page: its blocks of ``pycon`` are code, all between them is Markdown."""
    cells = []
    for place, part in enumerate(_BLOCK.split(text)):
        cells += list(_code(part)) if place % 2 else [_cell("markdown", part.strip())] * bool(part.strip())
    return {
        "cells": [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _code(block: str) -> Iterator[dict[str, Any]]:
    """Cells that end where something is shown: of a cell, a notebook shows the last value only."""
    source = ""
    for example in doctest.DocTestParser().get_examples(block):
        source += example.source
        if example.want:
            yield _code_cell(source, example)
            source = ""
    if source:
        yield _code_cell(source, None)


def _code_cell(source: str, shown: doctest.Example | None) -> dict[str, Any]:
    cell = _cell("code", source.rstrip("\n"), execution_count=None, outputs=[])
    if shown is None:
        return cell
    if shown.exc_msg is not None:
        name, _, value = shown.exc_msg.strip().partition(": ")
        error = {"output_type": "error", "ename": name.rpartition(".")[2], "evalue": value, "traceback": []}
        # With this tag a notebook that is run to its end goes on.
        return {**cell, "metadata": {"tags": ["raises-exception"]}, "outputs": [error]}
    if isinstance(ast.parse(shown.source).body[-1], ast.Expr):
        data = {"text/plain": _lines(shown.want.rstrip("\n"))}
        result = {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": data}
        return {**cell, "outputs": [result]}
    return {**cell, "outputs": [{"output_type": "stream", "name": "stdout", "text": _lines(shown.want)}]}


def _cell(kind: str, source: str, **more: Any) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": _lines(source), **more}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    print(json.dumps(notebook(LIBRARY.read_text()), indent=1, ensure_ascii=False))
