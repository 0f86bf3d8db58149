"""``python -m subnetray.train algorithm=grpo [model=…] [task=…] [seed=…]``: train one run and measure it as sweeps do.

A sweep of one cell and one seed: its overrides, files and resume are those of ``subnetray.sweep``. Results go to
``outputs/train/<run id>`` unless ``out=`` says otherwise.

Exit codes: 0 the run is done; 1 it failed or could not be started; 2 bad input, found before work began; 130 or
143: it was interrupted, and the same command goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from subnetray import cli
from subnetray.config import ConfigError
from subnetray.config.compose import Composer, parse
from subnetray.config.shown import composed
from subnetray.driver.execute import check, execute
from subnetray.driver.ledger import Ledger
from subnetray.driver.tracking import masks
from subnetray.grid import plan


def main(arguments: Sequence[str] | None = None, prog: str = "python -m subnetray.train") -> int:
    """Entry point, called as ``prog``; returns the exit code."""
    return cli.run(prog, __doc__, arguments, _run, config_dir=True)


def _run(options: argparse.Namespace) -> int:
    overrides = _of_a_grid(options.overrides)
    sweep, planned = plan(Composer(options.config_dir), overrides, masks.fetch)
    if options.cfg:
        print(composed(sweep, options.cfg), end="")
        return 0
    run = planned.runs[0]
    if sweep.out is None:
        sweep = dataclasses.replace(sweep, out=f"outputs/train/{run.run_id}")
    directory = sweep.directory
    if sweep.dry_run:
        check(sweep, planned, Ledger(directory, planned, sweep.store_directory))
        print(f"{run.run_id} in {directory}")
        return 0
    failed = execute(sweep, planned, overrides, _say)
    if not failed:
        _say(_summary(json.loads((Ledger(directory, planned).run_directory(run) / "result.json").read_bytes())))
    return sweep.exit_code(failed)


def _of_a_grid(overrides: Sequence[str]) -> list[str]:
    """The overrides of the sweep that is this run."""
    words = ["+grid=single"]
    for override in parse(overrides):
        if override.key_or_group.split(".")[0] == "grid":
            raise ConfigError(f"{override.input_line}: one run has no grid, use python -m subnetray.sweep")
        if override.key_or_group == "seed":
            seed = override.value()
            if override.input_line != str(override.input_line).lstrip("+~"):
                raise ConfigError(f"{override.input_line}: seed always has a value: write seed=value")
            if not isinstance(seed, int) or not 0 <= seed < 2**31:
                raise ConfigError(f"seed must be a whole number from 0 to 2147483647, not {seed!r}")
            words.append(f"grid.seeds=[{seed}]")
        else:
            words.append(str(override.input_line))
    return words


def _summary(result: dict[str, Any]) -> str:
    before, after = (result["evaluation"][when] for when in ("before", "after"))
    accuracy = ", ".join(
        f"{decoding} {before[decoding]['accuracy']:.1%} -> {after[decoding]['accuracy']:.1%}" for decoding in before
    )
    density = result["density"]["bitwise"]
    return f"accuracy: {accuracy}; {density:.2%} of {result['n']:,} weights changed, bit for bit"


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
