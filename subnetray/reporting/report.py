"""From a sweep's tables to its report: ``report.md``, ``report.html``, ``claims.json``, tables, figures."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from subnetray.analysis import paper, roles
from subnetray.analysis.claims import claims
from subnetray.analysis.claims.ceiling import Axis, axes
from subnetray.analysis.claims.conjecture import Arm, arms
from subnetray.analysis.claims.interactions import Model, models
from subnetray.analysis.effects import DENSITY, Crossing, Origin, cells, crossings, origins, runs_of
from subnetray.analysis.identification import Identification, identification
from subnetray.analysis.pairs import SEED, Group, around_baseline, factor_groups, group, seed_groups
from subnetray.analysis.verdicts import Claim
from subnetray.files import write_atomic
from subnetray.grid.design import baseline, describe
from subnetray.nulls import NULLS, STRONGEST, Uniform
from subnetray.reporting import claims as claims_section
from subnetray.reporting import dynamics as dynamics_section
from subnetray.reporting import interactions, overlaps, sections, subnetworks
from subnetray.reporting import runs as runs_section
from subnetray.reporting.added import added
from subnetray.reporting.budget import budget
from subnetray.reporting.document import Block, Chart, Figure, Table
from subnetray.reporting.pictures import cell_matrix, charts, figures
from subnetray.reporting.pictures.heatmap import heat_map
from subnetray.reporting.source import Sweep, read
from subnetray.reporting.writers.html import to_html
from subnetray.reporting.writers.latex import to_latex
from subnetray.reporting.writers.markdown import to_markdown
from subnetray.store import derived


@dataclass(frozen=True)
class Analysis:
    """What the sections and figures are made from."""

    sweep: Sweep
    origins: list[Origin]
    crossed: list[Crossing]
    pairs: pd.DataFrame
    by_seed: list[Group]
    by_factor: list[Group]
    by_both: list[Group]  # another seed and another level of one factor, the others at their baseline
    several: list[Group]  # another seed, data set and method: the paper's third row
    axes: list[Axis]
    arms: list[Arm]
    early: dict[str, Identification]  # of the cells that kept scores, in words
    models: list[Model]  # of crossings
    claims: list[Claim]
    pictures: Path | None = None  # where they are drawn; None: in the sweep's directory


def write_report(directory: Path) -> list[Path]:
    """Write the report of the sweep in ``directory``, running or finished, from its tables; returns what was written.

    What differs from one execution to the next, where the time went, has a file of its own, ``time.md``, and is not
    among them. Raises ConfigError, one sentence, for a directory that is no sweep.
    """
    analysis = analyse(read(directory))
    blocks = everything(analysis)
    claims_text = json.dumps(
        [claim.to_dict() for claim in analysis.claims], indent=1, ensure_ascii=False, allow_nan=False
    )
    title = f"Sweep {analysis.sweep.grid.name}"
    page = to_html(blocks, title, lambda path: (directory / path).read_bytes(), folded=True)
    texts = {
        **{f"tables/{name}.tex": to_latex(table, name) for name, table in _tables(analysis).items()},
        derived.CLAIMS: claims_text + "\n",
        derived.PAGE: page,
        derived.REPORT: to_markdown(summary(analysis, blocks)),
    }
    for name, text in texts.items():
        write_atomic(directory / name, text)
    if times := budget(analysis.sweep):
        write_atomic(directory / derived.BUDGET, to_markdown(times))
    stills = [block.still if isinstance(block, Chart) else block for block in blocks]
    figures_made = [directory / block.path for block in stills if isinstance(block, Figure)]
    return [*figures_made, *(directory / name for name in texts)]


def everything(analysis: Analysis) -> list[Block]:
    """All sections, as the page has them; their pictures are drawn meanwhile."""
    return [
        *sections.head(analysis.sweep),
        *claims_section.section(analysis.sweep.grid, analysis.claims),
        *sections.found(analysis.sweep, analysis.origins, analysis.crossed, analysis.pairs),
        *_charted(charts.density_by_learning_rate(analysis.sweep), _learning_rate_figure(analysis)),
        *_overlap_matrix(analysis),
        *sections.origins(analysis.sweep, analysis.origins),
        *_charted(charts.density_by_level(analysis.sweep), _origins_figure(analysis)),
        *_heat_map(analysis),
        *sections.crossing_tables(analysis.crossed),
        *interactions.section(analysis.models, functools.partial(_figure, analysis)),
        *subnetworks.arms(analysis.arms),
        *subnetworks.transfer(analysis.sweep.grid, analysis.arms),
        *subnetworks.early(analysis.early, _early_figure(analysis)),
        *dynamics_section.density(analysis.sweep, analysis.origins),
        *dynamics_section.dynamics(
            analysis.sweep, analysis.origins, _charted(charts.along_the_run(analysis.sweep), _dynamics_figure(analysis))
        ),
        *overlaps.ceiling(analysis.axes),
        *overlaps.overlap(
            analysis.sweep.grid, analysis.by_seed, analysis.by_factor, analysis.by_both, analysis.several
        ),
        *_overlap_figure(analysis),
        *overlaps.nulls(analysis.sweep, analysis.pairs),
        *added(analysis.sweep.results),
        *sections.failures(analysis.sweep),
        *runs_section.section(analysis.sweep),
        *sections.reading(),
    ]


def summary(analysis: Analysis, blocks: Sequence[Block]) -> list[Block]:
    """One page: verdicts, what was found, the two pictures of ``blocks`` that show most of it, and where to look."""
    sweep = analysis.sweep
    stills = [block.still if isinstance(block, Chart) else block for block in blocks]
    shown = [each for each in stills if isinstance(each, Figure) and Path(each.path).stem in ("density", "overlap")]
    return [
        *sections.head(sweep),
        *claims_section.short(sweep.grid, analysis.claims),
        *sections.found(sweep, analysis.origins, analysis.crossed, analysis.pairs),
        *shown,
        *sections.failures(sweep),
        *sections.where_to_look(bool(_tables(analysis))),
    ]


def analyse(sweep: Sweep) -> Analysis:
    """All effects and overlaps of a sweep."""
    grid = sweep.grid
    results, pairs = sweep.results, sweep.results.pairs
    data, method = roles.factor_with(grid, roles.DATA), roles.factor_with(grid, roles.METHOD)
    third = around_baseline(grid, pairs, data, method, SEED) if data and method else pairs.head(0)
    return Analysis(
        sweep=sweep,
        origins=origins(results),
        crossed=crossings(results),
        pairs=pairs,
        by_seed=seed_groups(grid, pairs),
        by_factor=[each for factor in grid.factors for each in factor_groups(grid, pairs, factor)],
        by_both=[
            each
            for factor in grid.factors
            for each in factor_groups(grid, pairs, factor, reseeded=True)
            if not each.context
        ],
        several=[] if third.empty else [group(grid, third)],
        axes=axes(results),
        arms=arms(results),
        early=_identified(sweep),
        models=models(results),
        claims=claims(results),
    )


def _identified(sweep: Sweep) -> dict[str, Identification]:
    """Of the cells whose runs are free to find a mask of their own."""
    found = {}
    arm = roles.factor_with(sweep.grid, roles.ARM)
    for cell in cells(sweep.grid):
        if arm is not None and roles.kind(sweep.grid, arm, (baseline(sweep.grid) | cell)[arm]) != roles.FULL:
            continue
        runs = runs_of(sweep.results, cell)["run_id"]
        if (each := identification([sweep.early(run_id) for run_id in runs])) is not None:
            found[describe(sweep.grid, baseline(sweep.grid) | cell)] = each
    return found


def _tables(analysis: Analysis) -> dict[str, Table]:
    """The tables that are written as LaTeX, by name."""
    tables = {}
    if tested := [each for each in analysis.claims if each.verdict != "not tested"]:
        tables["claims"] = claims_section.claims_table(tested)
    if analysis.origins:
        tables["origins"] = sections.origins_table(analysis.sweep.grid, analysis.origins)[0]
    if (dynamics := dynamics_section.dynamics_table(analysis.sweep, analysis.origins)) is not None:
        tables["dynamics"] = dynamics
    if analysis.axes:
        tables["ceiling"] = overlaps.ceiling_table(analysis.axes)
    if analysis.arms:
        tables["arms"] = subnetworks.arms_table(analysis.arms)
    if analysis.early:
        tables["early"] = subnetworks.early_table(analysis.early)
    if any(each.fit is not None for each in analysis.models):
        tables["interactions"] = interactions.interactions_table(analysis.models)
    groups = [*analysis.by_seed, *analysis.by_factor, *analysis.by_both, *analysis.several]
    if groups:
        tables["overlap"] = overlaps.overlap_table(groups)
    return tables


def _learning_rate_figure(analysis: Analysis) -> list[Block]:
    grid = analysis.sweep.grid
    rate, method = roles.factor_with(grid, roles.LEARNING_RATE), roles.factor_with(grid, roles.METHOD)
    if rate is None:
        return []
    series = []
    for level in grid.factors[method].levels if method else [""]:
        points = []
        for each in grid.factors[rate].levels:
            runs = runs_of(analysis.sweep.results, {rate: each} | ({method: level} if method else {}))
            if len(runs):
                points.append((float(runs["lr"].iloc[0]), tuple(runs[DENSITY].astype(float))))
        if len(points) > 1:
            series.append(figures.Series(level, tuple(sorted(points))))
    if not series:
        return []
    return [
        _figure(
            analysis,
            "density",
            lambda path: figures.density_by_learning_rate(path, series, grid.factors[rate].about or rate),
            "Density against learning rate. A dot is a run (one seed); lines join the means.",
        )
    ]


def _origins_figure(analysis: Analysis) -> list[Block]:
    grid = analysis.sweep.grid
    groups: dict[str, list[figures.Row]] = {}
    for row in analysis.origins:
        if row.cell.n:
            known = paper.reported(roles.role(grid, row.factor), roles.kind(grid, row.factor, row.level))
            published = tuple(1 - each.sparsity for each in known)
            label = f"{row.level} (baseline)" if row.is_baseline else row.level
            groups.setdefault(row.factor, []).append(figures.Row(label, row.cell.density, published))
    groups = {factor: rows for factor, rows in groups.items() if len(rows) > 1}
    if not groups:
        return []
    baseline = next(row.cell.density.mean for row in analysis.origins if row.is_baseline)
    return [
        _figure(
            analysis,
            "origins",
            lambda path: figures.dots(path, list(groups.items()), baseline, "reported, 7B to 671B"),
            "Density at every level of every factor, the others at their baseline. Hollow: 1 − the reported sparsity.",
        )
    ]


def _heat_map(analysis: Analysis) -> list[Block]:
    """Where in the model the baseline's updates are, its seeds pooled."""
    sweep = analysis.sweep
    tensors = [each for run_id in runs_of(sweep.results, {})["run_id"] for each in sweep.tensors(run_id)]
    if not tensors:
        return []
    found = heat_map(tensors)
    return [
        _figure(
            analysis,
            "layers",
            lambda path: figures.heat_map(path, found),
            "Density by layer and module, in %: the baseline, mean over its seeds.",
        )
    ]


