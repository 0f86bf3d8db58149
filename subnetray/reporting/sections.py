"""The sections of a report, as data. Every number and every sentence is computed from the sweep's tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from subnetray.analysis import paper, roles
from subnetray.analysis.claims import Claim
from subnetray.analysis.effects import DENSITY, Cell, Crossing, Origin, done, ranges, runs_of, spreads
from subnetray.analysis.intervals import Estimate, t_interval
from subnetray.analysis.pairs import SEED, Group, around_baseline, group
from subnetray.analysis.trajectory import SHARES, Point, density_along, over_runs
from subnetray.config import Grid
from subnetray.grid.design import baseline, describe, expand
from subnetray.reporting import format as fmt
from subnetray.reporting.document import Block, Bullets, Heading, Paragraph, Table, table
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
        + (f" ({', '.join(grid.factors)})." if grid.factors else ".")
    ]
    if len(finished):
        sizes = finished.groupby("model", sort=False)["n"].first()
        facts += [
            "Models and their coordinates: " + fmt.listing(f"`{name}` ({int(n):,})" for name, n in sizes.items()) + ".",
            f"Algorithms: {_names(finished, 'algorithm')}. Tasks: {_names(finished, 'task')}."
            f" Weights are compared in {_names(finished, 'export_dtype')}.",
            f"{_span(finished['steps'])} optimizer steps and {_span(finished['seconds'])} seconds a run,"
            f" {finished['seconds'].sum() / 60:,.0f} minutes in all; {_span(finished['eval_n'])} held-out prompts.",
        ]
    return [Heading(1, f"Sweep {grid.name}"), *([Paragraph(grid.about)] if grid.about else []), Bullets(tuple(facts))]


def claims_table(verdicts: Sequence[Claim]) -> list[Block]:
    """What the runs say about the claims of the literature; those that the grid cannot test in one sentence."""
    tested = [each for each in verdicts if each.verdict != "not tested"]
    untested = [each for each in verdicts if each.verdict == "not tested"]
    blocks: list[Block] = [Heading(2, "Claims")]
    if tested:
        header = (("claim", "l"), ("verdict", "l"), ("estimate", "r"), ("interval", "l"), ("unit", "l"), ("note", "l"))
        rows = [
            (
                each.statement,
                f"**{each.verdict}**",
                fmt.signed(each.estimate.mean, 2),
                fmt.interval(each.estimate, each.level),
                each.unit,
                each.note or fmt.NONE,
            )
            for each in tested
        ]
        caption = "By these runs, for their model, task and levels. Tests, margins and runs are in `claims.json`."
        blocks.append(table(header, rows, caption))
    if untested:
        blocks.append(Paragraph("Not tested by these runs:"))
        blocks.append(
            Bullets(tuple(f"{each.statement} ({each.note[:1].upper()}{each.note[1:]}.)" for each in untested))
        )
    return blocks


def found(sweep: Sweep, rows: Sequence[Origin], crossed: Sequence[Crossing], pairs: pd.DataFrame) -> list[Block]:
    """The answer in a few sentences."""
    grid = sweep.grid
    sentences = [
        *_baseline_sentence(sweep, rows),
        *_range_sentence(rows),
        *(sentence for each in crossed for sentence in _crossing_sentences(grid, each)),
        *_precision_sentence(grid, rows),
        *_overlap_sentences(grid, pairs),
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


# Of these factors the levels are looked at along their runs.
_ALONG = (roles.METHOD, roles.STEPS, roles.LEARNING_RATE)


def along(sweep: Sweep, rows: Sequence[Origin]) -> list[Block]:
    """Density along the runs of the levels of method, steps and learning rate."""
    body = [
        (
            row.factor,
            f"**{row.level}** (baseline)" if row.is_baseline else row.level,
            *(fmt.percent(estimate) for estimate in density_path(sweep, {row.factor: row.level})),
        )
        for row in rows
        if roles.role(sweep.grid, row.factor) in _ALONG
    ] or [("", "baseline", *(fmt.percent(estimate) for estimate in density_path(sweep, {})))]
    if all(cell == fmt.NONE for row in body for cell in row[2:]):
        return []
    header = (("factor", "l"), ("level", "l"), *((f"{100 * share:.0f} % of steps", "r") for share in SHARES))
    caption = "Visible density since the init, in %, after a share of the run's optimizer steps; mean over seeds."
    return [Heading(2, "Density along the run"), table(header, body, caption)]


def density_path(sweep: Sweep, varied: dict[str, str]) -> list[Estimate]:
    """Visible density at each of ``SHARES`` of the steps, over the seeds of a cell."""
    paths = []
    for run_id, steps in runs_of(sweep.grid, sweep.runs, varied)[["run_id", "steps"]].itertuples(index=False):
        lines = sweep.metrics(run_id)
        measured = [(line["step"], line["density"]) for line in lines if line.get("density") is not None]
        paths.append(density_along(measured, int(steps)))
    return [t_interval(path[index] for path in paths) for index in range(len(SHARES))]


def metric_path(sweep: Sweep, varied: Mapping[str, str], name: str) -> tuple[Point, ...]:
    """What the runs of a cell wrote of a metric, step by step."""
    paths = []
    for run_id in runs_of(sweep.grid, sweep.runs, varied)["run_id"]:
        lines = sweep.metrics(run_id)
        paths.append({int(line["step"]): float(line[name]) for line in lines if line.get(name) is not None})
    return over_runs(paths)


def dynamics_table(sweep: Sweep, rows: Sequence[Origin]) -> Table | None:
    """How the updates came about, beside the paper's; None if no run has recorded it."""
    columns = (
        *("density_step", "density_ever", DENSITY, "cancelled_of_n", "cancelled_of_ever"),
        *("cancelled_of_n_at_snapshots", "cancelled_of_ever_at_snapshots"),
    )
    numbers = ("coherence", "coherence_held", "growth_held")
    cells = _cells_along(sweep, rows, (*columns, *numbers))
    if not cells:
        return None
    header = (
        *(("factor", "l"), ("level", "l"), ("density of a step, %", "r"), ("ever changed, %", "r")),
        *(("changed at the end, %", "r"), ("cancelled, % of all", "r"), ("cancelled, % of ever", "r")),
        *((f"of all, by {paper.CANCELLED.checkpoints} snapshots", "r"), ("of ever, by snapshots", "r")),
        *(("coherence, exported", "r"), ("coherence, held", "r"), ("growth exponent", "r")),
    )
    body = [
        (
            *(factor, level),
            *(fmt.percent(found[name]) for name in columns),
            *(fmt.number(found[name]) for name in numbers),
        )
        for factor, level, found in cells
    ]
    known = paper.CANCELLED
    ever = known.cancelled + known.effective
    reported = (fmt.NONE, fmt.share(ever), fmt.share(known.effective), fmt.NONE, fmt.NONE)
    at_snapshots = (fmt.share(known.cancelled), fmt.share(known.cancelled / ever))
    body.append(
        ("reported", f"{known.what}, {known.checkpoints} checkpoints", *reported, *at_snapshots, *3 * (fmt.NONE,))
    )
    caption = (
        "Cancelled: visibly changed at some step, and back at its initial value at the end. Snapshots: the same if only"
        f" {known.checkpoints} evenly spaced steps are looked at, as in the paper. Coherence: net change over the"
        " length of the path, Σ|Δ| / ΣΣ|δ|; 1 if all steps go one way. Growth exponent: α of ‖Δ‖ ~ T^α, 1 for a drift,"
        " 0.5 for a random walk; of the weights as they are held while training. Mean ± half of the 95 % interval over"
        " seeds."
    )
    return table(header, body, caption)


