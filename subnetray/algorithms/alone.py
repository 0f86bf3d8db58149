"""TRL by itself: imported before any of its trainers.

Where vLLM is installed TRL imports it for engines of its own, which no run has: a third of a run's process's imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_utilities: Any = import_module("trl.import_utils")
_utilities.is_vllm_available = lambda min_version=None: False