def _dynamics_figure(analysis: Analysis) -> list[Block]:
    """Densities by step, of the levels of the method or of the baseline alone."""
    sweep = analysis.sweep
    method = roles.factor_with(sweep.grid, roles.METHOD)
    cells = {level: {method: level} for level in sweep.grid.factors[method].levels} if method else {"baseline": {}}
    paths = {
        level: dynamics_section.metric_paths(sweep, cell, ("density", "density_step")) for level, cell in cells.items()
    }
    panels = [
        (title, {level: found[place] for level, found in paths.items() if found[place]})
        for place, title in enumerate(("since the init", "of the step"))
    ]
    if not all(lines for _, lines in panels):
        return []
    return [
        _figure(
            analysis,
            "dynamics",
            lambda path: figures.along_the_run(path, panels),
            "Share of weights that differ from the init after a step, and that the step itself changed (since the last"
            " measured one). Lines: mean over seeds; bands: all seeds.",
        )
    ]


def _early_figure(analysis: Analysis) -> list[Block]:
    """Average precision by step, of the first cells that kept scores at more than one."""
    panels = []
    for context, each in analysis.early.items():
        lines = {
            subnetworks.SCORES.get(found.score, found.score): [
                (step, value.mean) for step, value in found.auprc.items() if not math.isnan(value.mean)
            ]
            for found in each.scores
            if found.score != "random"
        }
        lines = {name: points for name, points in lines.items() if len(points) > 1}
        if lines:
            panels.append((context, each.density.mean, lines))
    if not panels:
        return []
    return [
        _figure(
            analysis,
            "early",
            lambda path: figures.identification(path, panels[:3]),
            "How well scores after a step find the final mask: average precision, mean over seeds.",
        )
    ]