def dynamics(sweep: Sweep, rows: Sequence[Origin], figure: Sequence[Block]) -> list[Block]:
    """How the updates came about step by step, and what other formats would show of them."""
    found = dynamics_table(sweep, rows)
    if found is None:
        return []
    known = paper.CANCELLED
    # x / (effective + x) is that share for this x.
    implied = known.cancelled_of_ever * known.effective / (1 - known.cancelled_of_ever)
    remark = (
        f"The paper gives two numbers for cancelled weights ({known.source}):"
        f" {100 * known.cancelled:.0f} % of all weights, which with {100 * known.effective:.0f} % changed at the end is"
        f" {fmt.share(known.cancelled / (known.cancelled + known.effective))} % of those that ever changed; and"
        f" {fmt.share(known.cancelled_of_ever)} % of those that ever changed, which would be {fmt.share(implied)} % of"
        " all. It counts |Δ| ≤ 1e-5 as unchanged; here values are compared bit for bit."
    )
    return [Heading(2, "Dynamics"), found, Paragraph(remark), *figure, *_views(sweep, rows)]


def _views(sweep: Sweep, rows: Sequence[Origin]) -> list[Block]:
    columns = (DENSITY, "density_fp16", "density_fp32", "reachable", "energy_50", "energy_90", "energy_99")
    cells = _cells_along(sweep, rows, columns)
    if not cells:
        return []
    header = (
        *(("factor", "l"), ("level", "l"), ("density as exported, %", "r"), ("in fp16, %", "r"), ("in fp32, %", "r")),
        *(("could have changed, %", "r"), *((f"hold {share} % of ΣΔ², %", "r") for share in (50, 90, 99))),
    )
    body = [(factor, level, *(fmt.percent(found[name]) for name in columns)) for factor, level, found in cells]
    caption = (
        "The final update of the weights as they are held while training: its density if init and final are rounded to"
        " another format (in fp32: all that moved at all), and the smallest share of weights that holds most of its"
        " energy. Could have changed: exported as another value if each weight moves by the sum of the learning rates,"
        " which is about what Adam can do at most."
    )
    return [Heading(3, "What a format shows of the update"), table(header, body, caption)]


