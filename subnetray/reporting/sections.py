"""The sections of a report, as data. Every number and every sentence is computed from the sweep's tables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import pandas as pd

from subnetray.analysis import paper, roles
from subnetray.analysis.effects import DENSITY, Cell, Crossing, Origin, done, ranges, runs_of, spreads
from subnetray.analysis.intervals import t_interval
from subnetray.config import Grid
from subnetray.grid import fraction
from subnetray.grid.design import baseline, describe, expand
from subnetray.reporting import format as fmt
from subnetray.reporting import glossary, overlaps
from subnetray.reporting.document import Block, Bullets, Heading, Paragraph, Table, quoted, table
from subnetray.reporting.source import Sweep


def head(sweep: Sweep) -> list[Block]:
    """Title, question, and what was run."""
    grid, runs = sweep.grid, sweep.runs
    finished = done(runs)
    failed, missing = len(runs) - len(finished), sweep.planned - len(runs)
    counts = f"{len(finished)} of {sweep.planned} runs are done, {failed} failed"
    if missing:
        counts += f", {missing} have no result yet: this report is about those that are done"
    facts = [
        f"{counts}. A run is one of {len(expand(grid))} cells with one of the seeds"
        f" {fmt.listing(map(str, grid.seeds))}; the grid varies {_count(len(grid.factors), 'factor')}"
        + (f" ({', '.join(grid.factors)})." if grid.factors else "."),
        *_fractions(grid),
    ]
    if len(finished):
        sizes = finished.groupby("model", sort=False)["n"].first()
        facts += [
            "Models and their coordinates: " + fmt.listing(f"`{name}` ({int(n):,})" for name, n in sizes.items()) + ".",
            f"Algorithms: {_names(finished, 'algorithm')}. Tasks: {_names(finished, 'task')}."
            f" Weights are compared in {_names(finished, 'export_dtype')}.",
            f"{_span(finished['steps'])} optimizer steps a run; {_span(finished['eval_n'])} held-out prompts."
            " What runs took: `time.parquet` and `time.md`.",
        ]
    return [Heading(1, f"Sweep {grid.name}"), *([Paragraph(grid.about)] if grid.about else []), Bullets(tuple(facts))]


def _fractions(grid: Grid) -> list[str]:
    """Say what fractions of crossings leave out, and what they cannot tell apart."""
    facts = []
    for crossing in grid.crossed if grid.design in fraction.RESOLUTIONS else ():
        names = fraction.treatments(grid, crossing)
        cells = len({tuple(cell[name] for name in names) for cell in fraction.cells(grid, crossing)})
        groups = [" with ".join(map(fraction.in_words, group)) for group in fraction.aliases(grid, crossing)]
        facts.append(
            f"The crossing of {fmt.listing(names)} is a fraction of resolution {grid.design[11:].upper()}, {cells} of"
            f" {2 ** len(names)} combinations, which takes interactions of three and more factors for none. "
            + (
                f"It confounds {'; '.join(groups)}: what is found of one may be the other's."
                if groups
                else "It tells all main effects and interactions of two factors apart."
            )
        )
    return facts


def found(sweep: Sweep, rows: Sequence[Origin], crossed: Sequence[Crossing], pairs: pd.DataFrame) -> list[Block]:
    """The answer in a few sentences."""
    grid = sweep.grid
    sentences = [
        *_baseline_sentence(sweep, rows),
        *_range_sentence(rows),
        *(sentence for each in crossed for sentence in _crossing_sentences(grid, each)),
        *_precision_sentence(grid, rows),
        *overlaps.sentences(grid, pairs),
    ]
    return [Heading(2, "What was found"), Bullets(tuple(sentences))] if sentences else []


def origins_table(grid: Grid, rows: Sequence[Origin]) -> tuple[Table, tuple[str, ...]]:
    """The table of origins, and the notes on the paper's numbers in it."""
    header = (
        *(("factor", "l"), ("level", "l"), ("seeds", "r"), ("density, %", "r"), ("against baseline, points", "r")),
        *(("sparsity, %", "r"), ("density at |Δ| > 1e-5, %", "r"), ("greedy accuracy, points", "r")),
        *(("sampled accuracy, points", "r"), ("NLL of the training data", "r"), ("reported sparsity, %", "l")),
    )
    notes: list[str] = []
    body = []
    for row in rows:
        cell = row.cell
        body.append(
            (
                row.factor,
                f"**{row.level}** (baseline)" if row.is_baseline else row.level,
                str(cell.n),
                fmt.percent(cell.density),
                "0" if row.is_baseline else fmt.points(row.difference),
                fmt.share(1 - cell.density.mean),
                fmt.percent(cell.tolerant_density),
                fmt.points(cell.greedy_change),
                fmt.points(cell.sampled_change),
                fmt.number(cell.nll),
                _reported(grid, row, notes),
            )
        )
    caption = (
        "One factor at a time, all others at their baseline. Density: share of weights whose stored value changed bit"
        " for bit. Mean ± half of the 95 % interval over seeds (Student t); differences are paired by seed. Accuracy:"
        " held-out, after minus before, in percentage points. NLL: nats per token under the init."
        " Reported: bf16, |Δ| ≤ 1e-5 counted as unchanged, one run each."
    )
    return table(header, body, caption), tuple(f"[{index}] {note}" for index, note in enumerate(notes, 1))


