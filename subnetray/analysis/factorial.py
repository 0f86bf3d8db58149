"""Mixed models of a crossing: cells are fixed effects, inits and seeds random ones, runs the residual.

Means of cells are estimated by generalised least squares with the variance components of a REML fit (statsmodels). Main
effects and interactions are contrasts of those means, each cell counting alike (type III), tested by F with the degrees
of freedom that blocks and cells leave: of a balanced crossing it is the F of the analysis of variance with blocks.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from subnetray.analysis.intervals import LEVEL, Estimate
from subnetray.analysis.verdicts import holm
from subnetray.grid.fraction import Term

Floats = NDArray[np.float64]
Cell = tuple[str, ...]  # a level of each factor


@dataclass(frozen=True)
class Observation:
    """One run: the levels of its cell, in the order of the factors, its blocks and its value."""

    cell: Cell
    seed: int
    init: Cell  # a level of each factor that is a block; () where there is none
    value: float


@dataclass(frozen=True)
class Effect:
    """An effect that the design can tell: one term, several that it confounds, or all of three and more factors.

    ``partial_eta``: partial η², its interval from the noncentral F distribution (J. Steiger, Psychological Methods 9,
    2004). ``p_holm`` counts all effects of one model.
    """

    terms: tuple[Term, ...]
    df: int
    f: float
    p: float
    p_holm: float
    partial_eta: Estimate


@dataclass(frozen=True)
class Fit:
    """The effects, the degrees of freedom of their error, and standard deviations of inits, of seeds within inits and
    of runs within blocks (NaN where there is nothing to tell them by)."""

    effects: tuple[Effect, ...]
    error_df: int
    runs: int
    blocks: int
    init_sd: float
    seed_sd: float
    run_sd: float


def fit(
    levels: Mapping[str, Sequence[str]],
    cells: Sequence[Cell],
    runs: Sequence[Observation],
    aliased: Sequence[tuple[Term, ...]] = (),
) -> Fit:
    """Fit the model to ``runs`` of a crossing of ``levels`` with ``cells``, all of them or a regular fraction.

    ``aliased``: groups of terms that the fraction confounds. Raises ValueError, one sentence, where runs are too few.
    """
    place = {cell: index for index, cell in enumerate(cells)}
    blocks = list(dict.fromkeys((run.init, run.seed) for run in runs))
    if missing := len(set(cells) - {run.cell for run in runs}):
        raise ValueError(f"{missing} of {len(cells)} cells have no value")
    error_df = len(runs) - len(cells) - (len(blocks) - 1)
    if len(blocks) < 2 or error_df < 1:
        raise ValueError("fewer than two seeds have finished")
    exog = np.zeros((len(runs), len(cells)))
    exog[np.arange(len(runs)), [place[run.cell] for run in runs]] = 1
    values = np.array([run.value for run in runs])
    residuals = values - exog @ np.linalg.lstsq(exog, values, rcond=None)[0]
    # Below rounding there is no error to test by.
    if not np.abs(residuals).max() > 1e-12 * max(1.0, np.abs(values).max()):
        raise ValueError("runs of one cell do not differ")
    run_variance, seed_variance, init_variance = _variances(values, exog, runs)
    of_seed = np.equal.outer(*2 * (np.array([blocks.index((run.init, run.seed)) for run in runs]),))
    inits = list(dict.fromkeys(run.init for run in runs))
    of_init = np.equal.outer(*2 * (np.array([inits.index(run.init) for run in runs]),))
    covariance = run_variance * np.eye(len(runs)) + seed_variance * of_seed
    if not math.isnan(init_variance):
        covariance += init_variance * of_init
    weighted = np.linalg.solve(covariance, exog)
    of_means = np.linalg.inv(exog.T @ weighted)
    means = of_means @ (weighted.T @ values)
    fraction = len(cells) < math.prod(len(known) for known in levels.values())
    effects = []
    for terms in _terms(tuple(levels), fraction, aliased):
        # Terms that are confounded are one contrast under several names.
        contrasts = np.hstack([_contrast(levels, cells, term) for term in (terms[:1] if fraction else terms)])
        shift = contrasts.T @ means
        df = int(contrasts.shape[1])
        f = float(shift @ np.linalg.solve(contrasts.T @ of_means @ contrasts, shift)) / df
        p = float(special.fdtrc(df, error_df, f))
        effects.append(Effect(terms, df, f, p, p, partial_eta(f, df, error_df)))
    adjusted = holm([each.p for each in effects])
    return Fit(
        effects=tuple(
            Effect(each.terms, each.df, each.f, each.p, p_holm, each.partial_eta)
            for each, p_holm in zip(effects, adjusted, strict=True)
        ),
        error_df=error_df,
        runs=len(runs),
        blocks=len(blocks),
        init_sd=math.sqrt(init_variance),
        seed_sd=math.sqrt(seed_variance),
        run_sd=math.sqrt(run_variance),
    )


def partial_eta(f: float, df: int, error_df: int, level: float = LEVEL) -> Estimate:
    """Return partial η² of an F statistic, and the interval of the noncentralities that it is likely under.

    A noncentrality λ is an η² of λ / (λ + n), where n, that of the estimate, is all degrees of freedom and one.
    """
    n = df + error_df + 1
    tail = (1 - level) / 2
    low, high = (_noncentrality(f, df, error_df, p) for p in (1 - tail, tail))
    return Estimate(f * df / (f * df + error_df), low / (low + n), high / (high + n), n, level)


def _noncentrality(f: float, df: int, error_df: int, p: float) -> float:
    """The λ under which F is at most ``f`` with probability ``p``: 0 if less under any, NaN beyond 1e7."""
    from scipy.optimize import brentq  # here: both take their time, and are needed by few reports
    from scipy.stats import ncf

    def over(noncentrality: float) -> float:
        return float(ncf.cdf(f, df, error_df, noncentrality) if noncentrality else special.fdtr(df, error_df, f)) - p

    if over(0.0) <= 0:
        return 0.0
    high = 1.0
    while over(high) > 0:
        high *= 4
        if high > 1e7:
            return math.nan
    return float(brentq(over, 0.0, high, xtol=1e-9))


def _terms(names: Term, fraction: bool, aliased: Sequence[tuple[Term, ...]]) -> list[tuple[Term, ...]]:
    """List what the design tells apart: main effects, interactions of two factors, and all of more factors together."""
    of_order = {order: list(itertools.combinations(names, order)) for order in range(1, len(names) + 1)}
    low = [*of_order[1], *of_order.get(2, [])]
    if fraction:
        group = {term: terms for terms in aliased for term in terms}
        return list(dict.fromkeys(group.get(term, (term,)) for term in low))
    high = tuple(term for order, terms in of_order.items() if order > 2 for term in terms)
    return [*((term,) for term in low), *([high] if high else [])]


def _contrast(levels: Mapping[str, Sequence[str]], cells: Sequence[Cell], term: Term) -> Floats:
    """Contrasts [cells, degrees of freedom] of a term: products of codes that sum to zero over each factor's levels."""
    names = list(levels)
    rows = []
    for cell in cells:
        row: Floats = np.ones(1)
        for name in term:
            known = list(levels[name])
            row = np.kron(row, _sum_code(known.index(cell[names.index(name)]), len(known))).astype(np.float64)
        rows.append(row)
    return np.array(rows)


