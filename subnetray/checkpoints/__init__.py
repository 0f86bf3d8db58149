"""Checkpoints on disk, compared tensor by tensor in bounded memory."""

from __future__ import annotations

from subnetray.checkpoints.checkpoint import Checkpoint
from subnetray.checkpoints.compare import Difference, Work, compare_checkpoints
from subnetray.checkpoints.reader import open_checkpoint

__all__ = ["Checkpoint", "Difference", "Work", "compare_checkpoints", "open_checkpoint"]
