"""How an update grows along a run: what changes, what changes back, and whether the steps add up.

The same weights are looked at in two ways at every measured step: all of them as they are *exported* (in bf16, say),
and a seeded sample of coordinates as they are *held* by the optimizer (in an fp32 master copy, say).

- *Ever*: differed from the init at some measured step; *never*: at none. *Effective*: differs at the last one.
  *Cancelled*: ever, and not effective. So ever = effective + cancelled, and never + ever = n. What changes and changes
  back between two measured steps is not seen: a coarser cadence finds no more than a finer one.
- *Coherence* is net displacement over the length of the path, 1 where all steps go one way. Of many coordinates i it
  is Σᵢ|Σₜ δᵢₜ| / ΣᵢΣₜ|δᵢₜ|: the mean of their coherences, weighted by the lengths of their paths.
- The *growth exponent* α of ‖Δ_T‖ ~ T^α is 1 where all steps are alike, and 1/2 for a random walk.
- The *flip threshold* of a weight w is half the distance between representable values of the export there: what a
  weight that lies on one of them must move by to be exported as another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.subnetwork.files.state import State, from_weights, to_weights
from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.update.movement import Moves, followers
from subnetray.subnetwork.visible import MismatchError, require_same_names
from subnetray.subnetwork.weights import Weights, module_kind

SNAPSHOTS = 21  # the cadence of arXiv 2505.11711, which looked at 21 checkpoints of a run
SAMPLE = 1 << 14  # coordinates: their shares have a standard error of 0.4 points at most

# That weights are not finite is seen from the norms.
_QUIET = np.errstate(invalid="ignore", over="ignore")

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """How many of ``n`` coordinates differed from the init at some measured step, and how many at the last one."""

    n: int
    ever: int
    effective: int

    @property
    def never(self) -> int:
        return self.n - self.ever

    @property
    def cancelled(self) -> int:
        return self.ever - self.effective

    @property
    def cancelled_of_n(self) -> float:
        """NaN without coordinates."""
        return ratio(self.cancelled, self.n)

    @property
    def cancelled_of_ever(self) -> float:
        """NaN if nothing ever changed."""
        return ratio(self.cancelled, self.ever)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.n + other.n, self.ever + other.ever, self.effective + other.effective)

    def to_dict(self) -> dict[str, float | None]:
        """All of the above."""
        names = ("n", "never", "ever", "effective", "cancelled", "cancelled_of_n", "cancelled_of_ever")
        return {name: _known(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class Step:
    """What a measured step shows. Densities are shares of all coordinates, norms are L2.

    Of the exported weights: ``density`` and ``update_norm`` since the init; ``density_step`` and ``step_norm`` since
    the last measured step; ``density_ever`` and ``coherence`` (NaN before anything has moved) over all measured steps.

    Of the held weights: ``update_norm_held`` since the init, scaled up from the sample; quantiles (0.5, 0.9, 0.99) of
    |Δ| and of |Δ| / flip threshold, and the median of the latter for the step alone; the share of coordinates that
    are beyond their threshold. NaN without coordinates.
    """

    density: float
    density_step: float
    density_ever: float
    update_norm: float
    step_norm: float
    coherence: float
    update_norm_held: float
    delta_q50: float
    delta_q90: float
    delta_q99: float
    threshold_q50: float
    threshold_q90: float
    threshold_q99: float
    threshold_step_q50: float
    beyond_threshold: float

    def to_dict(self) -> dict[str, float]:
        """What is known of it."""
        return {name: value for name, value in asdict(self).items() if not math.isnan(value)}


@dataclass(frozen=True)
class Summary:
    """What the measured steps of a run say together; see the module for the words.

    ``snapshots`` and ``at_snapshots``: how many of the measured steps were snapshots, and what those alone found.
    ``moves``: coordinates that changed in a step, summed over steps. ``coherence`` and ``growth`` are of the exported
    weights; with ``_held``, of the held ones, whose coordinates' own coherences have the quantiles ``coherence_q10`` to
    ``coherence_q90``. NaN where nothing has moved, and for an exponent of fewer than two steps.
    """

    measured: int
    counts: Counts
    snapshots: int
    at_snapshots: Counts
    by_module: dict[str, Counts]
    moves: int
    density_ever: float
    density_step: float  # mean over the measured steps
    coherence: float
    coherence_held: float
    coherence_q10: float
    coherence_q50: float
    coherence_q90: float
    growth: float
    growth_held: float
    sample: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values; null for what is not known."""
        values = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        return {name: _known(value) for name, value in values.items()} | {
            "counts": self.counts.to_dict(),
            "at_snapshots": self.at_snapshots.to_dict(),
            "by_module": {kind: counts.to_dict() for kind, counts in self.by_module.items()},
        }


