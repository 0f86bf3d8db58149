"""Memory of a process that runs one run after another, as a trial of a sweep does: what each run adds to it.

    python benchmarks/memory.py [runs, default 60] [overrides of +grid=origins ...]

One actor of Ray launches the runs of the grid in a random order, each in a thread of its own, on one engine. Prints a
line a run: resident and private memory (MB) once the run has ended, seconds. Then what a run adds from the fifth on,
by least squares; exit code 1 if that is more than 1 MB.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from subnetray import models
from subnetray.config.compose import Composer
from subnetray.driver import cluster
from subnetray.grid import plan

FIRST = 5  # what libraries set up once is there by then
MOST = 1.0  # MB a run


class Trial:
    """A process of runs."""

    def launch(self, spec: dict[str, Any]) -> tuple[float, float, float]:
        """Resident and private memory (MB) after the run, and the seconds that it took."""
        from subnetray.job import RunSpec, launch

        start = time.perf_counter()
        with ThreadPoolExecutor(1) as thread:
            thread.submit(launch, RunSpec.from_dict(spec), 0).result()
        memory = psutil.Process().memory_full_info()
        return memory.rss / 1e6, memory.uss / 1e6, time.perf_counter() - start


def main() -> int:
    """Run, print, and judge."""
    count, overrides = int(sys.argv[1]) if len(sys.argv) > 1 else 60, sys.argv[2:]
    sweep, planned = plan(Composer(), ["+grid=origins", "tracking=disabled", *overrides])
    runs = list(planned.runs)
    random.Random(0).shuffle(runs)
    runs = (runs * -(-count // len(runs)))[:count]
    inits = {
        model: models.prepare(model, models.default_cache(), print)
        for model in dict.fromkeys(run.config.model for run in runs)
    }
    cluster.start(sweep.cluster)
    import ray

    from subnetray import rollout
    from subnetray.job import RunSpec

    with tempfile.TemporaryDirectory() as scratch:
        try:
            pool = rollout.start([(inits[run.config.model], run.config.rollout) for run in runs])
            trial = ray.remote(Trial).options(num_cpus=1).remote()
            found = []
            for number, run in enumerate(runs, start=1):
                config, init = run.config, inits[run.config.model]
                engines = pool.names[init, config.rollout]
                spec = RunSpec(run.run_id, config, init, Path(scratch, str(number)), engines, 0, 1, 0)
                found.append(ray.get(trial.launch.remote(spec.to_dict())))
                resident, private, seconds = found[-1]
                print(
                    f"{number:3} {config.algorithm.name:5} resident {resident:7.1f} MB  private {private:7.1f} MB "
                    f" {seconds:5.2f} s",
                    flush=True,
                )
        finally:
            cluster.stop()
    resident, private, seconds = np.array(found[FIRST - 1 :]).T
    numbers = np.arange(len(resident))
    adds = [float(np.polyfit(numbers, values, 1)[0]) for values in (resident, private)]
    print(f"a run adds {adds[0]:.2f} MB of resident and {adds[1]:.2f} MB of private memory from the {FIRST}th on")
    print(f"{np.median(seconds):.2f} s a run (median)")
    return int(max(adds) > MOST)


if __name__ == "__main__":
    sys.exit(main())