def _overlap_figure(analysis: Analysis) -> list[Block]:
    grid = analysis.sweep.grid

    reseeded = {(*each.differs[:1], each.level_a, each.level_b): each.o1.mean for each in analysis.by_both}

    def row(label: str, each: Group) -> figures.OverlapRow:
        other = reseeded.get((*each.differs, each.level_a, each.level_b), math.nan)
        uniform, strongest = (each.nulls[null].expected.mean for null in (Uniform.name, STRONGEST))
        return figures.OverlapRow(label, each.o1, uniform, strongest, other)

    by_seed = [("same cell, another seed", [row(each.context or "baseline", each) for each in analysis.by_seed])]
    by_factor = []
    for factor in grid.factors:
        inside = [each for each in analysis.by_factor if each.differs == (factor,) and not each.context]
        base = grid.factors[factor].baseline
        inside = [
            each for each in inside if not overlaps.many_levels(grid, each) or base in (each.level_a, each.level_b)
        ]
        by_factor.append((f"same seed, {factor}", [row(f"{each.level_a} and {each.level_b}", each) for each in inside]))
    panels = [[(title, rows) for title, rows in panel if rows] for panel in (by_seed, by_factor)]
    if not any(panels):
        return []
    return [
        _figure(
            analysis,
            "overlap",
            lambda path: figures.overlaps(path, [panel for panel in panels if panel]),
            "Overlap of pairs of runs, and what the uniform and the strongest null expect without shared structure.",
        )
    ]


def _charted(spec: charts.Spec | None, figure: list[Block]) -> list[Block]:
    """A figure, if there is one, with the chart that shows more of the same."""
    return [
        Chart(spec, f"{each.caption} {charts.USE}", each) if spec and isinstance(each, Figure) else each
        for each in figure
    ]


def _overlap_matrix(analysis: Analysis) -> list[Block]:
    rows = cell_matrix.cell_matrix(analysis.sweep, analysis.pairs)
    spec = charts.overlap_matrix(rows)
    if spec is None:
        return []
    caption = (
        f"Overlap o1 of the runs of two cells: what was observed, what the {NULLS[STRONGEST].title} null expects, and"
        " the excess of one over the other; means over pairs, as a share of the masks of the row's runs."
    )
    still = _figure(analysis, "overlap_heat_map", lambda path: cell_matrix.draw(path, rows), caption)
    return [Chart(spec, caption, still)]


def _figure(analysis: Analysis, name: str, draw: Callable[[Path], None], caption: str) -> Figure:
    relative = f"figures/{name}.png"
    draw((analysis.pictures or analysis.sweep.directory) / relative)
    return Figure(relative, caption)
