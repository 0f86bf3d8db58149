"""A grid of pairs of checkpoints: comparisons, where nothing runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from subnetray.config.checks import at_least, expand_home, named, one_of, require


@dataclass(frozen=True)
class CheckpointPair:
    """Two checkpoints, by Hugging Face id or directory, and what was published of them: unchanged weights in %."""

    init: str = ""
    final: str = ""
    method: str = ""
    table_1: float | None = None  # arXiv 2505.11711, Table 1, at 1e-5
    table_6: dict[str, float] = field(default_factory=dict)  # the same, Table 6, by tolerance
    note: str = ""  # what to know before comparing numbers


@dataclass(frozen=True)
class PairGrid:
    """Pairs of checkpoints by name: a grid of comparisons, where a :class:`Grid` is one of runs."""

    name: str = ""
    about: str = ""
    pairs: dict[str, CheckpointPair] = field(default_factory=dict)


@dataclass(frozen=True)
class PairsConfig:
    """What a command line with a grid of pairs composes to."""

    DTYPES: ClassVar[tuple[str, ...]] = ("bfloat16", "float16", "float32")
    TOLERANCES: ClassVar[tuple[float, ...]] = (0.0, 1e-8, 1e-6, 1e-5, 1e-4)
    PUBLISHED: ClassVar[tuple[str, ...]] = ("1e-8", "1e-6", "1e-5")  # tolerances of Table 6

    grid: PairGrid = field(default_factory=PairGrid)
    models_dir: str | None = None
    pairs: list[str] | None = None
    dtype: str | None = "bfloat16"
    threads: int | None = None
    out: str | None = None
    dry_run: bool = False
    partial: bool = False

    def __post_init__(self) -> None:
        named("grid.name", self.grid.name)
        require(bool(self.grid.pairs), "grid.pairs", "a table of pairs", self.grid.pairs)
        for name, pair in self.grid.pairs.items():
            key = f"grid.pairs.{name}"
            named(key, name)
            for side in ("init", "final"):
                require(bool(getattr(pair, side)), f"{key}.{side}", "a Hugging Face id or a directory", "")
            expand_home(pair, f"{key}.", "init", "final")
            for tolerance in pair.table_6:
                one_of(f"{key}.table_6", tolerance, self.PUBLISHED)
        if self.pairs is not None:
            require(bool(self.pairs), "pairs", "a list of pairs of the grid, or null for all", self.pairs)
            for name in self.pairs:
                one_of("pairs", name, tuple(self.grid.pairs))
        if self.dtype is not None:
            one_of("dtype", self.dtype, self.DTYPES)
        if self.threads is not None:
            at_least("threads", self.threads, 1)
        for key in ("models_dir", "out"):
            require(getattr(self, key) != "", key, "a directory", getattr(self, key))
        expand_home(self, "", "models_dir", "out")

    @property
    def selected(self) -> dict[str, CheckpointPair]:
        """The pairs to compare, in the grid's order."""
        return {name: pair for name, pair in self.grid.pairs.items() if self.pairs is None or name in self.pairs}
