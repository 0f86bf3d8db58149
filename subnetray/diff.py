"""``python -m subnetray.diff init=DIR final=DIR``: compare two checkpoints exactly, whatever their size.

Keys: ``init`` and ``final`` (a directory, a file or a Hugging Face id), ``out`` (a directory for ``diff.json``,
``mask.safetensors``, ``delta.safetensors`` and a heat map of layers and modules), ``tolerances`` (|Δ| beyond;
[0,1e-8,1e-6,1e-5,1e-4]), ``ulps`` (representable values apart, at least; [2,4]), ``relative`` (|Δ| beyond this share
of the larger weight; []), ``dtype`` (bfloat16, float16 or float32; default: as the final is stored, bfloat16 for FP8
with scales), ``threads`` (default: as many as cores), ``cluster`` (``local``; ``ray``: tasks on the Ray cluster that
``RAY_ADDRESS`` names, or on this machine, all of whose nodes find the files at the same paths), ``rank=true`` (ranks
of every matrix's Δ, beside those of its shuffled null) and ``geometry=true`` (where in its matrices the update lies,
and what it does to their spectra); for these two a matrix at a time is in the memory of this process (see
``subnetray.checkpoints.matrices``). ``parity=authors`` adds the figures that the two scripts of arXiv 2505.11711 would
print, each beside ours, and names what they do otherwise (``check_sparsity`` or ``update_rank``: those of one of them;
``docs/parity.md``). ``partial=true`` compares what can be compared where that is less than 99 % of the
weights of either. ``docs/diff.md`` says what is read. Exit codes: 0 done; 1 a file cannot be read or written; 2 bad
input, or less than 99 % can be compared.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from subnetray import cli
from subnetray.checkpoints import Difference, Work, compare_checkpoints, open_checkpoint
from subnetray.checkpoints.authors import RANK, SCRIPTS, SPARSITY
from subnetray.checkpoints.authors.description import Options, describe_parity, show_parity
from subnetray.checkpoints.authors.parameters import parameters
from subnetray.checkpoints.coverage import by_reason, left_out, require_enough
from subnetray.checkpoints.description import describe
from subnetray.checkpoints.findings import describe_matrices, show_matrices
from subnetray.checkpoints.match import match
from subnetray.checkpoints.matrices import Asked
from subnetray.checkpoints.progress import progress_bar
from subnetray.checkpoints.reader import NO_PATH
from subnetray.config import Cluster, ConfigError, Measurement
from subnetray.config.checks import expand_home
from subnetray.driver.cluster import start, stop
from subnetray.files import write_atomic
from subnetray.models import locate_weights
from subnetray.places import require_writable
from subnetray.subnetwork.counting import Thresholds
from subnetray.text import percent, shown

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_REASONS = 8  # lines on what was left out; diff.json has all of them


@dataclass(frozen=True)
class DiffConfig:
    """The keys of the command."""

    init: str
    final: str
    out: str | None = None
    tolerances: tuple[float, ...] = (0.0, 1e-8, 1e-6, 1e-5, 1e-4)
    ulps: tuple[int, ...] = Measurement.ULPS
    relative: tuple[float, ...] = ()
    dtype: str | None = None
    threads: int | None = None
    cluster: str = "local"
    rank: bool = False
    geometry: bool = False
    partial: bool = False
    parity: str | None = None  # whose figures are added: the authors', of both of their scripts or of one

    def __post_init__(self) -> None:
        expand_home(self, "", "init", "final", "out")
        for key in ("tolerances", "ulps", "relative"):
            if len(getattr(self, key)) > Measurement.MOST:
                raise ConfigError(f"{key} must be a list of at most {Measurement.MOST}, each a column of the table")
        if self.dtype is not None and self.dtype not in _DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(_DTYPES)}, not {self.dtype!r}")
        for key, levels in (("tolerances", self.tolerances), ("relative", self.relative)):
            if not all(math.isfinite(level) and level >= 0 for level in levels):
                raise ConfigError(f"{key} must be a list of numbers >= 0, not {list(levels)}")
        if not all(level >= 1 for level in self.ulps):
            raise ConfigError(f"ulps must be a list of whole numbers >= 1, not {list(self.ulps)}")
        if self.cluster not in ("local", "ray"):
            raise ConfigError(f"cluster must be local or ray, not {self.cluster!r}")
        if self.cluster == "ray" and self.threads is not None:
            raise ConfigError("threads is for cluster=local: on a cluster, as many tasks run as it has CPUs")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be a whole number >= 1, not {self.threads}")
        if self.parity is not None:
            self._check_parity(self.parity)

    def _check_parity(self, parity: str) -> None:
        if parity not in SCRIPTS:
            raise ConfigError(f"parity must be one of {', '.join(SCRIPTS)}, not {parity!r}")
        if RANK in SCRIPTS[parity] and self.dtype not in (None, "bfloat16"):
            raise ConfigError(
                f"parity={parity} cannot be combined with dtype={self.dtype}: {RANK}.py compares in bfloat16 alone, and"
                f" parity={SPARSITY} in any dtype"
            )
        if SPARSITY in SCRIPTS[parity] and not self.tolerances:
            raise ConfigError(f"parity={parity} cannot be combined with tolerances=[]: {SPARSITY}.py asks for one")

    @property
    def parity_options(self) -> Options | None:
        """Return the options of the authors' scripts, whose dtype is bfloat16 unless another is named."""
        if self.parity is None:
            return None
        return Options(self.parity, _DTYPES[self.dtype or "bfloat16"], self.tolerances)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.tolerances, self.ulps, self.relative)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m subnetray.diff") -> int:
    """Entry point, called as ``prog``; returns the exit code."""
    return cli.run(prog, __doc__, arguments, _main)


