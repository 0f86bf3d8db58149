"""What arXiv 2505.11711 and its follow-ups report, beside what a grid measures: every number with its source.

All sparsities of 2505.11711 count |Δ| ≤ 1e-5 in bf16 as unchanged, which adds up to 30 points to what bitwise
comparison gives (Table 6): they compare with a grid's density at tolerance 1e-5 rather than with its visible one.
"""

from __future__ import annotations

from dataclasses import dataclass

from subnetray.analysis import roles

PAPER = "arXiv 2505.11711"
UPDATED = (0.05, 0.30)  # share of the weights that RL updates, at its tolerance of 1e-5
PUBLISHED_RATES = 10.0  # the learning rate of the SFT stage over that of DPO after it (Tulu 3, arXiv 2411.15124)


@dataclass(frozen=True)
class Reported:
    """One published sparsity, for the levels of kind ``kind`` (see :func:`subnetray.analysis.roles.kind`) of a role."""

    role: str
    kind: str
    sparsity: float  # share in 0..1
    what: str  # method, model, size
    source: str
    trap: str = ""


_CLIP_KL = f"{PAPER} section 6"
_NOT_SEPARATED = "one pair of runs, clipping and KL not separated"

REPORTED = (
    Reported(roles.CLIP, "on", 0.698, "GRPO, Qwen2.5-7B-Instruct", _CLIP_KL, _NOT_SEPARATED),
    Reported(roles.CLIP, "off", 0.688, "GRPO, Qwen2.5-7B-Instruct", _CLIP_KL, _NOT_SEPARATED),
    Reported(roles.KL, "on", 0.698, "GRPO, Qwen2.5-7B-Instruct", _CLIP_KL, _NOT_SEPARATED),
    Reported(roles.KL, "off", 0.688, "GRPO, Qwen2.5-7B-Instruct", _CLIP_KL, _NOT_SEPARATED),
    Reported(
        *(roles.INIT, "base", 0.860, "R1-Zero from DeepSeek-V3-Base, 671B", f"{PAPER} Table 1"),
        trap="distributed in FP8, compared after int8 quantisation in the authors' notebook",
    ),
    Reported(roles.INIT, "after_sft", 0.685, "GRPO, DeepSeek-Math-7B", f"{PAPER} Table 1"),
    Reported(
        *(roles.METHOD, "grpo/rollouts", 0.685, "GRPO, DeepSeek-Math-7B", f"{PAPER} Table 1"),
    ),
    Reported(
        *(roles.METHOD, "ppo/rollouts", 0.808, "PPO, Math-Shepherd-Mistral-7B", f"{PAPER} Table 1"),
        trap="52.5 % at 1e-8: 28 points are tolerance",
    ),
    Reported(roles.METHOD, "prime/rollouts", 0.770, "PRIME, Eurus-2-7B", f"{PAPER} Table 1"),
    Reported(
        *(roles.METHOD, "sft/rejection", 0.912, "RFT, Qwen2.5-Math-7B", f"{PAPER} Table 5"),
        trap="its text says about 90.0 %",
    ),
    Reported(
        *(roles.METHOD, "sft/gold", 0.068, "SFT, Llama-3.1-8B", f"{PAPER} Table 5"),
        trap="released SFT checkpoints: lr 5e-6, ten times that of DPO",
    ),
    Reported(roles.METHOD, "dpo/on_policy", 0.814, "DPO after SFT, Tulu-3-8B", f"{PAPER} Table 5"),
    Reported(roles.METHOD, "dpo/off_policy", 0.068, "DPO without SFT, Llama-3.1-8B", f"{PAPER} Table 5"),
    Reported(
        *(roles.METHOD, "dpo/off_policy", 0.077, "DPO, Zephyr-7B-beta", f"{PAPER} Table 5"),
        trap="its text says 6.8 %",
    ),
    Reported(roles.METHOD, "orpo/off_policy", 0.769, "ORPO, Mistral-7B-v0.1", f"{PAPER} Table 1"),
    Reported(
        *(roles.METHOD, "kto/off_policy", 0.960, "KTO, Eurus-7B", f"{PAPER} Table 1"),
        trap="71.8 % at 1e-8: 24 points are tolerance",
    ),
    Reported(roles.METHOD, "kto/off_policy", 0.812, "KTO, Llama-3-8B", f"{PAPER} Table 1"),
    Reported(
        *(roles.METHOD, "simpo/on_policy", 0.764, "SimPO, Llama-3-8B-Instruct", f"{PAPER} Table 6"),
        trap="its Table 1 gives it 86.5 %, which is that of the SFT model",
    ),
    Reported(roles.METHOD, "simpo/off_policy", 0.865, "SimPO, Llama-3-8B-SFT", f"{PAPER} Table 6"),
    Reported(
        *(roles.PRECISION, "fp32", 0.0, "RL in fp32", "arXiv 2509.04259"),
        trap="in words: the same accuracy, no sparsity",
    ),
)


