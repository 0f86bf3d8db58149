"""What the end-to-end tests share: the embedded model, made once, and a place where sweeps keep theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from subnetray import models
from subnetray.config import EmbeddedModel


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The embedded model's directory, in the cache that sweeps use by default."""
    return models.prepare(EmbeddedModel(), models.default_cache(), print)
