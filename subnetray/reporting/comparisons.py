"""The report of a grid of pairs: what was measured beside what was published, from the files of the comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from subnetray.config import PairsConfig
from subnetray.files import atomic_path, read_whole, write_atomic
from subnetray.reporting import format as fmt
from subnetray.reporting.document import Block, Bullets, Heading, Paragraph, quoted, table
from subnetray.reporting.writers.html import to_html
from subnetray.reporting.writers.markdown import to_markdown
from subnetray.text import percent, shown

_PAPER = "arXiv 2505.11711"
# What a report reads of a result.
_ENTRIES = {"n": int, "nonfinite": int, "skipped": list, "sparsity": dict, "coverage": dict}
_AGREES = 0.05  # points: what rounding to two decimals, and a tensor more or less, may make


def write_comparisons(
    directory: Path, config: PairsConfig, finished: Collection[str], failed: Mapping[str, str]
) -> Path:
    """Write ``report.md``, ``report.html`` and ``checkpoints.parquet``; returns the path of the first.

    The selected pairs are reported, ``failed`` with reasons, and besides them those that were compared earlier.
    """
    rows = []
    for name in config.grid.pairs:
        selected = name in config.selected
        found = _found(directory, config, name) if name in finished or not selected else None
        if found or selected:
            rows.append(_row(config, name, found, failed.get(name)))
    blocks = _blocks(config, rows)
    with atomic_path(directory / "checkpoints.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_schema(config)), temporary)
    write_atomic(directory / "report.html", to_html(blocks, config.grid.name, lambda path: b""))
    path = directory / "report.md"
    write_atomic(path, to_markdown(blocks))
    return path


def _schema(config: PairsConfig) -> Any:
    text, share = pa.string(), pa.float64()
    return pa.schema(
        [
            *(("pair", text), ("method", text), ("init", text), ("final", text), ("status", text), ("error", text)),
            *(("n", pa.int64()), ("nonfinite", pa.int64()), ("left_out", pa.int64()), ("compared", share)),
            *((f"n_{side}{end}", pa.int64()) for side in ("init", "final") for end in ("", "_compared")),
            ("sparsity_bitwise", share),
            *((f"sparsity_{tolerance:g}", share) for tolerance in config.TOLERANCES),
            ("reported_table_1", share),
            *((f"reported_{float(tolerance):g}", share) for tolerance in config.PUBLISHED),
            ("note", text),
        ]
    )


def _found(directory: Path, config: PairsConfig, name: str) -> dict[str, Any] | None:
    found = read_result(directory / "pairs" / name / "diff.json")
    return found if found is not None and found["compared"].get("dtype", "") == config.dtype else None


def read_result(path: Path) -> dict[str, Any] | None:
    """The result of a comparison; None if there is none, or none of this version's, which is as good as none."""
    try:
        found = json.loads(read_whole(path))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("compared"), dict):
        return None
    return found if all(isinstance(found.get(key), kind) for key, kind in _ENTRIES.items()) else None


def _row(config: PairsConfig, name: str, found: dict[str, Any] | None, error: str | None) -> dict[str, Any]:
    """One row of ``checkpoints.parquet``: measured and reported sparsities as shares."""
    pair = config.grid.pairs[name]
    row: dict[str, Any] = {
        "pair": name,
        "method": pair.method,
        "init": pair.init,
        "final": pair.final,
        "status": "failed" if error is not None else "done" if found else "to do",
        "error": error,
        "reported_table_1": None if pair.table_1 is None else pair.table_1 / 100,
        **{f"reported_{float(tolerance):g}": value / 100 for tolerance, value in pair.table_6.items()},
        "note": pair.note,
    }
    if found:
        row |= {"n": found["n"], "nonfinite": found["nonfinite"], "left_out": len(found["skipped"])}
        for side in ("init", "final"):
            row |= {
                f"n_{side}": found["coverage"]["of"][side],
                f"n_{side}_compared": found["coverage"]["compared"][side],
            }
        row |= {"compared": found["coverage"]["share"], "sparsity_bitwise": found["sparsity"]["bitwise"]}
        row |= {f"sparsity_{tolerance}": value for tolerance, value in found["sparsity"]["abs"].items()}
    return row


