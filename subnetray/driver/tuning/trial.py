"""What Ray Tune calls for every run."""

from __future__ import annotations

from typing import Any

from subnetray.job import RunSpec, launch


def trial(params: dict[str, Any]) -> None:
    """Launch the run that ``params["spec"]`` describes and report that it ended; its result is in its directory."""
    from ray import tune

    spec = RunSpec.from_dict(params["spec"])
    launch(spec, params["max_failures"])
    tune.report({"run_id": spec.run_id})
