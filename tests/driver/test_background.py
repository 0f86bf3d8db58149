"""What fails beside the driver's work ends it, and is what it ends with."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from subnetray.config import ConfigError
from subnetray.driver.background import Background, StartError


def _drive(beside: Callable[[], None], own: Callable[[], None]) -> None:
    with Background() as background:
        background.run(beside)
        background.run(lambda: None)
        own()


def _until_interrupted() -> None:
    # In short sleeps: what interrupts just before one is seen after it.
    for _ in range(300):
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """Ctrl-C as it is in a terminal, even if these tests run in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_a_failure_interrupts_what_the_driver_does(ctrl_c: Any) -> None:
    """... in the background of a script too, where Ctrl-C is ignored before and after."""
    signal.signal(signal.SIGINT, ctrl_c)
    begun = threading.Event()

    def fail() -> None:
        begun.wait()
        raise ValueError("no init")

    def own() -> None:
        begun.set()
        _until_interrupted()

    start = time.monotonic()
    with pytest.raises(StartError, match=r"^no init$"):
        _drive(fail, own)
    assert time.monotonic() - start < 10
    assert signal.getsignal(signal.SIGINT) == ctrl_c


def test_bad_input_is_bad_input_wherever_it_is_found() -> None:
    def fail() -> None:
        raise ConfigError("model.hub must be reachable")

    with pytest.raises(ConfigError, match=r"^model\.hub must be reachable$"):
        _drive(fail, _until_interrupted)


def test_what_ends_late_changes_nothing() -> None:
    begun, left, threads = threading.Event(), threading.Event(), list[threading.Thread]()

    def late() -> None:
        threads.append(threading.current_thread())
        begun.set()
        left.wait()
        raise ValueError

    def own() -> None:
        begun.wait()

    _drive(late, own)
    left.set()
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_the_driver_s_own_error_is_not_hidden() -> None:
    def own() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        _drive(lambda: None, own)
