"""What fails beside the driver's work ends it, and is what it ends with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from subnetray.driver.aside import Aside


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
    with pytest.raises(ValueError, match=r"^no init$"):
        _drive(fail, lambda: time.sleep(30))
    assert time.monotonic() - start < 10


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