def origins(sweep: Sweep, rows: Sequence[Origin]) -> list[Block]:
    """Where density comes from, one factor at a time."""
    if not rows:
        return []
    content, notes = origins_table(sweep.grid, rows)
    used = [runs_of(sweep.results, {row.factor: row.level})["run_id"] for row in rows]
    content = dataclasses.replace(content, runs=tuple(map(tuple, used)))
    finished = done(sweep.runs)
    blocks: list[Block] = [Heading(2, "Origins: one factor at a time"), content]
    present = [(name, roles.role(sweep.grid, name)) for name in dict.fromkeys(row.factor for row in rows)]
    remarks = tuple(f"{name}: {paper.REMARKS[role]}" for name, role in present if role in paper.REMARKS)
    if notes or remarks:
        blocks.append(Bullets((*notes, *remarks)))
    errors = finished["accuracy_greedy_after_se"].astype(float)
    if errors.notna().any():
        blocks.append(
            Paragraph(
                "The intervals of accuracy cover seeds, not the choice of held-out prompts: the standard error of one"
                f" accuracy is up to {100 * errors.max():.1f} points, most of it shared by before and after."
            )
        )
    return blocks


def crossing_tables(crossed: Sequence[Crossing]) -> list[Block]:
    """Two-way tables of density and of the change of accuracy."""
    blocks: list[Block] = []
    for each in crossed:
        if not any(cell.n for cell in each.cells.values()):
            continue
        blocks.append(Heading(2, f"Crossing: {each.rows} × {each.columns}"))
        blocks.append(_two_way(each, "density, %", lambda cell: fmt.percent(cell.density)))
        blocks.append(_two_way(each, "change of greedy accuracy, points", lambda cell: fmt.points(cell.greedy_change)))
    return blocks


def failures(sweep: Sweep) -> list[Block]:
    """Runs that failed, with their reasons."""
    failed = sweep.runs[sweep.runs["status"] != "done"]
    if failed.empty:
        return []
    rows = []
    for _, run in failed.iterrows():
        cell = describe(sweep.grid, {name: str(run[name]) for name in sweep.grid.factors})
        reason = run["error"] if isinstance(run["error"], str) else "no reason was recorded"
        rows.append((f"`{run['run_id']}`", cell, str(run["seed"]), quoted(reason)))
    header = (("run", "l"), ("cell", "l"), ("seed", "r"), ("reason", "l"))
    return [Heading(2, "Failed runs"), table(header, rows, runs=[(run_id,) for run_id in failed["run_id"]])]


def where_to_look(tables: bool) -> list[Block]:
    """Say which file of a sweep holds what; ``tables``: whether there are any for papers."""
    files = (
        "`report.html`: all of it, to explore: every section, chart, table and run, and what the words mean.",
        "`claims.json`: every claim with its test, interval, p and runs.",
        "`runs.parquet`, `overlap.parquet`: one row a run, one row a pair of runs; docs/tables.md has their columns.",
        *(["`tables/`: tables for papers, in LaTeX; `figures/`: all pictures."] if tables else []),
        "`runs/`: a directory for each run, with its config, metrics, result, mask and delta.",
    )
    return [Heading(2, "Where to look"), Bullets(files)]


def reading() -> list[Block]:
    """Definitions."""
    return [Heading(2, "How to read this"), glossary.definitions()]


