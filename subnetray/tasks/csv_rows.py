"""Records in CSV as they are written: every cell is the text that it is, and each record knows its line.

Libraries that make tables of CSV turn ``007`` into 7, ``1.50`` into 1.5 and ``NA`` into nothing, so that an answer
would be compared with what its file does not say.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from subnetray.config import ConfigError
from subnetray.tasks import json_rows
from subnetray.text import shown

SUFFIXES = (".csv", ".tsv")
_CELL = 64 << 20  # characters


def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records below the line of names, each with the number of its line from 1; blank lines are none.

    Cells are parted by tabs in ``.tsv``, otherwise by the one of comma, semicolon and tab that the first line has most
    of. What cannot be read raises ConfigError, which names file and line.
    """
    text = json_rows.text_of(path)
    csv.field_size_limit(_CELL)
    rows = csv.reader(io.StringIO(text), delimiter=_separator(path, text), strict=True)
    line, names = 1, None
    try:
        for cells in rows:
            if names is None and cells:
                names = cells
                if len(set(names)) < len(names) or not all(name.strip() for name in names):
                    json_rows.refuse(path, line, "the first line must name each column, and no two by one name")
            elif cells and names is not None:
                if len(cells) != len(names):
                    many = f"{len(cells)} cells, and the first line has {len(names)}"
                    json_rows.refuse(path, line, f"{many}: put text with commas, quotes or line ends in quotes")
                yield line, dict(zip(names, cells, strict=True))
            line = rows.line_num + 1
    except csv.Error as error:
        json_rows.refuse(path, line, f"no CSV ({shown(error, 80)})")
    if names is None:
        raise ConfigError(f"task.path: {shown(path)} holds no records: write a line of names, and one a record")


def _separator(path: Path, text: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    first = text.lstrip("\n").partition("\n")[0]
    return max(",;\t", key=first.count)