def _main(options: argparse.Namespace) -> int:
    config = _config(options.overrides)
    seconds, difference, more = _run(config)
    if config.out is not None:
        content = describe(config.init, config.final, difference, seconds) | more
        write_atomic(Path(config.out) / "diff.json", json.dumps(content, indent=1))
        # Here: it takes a second to import, which counts alone need not wait for.
        from subnetray.reporting.pictures.heatmap import write_heat_map

        write_heat_map(Path(config.out), content)
    _show(config, difference, more, seconds)
    return 0


def _config(words: Sequence[str]) -> DiffConfig:
    found = cli.values(words, DiffConfig)
    for key in ("init", "final"):
        if not found.get(key):
            raise ConfigError(f"{key}= must name a directory, a file or a Hugging Face id")
    config = DiffConfig(**found)
    if config.out is not None:
        require_writable(Path(config.out), "out", "choose another directory with out=")
    return config


def _run(config: DiffConfig) -> tuple[float, Difference, dict[str, Any]]:
    """Seconds, what was compared, and what else was asked for, as ``diff.json`` has it."""
    began = time.perf_counter()
    dtype = None if config.dtype is None else _DTYPES[config.dtype]
    # The threads are ours: torch's own within each of them would only get in their way.
    torch.set_num_threads(1)
    with ExitStack() as stack:
        places = {key: _located(getattr(config, key), key) for key in ("init", "final")}
        init = stack.enter_context(open_checkpoint(places["init"], "init", base=places["final"]))
        final = stack.enter_context(open_checkpoint(places["final"], "final", base=places["init"]))
        matching = match(init, final)
        if not config.partial:
            require_enough(matching.coverage, matching.skipped)
        options = config.parity_options
        paired = None if options is None else parameters(init, final)  # refuses what the scripts would not load
        out = None if config.out is None else Path(config.out)
        threads = config.threads or len(os.sched_getaffinity(0))
        work = stack.enter_context(_ray_tasks()) if config.cluster == "ray" else Work(threads)
        with progress_bar("comparing", matching.n) as progress:
            work = replace(work, progress=progress)
            difference = compare_checkpoints(matching, config.thresholds, dtype, work, out)
        more: dict[str, Any] = {}
        if config.rank or config.geometry:
            with progress_bar("decomposing", matching.n) as progress:
                more = describe_matrices(matching, dtype, Asked(config.rank, config.geometry), threads, progress)
        if options is not None and paired is not None:
            torch.set_num_threads(threads)
            with progress_bar("parity", paired.n * len(options.scripts)) as progress:
                more["parity"] = describe_parity(paired, options, difference.comparison, progress)
    return time.perf_counter() - began, difference, more