def _sum_code(index: int, count: int) -> Floats:
    return -np.ones(count - 1) if index == count - 1 else np.eye(count - 1)[index]


def _variances(values: Floats, exog: Floats, runs: Sequence[Observation]) -> tuple[float, float, float]:
    """Variances of runs within blocks, of seeds within inits, and of inits (NaN if there is one alone), by REML."""
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec  # here: seconds, and no trial needs it

    inits = [repr(run.init) for run in runs]
    seeds = [f"{run.init} {run.seed}" for run in runs]
    several = len(set(inits)) > 1
    scale = float(np.std(values - exog @ np.linalg.lstsq(exog, values, rcond=None)[0]))
    more: dict[str, Any] = {}
    if several and len(set(seeds)) > len(set(inits)):
        # MixedLM asks for the matrices of its groups in the sorted order that it gives them.
        groups = sorted(set(inits))
        inside = {each: [seed for seed, init in zip(seeds, inits, strict=True) if init == each] for each in groups}
        names = {each: sorted(set(inside[each])) for each in groups}
        matrices = [
            np.array([[float(seed == name) for name in names[each]] for seed in inside[each]]) for each in groups
        ]
        more["exog_vc"] = VCSpec(["seed"], [[names[each] for each in groups]], [matrices])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of zero is a finding
        intercept = np.ones((len(runs), 1))
        model = MixedLM(values / scale, exog, np.array(inits if several else seeds), exog_re=intercept, **more)
        found = model.fit(reml=True)
    group, run = float(np.asarray(found.cov_re)[0, 0]), float(found.scale)
    seed = float(found.vcomp[0]) if more else (0.0 if several else group)
    return run * scale**2, max(0.0, seed) * scale**2, max(0.0, group) * scale**2 if several else math.nan
