"""Charts that a page draws itself (Vega-Lite), so that readers can point at, choose and compare.

Nothing of Altair is imported before one is made. Names of others are data of a chart, never part of its expressions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from subnetray.analysis import roles
from subnetray.analysis.effects import DENSITY, runs_of
from subnetray.analysis.trajectory import Point
from subnetray.config import Grid
from subnetray.grid.design import baseline, describe
from subnetray.nulls import NULLS, STRONGEST
from subnetray.reporting import dynamics
from subnetray.reporting.format import rounded
from subnetray.reporting.pictures.colours import COLOURS
from subnetray.reporting.source import Sweep

if TYPE_CHECKING:
    import altair as alt

Spec = dict[str, Any]
Rows = list[dict[str, Any]]

# What a page's readers can do, beside the caption of a picture.
USE = "Point at a mark for its run or numbers; choose by the legend or the list."
_STEPS = 100  # of a line, at most: more cannot be told apart
_BASE = {
    "background": "transparent",
    "config": {"view": {"stroke": None}, "legend": {"orient": "bottom", "columns": 3}},
}


def density_by_learning_rate(sweep: Sweep) -> Spec | None:
    """Density of each run against its learning rate, by method, the other factors at their baseline."""
    import altair as alt

    rate, method = (roles.factor_with(sweep.grid, role) for role in (roles.LEARNING_RATE, roles.METHOD))
    if rate is None:
        return None
    rows = [
        row
        for way in (sweep.grid.factors[method].levels if method else [""])
        for level in sweep.grid.factors[rate].levels
        for row in _runs(sweep, {rate: level} | ({method: way} if method else {}), way)
    ]
    if not rows:
        return None
    x = alt.X("lr:Q", title=sweep.grid.factors[rate].about or rate).scale(type="log").axis(format=".0e")
    colour = alt.Color("level:N", title=None, sort=None).scale(range=list(COLOURS))
    chosen = alt.selection_point(fields=["level"], bind="legend")
    base = alt.Chart(alt.NamedData("rows")).encode(
        x=x, color=colour, opacity=alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.15))
    )
    lines = base.mark_line().encode(y=alt.Y("mean(density):Q", title="density").axis(format=".0%"))
    return _spec((lines + _dots(base).add_params(chosen)).properties(width=520, height=300), rows)


def density_by_level(sweep: Sweep) -> Spec | None:
    """Density of each run at the levels of the factor that is chosen, the others at their baseline."""
    import altair as alt

    rows = [
        row | {"factor": factor}
        for factor, content in sweep.grid.factors.items()
        for level in content.levels
        for row in _runs(sweep, {factor: level}, level)
    ]
    if not rows:
        return None
    base, choice = _of_a_factor(sweep.grid, rows)
    base = base.encode(x=alt.X("level:N", title=None, sort=None).axis(labelAngle=-30))
    means = base.mark_tick(thickness=2, size=36, color="#888").encode(y=alt.Y("mean(density):Q").axis(format=".0%"))
    return _spec((means + _dots(base).add_params(choice)).properties(width=520, height=280), rows)


def along_the_run(sweep: Sweep) -> Spec | None:
    """Density by optimizer step at the levels of the factor that is chosen: lines are means, bands all seeds."""
    import altair as alt

    grid = sweep.grid
    levels = [(factor, level) for factor, content in grid.factors.items() for level in content.levels]
    lines: dict[str, Rows] = {}  # of cells: the baseline is a level of every factor
    rows: Rows = []
    for factor, level in levels or [("", "baseline")]:
        varied = {factor: level} if factor else {}
        cell = describe(grid, baseline(grid) | varied)
        if cell not in lines:
            lines[cell] = _lines(sweep, varied)
        rows += [{"factor": factor, "level": level, **point} for point in lines[cell]]
    if not rows:
        return None
    base, choice = _of_a_factor(sweep.grid, rows)
    base = base.encode(
        x=alt.X("step:Q", title="optimizer step"),
        color=alt.Color("level:N", title=None, sort=None).scale(range=list(COLOURS)),
    )
    band = base.mark_area(opacity=0.25).encode(y=alt.Y("low:Q", title="density").axis(format=".0%"), y2="high:Q")
    tooltip = ["level:N", "step:Q", *(alt.Tooltip(f"{name}:Q", format=".2%") for name in ("mean", "low", "high"))]
    line = base.mark_line(point={"size": 8}).encode(y="mean:Q", tooltip=tooltip)
    layers = (band + line).add_params(choice).properties(width=300, height=240)
    facets = layers.facet(column=alt.Column("shown:N", title=None, sort="descending")).resolve_scale(y="independent")
    return _spec(facets, rows)


def overlap_matrix(rows: Rows) -> Spec | None:
    """Overlap of the runs of cells: what was observed, what the strongest null expects, or the rest.

    ``rows``: as :func:`subnetray.reporting.pictures.cell_matrix.cell_matrix` returns them.
    """
    if not rows:
        return None
    import altair as alt

    shown = alt.param(
        name="shown",
        value="observed",
        bind=alt.binding_radio(
            options=["observed", "expected", "excess"],
            labels=["observed", f"{NULLS[STRONGEST].title} null", "excess"],
            name="o1 ",
        ),
    )
    side = max(240, min(720, 22 * len({row["row"] for row in rows})))
    tooltip = [
        *("row:N", "column:N", "pairs:Q"),
        *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("observed", "expected", "excess")),
    ]
    chart = (
        alt.Chart(alt.NamedData("rows"))
        .mark_rect()
        .transform_calculate(value="datum[shown]")
        .encode(
            x=alt.X("column:N", sort=None, title=None).axis(labelLimit=140, labelAngle=-60),
            y=alt.Y("row:N", sort=None, title=None).axis(labelLimit=180),
            color=alt.Color("value:Q", title="o1").scale(scheme="purpleorange", domainMid=0).legend(format=".0%"),
            tooltip=tooltip,
        )
        .add_params(shown)
        .properties(width=side, height=side)
    )
    return _spec(chart, rows)


def _of_a_factor(grid: Grid, rows: Rows) -> tuple[alt.Chart, alt.Parameter]:
    """A chart of the rows of one factor, and what chooses it: at first the method, if the grid varies it."""
    import altair as alt

    names = list(dict.fromkeys(row["factor"] for row in rows))
    bind = alt.binding_select(options=names, name="factor ") if len(names) > 1 else alt.Undefined
    method = roles.factor_with(grid, roles.METHOD)
    choice = alt.param(name="factor", value=method if method in names else names[0], bind=bind)
    return alt.Chart(alt.NamedData("rows")).transform_filter("datum.factor == factor"), choice


def _dots(base: alt.Chart) -> alt.Chart:
    """A dot a run, which says what it is."""
    import altair as alt

    tooltip = [
        *("run:N", "cell:N", "seed:N", alt.Tooltip("density:Q", format=".2%")),
        alt.Tooltip("accuracy:Q", format="+.1%", title="greedy accuracy, change"),
    ]
    marks = base.mark_point(filled=True, size=55, cursor="pointer", stroke="white", strokeWidth=0.5)
    return marks.encode(y=alt.Y("density:Q", title="density").axis(format=".0%"), tooltip=tooltip)


def _runs(sweep: Sweep, varied: Mapping[str, str], level: str) -> Rows:
    """The runs that are done of a cell."""
    found = runs_of(sweep.results, varied)
    change = found["accuracy_greedy_after"].astype(float) - found["accuracy_greedy_before"].astype(float)
    cell = describe(sweep.grid, baseline(sweep.grid) | dict(varied))
    return [
        {
            **{"level": level, "run": run["run_id"], "cell": cell, "seed": int(run["seed"])},
            **{"lr": rounded(run["lr"]), "density": rounded(run[DENSITY]), "accuracy": rounded(moved)},
        }
        for (_, run), moved in zip(found.iterrows(), change, strict=True)
    ]


def _lines(sweep: Sweep, varied: Mapping[str, str]) -> Rows:
    """Both densities of a cell, step by step."""
    paths = dynamics.metric_paths(sweep, varied, ("density", "density_step"))
    return [
        {"shown": shown, **_point(point)}
        for shown, path in zip(("since the init", "of the step"), paths, strict=True)
        for point in _thinned(path)
    ]


def _point(point: Point) -> dict[str, Any]:
    return {"step": point.step, "mean": rounded(point.mean), "low": rounded(point.low), "high": rounded(point.high)}


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Evenly spaced points, the first and the last among them."""
    if len(points) <= _STEPS:
        return points
    return [points[round(index * (len(points) - 1) / (_STEPS - 1))] for index in range(_STEPS)]


def _spec(chart: Any, rows: Rows) -> Spec:
    return {**chart.to_dict(), **_BASE, "datasets": {"rows": rows}}