class Dynamics:
    """Follows a run from ``init``, its exported weights (kept, not copied), and ``held``, the weights that it trains.

    Beside the init it keeps one copy of the weights in the export dtype, two bits a coordinate, and the sample. Raises
    ``MismatchError`` where names or shapes differ, ``TypeError`` for an export in neither bf16 nor fp32.
    """

    def __init__(self, init: Weights, held: Weights, sample: int = SAMPLE, seed: int = 0) -> None:
        _require_same_shapes(init, held)
        self._exported = _Exported(init)
        self._sample = _Sample(init, held, min(sample, self._exported.counts.n), seed)
        self._norms: list[tuple[int, float, float]] = []  # step, exported, held
        self._snapshots = 0

    @_QUIET
    def measure(self, step: int, held: Weights, snapshot: bool = False) -> Step:
        """Take in the weights after optimizer step ``step`` (1 or later); ``snapshot``: for the coarse cadence too."""
        _require_same_shapes(self._exported.init, held)
        moves = self._exported.advance(held, snapshot)
        self._snapshots += snapshot
        counts = self._exported.counts
        sample = self._sample.advance(held)
        self._norms.append((step, math.sqrt(moves.square), sample["update_norm_held"]))
        return Step(
            density=ratio(counts.effective, counts.n),
            density_step=ratio(moves.moved, counts.n),
            density_ever=ratio(counts.ever, counts.n),
            update_norm=math.sqrt(moves.square),
            step_norm=math.sqrt(moves.step_square),
            coherence=ratio(self._exported.net, self._exported.path),
            **sample,
        )

    @_QUIET
    def summary(self) -> Summary:
        """What has been found so far."""
        exported = self._exported
        counts = exported.counts
        steps = [step for step, _, _ in self._norms]
        low, middle, high = _quantiles(self._sample.coherences(), (0.1, 0.5, 0.9))
        return Summary(
            measured=len(steps),
            counts=counts,
            snapshots=self._snapshots,
            at_snapshots=exported.snapshot_counts,
            by_module=exported.by_module(),
            moves=exported.moves,
            density_ever=ratio(counts.ever, counts.n),
            density_step=ratio(exported.moves, len(steps) * counts.n),
            coherence=ratio(exported.net, exported.path),
            coherence_held=self._sample.coherence(),
            coherence_q10=low,
            coherence_q50=middle,
            coherence_q90=high,
            growth=growth_exponent(steps, [norm for _, norm, _ in self._norms]),
            growth_held=growth_exponent(steps, [norm for _, _, norm in self._norms]),
            sample=self._sample.size,
        )

    def kept(self) -> State:
        """Return what it has found so far, for :meth:`resume` of another that follows the same run."""
        state = State({}, {"norms": self._norms, "snapshots": self._snapshots})
        state.put("exported", self._exported.kept())
        state.put("sample", self._sample.kept())
        return state

    def resume(self, state: State) -> None:
        """Go on from there, the weights of that step being measured last."""
        self._norms = [(int(step), one, other) for step, one, other in state.values["norms"]]
        self._snapshots = int(state.values["snapshots"])
        self._exported.resume(state.part("exported"))
        self._sample.resume(state.part("sample"))


