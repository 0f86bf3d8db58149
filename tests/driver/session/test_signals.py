"""A driver that is asked to end does so in order, and the second time at once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from subnetray.driver.session import signals
from tests.foreground import in_foreground

# Says what happens to it, and ends in no hurry.
_DRIVER = """
import time
from subnetray.driver.session import signals

with signals.orderly():
    try:
        print("begun", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("asked", flush=True)
        for _ in range(int(SECONDS * 10)):
            time.sleep(0.1)
        print("ended", flush=True)
raise SystemExit(signals.exit_code())
"""


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def number(request: pytest.FixtureRequest) -> signal.Signals:
    return signal.Signals(request.param)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def _begin(ignored: tuple[signal.Signals, ...]) -> None:
    in_foreground()
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)


def _start(seconds: float, ignored: tuple[signal.Signals, ...] = ()) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _DRIVER.replace("SECONDS", str(seconds))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(_begin, ignored),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_the_first_signal_lets_it_end_in_order(number: signal.Signals, started: list[subprocess.Popen[str]]) -> None:
    process = _start(0)
    started.append(process)
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("asked\nended\n", "")
    assert process.returncode == 128 + number


def test_the_second_one_ends_it_at_once(number: signal.Signals, started: list[subprocess.Popen[str]]) -> None:
    """... unless it is the same one, sent twice by a launcher."""
    process = _start(50)
    started.append(process)
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=10)
    assert said == ("", "subnetray: ended at once; the same command goes on from here\n")
    assert process.returncode == 128 + signal.SIGTERM


_IN_A_CALLBACK = """
import signal, threading, weakref
from subnetray.driver.session import signals

class Lock:
    pass

with signals.orderly():
    lock = Lock()
    reference = weakref.ref(lock, lambda _: signal.raise_signal(signal.SIGTERM))
    try:
        del lock
        print("went on", flush=True)
        threading.Event().wait(30)
    except KeyboardInterrupt:
        print("asked", flush=True)
raise SystemExit(signals.exit_code())
"""


def test_a_signal_that_comes_while_python_can_raise_nothing_is_not_lost() -> None:
    """Python writes what is raised in the callback of a weak reference, as importlib has them, and goes on."""
    found = subprocess.run([sys.executable, "-c", _IN_A_CALLBACK], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout, found.stderr) == (143, "went on\nasked\n", "")


_WHERE_A_LOCK_IS_TAKEN = """
import sys, time
from subnetray.driver.session import signals

code = '''
def take(lock, ask):
    lock.acquire()
    ask()  # the signal comes here
    try:
        return "took it"
    finally:
        lock.release()
'''
namespace = {}
exec(compile(code, sys.argv[1], "exec"), namespace)

import signal, threading
from functools import partial

lock = threading.Lock()
with signals.orderly():
    try:
        print(namespace["take"](lock, partial(signal.raise_signal, signal.SIGTERM)), flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        print("asked", lock.locked(), flush=True)
raise SystemExit(signals.exit_code())
"""


@pytest.mark.parametrize("file", ["<frozen importlib._bootstrap>", logging.__file__])
def test_no_lock_of_imports_and_logs_is_left_held(file: str) -> None:
    """The next import of another thread would wait for ever: a command that was told to end did not."""
    command = [sys.executable, "-c", _WHERE_A_LOCK_IS_TAKEN, file]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout, found.stderr) == (143, "took it\nasked False\n", "")


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGHUP])
def test_what_a_script_or_nohup_has_it_ignore_it_ignores(
    ignored: signal.Signals, started: list[subprocess.Popen[str]]
) -> None:
    process = _start(0, (ignored,))
    started.append(process)
    process.send_signal(ignored)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "asked\nended\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_while_runs_go_on_it_is_tune_that_is_stopped() -> None:
    """... and nobody has the signals afterwards but who had them before."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    stopped: list[int] = []
    with signals.orderly():
        with signals.tuning():
            signal.signal(signal.SIGUSR1, lambda number, _: stopped.append(number))  # as Tune does
            os.kill(os.getpid(), signal.SIGTERM)
        assert stopped == [signal.SIGUSR1]
        assert signals.exit_code() == 143
    assert before == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
