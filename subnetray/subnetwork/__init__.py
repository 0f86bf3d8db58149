"""Pure tensor code: what changed between an init and a final, and how much of it two runs share.

Tensors in, dataclasses out; nothing here imports Ray, TRL, vLLM, W&B or transformers.
"""

from __future__ import annotations

from subnetray.subnetwork import arms
from subnetray.subnetwork.delta import Delta, DeltaError, compose
from subnetray.subnetwork.files.container import CorruptFileError
from subnetray.subnetwork.files.scores import load_scores, save_scores
from subnetray.subnetwork.hashing import tensor_hash, weights_hash
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.overlap.displacement import (
    Distance,
    displacement,
    displacement_agreement,
    displacement_distance,
)
from subnetray.subnetwork.overlap.distance_to_run import DistanceToRun, distance_to_run
from subnetray.subnetwork.overlap.joint import Joint, JointExpectation, joint, joint_overlap
from subnetray.subnetwork.overlap.margins import Margins, expected_overlap, margins
from subnetray.subnetwork.overlap.nulls import Null, PairCounts, pair_counts
from subnetray.subnetwork.overlap.sketch import Estimate, Sample, estimate, sample
from subnetray.subnetwork.overlap.strata import Arranged, Strata, strata_of, tensor_strata, ulp_ids, ulp_strata
from subnetray.subnetwork.overlap.table import Agreement, Overlap, OverlapCounts, agreement, statistics
from subnetray.subnetwork.restriction import Restriction
from subnetray.subnetwork.update.distance import energy_masks, exceeds_relative, exceeds_ulps, reachable
from subnetray.subnetwork.update.dynamics import Dynamics
from subnetray.subnetwork.update.energy import Concentration, concentration
from subnetray.subnetwork.update.geometry import (
    Enrichment,
    Geometry,
    Profile,
    SpectralDrift,
    enrichment,
    matrix_geometry,
    principal_weights,
    profile,
    profile_correlation,
    small_weights,
    spectral_drift,
)
from subnetray.subnetwork.update.rank import MeanRanks, Rank, RankBounds, mean_ranks, rank, rank_bounds, shuffled
from subnetray.subnetwork.update.ranking import Ranking
from subnetray.subnetwork.update.spectrum import Spectrum, decompose, principal_angles, singular_values
from subnetray.subnetwork.visible import Comparison, MismatchError, compare, count_changed
from subnetray.subnetwork.weights import Weights, named_weights

__all__ = [
    "Agreement",
    "Arranged",
    "Comparison",
    "Concentration",
    "CorruptFileError",
    "Delta",
    "DeltaError",
    "Distance",
    "DistanceToRun",
    "Dynamics",
    "Enrichment",
    "Estimate",
    "Geometry",
    "Joint",
    "JointExpectation",
    "Margins",
    "Mask",
    "MeanRanks",
    "MismatchError",
    "Null",
    "Overlap",
    "OverlapCounts",
    "PairCounts",
    "Profile",
    "Rank",
    "RankBounds",
    "Ranking",
    "Restriction",
    "Sample",
    "SpectralDrift",
    "Spectrum",
    "Strata",
    "Weights",
    "agreement",
    "arms",
    "compare",
    "compose",
    "concentration",
    "count_changed",
    "decompose",
    "displacement",
    "displacement_agreement",
    "displacement_distance",
    "distance_to_run",
    "energy_masks",
    "enrichment",
    "estimate",
    "exceeds_relative",
    "exceeds_ulps",
    "expected_overlap",
    "joint",
    "joint_overlap",
    "load_scores",
    "margins",
    "matrix_geometry",
    "mean_ranks",
    "named_weights",
    "pair_counts",
    "principal_angles",
    "principal_weights",
    "profile",
    "profile_correlation",
    "rank",
    "rank_bounds",
    "reachable",
    "sample",
    "save_scores",
    "shuffled",
    "singular_values",
    "small_weights",
    "spectral_drift",
    "statistics",
    "strata_of",
    "tensor_hash",
    "tensor_strata",
    "ulp_ids",
    "ulp_strata",
    "weights_hash",
]