def growth_exponent(steps: Sequence[int], norms: Sequence[float]) -> float:
    """The α of ‖Δ_T‖ ~ T^α: least squares of log norm on log step, over the steps whose norm is positive and finite.

    NaN for fewer than two of them.
    """
    points = [
        (math.log(step), math.log(norm))
        for step, norm in zip(steps, norms, strict=True)
        if norm > 0 and math.isfinite(norm)
    ]
    if len(points) < 2:
        return math.nan
    x, y = np.array(points).T
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def flip_threshold(weights: _Floats, dtype: torch.dtype) -> _Floats:
    """Half the distance between representable values of ``dtype`` at each of ``weights``.

    That is the distance upwards; below an exact power of two values are twice as dense.
    """
    info = torch.finfo(dtype)
    _, exponents = np.frexp(np.maximum(np.abs(weights), info.smallest_normal))
    return np.ldexp(info.eps / 2, exponents - 1)


class _Exported:
    """The exported weights along the run, and of which coordinates they have differed from the init."""

    def __init__(self, init: Weights) -> None:
        self.init = init
        sizes = [tensor.numel() for tensor in init.values()]
        # A bit a coordinate; those of every tensor begin with a byte.
        ends = np.cumsum([0, *(-(-size // 8) for size in sizes)])
        self._seen, self._ever, self._at_snapshots = (np.zeros(ends[-1], np.uint8) for _ in range(3))
        seen, ever = ([bits[first:end] for first, end in pairwise(ends)] for bits in (self._seen, self._ever))
        self._parts = list(zip(sizes, seen, ever, strict=True))
        self._followers = followers(list(init.values()), seen, ever)
        self.counts = self.snapshot_counts = Counts(sum(sizes), 0, 0)
        self.moves = 0
        self.net = self.path = 0.0  # Σ|Δ|, ΣΣ|δ|

    def advance(self, held: Weights, snapshot: bool) -> Moves:
        """Take in the weights after a step, of whose tensors the sum is returned."""
        found = [each.advance(held[name]) for name, each in zip(self.init, self._followers, strict=True)]
        total = Moves.total(found)
        self.counts = Counts(self.counts.n, _population(self._ever), total.effective)
        if snapshot:
            self._at_snapshots |= self._seen
            self.snapshot_counts = Counts(self.counts.n, _population(self._at_snapshots), total.effective)
        self.moves += total.moved
        self.net = total.net
        self.path += total.path
        return total

    def kept(self) -> State:
        """Bits and sums, and the weights measured last."""
        names = self.init
        previous = ((name, each.previous()) for name, each in zip(names, self._followers, strict=True))
        bits = {"seen": self._seen, "ever": self._ever, "at_snapshots": self._at_snapshots}
        counts = [[each.ever, each.effective] for each in (self.counts, self.snapshot_counts)]
        sums = {"moves": self.moves, "net": self.net, "path": self.path}
        state = State({name: torch.from_numpy(each) for name, each in bits.items()}, {"counts": counts, **sums})
        state.put("previous", from_weights(previous, names))
        return state

    def resume(self, state: State) -> None:
        """Inverse of :meth:`kept`."""
        for name, bits in (("seen", self._seen), ("ever", self._ever), ("at_snapshots", self._at_snapshots)):
            bits[:] = state.tensors[name].numpy()
        self.counts, self.snapshot_counts = (Counts(self.counts.n, *each) for each in state.values["counts"])
        self.moves, self.net, self.path = (state.values[key] for key in ("moves", "net", "path"))
        previous = to_weights(state.part("previous"), self.init)
        for (_, tensor), follower in zip(previous, self._followers, strict=True):
            follower.go_back(tensor)

    def by_module(self) -> dict[str, Counts]:
        """The counts of every kind of module."""
        found: dict[str, Counts] = {}
        for name, (size, seen, ever) in zip(self.init, self._parts, strict=True):
            kind = module_kind(name)
            found[kind] = found.get(kind, Counts(0, 0, 0)) + Counts(size, _population(ever), _population(seen))
        return found


class _Sample:
    """Coordinates of the held weights, drawn without replacement from all tensors together."""

    def __init__(self, init: Weights, held: Weights, size: int, seed: int) -> None:
        sizes = [tensor.numel() for tensor in init.values()]
        n = sum(sizes)
        drawn = np.sort(np.random.default_rng(seed).choice(n, size, replace=False, shuffle=False))
        ends = np.cumsum(sizes)
        parts = np.split(drawn, np.searchsorted(drawn, ends[:-1]))
        self.size, self._scale = size, n / size if size else math.nan
        self._positions = {
            name: torch.from_numpy(part - (end - count)).to(held[name].device)
            for name, part, end, count in zip(init, parts, ends, sizes, strict=True)
        }
        self._init = self._previous = self._take(held)
        self._path = np.zeros(size)
        self._threshold = np.concatenate(
            [
                flip_threshold(part, init[name].dtype)
                for name, part in zip(init, np.split(self._init, np.searchsorted(drawn, ends[:-1])), strict=True)
            ]
        )

    def advance(self, held: Weights) -> dict[str, float]:
        """The part of :class:`Step` that is about held weights."""
        values = self._take(held)
        delta, step = np.abs(values - self._init), np.abs(values - self._previous)
        self._previous = values
        self._path += step
        relative = delta / self._threshold
        levels = (0.5, 0.9, 0.99)
        return {
            "update_norm_held": math.sqrt(self._scale * float(np.square(delta).sum())),
            **{f"delta_q{100 * q:.0f}": value for q, value in zip(levels, _quantiles(delta, levels), strict=True)},
            **{
                f"threshold_q{100 * q:.0f}": value
                for q, value in zip(levels, _quantiles(relative, levels), strict=True)
            },
            "threshold_step_q50": _quantiles(step / self._threshold, (0.5,))[0],
            "beyond_threshold": ratio(int(np.count_nonzero(relative > 1)), self.size),
        }

    def kept(self) -> State:
        """The values measured last, and the lengths of their paths."""
        return State({"previous": torch.from_numpy(self._previous), "path": torch.from_numpy(self._path)})

    def resume(self, state: State) -> None:
        """Inverse of :meth:`kept`."""
        self._previous, self._path = (state.tensors[name].clone().numpy() for name in ("previous", "path"))

    def coherence(self) -> float:
        """Of all sampled coordinates together."""
        return ratio(float(np.abs(self._previous - self._init).sum()), float(self._path.sum()))

    def coherences(self) -> _Floats:
        """Of each sampled coordinate that has moved."""
        net = np.abs(self._previous - self._init)
        return np.asarray(net[self._path > 0] / self._path[self._path > 0])

    def _take(self, held: Weights) -> _Floats:
        parts = [torch.take(held[name].detach(), positions).cpu() for name, positions in self._positions.items()]
        return torch.cat(parts).double().numpy() if parts else np.empty(0)


def _population(bits: npt.NDArray[np.uint8]) -> int:
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def _quantiles(values: _Floats, levels: Sequence[float]) -> list[float]:
    """By linear interpolation, as numpy's, which takes four times as long as a whole sort; NaN if any value is."""
    if not values.size:
        return [math.nan] * len(levels)
    ordered = np.sort(values)
    if np.isnan(ordered[-1]):
        return [math.nan] * len(levels)
    places = np.arange(values.size)
    return [float(value) for value in np.interp(np.multiply(levels, values.size - 1), places, ordered)]


def _require_same_shapes(init: Weights, held: Weights) -> None:
    require_same_names(init, held)
    for name, tensor in init.items():
        if tensor.shape != held[name].shape:
            raise MismatchError(f"tensor {name!r} is {tuple(tensor.shape)} in the init, {tuple(held[name].shape)} now")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
