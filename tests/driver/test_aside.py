"""What fails beside the driver's work ends it, and is what it ends with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from subnetray.config import ConfigError
from subnetray.driver.aside import Aside, StartError


def _drive(beside: Callable[[], None], own: Callable[[], None]) -> None:
    with Aside() as aside:
        aside.run(beside)
        aside.run(lambda: None)
        own()


def test_a_failure_interrupts_what_the_driver_does() -> None:
    def fail() -> None:
        time.sleep(0.1)
        raise ValueError("no init")

    start = time.monotonic()
    with pytest.raises(StartError, match=r"^no init$"):
        _drive(fail, lambda: time.sleep(30))
    assert time.monotonic() - start < 10


def test_bad_input_is_bad_input_wherever_it_is_found() -> None:
    def fail() -> None:
        raise ConfigError("model.hub must be reachable")

    with pytest.raises(ConfigError, match=r"^model\.hub must be reachable$"):
        _drive(fail, lambda: time.sleep(30))


def test_what_ends_late_changes_nothing() -> None:
    left, failed = threading.Event(), threading.Event()

    def late() -> None:
        left.wait()
        failed.set()
        raise ValueError

    _drive(late, lambda: None)
    left.set()
    assert failed.wait(10)
    time.sleep(0.1)


def test_the_driver_s_own_error_is_not_hidden() -> None:
    def own() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        _drive(lambda: None, own)
