"""Sweeps from Python: run one, and have its runs, pairs and claims as data frames."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from subnetray.config import ConfigError
from subnetray.config.compose import Composer
from subnetray.reporting.source import Sweep
from subnetray.store import derived

__all__ = ["Sweep", "run_sweep"]

_INTERRUPTED = (130, 143)


def run_sweep(
    grid: str, overrides: Sequence[str] = (), config_dir: str | Path | None = None, say: Callable[[str], None] = print
) -> Sweep:
    """Run ``python -m subnetray.sweep +grid=GRID`` with overrides in Hydra's syntax, and open what it wrote.

    ``say`` is given each line of progress. What is done already is not repeated. Runs that failed are among ``runs``,
    with another ``status`` than ``done``. A process of its own runs it: Ray, and what interrupts it, stay out of this
    one. Raises ConfigError, one sentence, for bad input; RuntimeError where nothing could be started or reported;
    KeyboardInterrupt where it was interrupted, after which the same call goes on from there.
    """
    words = [f"+grid={grid}", *overrides]
    composer = Composer(None if config_dir is None else Path(config_dir))
    directory = composer.sweep(words).directory
    command = [sys.executable, "-m", "subnetray.sweep", *words]
    command += [] if config_dir is None else [f"--config-dir={config_dir}"]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    say(line.rstrip("\n"))
            except BaseException:
                process.terminate()
                raise
        errors.seek(0)
        said = errors.read().strip()
    if process.returncode in _INTERRUPTED:
        raise KeyboardInterrupt
    if process.returncode == 2:
        raise ConfigError(said.removeprefix("subnetray: "))
    if process.returncode and not (directory / derived.REPORT).is_file():
        raise RuntimeError(said or f"the sweep ended with exit code {process.returncode}")
    return Sweep.open(directory)
