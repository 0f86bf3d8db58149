"""examples/library.ipynb is docs/library.md, of which ``test_docs`` runs every block and compares what it prints."""

from __future__ import annotations

import doctest
import json
from typing import Any

from tests.notebook import LIBRARY, NOTEBOOK, notebook

_STORED: dict[str, Any] = json.loads(NOTEBOOK.read_text())
_CODE = [cell for cell in _STORED["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_made_from_the_guide() -> None:
    """``python -m tests.notebook > examples/library.ipynb`` writes it."""
    assert notebook(LIBRARY.read_text()) == _STORED
    examples = doctest.DocTestParser().get_examples(LIBRARY.read_text())
    assert "".join(f"{''.join(cell['source'])}\n" for cell in _CODE) == "".join(each.source for each in examples)


def test_it_is_a_notebook() -> None:
    """The cells have the keys that nbformat 4.5 asks for."""
    assert (_STORED["nbformat"], _STORED["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in _STORED["cells"]}) == len(_STORED["cells"])
    for cell in _STORED["cells"]:
        needed = {"id", "cell_type", "metadata", "source"}
        assert cell.keys() == needed | ({"execution_count", "outputs"} if cell["cell_type"] == "code" else set())
    first, *_ = _STORED["cells"]
    assert first["source"][0] == "# `subnetray.subnetwork` from a notebook\n"