@contextmanager
def _ray_tasks() -> Iterator[Work]:
    """Work that is done by a Ray cluster."""
    start(Cluster(address=os.environ.get("RAY_ADDRESS")))
    from subnetray.checkpoints.cluster import TASK, RayExecutor

    try:
        executor = RayExecutor()
        yield Work(executor.workers, executor, TASK)
    finally:
        stop()


def _located(text: str, key: str) -> Path:
    try:
        return locate_weights(text, key, _say)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError) or getattr(error, "errno", None) not in (None, *NO_PATH):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{key} must be a path or a Hugging Face id: {shown(text)} is none ({reason})") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _show(config: DiffConfig, difference: Difference, more: dict[str, Any], seconds: float) -> None:
    # Names are of files that others wrote: nothing in them is markup.
    comparison, console = difference.comparison, Console(markup=False, emoji=False)
    # Columns so narrow that the default thresholds fit 80 columns.
    names, coverage = f"{shown(config.init)} -> {shown(config.final)}", difference.coverage
    of = "" if coverage.whole else f" of the {percent(coverage.share)} that could be compared"
    console.print(str(coverage), markup=False, highlight=False, soft_wrap=True)
    title = f"{names}: unchanged weights{of}, bit for bit, up to |Δ|, and within ULPs"
    # As text, not as markup: names may hold brackets.
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("module", no_wrap=True)
    thresholds = config.thresholds
    # Beyond 0 is bit for bit; 1e-4 is shorter than 0.0001.
    taus = [tau for tau in thresholds.absolute if tau > 0]
    columns = [f"≤{tau:.0e}".replace("e-0", "e-") for tau in taus]
    columns += [f"<{k}ulp" for k in thresholds.ulps] + [f"≤{eta:g}·w" for eta in thresholds.relative]
    for column in ("weights", "bitwise", *columns):
        table.add_column(column, justify="right", no_wrap=True)
    for name, part in [*comparison.by_module().items(), ("all", comparison)]:
        if name == "all":
            table.add_section()
        densities = [part.density_abs[tau] for tau in taus]
        densities += [*part.density_ulps.values(), *part.density_relative.values()]
        values = [part.sparsity_bitwise, *(1 - density for density in densities)]
        table.add_row(Text(name), f"{part.n:,}", *("–" if math.isnan(value) else f"{value:.2%}" for value in values))
    console.print(table)
    matrices = {key: part for key, part in more.items() if key != "parity"}
    if matrices:
        show_matrices(matrices, console)
    if "parity" in more:
        show_parity(more["parity"], matrices["rank"]["mean"]["numerical"] if "rank" in matrices else None, console)
    lines = [] if config.partial is False or coverage.whole else [f"partial=true: what is said is{of}"]
    lines += difference.notes
    if comparison.changed_bitwise == 0:
        lines.append(_nothing_changed(difference))
    if comparison.nonfinite:
        lines.append(f"{comparison.nonfinite} coordinates are NaN or infinite in one of them")
    groups = by_reason(difference.skipped)
    lines += [f"not compared: {left_out(reason, group)}" for reason, group in groups[:_REASONS]]
    if len(groups) > _REASONS:
        lines.append(f"not compared for {len(groups) - _REASONS} more reasons: see skipped in diff.json (out=DIR)")
    if config.out is not None:
        files = "diff.json, heatmap.html, heatmap.png, mask.safetensors"
        files += "" if difference.delta else ", delta.safetensors"
        lines.append(f"written to {config.out}: {files}")
        if difference.delta:
            lines.append(f"no delta: {difference.delta}")
    lines.append(f"{difference.bytes_read / 1e9:.2f} GB in {seconds:.2f} s")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _nothing_changed(difference: Difference) -> str:
    """Say that nothing differs, of no more than was compared."""
    if difference.coverage.whole and all(each.counted for each in difference.skipped):
        return "init and final are the same, bit for bit (±0 aside)"
    if difference.coverage.whole:
        return "all weights are unchanged, bit for bit (±0 aside); what else there is was not compared"
    share = percent(difference.coverage.share)
    return f"no weight differs of the {share} that could be compared; of the rest nothing is known"


if __name__ == "__main__":
    sys.exit(main())
