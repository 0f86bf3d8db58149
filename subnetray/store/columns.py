"""The columns of a sweep's tables, each declared once: name, type, meaning, unit, and where its value comes from.

Schemas, reserved names of factors, rows and ``docs/tables.md`` follow from this file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from subnetray.config import Measurement
from subnetray.nulls import NULLS, Null

if TYPE_CHECKING:
    import pyarrow as pa

TEXT, REAL, WHOLE, TRUTH = "text", "real", "whole number", "true or false"


@dataclass(frozen=True)
class Column:
    """One column. ``source``: the path of its value in what is known of a run, as in ``result.density.bitwise``,
    or a function of it; empty where the code that fills the table names it. ``section``: what trackers show it under.
    """

    name: str
    kind: str
    meaning: str
    unit: str = ""
    source: str | Callable[[Mapping[str, Any]], Any] = ""
    section: str = ""

    @property
    def key(self) -> str:
        """Return what a tracker calls it: its section, if it has one, and its name."""
        return f"{self.section}/{self.name}" if self.section else self.name

    def value(self, facts: Mapping[str, Any]) -> Any:
        """The value of one run, of ``facts`` with the keys run, config and result; None where nothing is said."""
        found = self.source(facts) if callable(self.source) else _at(facts, self.source.split("."))
        return None if isinstance(found, float) and math.isnan(found) else found


def _at(values: Any, path: Sequence[str]) -> Any:
    for place, key in enumerate(path):
        if not isinstance(values, Mapping):
            return None
        if (rest := ".".join(path[place:])) in values:  # a key may have points, as 1e-05 does not and 0.0001 does
            return values[rest]
        values = values.get(key)
    return values


def _budget(facts: Mapping[str, Any]) -> float | None:
    found = facts["result"].get("subnetwork")
    return found["k"] / found["n"] if found else None


_IDENTITY = (
    Column("seed", WHOLE, "the run's seed", source="run.seed"),
    Column("status", TEXT, "done or failed", source="result.status"),
    Column("error", TEXT, "why it failed", source="result.error"),
    Column("model", TEXT, "name of the model's config", source="config.model.name"),
    Column("task", TEXT, "name of the task's config", source="config.task.name"),
    Column("algorithm", TEXT, "name of the algorithm", source="config.algorithm.name"),
    Column("precision", TEXT, "dtypes of training and export", source="config.precision"),
    Column("lr", REAL, "peak learning rate", source="config.algorithm.lr"),
    Column("export_dtype", TEXT, "dtype in which init and final are compared", source="result.export_dtype"),
    Column("init_hash", TEXT, "hash of the exported init's weights", source="result.init_hash"),
    Column("final_hash", TEXT, "hash of the exported final's weights", source="result.final_hash"),
)
_EVALUATION = (
    *(
        Column(
            f"reward_{when}",
            REAL,
            f"mean reward of sampled held-out completions {when} training",
            source=f"result.evaluation.{when}.sampled.reward",
        )
        for when in ("before", "after")
    ),
    *(
        Column(
            f"accuracy_{kind}_{when}{suffix}",
            REAL,
            f"{'standard error of the ' if suffix else ''}held-out accuracy, {kind}, {when} training",
            "share",
            f"result.evaluation.{when}.{kind}.accuracy{suffix}",
        )
        for kind in ("greedy", "sampled")
        for when in ("before", "after")
        for suffix in ("", "_se")
    ),
    *(
        Column(f"{name}_{when}", REAL, f"{meaning} {when} training", unit, f"result.evaluation.{when}.sampled.{name}")
        for name, meaning, unit in (
            ("entropy", "mean entropy of sampled completions", "nats a token"),
            ("completion_length", "mean length of sampled completions", "tokens"),
            ("truncated_share", "sampled completions that were cut off", "share"),
        )
        for when in ("before", "after")
    ),
    Column(
        "kl_to_init",
        REAL,
        "KL of the final policy to the init on its own completions",
        "nats a token",
        "result.kl_to_init",
    ),
    Column("eval_n", WHOLE, "held-out prompts", source="result.evaluation.before.sampled.n"),
)
_DENSITY = "share of coordinates that count as updated"
_UPDATE = (
    Column("density_bitwise", REAL, f"{_DENSITY}: stored value differs bit for bit", "share", "result.density.bitwise"),
    *(
        Column(
            f"density_{ulps}_ulps",
            REAL,
            f"{_DENSITY}: at least {ulps} representable values away",
            "share",
            f"result.density.ulps.{ulps}",
        )
        for ulps in Measurement.ULPS
    ),
    *(
        Column(
            f"density_fp{bits}",
            REAL,
            f"{_DENSITY}: bit for bit, both cast to fp{bits}",
            "share",
            f"result.views.density.float{bits}",
        )
        for bits in (16, 32)
    ),
    *(
        Column(
            f"energy_{percent}",
            REAL,
            f"smallest share of coordinates with {percent} % of ΣΔ²",
            "share",
            f"result.views.energy.{percent}",
        )
        for percent in (50, 90, 99)
    ),
    Column("participation", REAL, "participation ratio of Δ² over coordinates", "share", "result.views.participation"),
    Column("reachable", REAL, "coordinates that Σ lr could change in this dtype", "share", "result.views.reachable"),
    *(
        Column(
            f"rank_{name}{suffix}",
            REAL,
            f"{meaning}, mean over matrices{of}; of the full rank",
            "share",
            f"result.ranks.{what}.{name}",
        )
        for name, meaning in (
            ("numerical", "rank of the update as torch's matrix_rank"),
            ("stable", "stable rank of the update, ‖Δ‖²/σ1²"),
            ("entropy", "effective rank of the update, by the entropy of its singular values"),
            ("energy_99", "fewest singular values of the update with 99 % of ‖Δ‖²"),
        )
        for suffix, what, of in (("", "update", ""), ("_shuffled", "shuffled", " whose entries are put anywhere"))
    ),
    Column("density_step", REAL, "mean share that one measured step changes", "share", "result.dynamics.density_step"),
    Column(
        "density_ever", REAL, "share that has changed at any measured step", "share", "result.dynamics.density_ever"
    ),
    *(
        Column(
            f"cancelled_of_{of}{suffix}",
            REAL,
            f"changed at some {point}, back at the init at the end; of {whole}",
            "share",
            f"result.dynamics.{where}.cancelled_of_{of}",
        )
        for suffix, where, point in (("", "counts", "step"), ("_at_snapshots", "at_snapshots", "snapshot"))
        for of, whole in (("n", "all coordinates"), ("ever", "those that ever changed"))
    ),
    *(
        Column(f"{name}{suffix}", REAL, f"{meaning}, {weights}", source=f"result.dynamics.{name}{suffix}")
        for name, meaning in (
            ("coherence", "length of the update over the length of its path"),
            ("growth", "exponent of the update's growth with steps: 1 for a drift, 1/2 for a random walk"),
        )
        for suffix, weights in (("", "exported weights"), ("_held", "weights as held in training"))
    ),
    Column("n", WHOLE, "coordinates, tied ones once", source="result.n"),
    Column("steps", WHOLE, "optimizer steps", source="result.steps"),
    Column("sum_lr", REAL, "sum of the learning rate over steps", source="result.sum_lr"),
    Column("arm", TEXT, "how a restricted run got its mask", source="result.subnetwork.arm"),
    Column("source", TEXT, "id of the run that the mask is made of", source="result.subnetwork.source"),
    Column("budget", REAL, "density of the mask that training was restricted to", "share", _budget),
    Column(
        "distance_to_source",
        REAL,
        "‖final − source's final‖ over ‖source's update‖",
        source="result.subnetwork.distance.relative",
    ),
    *(
        Column(
            f"{what}_{tau:g}", REAL, meaning.format(f"{tau:g}"), "share", f"result.subnetwork.distance.{what}.{tau:g}"
        )
        for what, meaning in (
            ("equal", "weights within {} of the source's final"),
            ("bound", "the same, as far as Σ lr alone guarantees it"),
        )
        for tau in Measurement.NEAR
    ),
    Column(
        "data_nll",
        REAL,
        "negative log-likelihood of the training data under the init",
        "nats a token",
        "result.data.nll",
    ),
    Column("data_tokens", WHOLE, "tokens of the training data", source="result.data.tokens"),
)
_RUN_ID = Column("run_id", TEXT, "the run's id, a content hash", source="run.run_id")
# A step has densities too, under update/: these are of the update as a whole, final − init.
_EVAL, _FINAL, _FACTOR = "eval", "final", "factor"
_FIXED = (
    *(_RUN_ID, *_IDENTITY),
    *(dataclasses.replace(column, section=_EVAL) for column in _EVALUATION),
    *(dataclasses.replace(column, section=_FINAL) for column in _UPDATE),
)

# ``seconds`` was one of them, and is what time.parquet has.
RESERVED = frozenset(column.name for column in _FIXED) | {"seconds"}
_FAMILY = "density_"  # of columns by tolerance


def is_reserved(name: str) -> bool:
    """Return whether a factor of this name would clash with another column of runs.parquet."""
    return name in RESERVED or name.startswith(_FAMILY)


def of_runs(factors: Iterable[str], tolerances: Iterable[float]) -> list[Column]:
    """Columns of ``runs.parquet``, one row a run."""
    by_tolerance = [
        Column(f"{_FAMILY}{tau:g}", REAL, f"{_DENSITY}: |Δ| > {tau:g}", "share", f"result.density.abs.{tau:g}", _FINAL)
        for tau in tolerances
    ]
    columns: list[Column] = [_RUN_ID]
    columns += [Column(name, TEXT, "level of this factor", "", f"run.cell.{name}", _FACTOR) for name in factors]
    for column in _FIXED[1:]:
        columns.append(column)
        if column.name == "density_bitwise":
            columns += by_tolerance
    return columns


_PAIR = (
    Column("run_a", TEXT, "id of the run that comes first in the grid"),
    Column("run_b", TEXT, "id of the other run"),
    Column("same_init", TRUTH, "whether both started from one init"),
    Column("n", WHOLE, "coordinates"),
    Column("k1", WHOLE, "updated in run_a"),
    Column("k2", WHOLE, "updated in run_b"),
    Column("k12", WHOLE, "updated in both"),
    Column("o1", REAL, "k12 / k1", "share"),
    Column("o2", REAL, "k12 / k2", "share"),
    Column("overlap_coefficient", REAL, "k12 / min(k1, k2)", "share"),
    Column("jaccard", REAL, "k12 / (k1 + k2 − k12)", "share"),
    Column("dice", REAL, "2·k12 / (k1 + k2)", "share"),
    Column("kappa", REAL, "Cohen's κ"),
    Column("kappa_max", REAL, "largest κ that these densities allow"),
    Column("phi", REAL, "φ, the correlation of the two masks"),
    Column("enrichment", REAL, "k12 over what the uniform null expects"),
)
_UPDATES = (
    Column("sign_agreement", REAL, "same sign of Δ where both changed; runs of one init", "share"),
    Column("cosine", REAL, "cosine of Δ where both changed; runs of one init"),
    Column("agreement_n", WHOLE, "coordinates that these two are of: sampled in large models"),
    Column("distance_a", REAL, "‖final_a − final_b‖ over ‖Δ_a‖"),
    Column("distance_b", REAL, "‖final_a − final_b‖ over ‖Δ_b‖"),
    *(Column(f"equal_{tau:g}", REAL, f"weights of the finals within {tau:g}", "share") for tau in Measurement.NEAR),
    *(
        Column(f"equal_inside_{tau:g}_{side}", REAL, f"the same, of those that run_{side} changed", "share")
        for tau in Measurement.NEAR
        for side in "ab"
    ),
)


def of_null(null: Null) -> list[Column]:
    """Columns of one null in ``overlap.parquet``."""
    found = [
        Column(f"{null.name}_{name}", REAL, f"{meaning} where {null.known}", "coordinates")
        for name, meaning in (("expected", "k12 that the null expects"), ("excess", "k12 above the null"))
    ]
    if null.odds:
        meaning = f"odds ratio ({null.odds}) given the null: 1 where it explains the overlap"
        found.append(Column(f"{null.name}_odds_ratio", REAL, f"{meaning}; {null.known}"))
    return found


def of_pairs() -> list[Column]:
    """Columns of ``overlap.parquet``, one row a pair of runs."""
    return [*_PAIR, *(column for null in NULLS.values() for column in of_null(null)), *_UPDATES]


def row(columns: Iterable[Column], run: Mapping[str, Any], config: Any, result: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one run; a failed one has only identity, config and reason.

    ``run`` has run_id, seed and cell; ``config`` is the run's as a dictionary; ``result`` is its ``result.json``.
    """
    if result["status"] != "done":
        result = {key: result[key] for key in ("status", "error")}
    facts = {"run": run, "config": config, "result": result}
    return {column.name: value for column in columns if (value := column.value(facts)) is not None}


def schema(columns: Iterable[Column]) -> pa.Schema:
    """The Parquet schema of a table."""
    import pyarrow as pa

    kinds = {TEXT: pa.string(), REAL: pa.float64(), WHOLE: pa.int64(), TRUTH: pa.bool_()}
    return pa.schema([(column.name, kinds[column.kind]) for column in columns])