def _blocks(config: PairsConfig, rows: list[dict[str, Any]]) -> list[Block]:
    by_status = {status: [row for row in rows if row["status"] == status] for status in ("done", "failed", "to do")}
    counts = ", ".join(f"{len(each)} {status}" for status, each in by_status.items() if each)
    compared = "the format of each final" if config.dtype is None else config.dtype
    notes = tuple(f"**{row['pair']}**: {row['note']}." for row in rows if row["note"])
    noted: list[Block] = [Heading(2, "Before comparing numbers"), Bullets(notes)] if notes else []
    return [
        Heading(1, config.grid.name),
        *([Paragraph(config.grid.about)] if config.grid.about else []),
        Paragraph(f"Pairs of checkpoints: {counts}. Weights are compared in {compared}."),
        Heading(2, "Unchanged weights, measured and reported"),
        _sparsities(config, rows),
        *_agreement(config, by_status["done"]),
        *noted,
        *_not_compared(by_status["failed"]),
        Heading(2, "Models"),
        _models(rows),
    ]


def _not_compared(failed: list[dict[str, Any]]) -> list[Block]:
    rows = [(row["pair"], quoted(row["error"])) for row in failed]
    return [Heading(2, "Not compared"), table((("pair", "l"), ("reason", "l")), rows)] if rows else []


def _models(rows: list[dict[str, Any]]) -> Block:
    header = (
        *(("pair", "l"), ("method", "l"), ("init", "l"), ("final", "l"), ("weights", "r"), ("left out", "r")),
        *(("NaN or infinite", "r"), ("compared of the init", "r"), ("of the final", "r")),
    )
    body = [
        (
            *(row["pair"], row["method"], f"`{shown(row['init'])}`", f"`{shown(row['final'])}`"),
            *(f"{row[key]:,}" if key in row else fmt.NONE for key in ("n", "left_out", "nonfinite")),
            *(_sides(row, side) for side in ("init", "final")),
        )
        for row in rows
    ]
    caption = (
        "Left out: tensors or rows, with reasons in `pairs/NAME/diff.json`; beside it, `heatmap.html` shows layers and"
        " modules."
    )
    return table(header, body, caption)


def _sparsities(config: PairsConfig, rows: list[dict[str, Any]]) -> Block:
    tolerances = [(tolerance, f"{float(tolerance):g}") for tolerance in config.PUBLISHED]
    header = (
        *(("pair", "l"), ("compared", "r"), ("bit for bit", "r")),
        *((f"≤ {text}: here / Table 6", "r") for text, _ in tolerances),
        ("Table 1", "r"),
    )
    body = [
        (
            row["pair"] + (" *" if row["note"] else ""),
            percent(row["compared"]) if "compared" in row else fmt.NONE,
            _percent(row.get("sparsity_bitwise")),
            *(
                f"{_percent(row.get(f'sparsity_{key}'))} / {_percent(row.get(f'reported_{key}'))}"
                for _, key in tolerances
            ),
            _percent(row["reported_table_1"], 1),
        )
        for row in rows
    ]
    caption = (
        "In % of the weights that were compared, tied ones once; compared: the smaller share of the two models'"
        f" weights. Tables 1 and 6 are those of {_PAPER}; Table 1 is at 1e-5. Bit for bit is"
        " what was stored: a tolerance counts small changes of small weights as none. An asterisk: see the notes."
    )
    return table(header, body, caption)


def _agreement(config: PairsConfig, done: list[dict[str, Any]]) -> list[Block]:
    apart = []
    known = 0
    for row in done:
        for tolerance in config.PUBLISHED:
            key = f"{float(tolerance):g}"
            here, there = row.get(f"sparsity_{key}"), row.get(f"reported_{key}")
            if here is None or there is None:
                continue
            known += 1
            points = 100 * (here - there)
            if abs(points) > _AGREES:
                apart.append(f"{row['pair']} at {tolerance}: {fmt.signed(points, 2)} points")
    if not known:
        return []
    text = f"{known - len(apart)} of {known} numbers of Table 6 are met within {_AGREES} points."
    return [Paragraph(text), *([Bullets(tuple(apart))] if apart else [])]


def _sides(row: Mapping[str, Any], side: str) -> str:
    """Compared weights of one of the models, of all that it has."""
    return f"{row[f'n_{side}_compared']:,} of {row[f'n_{side}']:,}" if f"n_{side}" in row else fmt.NONE


def _percent(share: float | None, digits: int = 2) -> str:
    return fmt.share(math.nan if share is None else share, digits)
