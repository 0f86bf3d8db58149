"""Private names of Ray, each behind a function that says what it is for and what happens without it.

Held by tests with Ray 2.60.0. Which variables of the environment Ray reads, some of them documented nowhere, is a table
in ``driver.cluster``: one that Ray no longer knows changes nothing. Nothing here imports Ray before it is called.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from collections.abc import Iterator

from subnetray.private import Gone, reach, replace, unless_gone

# Processes that Ray starts beside a cluster's head, and that nobody asks anything on one machine: its autoscaler, its
# dashboard (which ``include_dashboard`` keeps from serving pages, not from starting) and what carries workers' output
# to the driver.
UNASKED = ("start_monitor", "start_api_server", "start_log_monitor")


def start_nothing_unasked() -> None:
    """Have Ray start no processes that nobody asks: it waits for them, and they for a core.

    ``ray.init`` has no setting for any. Without: they start, and a sweep begins some seconds later.
    """
    for name in UNASKED:
        with unless_gone("Ray starts processes that nobody asks, and runs begin later"):
            replace("ray._private.node", f"Node.{name}", lambda self, **_: None)


def leave_sigterm() -> None:
    """Have Ray leave SIGTERM alone while it starts: it would exit at once, with its stack.

    Without: it is taken back once Ray has started.
    """
    with unless_gone("SIGTERM while Ray starts ends the command at once"):
        replace("ray._private.utils", "set_sigterm_handler", lambda _: None)


def shield_from_signals() -> None:
    """Start Ray's processes in groups of their own: what a terminal or ``timeout`` sends to the driver's whole group is
    for the driver, which stops them in order.

    Without: those that get SIGTERM end at once, and the driver with them.
    """
    with unless_gone("SIGTERM to the whole process group ends the command at once"):
        replace("ray._private.services", "ConsolePopen", functools.partial(subprocess.Popen, process_group=0))


@contextlib.contextmanager
def no_credentials() -> Iterator[None]:
    """Keep Tune from passing credentials on: it passes those of AWS as a runtime environment, which nodes log.

    Processes on this machine have the user's environment anyway, and those of other nodes have what their node has.
    Without: this process does not have them meanwhile.
    """
    try:
        passed: set[str] = reach("ray.tune.execution.class_cache", "ENV_VARS_TO_PROPAGATE")
        passed.difference_update([name for name in passed if name.startswith("AWS_")])
    except (Gone, AttributeError, TypeError):
        hidden = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("AWS_")}
        try:
            yield
        finally:
            os.environ.update(hidden)
    else:
        yield


def bootstrap_address(address: str) -> str | None:
    """Return the HOST:PORT of the cluster that ``address``, as of ``ray.init``, means; raises what Ray raises.

    Ray has no public way to find one without joining it. Without: None.
    """
    with unless_gone("that a cluster is not there is found out by Ray, after minutes"):
        found: str | None = reach("ray._private.services", "canonicalize_bootstrap_address")(address)
        return found
    return None
