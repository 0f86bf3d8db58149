"""``python -m subnetray.store.tables_page``: print ``docs/tables.md``, the columns of a sweep's tables."""

from __future__ import annotations

from collections.abc import Iterable

from subnetray.config import Measurement
from subnetray.nulls import NULLS, STRONGEST
from subnetray.store import columns

_HEAD = """# The columns of a sweep's tables

Made from `subnetray/store/columns.py` by `python -m subnetray.store.tables_page > docs/tables.md`.

What differs from one execution of a run to the next, its wall-clock, has a table of its own: `time.parquet`, with a
column a phase, in seconds. All other files of a sweep are the same, byte for byte, however often it was interrupted.
"""


def page() -> str:
    """The page, as Markdown."""
    runs = columns.of_runs(["<factor>"], Measurement().tolerances)
    return "\n".join(
        (
            *(_HEAD, "## runs.parquet: one row a run", "", *_table(runs), ""),
            *("## overlap.parquet: one row a pair of runs", "", *_table(columns.of_pairs()), ""),
            *("## The nulls of overlap.parquet", "", *_nulls(), ""),
        )
    )


def _table(declared: Iterable[columns.Column]) -> Iterable[str]:
    yield "| Column | Type | Meaning | Unit |"
    yield "| --- | --- | --- | --- |"
    for column in declared:
        meaning = column.meaning.replace("|", "\\|")
        yield f"| `{column.name}` | {column.kind} | {meaning} | {column.unit} |"


def _nulls() -> Iterable[str]:
    yield "Declared in `subnetray/nulls.py`; what they can and cannot do is in [nulls.md](nulls.md)."
    yield ""
    yield "| Null | What it compares | From | Odds ratio |"
    yield "| --- | --- | --- | --- |"
    for null in NULLS.values():
        name = f"`{null.name}`, the {null.title} null" + (", of claims" if null.name == STRONGEST else "")
        yield f"| {name} | {null.reading} | {null.source} | {null.odds or '–'} |"


if __name__ == "__main__":
    print(page(), end="")