def _cells_along(
    sweep: Sweep, rows: Sequence[Origin], columns: Sequence[str]
) -> list[tuple[str, str, dict[str, Estimate]]]:
    """Factor, level and the columns' estimates over seeds; empty if no run has any but the density."""
    wanted = (*_ALONG, roles.PRECISION)
    cells = [
        (row.factor, f"**{row.level}** (baseline)" if row.is_baseline else row.level, {row.factor: row.level})
        for row in rows
        if roles.role(sweep.grid, row.factor) in wanted
    ] or [("", "baseline", {})]
    found = []
    for factor, level, varied in cells:
        runs = runs_of(sweep.grid, sweep.runs, varied)
        found.append(
            (factor, level, {name: t_interval(runs[name].astype(float) if name in runs else ()) for name in columns})
        )
    known = any(found_in.n for *_, each in found for name, found_in in each.items() if name != DENSITY)
    return found if known else []


_SAME_SEED = (
    "Runs of one seed share the order of prompts and the random numbers, which by itself makes their masks more alike."
)


def overlap_table(groups: Sequence[Group], caption: bool = True) -> Table:
    """Groups of pairs with what both nulls expect."""
    header = (
        *(
            ("differ in", "l"),
            ("runs", "l"),
            ("pairs", "r"),
            ("o1, %", "r"),
            ("o2, %", "r"),
            ("Jaccard", "r"),
            ("κ", "r"),
        ),
        *(("uniform null, %", "r"), ("ULP null, %", "r"), ("over uniform, points", "r"), ("over ULP, points", "r")),
        *(("odds ratio", "r"), ("MH odds ratio", "r")),
    )
    rows = [
        (
            fmt.listing(each.differs),
            _runs_of_group(each),
            str(each.pairs),
            fmt.percent(each.o1),
            fmt.share(each.o2.mean),
            fmt.plain(each.jaccard.mean, 3),
            fmt.plain(each.kappa.mean, 3),
            fmt.share(each.uniform.mean),
            fmt.share(each.ulp.mean),
            fmt.points(each.uniform_excess),
            fmt.points(each.ulp_excess),
            fmt.ratio(each.uniform_odds_ratio),
            fmt.ratio(each.ulp_odds_ratio),
        )
        for each in groups
    ]
    text = (
        "o1: share of the first run's changed weights that the second changed too; o2 the other way round. Nulls: o1"
        " expected without shared structure (uniform), and expected from each weight's tensor and exponent (ULP)."
        " ± and brackets: 95 % by the jackknife over seeds, as pairs share runs. Odds ratios: geometric means over"
        " pairs; MH: Mantel-Haenszel over the strata of the ULP null, 1 when it explains the overlap; a dash where a"
        " mask is (almost) full."
    )
    return table(header, rows, text if caption else "")


