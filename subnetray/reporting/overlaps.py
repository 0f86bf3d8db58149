"""What masks of different runs share, as sections of a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from subnetray.analysis import paper
from subnetray.analysis.claims.ceiling import Axis
from subnetray.analysis.pairs import SEED, Group, around_baseline, group
from subnetray.config import Grid
from subnetray.nulls import NULLS, STRONGEST, Null, RowsAndColumns, Ulp, Uniform
from subnetray.reporting import format as fmt
from subnetray.reporting.document import Block, Heading, Paragraph, Table, table
from subnetray.reporting.source import Sweep

_LEVELS = 5  # of a factor, at most, whose pairs of levels are one row each

# Of the main tables; all others stand in that of the nulls.
_STRONGEST = NULLS[STRONGEST]
_MAIN = (NULLS[Uniform.name], NULLS[Ulp.name], _STRONGEST)
_INFORMED = (NULLS[RowsAndColumns.name], NULLS[Ulp.name], _STRONGEST)

_SAME_SEED = (
    "Runs of one seed share the order of prompts and the random numbers, which by itself makes their masks more alike."
)


def overlap_table(groups: Sequence[Group], caption: bool = True) -> Table:
    """Groups of pairs with what the main nulls expect."""
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
        *((f"{null.title} null, %", "r") for null in _MAIN),
        *((f"over {null.title}, points", "r") for null in _MAIN),
        *(("odds ratio", "r"), (f"odds ratio over {_STRONGEST.title}", "r")),
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
            *(fmt.share(each.nulls[null.name].expected.mean) for null in _MAIN),
            *(fmt.points(each.nulls[null.name].excess) for null in _MAIN),
            fmt.ratio(each.nulls[Uniform.name].odds_ratio),
            fmt.ratio(each.strongest.odds_ratio),
        )
        for each in groups
    ]
    text = (
        "o1: share of the first run's changed weights that the second changed too; o2 the other way round. Nulls: o1"
        f" expected without shared structure from {_known(_MAIN)}."
        " ± and brackets: 95 % by the jackknife over seeds, as pairs share runs. Odds ratios: geometric means over"
        f" pairs; over {_STRONGEST.title}: {_STRONGEST.odds}'s, 1 when the {_STRONGEST.title} null explains the"
        " overlap; a dash where a mask is (almost) full."
    )
    return table(header, rows, text if caption else "")


def many_levels(grid: Grid, each: Group) -> bool:
    """Whether a group is of a factor that has too many levels for one row a pair of them: 78 for 13."""
    return len(grid.factors[each.differs[0]].levels) > _LEVELS if each.level_a else False


def matrices(grid: Grid, groups: Sequence[Group], by_seed: Sequence[Group]) -> list[Block]:
    """All pairs of levels of one factor in one context, as a matrix of o1 and one of odds ratios.

    ``by_seed``: what the diagonals show, for groups that differ in the seed too.
    """
    factor, context = groups[0].differs[0], groups[0].context
    found = {(each.level_a, each.level_b): each for each in groups}
    levels = [level for level in grid.factors[factor].levels if any(level in pair for pair in found)]
    cells = {each.context: each for each in by_seed} if SEED in groups[0].differs and not context else {}
    same = {level: cells.get("" if level == grid.factors[factor].baseline else f"{factor}={level}") for level in levels}

    def matrix(one: Callable[[Group], str], other: Callable[[Group], str], caption: str) -> Table:
        def cell(row: str, column: str) -> str:
            if row == column:
                return "" if (own := same[row]) is None else one(own)
            if (row, column) in found:
                return one(found[row, column])
            return other(found[column, row]) if (column, row) in found else ""

        numbers = [str(number) for number, _ in enumerate(levels, 1)]
        header = [(factor, "l"), *((number, "r") for number in numbers)]
        rows = [
            (f"{number} {row}", *(cell(row, column) for column in levels))
            for number, row in zip(numbers, levels, strict=True)
        ]
        return table(header, rows, caption)

    def odds(each: Group) -> str:
        return fmt.plain(ratio := each.strongest.odds_ratio.mean, 2 if ratio < 10 else 0)

    where = f" At {context}." if context else " The other factors are at their baseline."
    diagonal = " Diagonal: two seeds of one level." if any(same.values()) else ""
    return [
        matrix(
            lambda each: fmt.share(each.o1.mean),
            lambda each: fmt.share(each.o2.mean),
            "o1, %: share of the weights that runs of the row changed which those of the column changed too; means over"
            f" pairs, their intervals in tables/overlap.tex.{diagonal}{where}",
        ),
        matrix(
            odds,
            odds,
            f"{_STRONGEST.odds} odds ratio: 1 when the {_STRONGEST.title} null explains the overlap.{diagonal}{where}",
        ),
    ]


def _tables(grid: Grid, groups: Sequence[Group], by_seed: Sequence[Group], caption: bool) -> list[Block]:
    """Rows for pairs of few levels, matrices for those of many."""
    rows = [each for each in groups if not many_levels(grid, each)]
    blocks: list[Block] = [overlap_table(rows, caption)] if rows else []
    squares: dict[tuple[tuple[str, ...], str], list[Group]] = {}
    for each in groups:
        if many_levels(grid, each):
            squares.setdefault((each.differs, each.context), []).append(each)
    for inside in squares.values():
        blocks += matrices(grid, inside, by_seed)
    return blocks


def overlap(
    grid: Grid,
    by_seed: Sequence[Group],
    by_factor: Sequence[Group],
    by_both: Sequence[Group],
    several: Sequence[Group],
) -> list[Block]:
    """Overlap between runs beside the paper's."""
    if not by_seed and not by_factor:
        return []
    blocks: list[Block] = [Heading(2, "Overlap")]
    if by_seed:
        blocks += [Heading(3, "Same cell, another seed"), overlap_table(by_seed)]
    if by_factor:
        blocks += [
            Heading(3, "Same seed, another level of one factor"),
            *_tables(grid, by_factor, by_seed, caption=not by_seed),
        ]
    if by_both:
        blocks += [
            Heading(3, "Another seed and another level of one factor"),
            Paragraph(f"{_SAME_SEED} Here neither is shared. Other factors are at their baseline."),
            *_tables(grid, by_both, by_seed, caption=False),
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
        uniform = each.nulls[Uniform.name]
        explained = each.strongest.expected.mean - uniform.expected.mean
        rows.append(
            (
                label,
                str(each.pairs),
                fmt.percent(each.o1),
                *(fmt.share(null.expected.mean) for null in each.nulls.values()),
                fmt.share(explained / uniform.excess.mean if uniform.excess.mean > 0.005 else math.nan, 0),
                *(fmt.points(each.nulls[null.name].excess) for null in _INFORMED),
                fmt.ratio(each.nulls[Ulp.name].odds_ratio),
                fmt.ratio(each.strongest.odds_ratio),
                fmt.percent(each.sign_agreement),
                fmt.number(each.cosine),
            )
        )
    if not rows:
        return []
    header = (
        *(("pairs differ in", "l"), ("pairs", "r"), ("observed o1, %", "r")),
        *((f"{null.title} null, %", "r") for null in NULLS.values()),
        (f"of the rest explained by {_STRONGEST.title}, %", "r"),
        *((f"over {null.title}, points", "r") for null in _INFORMED),
        *(("MH odds ratio", "r"), (f"odds ratio over {_STRONGEST.title}", "r"), ("same sign, %", "r"), ("cosine", "r")),
    )
    caption = (
        f"What o1 each null expects, from {_known(NULLS.values())}. Explained: how much of the overlap above the"
        f" uniform null the {_STRONGEST.title} null expects. A dash: the overlap is within half a point of the uniform"
        " null."
        " Odds ratios: Mantel-Haenszel over the strata of the ULP null,"
        f" and {_STRONGEST.odds}'s given the {_STRONGEST.title} null. Same sign, cosine: of the two updates where both"
        " changed, for runs of one init; chance gives 50 % and 0."
        f" Factors: a level against the baseline's, the other factors at theirs. {_SAME_SEED}"
    )
    return [Heading(2, "What the nulls leave unexplained"), table(header, rows, caption)]


def ceiling_table(axes: Sequence[Axis]) -> Table:
    """The paper's axes between what the nulls expect and what replicas of one run share."""
    header = (
        *(("pairs differ in", "l"), ("pairs", "r"), ("o1, %", "r"), ("o2, %", "r"), ("κ", "r")),
        *((f"{null.title} null, %", "r") for null in NULLS.values()),
        *((f"over {null.title}, points", "r") for null in _MAIN),
        *((f"odds ratio over {_STRONGEST.title}", "r"), ("of the ceiling, %", "r")),
    )
    rows = [
        (
            axis.name,
            str(axis.group.pairs),
            fmt.percent(axis.group.o1),
            fmt.percent(axis.group.o2),
            fmt.number(axis.group.kappa),
            *(fmt.share(null.expected.mean) for null in axis.group.nulls.values()),
            *(fmt.points(axis.group.nulls[null.name].excess) for null in _MAIN),
            fmt.ratio(axis.group.strongest.odds_ratio),
            fmt.percent(axis.of_ceiling, 0),
        )
        for axis in axes
    ]
    caption = (
        "One of the two levels of each factor is the baseline's. Replicas have one seed, and so the same prompts in the"
        " same order, and differ in what they sampled: nothing can be expected to overlap more. Of the ceiling: what is"
        f" left above the {_STRONGEST.title} null, as a share of what replicas have. Where the seed is not among the"
        " differences it is shared, which by itself makes masks more alike. ±: 95 % by the jackknife over seeds."
    )
    return table(header, rows, caption)


def ceiling(axes: Sequence[Axis]) -> list[Block]:
    """The paper's Table 4 with its ceiling."""
    return [Heading(2, "Overlap beside its ceiling"), ceiling_table(axes)] if axes else []


def _known(nulls: Iterable[Null]) -> str:
    """Say what nulls know, each with its title."""
    return fmt.listing([f"{null.given} ({null.title})" for null in nulls])


def sentences(grid: Grid, pairs: pd.DataFrame) -> list[str]:
    same_cell = around_baseline(grid, pairs, SEED)
    if same_cell.empty:
        return []
    each = group(grid, same_cell)
    uniform, strongest = each.nulls[Uniform.name], each.strongest
    return [
        f"Two seeds of the baseline share **{fmt.percent(each.o1)} %** of their changed weights. Chance alone (uniform"
        f" null) gives {fmt.share(uniform.expected.mean)} %, an excess of {fmt.points(uniform.excess)} points"
        f" (odds ratio {fmt.ratio(uniform.odds_ratio)}); {_STRONGEST.given}"
        f" ({_STRONGEST.title} null) give {fmt.share(strongest.expected.mean)} %, which leaves"
        f" **{fmt.points(strongest.excess)} points** ({_STRONGEST.odds} odds ratio {fmt.ratio(strongest.odds_ratio)}).",
        *_reseeded_sentence(grid, pairs),
    ]


def _reseeded_sentence(grid: Grid, pairs: pd.DataFrame) -> list[str]:
    found = {name: around_baseline(grid, pairs, name, SEED) for name in grid.factors}
    words = [
        f"{name} {fmt.points(group(grid, selected).strongest.excess)}"
        for name, selected in found.items()
        if not selected.empty
    ]
    if not words:
        return []
    return [
        "Where a factor's level differs from the baseline's and the seed does too, what is left above the"
        f" {_STRONGEST.title} null is, in points: {fmt.listing(words)}."
    ]


def _runs_of_group(each: Group) -> str:
    levels = f"{each.level_a} and {each.level_b}" if each.level_a else ""
    where = each.context or ("" if levels else "baseline" if each.differs == (SEED,) else "others at their baseline")
    return f"{levels}, at {where}" if levels and where else levels or where
