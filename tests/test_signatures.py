"""Functions take at most five parameters, and files have at most 400 lines."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import subnetray

PACKAGE = Path(subnetray.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Compiled loops take arrays and numbers, which numba reads one by one.
COMPILED = {"compiled", "intrinsic"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_have_at_most_five_parameters_and_files_400_lines(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    functions = (each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    for function in functions:
        if {each.id for each in function.decorator_list if isinstance(each, ast.Name)} & COMPILED:
            continue
        taken = function.args
        names = [each.arg for each in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]
        names = [name for name in names if name not in ("self", "cls")]
        assert len(names) <= 5, f"{function.name} takes {', '.join(names)}"
