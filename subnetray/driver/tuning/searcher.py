"""What Ray Tune asks for trials: every run is one, and starts when its source has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.search import Searcher

from subnetray.driver.tuning.order import Order
from subnetray.job import RunSpec


class InOrder(Searcher):
    """Suggests the runs of ``order``: no waves, and no trial that holds resources while it waits for another."""

    def __init__(self, order: Order, specs: Mapping[str, RunSpec]) -> None:
        super().__init__()
        self._order, self._specs = order, specs
        self._runs: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune saves its searcher so that it could restore an experiment; a sweep resumes from its results instead.
        return {}

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Save nothing, for the same reason."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's parameters; None while there are none, FINISHED when there will be none."""
        run_id = self._order.next()
        if run_id is None:
            return str(Searcher.FINISHED) if self._order.finished else None
        self._runs[trial_id] = run_id
        return {"spec": self._specs[run_id].to_dict()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended; what came of it is in its run's directory."""
        self._order.ended(self._runs.pop(trial_id))
