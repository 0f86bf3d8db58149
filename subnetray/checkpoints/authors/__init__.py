"""Give what the two scripts of arXiv 2505.11711 would print of two checkpoints, and name their ways (``parity=``).

Read in ``SagnikMukherjee/sparsity_in_rl`` at :data:`COMMIT`: ``src/check_sparsity.py`` and ``src/update_rank.py``.
"""

from __future__ import annotations

REPOSITORY = "https://github.com/SagnikMukherjee/sparsity_in_rl"
COMMIT = "c0d551171d8eee27c4cc7f48a16a4bc9a81ca5bd"
SPARSITY, RANK = "check_sparsity", "update_rank"
# What parity= may be, and the scripts that each stands for.
SCRIPTS = {"authors": (SPARSITY, RANK), SPARSITY: (SPARSITY,), RANK: (RANK,)}
