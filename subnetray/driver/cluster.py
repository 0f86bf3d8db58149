"""The Ray cluster that a sweep runs on."""

from __future__ import annotations

import os

from subnetray.config import Cluster
from subnetray.driver import machine, watchdog
from subnetray.driver.aside import StartError
from subnetray.environment import computing

# Ray's own settings, read when it starts: no usage reports, quiet Tune, quick Train.
_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Processes without a job's environment, of which no run or engine makes use.
    "RAY_prestart_worker_first_driver": "0",
}
# Despite its name, what makes Ray bind its ports to the loopback interface, on Linux too.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Processes that Ray starts beside a cluster's head, and that nobody asks anything on one machine: its autoscaler, its
# dashboard (which ``include_dashboard`` keeps from serving pages, not from starting) and what carries workers' output
# to the driver. It waits for them, and they for a core; ``ray.init`` has no setting for any.
_UNASKED = ("start_monitor", "start_api_server", "start_log_monitor")


def start(cluster: Cluster) -> None:
    """Start Ray on this machine, reachable from this machine only, or join the cluster at ``cluster.address``.

    Ray must not have been imported by this process: it reads its settings from the environment when it is. Raises
    :class:`StartError`.
    """
    local = cluster.address is None
    for key, value in (_RAY_ENVIRONMENT | (_LOOPBACK if local else {})).items():
        os.environ.setdefault(key, value)
    import ray
    from ray._private.node import Node

    if local:
        for name in _UNASKED:
            setattr(Node, name, lambda self, **_: None)
    try:
        ray.init(
            address=cluster.address or "local",
            num_cpus=machine.cores() if local else None,
            include_dashboard=False if local else None,
            runtime_env={"env_vars": computing() | {"HF_HUB_OFFLINE": "1"}},
            logging_level="ERROR",
            log_to_driver=False,
        )
    except Exception as error:  # Ray has no class of its own for this
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        what = "Ray did not start" if local else f"no Ray cluster could be joined at cluster.address={cluster.address}"
        raise StartError(f"{what}: {reason}") from error
    if local:
        watchdog.watch()


def stop() -> None:
    """End what :func:`start` started, or leave the cluster that it joined."""
    import ray

    ray.shutdown()


def trial_resources(cluster: Cluster) -> dict[str, float]:
    """What a trial holds: the run itself in local mode, else only the process that waits for its worker group."""
    if cluster.workers:
        return {"CPU": machine.WAITING_CPUS}
    resources = {"CPU": cluster.cpus_per_run}
    return resources | {"GPU": cluster.gpus_per_worker} if cluster.gpus_per_worker else resources