def overlap(
    by_seed: Sequence[Group], by_factor: Sequence[Group], by_both: Sequence[Group], several: Sequence[Group]
) -> list[Block]:
    """Overlap between runs beside the paper's."""
    if not by_seed and not by_factor:
        return []
    blocks: list[Block] = [Heading(2, "Overlap")]
    if by_seed:
        blocks += [Heading(3, "Same cell, another seed"), overlap_table(by_seed)]
    if by_factor:
        blocks += [Heading(3, "Same seed, another level of one factor"), overlap_table(by_factor, caption=not by_seed)]
    if by_both:
        blocks += [
            Heading(3, "Another seed and another level of one factor"),
            Paragraph(f"{_SAME_SEED} Here neither is shared. Other factors are at their baseline."),
            overlap_table(by_both, caption=False),
        ]
    if several:
        blocks += [Heading(3, "Another seed, data set and method"), overlap_table(several, caption=False)]
    return [*blocks, Heading(3, f"What the paper reports ({paper.PAPER}, Table 4)"), paper_table()]


def paper_table() -> Table:
    """The paper's overlaps beside what weights without shared structure give."""
    header = (
        *(("differ in", "l"), ("runs", "l"), ("sparsity, %", "r"), ("o1 / o2", "r"), ("uniform null", "r")),
        ("without shared structure", "r"),
    )
    rows = [
        (
            each.axis,
            each.setting,
            " / ".join(f"{100 * value:.1f}" for value in each.sparsity),
            " / ".join(f"{value:.3f}" for value in each.observed),
            " / ".join(f"{value:.3f}" for value in each.uniform),
            " / ".join(f"{low:.3f}–{high:.3f}" for low, high in each.structure_free),
        )
        for each in paper.TABLE_4
    ]
    caption = (
        "One pair of 7B or 8B models a row, no intervals. Without shared structure: synthetic weights, displaced"
        " independently (Gaussian) in two runs, scaled to the two sparsities, rounded to bf16 and compared at 1e-5:"
        " enough to give overlaps like the paper's, which does not show that nothing else is shared."
    )
    return table(header, rows, caption)


def nulls(sweep: Sweep, pairs: pd.DataFrame) -> list[Block]:
    """What each null expects, and what is left."""
    grid = sweep.grid
    same_cell, at_base = pairs[pairs["differs"] == SEED], around_baseline(grid, pairs, SEED)
    selections = [("seed, at the baseline", at_base)]
    if len(same_cell) > len(at_base):
        selections.append(("seed, all cells", same_cell))
    for name in grid.factors:
        selections.append((f"{name}, same seed", around_baseline(grid, pairs, name)))
        selections.append((f"{name} and seed", around_baseline(grid, pairs, name, SEED)))
    rows = []
    for label, selected in selections:
        if selected.empty:
            continue
        each = group(grid, selected)
        beyond = each.uniform_excess.mean
        explained = (each.ulp.mean - each.uniform.mean) / beyond if beyond > 0.005 else math.nan
        rows.append(
            (
                label,
                str(each.pairs),
                fmt.percent(each.o1),
                fmt.share(each.uniform.mean),
                fmt.share(each.tensor.mean),
                fmt.share(each.margins.mean),
                fmt.share(each.ulp.mean),
                fmt.share(explained, 0),
                fmt.points(each.margins_excess),
                fmt.points(each.ulp_excess),
                fmt.ratio(each.ulp_odds_ratio),
                fmt.percent(each.sign_agreement),
                fmt.number(each.cosine),
            )
        )
    if not rows:
        return []
    header = (
        *(("pairs differ in", "l"), ("pairs", "r"), ("observed o1, %", "r"), ("uniform null, %", "r")),
        *(("tensor null, %", "r"), ("row and column null, %", "r"), ("ULP null, %", "r")),
        *(("of the rest explained by ULP, %", "r"), ("over rows and columns, points", "r"), ("over ULP, points", "r")),
        *(("MH odds ratio", "r"), ("same sign, %", "r"), ("cosine", "r")),
    )
    caption = (
        "What o1 each null expects: from the density of the model (uniform), of each tensor, of each row and column of"
        " each matrix, and of each tensor's weights of one exponent (ULP). Explained: how much of the overlap above the"
        " uniform null the ULP null expects, which knows only which weights are small enough for bf16 to show a change."
        " A dash: the overlap is within half a point of the uniform null. Same sign, cosine: of the two updates where"
        " both changed, for runs of one init; chance gives 50 % and 0."
        f" Factors: a level against the baseline's, the other factors at theirs. {_SAME_SEED}"
    )
    return [Heading(2, "What the nulls leave unexplained"), table(header, rows, caption)]


