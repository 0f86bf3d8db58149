"""Where a sweep's time went: in what runs are for, in what they wait for, and in what is not theirs."""

from __future__ import annotations

from typing import Any

from subnetray.reporting import format as fmt
from subnetray.reporting.document import Block, Heading, Paragraph, table
from subnetray.reporting.source import Sweep

# Phases of a run, as result.json names them, in order; those of PURPOSE are what a run is for.
_RUN = {
    "import": "importing libraries, once a process",
    "start": "waiting for the first init and engine",
    "load": "loading the init",
    "prepare": "making training data and the trainer",
    "train": "training",
    "rollout": "sampling rollouts",
    "wait": "waiting for engines that serve others",
    "sync": "synchronising engines",
    "evaluate": "evaluating, before and after",
    "measure": "measuring the update",
    "write": "writing results",
}
PURPOSE = ("train", "rollout", "evaluate", "measure")
_SWEEP = {"prepare": "preparing inits and tasks", "ray": "starting Ray", "engines": "starting engines"}
# Of a process, before its first run: not in a run's total.
_PROCESS = ("import", "start")


def budget(sweep: Sweep) -> list[Block]:
    """Seconds by phase of the runs that the sweep executed last, and of the sweep around them; nothing without them."""
    time = sweep.time()
    if not time:
        return []
    runs = [each for run_id in time["runs"] if (each := sweep.seconds(run_id))]
    if not runs:
        return []
    spent = {phase: sum(run.get(phase, 0.0) for run in runs) for phase in _RUN}
    # What a run does between its phases is not theirs.
    total = sum(run["total"] + sum(run.get(phase, 0.0) for phase in _PROCESS) for run in runs)
    spent["else"] = total - sum(spent.values())
    before = {phase: time["seconds"].get(phase, 0.0) for phase in _SWEEP}
    wall = sum(before.values()) + time["seconds"]["runs"]
    cores, inits = time["cores"], time.get("inits_cpu_s", 0.0)  # sweeps of before may lack it
    header = [("phase", "l"), ("seconds", "r"), ("median of a run, s", "r")]
    if cores is not None:
        header.append((f"share of {cores} cores × {wall:,.0f} s, %", "r"))

    held = time["cores_per_run"]

    def line(what: str, seconds: float, busy: float, median: str = fmt.NONE) -> tuple[str, ...]:
        share = () if cores is None else (fmt.share(busy * seconds / (cores * wall)),)
        return (what, f"{seconds:,.1f}", median, *share)

    rows = [line(what, spent[phase], held, _median(runs, phase)) for phase, what in _RUN.items() if spent[phase] > 0]
    rows.append(line("the rest of a run", spent["else"], held))
    many = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    text = f"The last execution of the sweep: {many} in {wall:,.0f} s, its report excluded."
    if cores is not None:
        # Before the runs, all cores wait for one phase.
        rows += [line(f"before runs: {what}", before[phase], cores) for phase, what in _SWEEP.items()]
        idle = cores * time["seconds"]["runs"] - held * sum(spent.values())
        rows.append(line("between runs: processes that start, cores that no run holds", idle, 1))
        purpose = held * sum(spent[phase] for phase in PURPOSE) / (cores * wall)
        text += (
            f" Of cores × wall-clock, {fmt.share(purpose)} % went into training, rollouts, evaluation and measuring"
            " of runs."
        )
        if inits:
            # Not all of it is time that would else have been lost: runs of the first inits may train meanwhile.
            text += (
                f" Training the inits that they start from took {inits:,.1f} s of processor time, most of it while runs"
                f" waited for them: with it, it is up to {fmt.share(purpose + inits / (cores * wall))} %."
            )
    if inits:
        rows.append(line("of which, beside all these: making inits, processor time", inits, 1))
    caption = f"Seconds of all runs together; cores that each holds: {held:g}. Engines share the cores."
    return [Heading(2, "Where the time went"), Paragraph(text), table(header, rows, caption)]


def _median(runs: list[dict[str, Any]], phase: str) -> str:
    values = sorted(run.get(phase, 0.0) for run in runs)
    return f"{(values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2:.2f}"
