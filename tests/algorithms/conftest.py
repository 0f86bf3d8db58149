"""The init of the tests of algorithms."""

from __future__ import annotations

from pathlib import Path

import pytest

from subnetray.models.tokenizer import make_tokenizer
from tests.decoder import decoder


@pytest.fixture
def init(tmp_path: Path) -> Path:
    decoder().save_pretrained(tmp_path / "init")
    make_tokenizer(64).save_pretrained(tmp_path / "init")
    return tmp_path / "init"