# ---------------------------------------------------------------------------------------------------------------------
# sentences


def _baseline_sentence(sweep: Sweep, rows: Sequence[Origin]) -> list[str]:
    selected = runs_of(sweep.results, {})
    base = next((row.cell for row in rows if row.is_baseline), None)
    density = t_interval(selected[DENSITY].astype(float))
    if density.n == 0:
        return []
    text = (
        f"The baseline ({_cell_words(sweep.grid)}) visibly changes **{fmt.percent(density)} %** of the weights"
        f" ({_count(density.n, 'seed')}), a sparsity of {fmt.share(1 - density.mean)} %"
    )
    if base is not None and not math.isnan(base.tolerant_density.mean):
        text += f"; at the paper's tolerance of 1e-5, {fmt.share(1 - base.tolerant_density.mean)} %"
    if base is not None and not math.isnan(base.greedy_change.mean):
        before = selected["accuracy_greedy_before"].astype(float).mean()
        text += (
            f". Held-out greedy accuracy moves by {fmt.points(base.greedy_change)} points from {fmt.share(before)} %"
        )
    return [text + "."]


def _range_sentence(rows: Sequence[Origin]) -> list[str]:
    widths = ranges(list(rows))
    if not widths:
        return []
    moves = [f"{name} ({100 * width:.1f})" for name, width in widths.items()]
    return [
        f"Range of density over a factor's levels, the others at their baseline, in points: **{moves[0]}**"
        + (f", then {', '.join(moves[1:])}" if moves[1:] else "")
        + "."
    ]


def _crossing_sentences(grid: Grid, crossed: Crossing) -> list[str]:
    over_columns, over_rows = spreads(crossed)
    parts = [
        f"between levels of {name} at the same {other}, density differs by {_from_to(values)} points"
        for name, other, values in (
            (crossed.columns, crossed.rows, over_columns),
            (crossed.rows, crossed.columns, over_rows),
        )
        if not all(map(math.isnan, values))
    ]
    return [f"In the crossing, {'; '.join(parts)}."] if parts else []


def _precision_sentence(grid: Grid, rows: Sequence[Origin]) -> list[str]:
    measured = [row for row in rows if roles.role(grid, row.factor) == roles.PRECISION and row.cell.n]
    if len(measured) < 2:
        return []
    words = [
        f"{fmt.share(row.cell.density.mean)} % in {row.level} ({fmt.points(row.cell.greedy_change)} points of accuracy)"
        for row in measured
    ]
    return [f"By precision, with everything else the same, density is {fmt.listing(words)}."]


# ---------------------------------------------------------------------------------------------------------------------
# words


def _reported(grid: Grid, row: Origin, notes: list[str]) -> str:
    texts = []
    for each in paper.reported(roles.role(grid, row.factor), roles.kind(grid, row.factor, row.level)):
        note = f"{each.source}" + (f"; {each.trap}" if each.trap else "")
        if note not in notes:
            notes.append(note)
        texts.append(f"{100 * each.sparsity:.1f} ({each.what}) [{notes.index(note) + 1}]")
    return "; ".join(texts) or fmt.NONE


def _two_way(crossed: Crossing, what: str, text: Callable[[Cell], str]) -> Table:
    header = [(f"{crossed.rows} \\ {crossed.columns}", "l"), *((level, "r") for level in crossed.column_levels)]
    rows = [
        (row, *(text(crossed.cells[row, column]) for column in crossed.column_levels)) for row in crossed.row_levels
    ]
    return table(header, rows, f"{what}; mean ± half of the 95 % interval over seeds.")


def _cell_words(grid: Grid) -> str:
    return ", ".join(f"{name}={level}" for name, level in baseline(grid).items()) or "the only cell"


def _names(runs: pd.DataFrame, column: str) -> str:
    return fmt.listing(f"`{name}`" for name in dict.fromkeys(runs[column].dropna()))


def _span(values: pd.Series[float]) -> str:
    low, high = f"{values.min():,.0f}", f"{values.max():,.0f}"
    return low if low == high else f"{low} to {high}"


def _from_to(values: Sequence[float]) -> str:
    known = [100 * value for value in values if not math.isnan(value)]
    low, high = f"{min(known):.0f}", f"{max(known):.0f}"
    return low if low == high else f"{low} to {high}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