def failures(sweep: Sweep) -> list[Block]:
    """Runs that failed, with their reasons."""
    failed = sweep.runs[sweep.runs["status"] != "done"]
    if failed.empty:
        return []
    rows = []
    for _, run in failed.iterrows():
        cell = describe(sweep.grid, {name: str(run[name]) for name in sweep.grid.factors})
        reason = run["error"] if isinstance(run["error"], str) else "no reason was recorded"
        rows.append((f"`{run['run_id']}`", cell, str(run["seed"]), " ".join(reason.split())))
    header = (("run", "l"), ("cell", "l"), ("seed", "r"), ("reason", "l"))
    return [Heading(2, "Failed runs"), table(header, rows)]


def reading() -> list[Block]:
    """Definitions."""
    return [
        Heading(2, "How to read this"),
        Bullets(
            (
                "A **cell** is one combination of levels; a **run** is one cell with one seed, the unit of statistics.",
                "**Density** is the share of weights whose stored value differs bit for bit between init and final;"
                " **sparsity** is 1 − density. Tied weights count once.",
                "The paper counts |Δ| ≤ 1e-5 as unchanged; that adds up to 30 points of sparsity (its Table 6).",
                "bf16 has 8 bits of precision: changes below |w|/512 to |w|/256 do not show.",
                "**o1**, **o2**: size of the intersection of two masks, as a share of the first and of the second.",
                "**Uniform null**: masks of the same sizes anywhere in the model. **ULP null**: masks of the same sizes"
                " in every stratum of tensor × exponent of the initial weight.",
                "**Excess** is observed minus expected; an **odds ratio** of 1: one mask says nothing about the other.",
                "Intervals are 95 % over seeds. With three seeds Student's t is 4.3: they are wide.",
            )
        ),
    ]


# ---------------------------------------------------------------------------------------------------------------------
# sentences


def _baseline_sentence(sweep: Sweep, rows: Sequence[Origin]) -> list[str]:
    selected = runs_of(sweep.grid, sweep.runs, {})
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


def _overlap_sentences(grid: Grid, pairs: pd.DataFrame) -> list[str]:
    same_cell = around_baseline(grid, pairs, SEED)
    if same_cell.empty:
        return []
    each = group(grid, same_cell)
    return [
        f"Two seeds of the baseline share **{fmt.percent(each.o1)} %** of their changed weights. Chance alone (uniform"
        f" null) gives {fmt.share(each.uniform.mean)} %, an excess of {fmt.points(each.uniform_excess)} points"
        f" (odds ratio {fmt.ratio(each.uniform_odds_ratio)}); which weights are small enough for a change to show (ULP"
        f" null) gives {fmt.share(each.ulp.mean)} %, which leaves"
        f" **{fmt.points(each.ulp_excess)} points** (Mantel-Haenszel odds ratio {fmt.ratio(each.ulp_odds_ratio)}).",
        *_reseeded_sentence(grid, pairs),
    ]


def _reseeded_sentence(grid: Grid, pairs: pd.DataFrame) -> list[str]:
    found = {name: around_baseline(grid, pairs, name, SEED) for name in grid.factors}
    words = [
        f"{name} {fmt.points(group(grid, selected).ulp_excess)}"
        for name, selected in found.items()
        if not selected.empty
    ]
    if not words:
        return []
    return [
        "Where a factor's level differs from the baseline's and the seed does too, what is left above the ULP null is,"
        f" in points: {fmt.listing(words)}."
    ]


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


def _runs_of_group(each: Group) -> str:
    levels = f"{each.level_a} and {each.level_b}" if each.level_a else ""
    where = each.context or ("" if levels else "baseline" if each.differs == (SEED,) else "others at their baseline")
    return f"{levels}, at {where}" if levels and where else levels or where


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
