"""What all tests share: hypothesis does not time them, as machines that run them are shared; the longest come first."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# Ray reads it when it is imported, which test modules do before they start Ray as ``driver.cluster`` would.
os.environ["RAY_AUTH_MODE"] = "token"
# As ``job.run`` has it: a warning of TRL's that its API may change is an error here otherwise.
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # So that of the processes that share the files none is left with it alone at the end.
    items.sort(key=lambda item: item.path.name != "test_sweep.py" or item.path.parent.name != "e2e")


@pytest.fixture(scope="session", autouse=True)
def _temporary(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have pytest choose its temporary directory now: while Ray runs, that of this process is the sweep's own."""
    tmp_path_factory.getbasetemp()
