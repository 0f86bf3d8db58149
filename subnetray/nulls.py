"""Declare the nulls, what two masks would share without shared structure: each a class in :data:`NULLS`.

Columns of ``overlap.parquet``, groups of pairs, claims, tables of the report and docs/nulls.md follow from what is
declared here. Nothing heavy is imported before a null is computed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from subnetray import plugins

if TYPE_CHECKING:
    from subnetray.subnetwork.mask import Mask
    from subnetray.subnetwork.overlap.nulls import PairCounts
    from subnetray.subnetwork.overlap.sketch import Sample
    from subnetray.subnetwork.overlap.strata import Strata


@dataclass(frozen=True)
class Run:
    """Nulls may know this of a run: its mask, the strata of its own init, coordinates drawn of a large model."""

    mask: Mask
    strata: Callable[[], Strata]
    drawn: Callable[[], Sample]


@dataclass(frozen=True)
class Pair:
    """Nulls may know this of a pair: its counts, as row and column 0 of ``counts``, and what was made of either run.

    Counts are of run_a and run_b in either order; every null is the same in both.
    """

    counts: PairCounts
    row: int
    made: Mapping[str, tuple[Any, Any]]

    @property
    def k12(self) -> int:
        """Coordinates in both masks."""
        return int(self.counts.k12[self.row, 0])


@dataclass(frozen=True)
class Expectation:
    """A null expects this of a pair: ``k12``, and the odds ratio that is left given the null; NaN where it has none."""

    k12: float
    odds_ratio: float = math.nan


class Null(ABC):
    """One null. ``name`` begins its columns; it is called "the ``title`` null"; ``known`` is what it takes as given,
    and ``given`` the same in a few words.

    ``reading`` says in one sentence what it compares; ``source`` where it is from; ``odds`` how its odds ratio is
    estimated, empty where it has none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    known: ClassVar[str]
    given: ClassVar[str]
    reading: ClassVar[str]
    source: ClassVar[str]
    odds: ClassVar[str] = ""
    # Whether what is made of a run is kept whatever the memory: where making it again takes longer than many pairs do.
    costly: ClassVar[bool] = False

    def of_run(self, run: Run) -> Any:
        """Return what a pair needs of each run beyond counts, made once a run; ``nbytes`` says what it takes."""
        return None

    @abstractmethod
    def of_pair(self, pair: Pair) -> Expectation:
        """Return what the null expects of a pair."""


class _Partition(Null):
    """Coordinates of one part are alike, and those of different parts are not compared."""

    odds = "Mantel-Haenszel"
    part: ClassVar[str]  # of PairCounts

    def of_pair(self, pair: Pair) -> Expectation:
        found = getattr(pair.counts, self.part)
        return Expectation(float(found.expected[pair.row, 0]), float(found.odds_ratio[pair.row, 0]))


class Uniform(_Partition):
    name, part = "uniform", "uniform"
    title = "uniform"
    known = "all coordinates are alike"
    given = "the density of the model"
    reading = "Masks of the same sizes anywhere in the model."
    source = "arXiv 2505.11711, appendix E"


class PerTensor(_Partition):
    name, part = "tensor", "tensor"
    title = "tensor"
    known = "each tensor's density is known"
    given = "the density of each tensor"
    reading = "Masks of the same sizes in every tensor."
    source = "the uniform null, tensor by tensor"


class RowsAndColumns(Null):
    name = "margins"
    title = "row and column"
    known = "each matrix's row and column sums are known"
    given = "the sums of each row and column"
    reading = "The least that the sums of each row and each column of a matrix say of its mask."
    source = "Saracco et al., Scientific Reports 5, 10595 (2015): the bipartite configuration model"

    def of_run(self, run: Run) -> Any:
        from subnetray.subnetwork.overlap.margins import margins

        return margins(run.mask)

    def of_pair(self, pair: Pair) -> Expectation:
        from subnetray.subnetwork.overlap.margins import expected_overlap

        one, two = pair.made[self.name]
        return Expectation(float(expected_overlap([one], two)[0]))


class Ulp(_Partition):
    name, part = "ulp", "stratified"
    title = "ULP"
    known = "tensor and exponent of the initial weight are known (and how near one of a wider format lies to rounding)"
    given = "tensor and exponent of the initial weight"
    reading = "Masks of the same sizes in every stratum of tensor × exponent of the initial weight."
    source = "stratification: Mantel and Haenszel, J. Natl. Cancer Inst. 22, 719 (1959)"


class Joint(Null):
    name = "joint"
    title = "joint"
    known = "stratum (as of the ULP null), row and column of each matrix are known together"
    given = "exponent, row and column of each weight together"
    reading = "What stratum, row and column together say of a weight: each has a share in whether its change shows."
    source = "additive models of binary data (Rasch, 1960), with the link that visibility has: see docs/nulls.md"
    odds = "Peto"
    costly = True  # fitted in 0.1 s where a pair takes less than 1 ms; 2 bytes a coordinate, 8 MiB at most

    def of_run(self, run: Run) -> Any:
        from subnetray.subnetwork.overlap.joint import joint

        return joint(run.mask, run.strata(), run.drawn())

    def of_pair(self, pair: Pair) -> Expectation:
        from subnetray.subnetwork.overlap.joint import joint_overlap

        found = joint_overlap(*pair.made[self.name])
        return Expectation(found.k12, found.odds_ratio(pair.k12))


def _misfit(name: str, kind: Any) -> str | None:
    if not (isinstance(kind, type) and issubclass(kind, Null)):
        return "a null is a subclass of subnetray.nulls.Null"
    lacking = [each for each in ("title", "known", "given", "reading", "source") if not getattr(kind, each, "")]
    if lacking:
        return f"it does not say its {lacking[0]}"
    return None if getattr(kind, "name", "") == name else f"its name is {getattr(kind, 'name', '')!r}"


# From what knows least to what knows most; then those of other packages.
_OURS: dict[str, Null] = {null.name: null for null in (Uniform(), PerTensor(), RowsAndColumns(), Ulp(), Joint())}
NULLS: dict[str, Null] = _OURS | {name: kind() for name, kind in plugins.load("nulls", _misfit, _OURS).items()}
STRONGEST = Joint.name  # that claims are tested against
