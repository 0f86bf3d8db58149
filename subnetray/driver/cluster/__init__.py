"""The Ray cluster that a sweep runs on."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from subnetray.config import Cluster
from subnetray.driver import machine
from subnetray.driver.background import StartError
from subnetray.driver.cluster import private
from subnetray.driver.session import session, signals
from subnetray.driver.session.scratch import of_ray
from subnetray.process.environment import computing

# Ray's own settings, read when it starts: no usage reports, quiet Tune.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# ... and quick Train, where no node can be taken away or go.
_LOCAL_SETTINGS = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Processes without a job's environment, of which no run or engine makes use.
    "RAY_prestart_worker_first_driver": "0",
}
# What keeps a local sweep's processes to themselves, whatever the user has set.
_CLOSED = {
    # Despite its name, what makes Ray bind its ports to the loopback interface, on Linux too.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    # Worker groups and engines of several processes.
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "VLLM_HOST_IP": "127.0.0.1",
}
# Of another cluster, as in a pod or a job of one: its address, its token, its store, what its jobs are told.
_OTHERS = (
    "RAY_ADDRESS",
    "RAY_AUTH_TOKEN",
    "RAY_REDIS_ADDRESS",
    "RAY_gcs_storage",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_TMPDIR",
)
_ANSWER_S = 5.0
# HTTP/2, which gRPC speaks, begins with this from the client, and with a frame of settings (type 4) from the server.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])

_opened = contextlib.ExitStack()


def start(cluster: Cluster) -> None:
    """Start Ray on this machine, reachable from this machine only, or join the cluster at ``cluster.address``.

    Ray must not have been imported by this process: it reads its settings from the environment when it is. Outside of a
    session (see ``driver.session``) it is in one of its own until :func:`stop`. Raises :class:`StartError`.
    """
    local = cluster.address is None
    if session.directory() is None:
        _opened.enter_context(session.entered(local))
    try:
        if local:
            _start()
        else:
            _join(str(cluster.address))
    except BaseException:
        _opened.close()
        raise


def stop() -> None:
    """End what :func:`start` started, or leave the cluster that it joined."""
    import ray

    try:
        ray.shutdown()
    finally:
        _opened.close()


@contextlib.contextmanager
def tuning() -> Iterator[None]:
    """While entered Tune runs trials: it passes no credentials on, and is what the first Ctrl-C or SIGTERM stops.

    What becomes of a trial is said by the sweep in a line, and by Tune not at all: its own has a stack.
    """
    logger = logging.getLogger("ray.tune")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with private.no_credentials(), signals.tuning():
            yield
    finally:
        logger.setLevel(before)


def trial_resources(cluster: Cluster) -> dict[str, float]:
    """Return a trial's resources: the run's in local mode, else those of the process that waits for its workers."""
    if cluster.workers:
        return {"CPU": machine.WAITING_CPUS}
    resources = {"CPU": cluster.cpus_per_run}
    return resources | {"GPU": cluster.gpus_per_worker} if cluster.gpus_per_worker else resources


def _start() -> None:
    directory = session.directory()
    assert directory is not None
    _set(_SETTINGS | _LOCAL_SETTINGS)
    for name in _OTHERS:
        os.environ.pop(name, None)
    os.environ.update(_CLOSED | {"RAY_AUTH_TOKEN_PATH": str(_token(directory))})
    # Private, and removed with all that Ray leaves in it.
    os.environ["RAY_TMPDIR"] = str(of_ray(directory).parent)
    private.start_nothing_unasked()
    private.shield_from_signals()
    _init(
        "Ray did not start",
        address="local",
        num_cpus=machine.cores(),
        include_dashboard=False,
    )


def _join(address: str) -> None:
    failed = f"no Ray cluster could be joined at cluster.address={address}"
    _set(_SETTINGS)
    if reason := _unreachable(address):
        raise StartError(f"{failed}: {reason}")
    try:
        _init(failed, address=address)
    except StartError as error:
        if "RAY_AUTH_MODE" in os.environ:
            raise
        # Ray sends the user's token by itself only to a cluster on this machine, which it finds by ``auto``.
        hint = "if it asks for a token, as what `ray start` starts does, set RAY_AUTH_MODE=token"
        raise StartError(f"{error} ({hint})") from error


def _set(settings: dict[str, str]) -> None:
    for key, value in settings.items():
        os.environ.setdefault(key, value)


def _init(failed: str, **arguments: Any) -> None:
    import ray

    private.leave_sigterm()
    try:
        ray.init(
            **arguments,
            runtime_env={"env_vars": computing() | {"HF_HUB_OFFLINE": "1"}},
            logging_level="ERROR",
            log_to_driver=False,
        )
    except Exception as error:  # Ray has no class of its own for this
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StartError(f"{failed}: {reason}") from error
    except KeyboardInterrupt:
        ray.shutdown()
        raise
    finally:
        signals.take()


@functools.cache
def _secret() -> str:
    return secrets.token_hex(32)


def _token(directory: Path) -> Path:
    """A file with a secret of this process's: who does not know it is not answered by any of Ray's processes.

    Ray would keep one for all clusters in the user's home, if there is one. It reads a token once, so that a second
    session of a process has the token of the first.
    """
    path = directory / "token"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(_secret())
    return path


def _unreachable(address: str) -> str | None:
    """Return why no cluster can be at ``address``, None if one may be: Ray itself would try for minutes."""
    place = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if "://" in place:
        place = place.partition("://")[2].partition("/")[0]
    else:
        try:
            found = private.bootstrap_address(place)
        except Exception as error:
            return str(error).strip().splitlines()[0]
        if found is None and place == "auto":
            return None  # where it is, Ray alone knows
        place = found or place
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        return "it must be auto or HOST:PORT, as ray start --head says it"
    named = "" if place == address else f" ({place})"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return None
            connection.sendall(_HELLO)
            answer = connection.recv(4)
    except OSError as error:
        return f"nobody answers there{named}: {error.strerror or error}"
    return None if answer[3:] == b"\x04" else f"what answers there{named} is no Ray cluster"
