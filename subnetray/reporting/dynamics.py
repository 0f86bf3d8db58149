"""What happened along the runs of a sweep, as sections of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from subnetray.analysis import paper, roles
from subnetray.analysis.effects import DENSITY, Origin, runs_of
from subnetray.analysis.intervals import Estimate, t_interval
from subnetray.analysis.trajectory import SHARES, Point, density_along, over_runs
from subnetray.reporting import format as fmt
from subnetray.reporting.document import Block, Heading, Paragraph, Table, table
from subnetray.reporting.source import Sweep

# Of these factors the levels are looked at along their runs.
_ALONG = (roles.METHOD, roles.STEPS, roles.LEARNING_RATE)


def density(sweep: Sweep, rows: Sequence[Origin]) -> list[Block]:
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
    for run_id, steps in runs_of(sweep.results, varied)[["run_id", "steps"]].itertuples(index=False):
        lines = sweep.metrics(run_id)
        measured = [(line["step"], line["density"]) for line in lines if line.get("density") is not None]
        paths.append(density_along(measured, int(steps)))
    return [t_interval(path[index] for path in paths) for index in range(len(SHARES))]


def metric_paths(sweep: Sweep, varied: Mapping[str, str], names: Sequence[str]) -> list[tuple[Point, ...]]:
    """What the runs of a cell wrote of metrics, step by step: a path for each of ``names``."""
    runs = [sweep.metrics(run_id) for run_id in runs_of(sweep.results, varied)["run_id"]]
    return [
        over_runs(
            [{int(line["step"]): float(line[name]) for line in lines if line.get(name) is not None} for lines in runs]
        )
        for name in names
    ]


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
        runs = runs_of(sweep.results, varied)
        found.append(
            (factor, level, {name: t_interval(runs[name].astype(float) if name in runs else ()) for name in columns})
        )
    known = any(found_in.n for *_, each in found for name, found_in in each.items() if name != DENSITY)
    return found if known else []