def reported(role: str | None, kind: str) -> list[Reported]:
    """The published numbers for a level."""
    return [each for each in REPORTED if each.role == role and each.kind == kind]


# What is reported on a factor as a whole, by its role.
REMARKS = {
    roles.STEPS: (
        f"sparsity falls along the run of PRIME, Eurus-2-7B, towards about 80 % over 21 checkpoints ({PAPER} section 6)"
    ),
    roles.METHOD: (
        f"besides, 69.4 % for RAFT++, Qwen2.5-Math-7B, the other training on data in distribution ({PAPER} Table 5)"
    ),
    roles.LEARNING_RATE: f"not varied in {PAPER}, whose runs have rates of their own",
}


@dataclass(frozen=True)
class ReportedOverlap:
    """A row of the paper's Table 4, and what independent displacement of synthetic weights gives, rounded to bf16.

    ``structure_free`` is the range of o1 and o2 over five distributions of weights, with Gaussian displacement scaled
    to the two sparsities and compared at the paper's tolerance of 1e-5: no structure is shared there at all.
    """

    axis: str
    setting: str
    sparsity: tuple[float, float]
    observed: tuple[float, float]  # o1, o2
    uniform: tuple[float, float]
    structure_free: tuple[tuple[float, float], tuple[float, float]]


TABLE_4 = (
    ReportedOverlap(
        axis="seed",
        setting="DPO, Tulu-3-8B-SFT, seed 42 and 123",
        sparsity=(0.633, 0.633),
        observed=(0.605, 0.606),
        uniform=(0.367, 0.367),
        structure_free=((0.593, 0.619), (0.593, 0.619)),
    ),
    ReportedOverlap(
        axis="data",
        setting="DPO, Tulu-3-8B-SFT, Tulu preferences and Eurus-2 rollouts",
        sparsity=(0.633, 0.854),
        observed=(0.267, 0.671),
        uniform=(0.146, 0.367),
        structure_free=((0.281, 0.318), (0.707, 0.798)),
    ),
    ReportedOverlap(
        axis="seed, data and algorithm",
        setting="DPO and PRIME, Eurus-2-7B-SFT",
        sparsity=(0.871, 0.770),
        observed=(0.591, 0.332),
        uniform=(0.230, 0.129),
        structure_free=((0.546, 0.693), (0.307, 0.389)),
    ),
)


@dataclass(frozen=True)
class ReportedDynamics:
    """Shares of all weights that a run changed never, there and back, and for good, by some of its checkpoints."""

    what: str
    source: str
    checkpoints: int
    never: float
    cancelled: float
    effective: float
    # Elsewhere the source gives a share of the weights that ever changed, which is not that of these numbers.
    cancelled_of_ever: float


CANCELLED = ReportedDynamics(
    what="PRIME, Eurus-2-7B",
    source=f"{PAPER} Figure 2 and section 6",
    checkpoints=21,
    never=0.72,
    cancelled=0.08,
    effective=0.20,
    cancelled_of_ever=0.085,
)

# Of one step in bf16, at least, and the learning rate it was measured at: Qwen2.5, Llama-3.2 and Gemma-3, 0.5B to 7B.
STEP_SPARSITY, STEP_SPARSITY_RATE = 0.98, 3e-6
STEP_SPARSITY_SOURCE = "arXiv 2602.03839"
